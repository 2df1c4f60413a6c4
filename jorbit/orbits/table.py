"""Orbits in words: members, what surrounds them, how much they move."""

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from jorbit.core.species import SYMBOLS
from jorbit.orbits.covalent_radii import bond_lengths
from jorbit.orbits.lattice import displacements, make_lattice, neighbor_images
from jorbit.orbits.result import OrbitResult

SHELL = 1.15  # atoms up to this times the distance of the nearest are its neighbours, where there are no bonds


@dataclasses.dataclass(frozen=True)
class OrbitRow:
    """One orbit.

    Attributes:
        name: element, with its index within the element where there are several.
        element: symbol.
        atoms: members, ascending.
        surroundings: what its first member is bonded to, by orbit, or which atoms are nearest.
        spread: mean over its members of how much their distances vary, Å.
    """

    name: str
    element: str
    atoms: tuple[int, ...]
    surroundings: str
    spread: float


def orbit_table(result: OrbitResult) -> list[OrbitRow]:
    """A row for each orbit, in the order of the labels."""
    rows = []
    for name, atoms in zip(result.names, result.orbits, strict=True):
        first = int(atoms[0])
        spread = float(result.spread[atoms].mean())
        element = SYMBOLS[result.numbers[first]]
        rows.append(OrbitRow(name, element, tuple(atoms.tolist()), surroundings(result, first), spread))
    return rows


def surroundings(result: OrbitResult, atom: int) -> str:
    """Bonded orbits of an atom with their counts, such as "C1, 2 H1, O"; else its nearest neighbours and distance."""
    reference = result.reference
    bonded = np.flatnonzero(reference.bonds[atom])
    if not reference.in_place[atom]:
        return _counted([result.names[result.labels[k]] for k in bonded]) or "no bonds"
    lattice = make_lattice(np.where(reference.pbc[:, None], reference.cell, np.eye(3)), reference.pbc)
    steps = displacements(reference.positions - reference.positions[atom], lattice)
    longest = bond_lengths(result.numbers, result.options.f_cov)[atom]
    reach = float(longest.max()) if np.isfinite(lattice.shortest) else 0.0
    images = neighbor_images(lattice, reach)  # in small cells several images of an atom are neighbours
    distance = np.linalg.norm(steps[:, None] + images[None], axis=-1)
    distance[distance < 1e-9] = np.inf
    if len(bonded):
        own = np.arange(result.n_atoms) == atom
        near = (distance < longest[:, None]) & (reference.bonds[atom] | own)[:, None]
        near[bonded, distance[bonded].argmin(axis=1)] = True
        return _counted([result.names[result.labels[k]] for k in np.nonzero(near)[0]])
    nearest = float(distance.min())
    near = np.nonzero(distance < SHELL * nearest)[0]
    return f"{_counted([result.names[result.labels[k]] for k in near])} at {nearest:.2f} Å"


def _counted(names: Sequence[str]) -> str:
    counts = Counter(names)
    return ", ".join(f"{counts[n]} {n}" if counts[n] > 1 else n for n in sorted(counts))


def ranges(atoms: Sequence[int], most: int = 6) -> str:
    """Indices with runs joined, and an end when there are many.

    Example:
        >>> ranges([0, 1, 2, 5, 7, 8])
        '0-2 5 7-8'
    """
    runs: list[list[int]] = []
    for k in atoms:
        if runs and runs[-1][1] == k - 1:
            runs[-1][1] = k
        else:
            runs.append([k, k])
    texts = [str(a) if a == b else f"{a}-{b}" for a, b in runs]
    return " ".join(texts if len(texts) <= most else [*texts[:most], "..."])
