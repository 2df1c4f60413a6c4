"""Atoms of one LAMMPS rank and of those around it, as a graph: each atom once, its periodic copies as shifts."""

import dataclasses
import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import SimulationError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Capacity
from jorbit.core.structure import Structure
from jorbit.graphs.batching import dense_neighbors, round_up
from jorbit.graphs.neighbors import PairList, find_pairs

SAME_PLACE = 1e-4  # Å; copies of one atom are whole lattice vectors apart, up to rounding
EDGE = 1e-6  # Å; atoms this close to the edge of a region may be counted or not


@dataclasses.dataclass(frozen=True, eq=False)
class Domain:
    """The periodic box, and the part of it that one rank owns.

    Attributes:
        origin: lower corner of the box, Å.
        cell: lattice vectors as rows, Å.
        pbc: which of them repeat.
        low, high: bounds of the part, in fractions of the lattice vectors.
    """

    origin: Float[np.ndarray, "3"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, "3"]
    low: Float[np.ndarray, "3"]
    high: Float[np.ndarray, "3"]

    @property
    def widths(self) -> Float[np.ndarray, "3"]:
        """Distances between opposite faces of the box, Å."""
        return 1.0 / np.linalg.norm(np.linalg.inv(self.cell), axis=0)

    def fractions(self, positions: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, "atoms 3"]:
        """Coordinates along the lattice vectors; 0..1 inside the box."""
        return (positions - self.origin) @ np.linalg.inv(self.cell)

    def outside(self, positions: Float[np.ndarray, "atoms 3"]) -> Float[np.ndarray, " atoms"]:
        """How far beyond the faces of the part, Å; 0 within. No more than the distance to any atom of the part."""
        f = self.fractions(positions)
        beyond = np.maximum(np.maximum(self.low - f, f - self.high), 0.0) * self.widths
        return beyond.max(axis=1, initial=0.0)


def cell_of(box: tuple) -> Float[np.ndarray, "3 3"]:
    """Lattice vectors (rows, Å) of what `extract_box` returns."""
    low, high, xy, yz, xz = box[:5]
    x, y, z = (b - a for a, b in zip(low, high, strict=True))
    return np.array([[x, 0.0, 0.0], [xy, y, 0.0], [xz, yz, z]])


def domain_of(lmp: Any) -> Domain:
    """The box of a LAMMPS instance, and the part of this rank."""
    box = lmp.extract_box()
    cell, origin = cell_of(box), np.array(box[0])
    if lmp.extract_setting("triclinic"):
        low, high = (np.array(lmp.extract_global(name)) for name in ("sublo_lambda", "subhi_lambda"))
    else:
        low, high = ((np.array(lmp.extract_global(name)) - origin) / np.diag(cell) for name in ("sublo", "subhi"))
    return Domain(origin, cell, np.array(box[5], bool), low, high)


@dataclasses.dataclass(frozen=True, eq=False)
class Halo:
    """The distinct atoms that a rank sees, ordered by their tags, and their neighbours.

    Attributes:
        tags: what LAMMPS calls the atoms, ascending.
        entries: where each stands in LAMMPS's arrays of local and ghost atoms: its own entry or, of a foreign atom, the
            ghost nearest to the domain.
        own: which of them belong to the rank.
        pairs: neighbours of the atoms that are near enough to need any, within the longest cutoff and the skin.
    """

    tags: Int[np.ndarray, " atoms"]
    entries: Int[np.ndarray, " atoms"]
    own: Bool[np.ndarray, " atoms"]
    pairs: PairList

    @property
    def n_atoms(self) -> int:
        return len(self.tags)


def make_halo(
    domain: Domain,
    tags: Int[np.ndarray, " entries"],
    positions: Float[np.ndarray, "entries 3"],
    n_local: int,
    cutoff: float,
    depth: float,
) -> Halo:
    """Find the distinct atoms among local and ghost ones, and who neighbours whom.

    A ghost that is a periodic copy of an atom the rank has already becomes a lattice shift: one rank alone has no
    foreign atoms at all, and two ranks have copies in one direction only. Of a foreign atom the ghost nearest to the
    domain is taken, since it has the most complete surroundings.

    Args:
        domain: box and part of it.
        tags, positions: of local atoms, then of ghosts; Å.
        n_local: how many are local.
        cutoff: of the pairs, skin included, Å; 0 for none.
        depth: atoms farther outside than this get no neighbours, Å.

    Raises:
        SimulationError: two atoms have one tag.

    Example:
        >>> box = Domain(np.zeros(3), 10 * np.eye(3), np.ones(3, bool), np.zeros(3), np.ones(3))
        >>> ghost = make_halo(box, np.array([1, 2, 2]), np.array([[1.0, 5, 5], [9, 5, 5], [-1, 5, 5]]), 2, 3.0, 0.0)
        >>> ghost.n_atoms, ghost.pairs.shifts[0]
        (2, array([-1,  0,  0], dtype=int32))
    """
    outside = domain.outside(positions)
    is_ghost = np.arange(len(tags)) >= n_local
    order = np.lexsort((outside, is_ghost, tags))
    distinct, first = np.unique(tags[order], return_index=True)
    entries = order[first]
    row = np.searchsorted(distinct, tags)
    apart = positions - positions[entries][row]
    shifts = np.where(domain.pbc, np.round(apart @ np.linalg.inv(domain.cell)), 0.0)
    off = np.abs(apart - shifts @ domain.cell).max(initial=0.0)
    if off > SAME_PLACE or (np.bincount(row[:n_local]) > 1).any():
        raise SimulationError("Two atoms have the same ID. Wanted atom IDs that are all different: use reset_atoms id.")
    pairs = _pairs(positions, cutoff)
    needed = np.zeros(len(tags), bool)
    needed[entries] = outside[entries] <= depth
    keep = needed[pairs.i]
    i, j = row[pairs.i[keep]], pairs.j[keep]
    sort = np.argsort(i, kind="stable")
    found = PairList(
        i=i[sort].astype(np.int32),
        j=row[j][sort].astype(np.int32),
        shifts=shifts[j][sort].astype(np.int32),
        distances=pairs.distances[keep][sort],
    )
    return Halo(tags=distinct, entries=entries, own=entries < n_local, pairs=found)


def _pairs(positions: Float[np.ndarray, "entries 3"], cutoff: float) -> PairList:
    if cutoff == 0.0 or len(positions) == 0:
        none = np.zeros(0, np.int32)
        return PairList(none, none, np.zeros((0, 3), np.int32), np.zeros(0))
    return find_pairs(Structure(positions=positions, numbers=np.ones(len(positions), int)), cutoff)


def n_missing(
    domain: Domain,
    positions: Float[np.ndarray, "entries 3"],
    everything: Float[np.ndarray, "atoms 3"],
    distance: float,
) -> int:
    """How many atoms, counting periodic copies, lie within `distance` of the domain but not among `positions`.

    Args:
        domain: box and part of it.
        positions: local atoms and ghosts, Å.
        everything: all atoms of the system, each once, Å.
        distance: from the faces of the part, Å.
    """
    margin = distance / domain.widths
    low, high = domain.low - margin, domain.high + margin
    f = domain.fractions(everything)
    least = np.where(domain.pbc, np.floor(low - f.max(axis=0, initial=0.0)), 0).astype(int)
    most = np.where(domain.pbc, np.ceil(high - f.min(axis=0, initial=0.0)), 0).astype(int)
    tiny = EDGE / domain.widths
    wanted = 0
    for shift in itertools.product(*(range(a, b + 1) for a, b in zip(least, most, strict=True))):
        g = f + np.array(shift)
        wanted += int(((g > low + tiny) & (g < high - tiny)).all(axis=1).sum())
    have = domain.fractions(positions)
    return max(0, wanted - int(((have > low) & (have < high)).all(axis=1).sum()))


def capacity_of(halo: Halo, cutoffs: tuple[float, ...], old: Capacity | None) -> Capacity:
    """Padded sizes: the old ones while they hold, else larger ones with room to spare.

    Args:
        halo: what must fit.
        cutoffs: skin included, ascending, Å.
        old: present sizes.
    """
    counts = [np.bincount(halo.pairs.i[halo.pairs.distances < c], minlength=1).max() for c in cutoffs]
    needed = (halo.n_atoms, *(int(n) for n in counts))
    present = (0,) * len(needed) if old is None else (old.n_atoms, *old.n_slots)
    spare = 1.0 if old is None else 1.05  # who grew once will grow again
    sizes = [p if n <= p else round_up(int(spare * n)) for n, p in zip(needed, present, strict=True)]
    return Capacity(n_atoms=sizes[0], n_structures=1, n_slots=tuple(sizes[1:]))


def halo_graph(
    halo: Halo,
    domain: Domain,
    numbers: Int[np.ndarray, " atoms"],
    species: Int[np.ndarray, " atoms"],
    *,
    cutoffs: tuple[float, ...],
    capacity: Capacity,
    charge: float,
    dtype: str,
) -> Graph:
    """The graph of a halo, with positions still to be put in.

    Args:
        halo: distinct atoms and their pairs.
        domain: box.
        numbers, species: of the distinct atoms.
        cutoffs: skin included, ascending, Å.
        capacity: padded sizes.
        charge: of the system, e.
        dtype: float type.
    """
    n, rows = capacity.n_atoms, slice(0, halo.n_atoms)
    numbers_padded, species_padded = np.zeros(n, np.int32), np.zeros(n, np.int32)
    numbers_padded[rows], species_padded[rows] = numbers, species
    start = np.zeros(2, int)
    return Graph(
        positions=jnp.zeros((n, 3), dtype),
        numbers=jnp.asarray(numbers_padded),
        species=jnp.asarray(species_padded),
        owner=jnp.zeros(n, jnp.int32),
        cell=jnp.asarray(domain.cell[None], dtype),
        charge=jnp.asarray([charge], dtype),
        neighborhoods=tuple(
            dense_neighbors([halo.pairs.within(c)], start, c, n, slots, dtype)
            for c, slots in zip(cutoffs, capacity.n_slots, strict=True)
        ),
        atom_mask=jnp.asarray(np.arange(n) < halo.n_atoms),
        structure_mask=jnp.ones(1, bool),
        pbc=jnp.asarray(domain.pbc[None]),
    )
