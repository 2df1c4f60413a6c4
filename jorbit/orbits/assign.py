"""Labels for a structure whose atoms are in another order, or which repeats the reference.

Molecules are recognised by their bonds, what stays in place in a crystal by where it is.
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int

from jorbit.core.errors import StructureError
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Structure
from jorbit.orbits.automorphisms import Budget, Exhausted, Path, find_map, first_path
from jorbit.orbits.covalent_radii import bond_lengths
from jorbit.orbits.fragments import components, formula
from jorbit.orbits.frames import Trajectory, read_trajectory
from jorbit.orbits.lattice import displacements
from jorbit.orbits.refinement import Refiner, make_refiner
from jorbit.orbits.result import OrbitResult
from jorbit.orbits.sites import assign_sites

MAX_BRANCHES = 2000


@dataclasses.dataclass(frozen=True, eq=False)
class _Molecule:
    """A part of the reference that bonds alone hold together, ready to be found again."""

    atoms: Int[np.ndarray, " members"]
    refiner: Refiner
    path: Path
    key: bytes


def assign(result: OrbitResult, structure: Structure) -> Int[np.ndarray, " others"]:
    """See `OrbitResult.assign`."""
    found = read_trajectory([structure], 1)
    if result.options.mode == "species":
        return _by_element(result, found)
    if result.options.mode == "identity":
        return _by_order(result, found)
    labels = np.full(found.n_atoms, -1, dtype=np.int32)
    molecules, in_place = _parts(result)
    bonds = _bonds(found, result.options.f_cov)
    owner = components(bonds)
    for k in range(int(owner.max()) + 1):
        atoms = np.flatnonzero(owner == k)
        image = _recognise(atoms, found.numbers, bonds, molecules)
        if image is not None:
            labels[image[0]] = result.labels[image[1]]
    rest = np.flatnonzero(labels < 0)
    if len(rest) and not len(in_place):
        raise StructureError(_no_match(result, found, owner, int(rest[0])))
    if len(rest):
        labels[rest] = assign_sites(result, in_place, found, rest)
    return labels


def _parts(result: OrbitResult) -> tuple[list[_Molecule], Int[np.ndarray, " members"]]:
    """Distinct molecules that only bonds hold together, and the atoms known by their place."""
    reference = result.reference
    owner = components((reference.edges > 0) | reference.bonds)
    marked = reference.vertices.max() >= len(np.unique(result.numbers))
    molecules: list[_Molecule] = []
    for k in range(int(owner.max()) + 1):
        atoms = np.flatnonzero(owner == k)
        if reference.in_place[atoms[0]]:
            continue
        if marked:
            raise StructureError(
                "The orbits were found with initial_labels, which cannot be seen in a structure: its molecules cannot "
                "be labelled. Give it `orbits` yourself, in the order of the trajectory."
            )
        refiner = make_refiner(result.numbers[atoms], reference.bonds[np.ix_(atoms, atoms)].astype(np.int32))
        path = first_path(refiner)
        key = np.sort(path.hashes[0]).tobytes()
        if not any(m.key == key and np.array_equal(result.labels[m.atoms], result.labels[atoms]) for m in molecules):
            molecules.append(_Molecule(atoms, refiner, path, key))
    return molecules, np.flatnonzero(reference.in_place)


def _bonds(found: Trajectory, factor: float) -> Bool[np.ndarray, "others others"]:
    longest = bond_lengths(found.numbers, factor)
    positions = found.positions[0]
    bonds = np.zeros((found.n_atoms, found.n_atoms), dtype=bool)
    for i in range(found.n_atoms):
        steps = displacements(positions - positions[i], found.lattice)
        bonds[i] = np.linalg.norm(steps, axis=-1) < longest[i]
    np.fill_diagonal(bonds, False)
    return bonds


def _recognise(
    atoms: Int[np.ndarray, " members"],
    numbers: Int[np.ndarray, " others"],
    bonds: Bool[np.ndarray, "others others"],
    molecules: list[_Molecule],
) -> tuple[Int[np.ndarray, " members"], Int[np.ndarray, " members"]] | None:
    """(atoms of the structure, atoms of the reference they correspond to), or None."""
    refiner = make_refiner(numbers[atoms], bonds[np.ix_(atoms, atoms)].astype(np.int32))
    hashes = refiner.refine(refiner.start())
    key = np.sort(hashes).tobytes()
    for molecule in molecules:
        if molecule.key != key:
            continue
        try:
            image = find_map(molecule.refiner, molecule.path, 0, refiner, hashes, Budget(MAX_BRANCHES))
        except Exhausted:
            image = None
        if image is not None:
            return atoms[image], molecule.atoms
    return None


def _no_match(result: OrbitResult, found: Trajectory, owner: np.ndarray, atom: int) -> str:
    members = np.flatnonzero(owner == owner[atom])
    known = sorted({f.formula for f in result.fragments})
    return (
        f"The structure does not match the reference: its part {formula(found.numbers[members])} (atom "
        f"{members[0]} and {len(members) - 1} more) is bonded like none of {', '.join(known)} in the trajectory "
        "that the orbits were found in. "
        "Is a bond broken, are atoms missing, or is this another molecule? Find orbits for it by itself."
    )


def _by_element(result: OrbitResult, found: Trajectory) -> Int[np.ndarray, " others"]:
    of_element = {int(z): int(k) for z, k in zip(result.numbers, result.labels, strict=True)}
    unknown = sorted({SYMBOLS[z] for z in found.numbers.tolist() if z not in of_element})
    if unknown:
        raise StructureError(
            f"The structure holds {', '.join(unknown)}, which the trajectory that the orbits were found in does not. "
            "Find orbits for it by itself."
        )
    return np.array([of_element[z] for z in found.numbers.tolist()], dtype=np.int32)


def _by_order(result: OrbitResult, found: Trajectory) -> Int[np.ndarray, " others"]:
    if not np.array_equal(found.numbers, result.numbers):
        raise StructureError(
            "With mode='identity' every atom is an orbit of its own, so that only a structure with the same atoms in "
            "the same order can be labelled. Use mode='auto' to recognise atoms in another order."
        )
    return result.labels.copy()
