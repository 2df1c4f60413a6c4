"""Structures of different sizes -> one padded Graph, in a few static shapes (capacities)."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.errors import CapacityError, StructureError
from jorbit.core.graph import Graph, Neighbors
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.core.protocols import Capacity
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Labels, Structure
from jorbit.graphs.neighbors import PairList, find_pairs

PER_STRUCTURE = ("energy", "stress", "energy_variance")  # fields of a Prediction; the others are per atom


def round_up(n: int) -> int:
    """The smallest bucket that holds n: 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, ... (four steps per doubling from 32 on).

    Waste is below a quarter of n (or four), and sizes that drift by a few per cent share one compilation.
    """
    step = max(4, 2 ** max(0, (max(n, 1) - 1).bit_length() - 3))
    return -(-max(n, 1) // step) * step


def _search(structures: Sequence[Structure], cutoffs: Sequence[float]) -> list[list[PairList]]:
    """Pairs of each structure for each cutoff; the search runs once, at the largest."""
    if not cutoffs:
        return [[] for _ in structures]
    found = [find_pairs(s, max(cutoffs)) for s in structures]
    return [[p if c == max(cutoffs) else p.within(c) for c in cutoffs] for p in found]


def _capacity(structures: Sequence[Structure], pairs: list[list[PairList]], n_cutoffs: int) -> Capacity:
    slots = []
    for c in range(n_cutoffs):
        counts = [p[c].slot_counts(s.n_atoms).max(initial=0) for s, p in zip(structures, pairs, strict=True)]
        slots.append(round_up(int(max(counts))))
    n_structures = len(structures)
    return Capacity(
        n_atoms=round_up(sum(s.n_atoms for s in structures)),
        n_structures=n_structures if n_structures == 1 else round_up(n_structures),
        n_slots=tuple(slots),
    )


def capacity_for(structures: Sequence[Structure], cutoffs: Sequence[float]) -> Capacity:
    """The bucketed capacity that holds these structures in one batch.

    Args:
        structures: what must fit together, at least one.
        cutoffs: Å; as in `build_graph`, their order does not matter and equal ones count once.

    Raises:
        StructureError: no structures, or one that makes no sense.
    """
    if not structures:
        raise StructureError("No structures to make a capacity for: wanted at least one.")
    cutoffs = _distinct(cutoffs)
    return _capacity(structures, _search(structures, cutoffs), len(cutoffs))


def _distinct(cutoffs: Sequence[float]) -> list[float]:
    return sorted({float(c) for c in cutoffs})


def build_graph(
    structures: Structure | Sequence[Structure],
    species: SpeciesTable,
    cutoffs: Sequence[float],
    *,
    capacity: Capacity | None = None,
    dtype: jax.typing.DTypeLike | None = None,
) -> Graph:
    """Batch structures into one padded graph with dense neighbours.

    Args:
        structures: one or several; checked before use.
        species: which elements (and orbits) the model knows.
        cutoffs: one neighbourhood is built per cutoff, Å.
        capacity: padded sizes; the smallest bucket that fits when not given.
        dtype: float type of positions and everything computed from them; JAX's default when not given.

    Returns:
        The graph. Structure k owns the atoms with owner == k; padding atoms belong to the last structure.

    Raises:
        StructureError: a structure that makes no sense.
        UnknownSpeciesError: an element the model does not know.
        CapacityError: more atoms, structures or neighbours than `capacity` holds.

    Example:
        >>> he = Structure(positions=np.zeros((1, 3)), numbers=np.array([2]))
        >>> build_graph(he, SpeciesTable.from_numbers([2]), [3.0]).positions.shape
        (4, 3)
    """
    structures = [structures] if isinstance(structures, Structure) else list(structures)
    if not structures:
        raise StructureError("No structures to batch: wanted at least one.")
    for s in structures:
        s.check()
    cutoffs = _distinct(cutoffs)
    pairs = _search(structures, cutoffs)
    needed = _capacity(structures, pairs, len(cutoffs))
    capacity = needed if capacity is None else capacity
    _require_room(structures, pairs, capacity)
    dtype = jnp.zeros(()).dtype if dtype is None else dtype

    sizes = [s.n_atoms for s in structures]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    n_atoms, n_structures = capacity.n_atoms, capacity.n_structures
    positions = np.zeros((n_atoms, 3))
    numbers, index = np.zeros(n_atoms, np.int32), np.zeros(n_atoms, np.int32)
    owner = np.full(n_atoms, n_structures - 1, np.int32)
    cell, charge = np.zeros((n_structures, 3, 3)), np.zeros(n_structures)
    pbc = np.zeros((n_structures, 3), bool)
    for k, s in enumerate(structures):
        here = slice(offsets[k], offsets[k + 1])
        positions[here], numbers[here], owner[here] = s.positions, s.numbers, k
        index[here] = species.index(s.numbers, s.orbits)
        cell[k], charge[k], pbc[k] = s.cell, s.charge, s.pbc
    return Graph(
        positions=jnp.asarray(positions, dtype),
        numbers=jnp.asarray(numbers),
        species=jnp.asarray(index),
        owner=jnp.asarray(owner),
        cell=jnp.asarray(cell, dtype),
        charge=jnp.asarray(charge, dtype),
        neighborhoods=tuple(
            dense_neighbors([p[c] for p in pairs], offsets, cutoff, n_atoms, capacity.n_slots[c], dtype)
            for c, cutoff in enumerate(cutoffs)
        ),
        atom_mask=jnp.asarray(np.arange(n_atoms) < offsets[-1]),
        structure_mask=jnp.asarray(np.arange(n_structures) < len(structures)),
        pbc=jnp.asarray(pbc),
    )


def dense_neighbors(
    pairs: list[PairList], offsets: np.ndarray, cutoff: float, n_atoms: int, n_slots: int, dtype: jax.typing.DTypeLike
) -> Neighbors:
    """Pairs of structures, sorted by i, as rows of one padded table; atoms of structure k start at offsets[k]."""
    index = np.zeros((n_atoms, n_slots), np.int32)
    shifts = np.zeros((n_atoms, n_slots, 3), np.int32)
    mask = np.zeros((n_atoms, n_slots), bool)
    for found, offset in zip(pairs, offsets[:-1], strict=True):
        counts = found.slot_counts(int(found.i.max(initial=-1)) + 1)
        starts = np.cumsum(counts) - counts
        slot = np.arange(len(found.i)) - np.repeat(starts, counts)
        at = (found.i + offset, slot)
        index[at], shifts[at], mask[at] = found.j + offset, found.shifts, True
    return Neighbors(cutoff=cutoff, index=jnp.asarray(index), shifts=jnp.asarray(shifts, dtype), mask=jnp.asarray(mask))


def _require_room(structures: Sequence[Structure], pairs: list[list[PairList]], capacity: Capacity) -> None:
    n_atoms = sum(s.n_atoms for s in structures)
    if n_atoms > capacity.n_atoms or len(structures) > capacity.n_structures:
        raise CapacityError(
            f"{len(structures)} structures with {n_atoms} atoms do not fit a capacity of {capacity.n_structures} "
            f"structures and {capacity.n_atoms} atoms. Use smaller batches or a larger capacity."
        )
    n_cutoffs = len(pairs[0])
    if len(capacity.n_slots) != n_cutoffs:
        raise CapacityError(
            f"The capacity has slots for {len(capacity.n_slots)} cutoffs, the graph {n_cutoffs}. Make a capacity for "
            "the same cutoffs with capacity_for(...)."
        )
    for c, room in enumerate(capacity.n_slots):
        most = max(int(p[c].slot_counts(1).max(initial=0)) for p in pairs)
        if most > room:
            raise CapacityError(
                f"An atom has {most} neighbours, but the capacity has {room} slots per atom. Atoms closer together "
                "than in the structures the capacity was made for? Make a new one with capacity_for(...)."
            )


def pad_labels(labels: Sequence[Labels], structures: Sequence[Structure], graph: Graph) -> BatchLabels:
    """Labels in the padded shapes of a graph; absent labels get weight 0 and value 0.

    Args:
        labels: one per structure, in the order in which `graph` was built.
        structures: the same structures.
        graph: what `build_graph` made of them.
    """
    dtype = graph.positions.dtype
    n_atoms, n_structures = graph.n_atoms, graph.n_structures
    energy, energy_weight = np.zeros(n_structures), np.zeros(n_structures)
    forces, forces_weight = np.zeros((n_atoms, 3)), np.zeros(n_atoms)
    stress, stress_weight = np.zeros((n_structures, 3, 3)), np.zeros(n_structures)
    charges, charges_weight = np.zeros(n_atoms), np.zeros(n_atoms)
    start = 0
    for k, (label, s) in enumerate(zip(labels, structures, strict=True)):
        here = slice(start, start + s.n_atoms)
        start += s.n_atoms
        if label.energy is not None:
            energy[k], energy_weight[k] = label.energy, label.energy_weight
        if label.forces is not None:
            forces[here], forces_weight[here] = label.forces, label.forces_weight
        if label.stress is not None:
            stress[k], stress_weight[k] = label.stress, label.stress_weight
        if label.charges is not None:
            charges[here], charges_weight[here] = label.charges, 1.0
    arrays = dict(energy=energy, forces=forces, stress=stress, charges=charges, charges_weight=charges_weight)
    weights = dict(energy_weight=energy_weight, forces_weight=forces_weight, stress_weight=stress_weight)
    return BatchLabels(**{k: jnp.asarray(v, dtype) for k, v in (arrays | weights).items()})


def unbatch(prediction: Prediction, structures: Sequence[Structure]) -> list[Prediction]:
    """Split a padded prediction into one unpadded (numpy) prediction per structure."""
    host = jax.tree.map(np.asarray, prediction)
    results, start = [], 0
    for k, s in enumerate(structures):
        here, atoms = slice(k, k + 1), slice(start, start + s.n_atoms)
        start += s.n_atoms
        cut = {
            field.name: value[here if field.name in PER_STRUCTURE else atoms]
            for field in dataclasses.fields(host)
            if (value := getattr(host, field.name)) is not None
        }
        results.append(dataclasses.replace(host, **cut))
    return results
