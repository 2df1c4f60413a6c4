"""The structure a model's orbits belong to: it labels other structures, watches bonds, and is kept in model files."""

import collections
import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from jorbit.core.errors import DataError, OrbitError, StructureError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.neighbors import find_pairs
from jorbit.orbits import OrbitResult, find_orbits
from jorbit.orbits.covalent_radii import RADII
from jorbit.orbits.fragments import formula

BROKEN = 1.5  # a bond is broken when longer than this times the sum of its covalent radii
FORMED = 1.1  # two atoms that are not bonded in the reference are when closer than this times the sum
MOST_FRAMES = 200  # looked at to find the orbits behind labels that structures carry


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FoundOrbits:
    """Orbits found in a trajectory, as the reference of a model.

    Attributes:
        result: what `jorbit.find_orbits` returned.
        names: index within its element of each orbit of `result`, as models and structures carry it; several orbits may
            share one.

    Example:
        >>> import jorbit
        >>> reference = FoundOrbits.of(jorbit.find_orbits(jorbit.read("ethanol_gfn2")[:50]))
        >>> sorted(reference.counts.items())
        [((1, 0), 1), ((1, 1), 2), ((1, 2), 3), ((6, 0), 1), ((6, 1), 1), ((8, 0), 1)]
    """

    result: OrbitResult
    names: tuple[int, ...]

    @classmethod
    def of(cls, result: OrbitResult) -> "FoundOrbits":
        """Every orbit a label of its own."""
        first = [int(members[0]) for members in result.orbits]
        return cls(result, tuple(int(result.structure_orbits[k]) for k in first))

    def __repr__(self) -> str:
        return f"FoundOrbits({formula(self.result.numbers)}, {len(self.counts)} orbits)"

    @property
    def labels(self) -> Int[np.ndarray, " atoms"]:
        """Orbit within its element of each atom of the reference."""
        return np.array(self.names, dtype=np.int32)[self.result.labels]

    @property
    def counts(self) -> dict[tuple[int, int], int]:
        """Atoms of each (element, orbit) in the reference."""
        return self._counts

    @functools.cached_property
    def _counts(self) -> dict[tuple[int, int], int]:
        return dict(collections.Counter(zip(self.result.numbers.tolist(), self.labels.tolist(), strict=True)))

    @property
    def species(self) -> SpeciesTable:
        """The table of a model with these orbits."""
        return SpeciesTable(tuple(sorted(self.counts)))

    def assign(self, structure: Structure) -> Int[np.ndarray, " others"]:
        """Orbit of each atom within its element.

        A structure in the order of the reference keeps its labels as long as its bonds are whole, however hot it is.

        Raises:
            OrbitError: the structure is not made of whole copies of the reference, or not bonded like it.
        """
        if np.array_equal(structure.numbers, self.result.numbers):
            if self.holds(dataclasses.replace(structure, orbits=self.labels)):
                return self.labels
        try:
            return np.array(self.names, dtype=np.int32)[self.result.assign(structure)]
        except StructureError as error:
            raise OrbitError(
                f"The structure does not fit the orbits of the model, which were found in "
                f"{formula(self.result.numbers)}: {error}"
            ) from error

    def holds(self, structure: Structure) -> bool:
        """Whether a structure's labels still fit: every atom is bonded to as many atoms of each orbit as it should be.

        Quick, and one-sided: False means that `assign` has to look. Atoms that are bonded to nothing cannot be checked.
        """
        if structure.orbits is None or self.has_lone_atoms:
            return False
        return not self.changed_bonds(structure)

    def changed_bonds(self, structure: Structure) -> list[tuple[int, int, int]]:
        """Atoms whose bonds are not those of their orbit: (atom, orbit row of the partner, bonds too many or too few).

        A bond counts as broken beyond 1.5 times the sum of the covalent radii, as formed below 1.1 times.
        """
        table = self.species
        rows = table.index(structure.numbers, structure.orbits)
        n = structure.n_atoms
        pairs = find_pairs(structure, BROKEN * 2 * float(RADII[np.unique(structure.numbers)].max()))
        radii = RADII[structure.numbers]
        stretch = pairs.distances / (radii[pairs.i] + radii[pairs.j])
        near, far = (_count(pairs.i, rows[pairs.j], stretch < limit, n, len(table)) for limit in (FORMED, BROKEN))
        least, most = self._wanted[:, rows]
        lost, gained = np.maximum(least - far, 0), np.maximum(near - most, 0)
        gained[self._unsure[rows]] = 0
        return [
            (int(i), int(row), int(gained[i, row] - lost[i, row])) for i, row in np.argwhere((lost > 0) | (gained > 0))
        ]

    @functools.cached_property
    def _bonds(self) -> tuple[Int[np.ndarray, "atoms rows"], Int[np.ndarray, "atoms rows"]]:
        """Persistent bonds of each reference atom to atoms of each row, and neighbours as near that are not bonded."""
        reference = self.result.reference
        bare = Structure(
            positions=reference.positions, numbers=self.result.numbers, cell=reference.cell, pbc=reference.pbc
        )
        rows = self.species.index(self.result.numbers, self.labels)
        radii = RADII[self.result.numbers]
        pairs = find_pairs(bare, BROKEN * 2 * float(radii.max()))
        stretch = pairs.distances / (radii[pairs.i] + radii[pairs.j])
        bonded = reference.bonds[pairs.i, pairs.j]
        n, width = len(rows), len(self.species)
        return (
            _count(pairs.i, rows[pairs.j], bonded & (stretch < BROKEN), n, width),
            _count(pairs.i, rows[pairs.j], ~bonded & (stretch < BROKEN), n, width),
        )

    @functools.cached_property
    def _wanted(self) -> Int[np.ndarray, "2 rows rows"]:
        """Fewest and most bonds that an atom of each row has to atoms of each row: the same for exact orbits."""
        rows = self.species.index(self.result.numbers, self.labels)
        bonds = [self._bonds[0][rows == k] for k in range(len(self.species))]
        return np.stack([[b.min(axis=0) for b in bonds], [b.max(axis=0) for b in bonds]])

    @functools.cached_property
    def _unsure(self) -> Bool[np.ndarray, "rows rows"]:
        """Rows whose atoms come close without being bonded, so that closeness says nothing."""
        rows = self.species.index(self.result.numbers, self.labels)
        return np.stack([(self._bonds[1][rows == k] > 0).any(axis=0) for k in range(len(self.species))])

    @functools.cached_property
    def has_lone_atoms(self) -> bool:
        """Whether some atoms are bonded to nothing, so that only their sites say which they are."""
        return bool((self._wanted[0].sum(axis=1) == 0).any())

    def to_plain(self) -> dict[str, Any]:
        """What JSON can hold."""
        return {"kind": "found", "names": list(self.names), "result": json.loads(self.result.to_json())}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "FoundOrbits":
        """The inverse of `to_plain`.

        Raises:
            DataError: not what `to_plain` made, or made by a newer version.
        """
        if data.get("kind") != "found":
            raise DataError(f"The orbits are of the unknown kind {data.get('kind')!r}: update jorbit.")
        result = OrbitResult.from_json(json.dumps(data["result"]))
        names = tuple(int(k) for k in data["names"])
        if len(names) != result.n_orbits:
            raise DataError(f"{len(names)} names for {result.n_orbits} orbits.")
        return cls(result, names)


def reference_of(structures: Sequence[Structure]) -> FoundOrbits | None:
    """The reference behind labels that structures carry, or None when no single one can stand for all.

    Possible when all structures are one system in one order with one labelling, and the labels do not tell apart what
    the trajectory shows to be interchangeable: then an unlabelled structure says which atom is which.

    Args:
        structures: with orbits.
    """
    first = structures[0]
    for s in structures:
        if s.orbits is None or first.orbits is None or s.n_atoms != first.n_atoms:
            return None
        if not (np.array_equal(s.numbers, first.numbers) and np.array_equal(s.orbits, first.orbits)):
            return None
    step = max(1, len(structures) // MOST_FRAMES)
    bare = [dataclasses.replace(s, orbits=None) for s in structures[::step]]
    result = find_orbits(bare, n_bootstraps=0)
    own = np.asarray(first.orbits)
    if any(len(np.unique(own[members])) > 1 for members in result.orbits):
        return None
    return FoundOrbits(result, tuple(int(own[members[0]]) for members in result.orbits))


def as_reference(orbits: Any) -> FoundOrbits:
    """A reference from what users hold: an OrbitResult, or a reference already.

    Raises:
        DataError: something else.
    """
    if isinstance(orbits, FoundOrbits):
        return orbits
    if isinstance(orbits, OrbitResult):
        return FoundOrbits.of(orbits)
    raise DataError(f"Wanted orbits as jorbit.find_orbits returns them, got {type(orbits).__name__}.")


def _count(
    i: Int[np.ndarray, " pairs"], row: Int[np.ndarray, " pairs"], chosen: Bool[np.ndarray, " pairs"], n: int, width: int
) -> Int[np.ndarray, "atoms rows"]:
    return np.bincount(i[chosen] * width + row[chosen], minlength=n * width).reshape(n, width)
