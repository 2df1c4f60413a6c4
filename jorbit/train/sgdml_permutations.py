"""Which permutations a symmetric kernel is summed over: always a group, chosen on purpose when it is large."""

import itertools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jorbit.core.errors import CapacityError, ConfigError, DataError
from jorbit.core.structure import Structure
from jorbit.orbits import OrbitResult, find_orbits
from jorbit.orbits.feasibility import feasible_group, make_sample
from jorbit.orbits.frames import read_trajectory
from jorbit.orbits.group import enumerate_group, subgroup
from jorbit.orbits.lattice import displacements, make_lattice

CHOICES = "'none', 'feasible', 'topological', 'budget:P' (P a number), 'translations', or an array of permutations"
_MAX_FRAMES = 1000
_TOLERANCE = 0.5  # Å between an atom moved by a translation and the place it should take


def choose_permutations(
    choice: str | Int[np.ndarray, "permutations atoms"] | Sequence[Sequence[int]],
    structures: Sequence[Structure],
    *,
    orbits: OrbitResult | None = None,
    most: int = 100,
) -> tuple[Int[np.ndarray, "permutations atoms"], tuple[str, ...]]:
    """Permutations of the atoms, identity first, and what the user should know about them.

    Args:
        choice: "none": the identity. "feasible": those whose permuted frames look like frames. "topological": all
            automorphisms of the graph of the system. "budget:P": a subgroup of at most P of these, its generators
            taken in the order in which the data visit them. "translations": those of a crystal or sheet, times the
            exchanges within what moves about on it. An array [permutations, atoms]: checked to be a group.
        structures: training frames.
        orbits: what `jorbit.find_orbits` returned for them; searched for when needed.
        most: larger groups are replaced by a subgroup.

    Raises:
        ConfigError: no such choice, or an array that is no group of permutations of like atoms.

    Example:
        >>> import jorbit
        >>> structures = [f.structure for f in jorbit.read("ethanol_gfn2")[:100]]
        >>> [len(choose_permutations(c, structures)[0]) for c in ("none", "feasible", "topological", "budget:4")]
        [1, 6, 12, 4]
    """
    numbers = np.asarray(structures[0].numbers)
    n = len(numbers)
    if not isinstance(choice, str):
        return check_group(choice, numbers), ()
    if choice == "none":
        return np.arange(n, dtype=np.int32)[None], ()
    kind, _, budget = choice.partition(":")
    if kind not in ("feasible", "topological", "budget", "translations") or (kind == "budget") != bool(budget):
        raise ConfigError(f"permutations must be {CHOICES}, got {choice!r}.")
    if kind == "budget":
        if not budget.isdecimal() or int(budget) < 1:
            raise ConfigError(f"permutations='budget:P' needs a number P of at least 1, got {budget!r}.")
        most = int(budget)
    found = find_orbits(structures[:_MAX_FRAMES]) if orbits is None else orbits
    if found.n_atoms != n or not np.array_equal(found.numbers, numbers):
        raise ConfigError("orbits= belong to another system, or to another order of the atoms, than the frames.")
    generators = found.generators
    trajectory = read_trajectory(structures[:_MAX_FRAMES], _MAX_FRAMES)
    if kind == "translations":
        generators = _translations_and_exchanges(found)
    elif kind == "feasible":
        generators = (found.feasible or feasible_group(trajectory, generators)).generators
    try:
        return enumerate_group(generators, n, most), ()
    except CapacityError:
        sample = make_sample(trajectory)
        ordered = sorted(generators, key=sample.score)
        chosen = subgroup(ordered, n, most)
        note = (
            f"The group of {kind} permutations has more than {most} elements: a subgroup of {len(chosen)} is used, "
            "of the permutations that the data visit most. Allow more with max_permutations."
        )
        return chosen, () if kind == "budget" else (note,)


def check_group(
    permutations: Int[np.ndarray, "permutations atoms"] | Sequence[Sequence[int]], numbers: Int[np.ndarray, " atoms"]
) -> Int[np.ndarray, "permutations atoms"]:
    """The permutations, identity first, if they are a group: kernels summed over other lists are not symmetric.

    Raises:
        ConfigError: says what is wrong.

    Example:
        >>> check_group([[0, 2, 1], [0, 1, 2]], np.array([8, 1, 1])).tolist()
        [[0, 1, 2], [0, 2, 1]]
    """
    found = np.asarray(permutations)
    n = len(numbers)
    if found.ndim != 2 or found.shape[1] != n or not len(found) or not np.issubdtype(found.dtype, np.integer):
        raise ConfigError(
            f"Wanted whole-numbered permutations [permutations, {n}] of {n} atoms, got {found.dtype} of shape "
            f"{found.shape}."
        )
    wrong = np.flatnonzero((np.sort(found, axis=1) != np.arange(n)).any(axis=1))
    if len(wrong):
        raise ConfigError(
            f"Row {wrong[0]} of the permutations, {found[wrong[0]].tolist()}, does not hold every atom 0..{n - 1} once."
        )
    wrong = np.flatnonzero((np.asarray(numbers)[found] != np.asarray(numbers)).any(axis=1))
    if len(wrong):
        raise ConfigError(f"Row {wrong[0]} of the permutations exchanges atoms of different elements.")
    found = np.ascontiguousarray(found, dtype=np.int32)
    keys = {row.tobytes() for row in found}
    if len(keys) < len(found):
        raise ConfigError("A permutation is there twice: wanted each element of the group once.")
    if np.arange(n, dtype=np.int32).tobytes() not in keys:
        raise ConfigError("The identity is missing from the permutations: wanted a group.")
    for k, row in enumerate(found):
        for product in np.ascontiguousarray(found[:, row]):
            if product.tobytes() not in keys:
                raise ConfigError(
                    f"The {len(found)} permutations are no group: a product with row {k} is not among them. Add what "
                    "is missing (jorbit.orbits.group.enumerate_group does), or take a subgroup."
                )
    first = int(np.flatnonzero((found == np.arange(n)).all(axis=1))[0])
    return np.concatenate([found[first : first + 1], np.delete(found, first, axis=0)])


def _translations_and_exchanges(orbits: OrbitResult) -> tuple[Int[np.ndarray, " atoms"], ...]:
    """Lattice translations of what stays in place, and generators that leave all of that alone."""
    reference, n = orbits.reference, orbits.n_atoms
    places = np.flatnonzero(reference.in_place)
    if not np.asarray(reference.pbc).any() or not len(places):
        raise DataError(
            "permutations='translations' are those of a crystal or sheet, and nothing here stays in place in a "
            "periodic cell. Use 'feasible' for molecules."
        )
    lattice = make_lattice(reference.cell, reference.pbc)
    positions, numbers = np.asarray(reference.positions)[places], np.asarray(orbits.numbers)[places]
    kinds, counts = np.unique(numbers, return_counts=True)
    origin = int(np.flatnonzero(numbers == kinds[counts.argmin()])[0])
    result = []
    for target in np.flatnonzero(numbers == numbers[origin]):
        moved = positions + displacements(positions[target] - positions[origin], lattice)
        distances = np.linalg.norm(displacements(moved[:, None] - positions[None], lattice), axis=-1)
        image = distances.argmin(axis=1)
        fits = distances[np.arange(len(places)), image].max() < _TOLERANCE
        if target != origin and fits and len(set(image.tolist())) == len(image) and (numbers[image] == numbers).all():
            permutation = np.arange(n, dtype=np.int32)
            permutation[places] = places[image]
            result.append(permutation)
    exchanges = [g for g in orbits.generators if (np.asarray(g)[places] == places).all()]
    return tuple(itertools.chain(result, exchanges))
