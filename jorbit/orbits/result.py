"""What the search for orbits returns: labels, the group behind them, and how far to trust both."""

import base64
import dataclasses
import json
import os
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import DataError
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Structure
from jorbit.orbits.classes import PairClass
from jorbit.orbits.fragments import Fragment
from jorbit.orbits.group import subgroup
from jorbit.orbits.options import OrbitOptions

if TYPE_CHECKING:
    from jorbit.orbits.feasibility import FeasibleGroup

FORMAT = "jorbit orbits"
VERSION = 1


def canonical_labels(
    numbers: Int[np.ndarray, " atoms"], partition: Int[np.ndarray, " atoms"]
) -> Int[np.ndarray, " atoms"]:
    """Orbits numbered by (atomic number, size, smallest index).

    Example:
        >>> canonical_labels(np.array([8, 1, 1]), np.array([4, 9, 9])).tolist()
        [1, 0, 0]
    """
    _, first, inverse, counts = np.unique(partition, return_index=True, return_inverse=True, return_counts=True)
    order = np.lexsort((first, counts, numbers[first]))
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[inverse.reshape(-1)]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What is needed to recognise the atoms in another structure.

    Attributes:
        positions: mean positions of what stays in place, Å; a frame's where nothing does.
        cell, pbc: mean cell and periodic directions.
        edges: colours of all pairs; 0 = no edge.
        vertices: colours of the atoms.
        bonds: which pairs are bonded.
        in_place: which atoms are known by their place rather than by their bonds.
        amplitude: root mean square distance of an atom in place from its mean position, Å.
    """

    positions: Float[np.ndarray, "atoms 3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, "3"]
    edges: Int[np.ndarray, "atoms atoms"]
    vertices: Int[np.ndarray, " atoms"]
    bonds: Bool[np.ndarray, "atoms atoms"]
    in_place: Bool[np.ndarray, " atoms"]
    amplitude: float


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OrbitResult:
    """Orbits of the atoms of a trajectory.

    Attributes:
        numbers: atomic numbers.
        labels: orbit of each atom, int32, numbered over all elements by (atomic number, size, smallest index).
        generators: permutations that generate the automorphism group of the reference graph.
        group_order: number of automorphisms.
        level: rounds of refinement asked for; None = exact orbits.
        level_labels: labels after 0, 1, 2, ... rounds; the last are the finest that refinement gives.
        exact: whether `labels` are the orbits of the group; False for a `level`, or when the search gave up.
        stability: lowest adjusted Rand index between the partition and those on halves and 80 % subsets of the
            frames; 1 = always the same; None with too few frames to tell.
        separation: narrowest gap between distance classes over the narrowest that counts; infinite without classes.
        spread: how much the distances of each atom to others of its fragment (or, alone, to all) vary, Å.
        fragments: what persistent bonds hold together.
        classes: classes of pairs with their mean distances and spreads.
        cuts: (elements, position in Å, width in Å) of each cut between distance classes.
        feasible: the part of the group whose elements the data visit, when asked for.
        warnings: what to know before trusting the labels.
        options: what the search was asked.
        reference: the reference graph and structure, for `assign`.
        n_frames: number of frames looked at.

    Example:
        >>> import jorbit
        >>> orbits = jorbit.find_orbits(jorbit.read("ethanol_gfn2")[:200])
        >>> orbits.n_orbits, orbits.group_order, orbits.labels.tolist()
        (6, 12, [3, 4, 5, 0, 1, 1, 2, 2, 2])
    """

    numbers: Int[np.ndarray, " atoms"]
    labels: Int[np.ndarray, " atoms"]
    generators: tuple[Int[np.ndarray, " atoms"], ...]
    group_order: int
    level: int | None
    level_labels: tuple[Int[np.ndarray, " atoms"], ...]
    exact: bool
    stability: float | None
    separation: float
    spread: Float[np.ndarray, " atoms"]
    fragments: tuple[Fragment, ...]
    classes: tuple[PairClass, ...]
    cuts: tuple[tuple[tuple[int, int], float, float], ...]
    warnings: tuple[str, ...]
    options: OrbitOptions
    reference: Reference
    n_frames: int
    feasible: "FeasibleGroup | None" = None

    @property
    def n_atoms(self) -> int:
        return len(self.labels)

    @property
    def n_orbits(self) -> int:
        """Number of orbits: the chemical diversity of the system."""
        return int(self.labels.max()) + 1

    @property
    def orbits(self) -> list[Int[np.ndarray, " members"]]:
        """Atoms of each orbit, ascending."""
        return [np.flatnonzero(self.labels == k) for k in range(self.n_orbits)]

    @property
    def structure_orbits(self) -> Int[np.ndarray, " atoms"]:
        """Index of each atom's orbit within its element, as in `Structure.orbits` and the rows of a SpeciesTable.

        The orbits of each element are numbered from 0 in the order of `labels`.
        """
        index = np.zeros(self.n_atoms, dtype=np.int32)
        for z in np.unique(self.numbers):
            mine = self.numbers == z
            index[mine] = np.unique(self.labels[mine], return_inverse=True)[1].reshape(-1)
        return index

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each orbit: element and index within the element where it has several, such as "H2"."""
        first = [int(o[0]) for o in self.orbits]
        within = self.structure_orbits
        several = {z for z in self.numbers.tolist() if len(set(within[self.numbers == z].tolist())) > 1}
        return tuple(f"{SYMBOLS[self.numbers[k]]}{within[k] if self.numbers[k] in several else ''}" for k in first)

    def label(self, structure: Structure) -> Structure:
        """`structure` with its atoms labelled: `assign`, then `Structure.orbits`."""
        labels = self.assign(structure)
        return dataclasses.replace(structure, orbits=self._within_element(labels))

    def _within_element(self, labels: Int[np.ndarray, " others"]) -> Int[np.ndarray, " others"]:
        of_orbit = np.zeros(self.n_orbits, dtype=np.int32)
        of_orbit[self.labels] = self.structure_orbits
        return of_orbit[labels]

    def permutations(self, cap: int = 1000) -> Int[np.ndarray, "permutations atoms"]:
        """The group as permutations, identity first; a subgroup of at most `cap` elements if it is larger.

        Row p takes frame R to R[p]. The list is always a group.
        """
        return subgroup(self.generators, self.n_atoms, cap)

    def assign(self, structure: Structure) -> Int[np.ndarray, " others"]:
        """Labels of a structure whose atoms are in another order, or which repeats the reference.

        Args:
            structure: the same molecules, or the same crystal or a supercell of it, at any temperature at which bonds
                and sites are what they are in the trajectory.

        Returns:
            The orbit of each of its atoms, numbered as `labels`.

        Raises:
            StructureError: the structure does not match the reference.
        """
        from jorbit.orbits.assign import assign

        return assign(self, structure)

    def to_json(self, path: str | os.PathLike | None = None) -> str:
        """The result as JSON text; written to a file as well when a path is given."""
        text = json.dumps(_plain(self), indent=1)
        if path is not None:
            target = Path(path)
            part = target.with_name(f".{target.name}.part")
            part.write_text(text, encoding="utf-8")
            part.replace(target)  # never half of it under the name that was asked for
        return text

    @classmethod
    def from_json(cls, source: str | os.PathLike) -> "OrbitResult":
        """Read what `to_json` made: its text, or a file that holds it.

        Raises:
            DataError: not such a file.
        """
        try:
            is_text = isinstance(source, str) and source.lstrip().startswith("{")
            data = json.loads(str(source) if is_text else Path(source).read_text("utf-8"))
            if data.get("format") != FORMAT or data.get("version") != VERSION:
                raise DataError(
                    f"Wanted orbits saved by jorbit (format {FORMAT!r}, version {VERSION}), got "
                    f"{data.get('format')!r}, version {data.get('version')!r}. Find the orbits again."
                )
            return _from_plain(data)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, zlib.error) as error:
            raise DataError(f"This is no file of orbits ({type(error).__name__}: {error}). Find them again.") from error

    def summary(self) -> dict[str, Any]:
        """What `jorbit orbits --json` prints."""
        return {
            "n_atoms": self.n_atoms,
            "n_orbits": self.n_orbits,
            "labels": self.labels.tolist(),
            "group_order": self.group_order,
            "level": self.level,
            "exact": self.exact,
            "stability": self.stability,
            "warnings": list(self.warnings),
        }


def _pack(array: np.ndarray) -> dict[str, Any]:
    data = base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 6)).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "zlib": data}


def _unpack(packed: dict[str, Any]) -> np.ndarray:
    raw = zlib.decompress(base64.b64decode(packed["zlib"]))
    return np.frombuffer(raw, dtype=np.dtype(packed["dtype"])).reshape(packed["shape"]).copy()


def _plain(result: OrbitResult) -> dict[str, Any]:
    """Built-in types only; the summary first."""
    reference = result.reference
    return {
        "format": FORMAT,
        "version": VERSION,
        **result.summary(),
        "group_order": str(result.group_order),  # may exceed what other readers of JSON take for a number
        "numbers": result.numbers.tolist(),
        "n_frames": result.n_frames,
        "separation": None if np.isinf(result.separation) else result.separation,
        "level_labels": [labels.tolist() for labels in result.level_labels],
        "generators": [g.tolist() for g in result.generators],
        "spread": result.spread.tolist(),
        "fragments": [dataclasses.asdict(f) for f in result.fragments],
        "classes": [dataclasses.asdict(c) for c in result.classes],
        "cuts": [[list(ends), at, width] for ends, at, width in result.cuts],
        "options": dataclasses.asdict(result.options),
        "feasible": None if result.feasible is None else result.feasible.to_plain(),
        "reference": {
            "positions": reference.positions.tolist(),
            "cell": reference.cell.tolist(),
            "pbc": reference.pbc.tolist(),
            "edges": _pack(reference.edges),
            "vertices": reference.vertices.tolist(),
            "bonds": _pack(reference.bonds),
            "in_place": reference.in_place.tolist(),
            "amplitude": reference.amplitude,
        },
    }


def _from_plain(data: dict[str, Any]) -> OrbitResult:
    from jorbit.orbits.feasibility import FeasibleGroup

    reference = data["reference"]

    def ints(values: list[int]) -> np.ndarray:
        return np.array(values, dtype=np.int32)

    return OrbitResult(
        numbers=np.array(data["numbers"], dtype=np.int64),
        labels=ints(data["labels"]),
        generators=tuple(ints(g) for g in data["generators"]),
        group_order=int(data["group_order"]),
        level=data["level"],
        level_labels=tuple(ints(labels) for labels in data["level_labels"]),
        exact=data["exact"],
        stability=data["stability"],
        separation=np.inf if data["separation"] is None else data["separation"],
        spread=np.array(data["spread"], dtype=np.float64),
        fragments=tuple(Fragment(tuple(f.pop("atoms")), **f) for f in data["fragments"]),
        classes=tuple(PairClass(tuple(c.pop("numbers")), **c) for c in data["classes"]),
        cuts=tuple(((ends[0], ends[1]), at, width) for ends, at, width in data["cuts"]),
        warnings=tuple(data["warnings"]),
        options=OrbitOptions(**data["options"]),
        n_frames=data["n_frames"],
        feasible=None if data["feasible"] is None else FeasibleGroup.from_plain(data["feasible"]),
        reference=Reference(
            positions=np.array(reference["positions"], dtype=np.float64).reshape(-1, 3),
            cell=np.array(reference["cell"], dtype=np.float64),
            pbc=np.array(reference["pbc"], dtype=bool),
            edges=_unpack(reference["edges"]),
            vertices=ints(reference["vertices"]),
            bonds=_unpack(reference["bonds"]),
            in_place=np.array(reference["in_place"], dtype=bool),
            amplitude=reference["amplitude"],
        ),
    )
