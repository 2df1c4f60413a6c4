"""Batches of equal capacity: frames kept as padded numpy arrays, put together on a thread while the device works."""

import dataclasses
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jorbit.core.errors import DataError
from jorbit.core.graph import Graph, Neighbors
from jorbit.core.outputs import BatchLabels
from jorbit.core.protocols import Capacity
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.graphs.batching import build_graph, pad_labels
from jorbit.train.buckets import frame_capacities
from jorbit.train.rows_on_disk import open_scratch, stacked_on_disk

MAX_BUCKETS = 4  # compilations of the training step
_WEIGHTS = ("energy_weight", "forces_weight", "stress_weight", "charges_weight")
_CHEAP = 1.1  # buckets are put together as long as the padding grows by less than this


class Batch(NamedTuple):
    """Which frames make a batch: rows of one bucket."""

    bucket: int
    rows: Int[np.ndarray, " rows"]


@dataclasses.dataclass(frozen=True, eq=False)
class Bucket:
    """Frames padded to one capacity.

    Attributes:
        capacity: of one frame.
        members: index of each row among all frames.
        arrays: name -> [rows, ...]; "index", "shifts" and "mask" are tuples, one array per cutoff.
    """

    capacity: Capacity
    members: Int[np.ndarray, " rows"]
    arrays: dict[str, Any]

    @property
    def n_bytes(self) -> int:
        """Memory of the arrays."""
        return int(sum(leaf.nbytes for leaf in jax.tree.leaves(self.arrays)))


@dataclasses.dataclass(frozen=True, eq=False)
class FrameStore:
    """Labelled frames with their neighbours in a few padded shapes, on the host.

    Attributes:
        buckets: one per padded shape.
        batch_size: structures per batch.
        cutoffs: of the neighbourhoods, ascending, Å.
        dtype: float type of the batches.
        multiple_of: batches are filled up with empty structures to a multiple of this: the number of devices.
        groups: of each bucket, which group its frames belong to; () when there is one.
        weights: how much each frame counts, whatever its labels weigh against each other; None when all count alike.
    """

    buckets: tuple[Bucket, ...]
    batch_size: int
    cutoffs: tuple[float, ...]
    dtype: Any
    multiple_of: int = 1
    groups: tuple[int, ...] = ()
    weights: Float[np.ndarray, " frames"] | None = None

    @property
    def n_frames(self) -> int:
        return sum(len(b.members) for b in self.buckets)

    @property
    def n_batches(self) -> int:
        """Batches of one pass over all frames."""
        return sum(-(-len(b.members) // self.size_of(b)) for b in self.buckets)

    def size_of(self, bucket: Bucket) -> int:
        """Structures per batch: fewer where the bucket has fewer frames."""
        return min(self.batch_size, len(bucket.members))

    def order(self, seed: int | None, epoch: int = 0) -> list[Batch]:
        """The batches of one epoch: a function of seed and epoch alone; every frame once. In order without seed."""
        rng = None if seed is None else np.random.default_rng([seed, epoch])
        batches = []
        for k, bucket in enumerate(self.buckets):
            n, size = len(bucket.members), self.size_of(bucket)
            rows = np.arange(n) if rng is None else rng.permutation(n)
            batches += [Batch(k, rows[start : start + size]) for start in range(0, n, size)]
        return batches if rng is None else [batches[k] for k in rng.permutation(len(batches))]

    def group_of(self, batch: Batch) -> int:
        """Which group all frames of a batch belong to."""
        return self.groups[batch.bucket] if self.groups else 0

    def share_of(self, batch: Batch) -> float | None:
        """Mean weight of the frames of a batch, of all frames 1; None when all count alike.

        The loss of a batch is a mean over its labels by their weights: of frames that all weigh a tenth it is the loss
        of these frames. The share says how much they count beside other batches.
        """
        if self.weights is None:
            return None
        return float(self.weights[self.frames_of(batch)].mean() / self.weights.mean())

    def frames_of(self, batch: Batch) -> list[int]:
        """Indices of the frames of a batch among those the store was made of."""
        return self.buckets[batch.bucket].members[batch.rows].tolist()

    def load(self, batch: Batch) -> tuple[Graph, BatchLabels]:
        """The padded graph and labels of a batch; the last batch of a bucket is filled up with empty structures."""
        bucket = self.buckets[batch.bucket]
        size, n_atoms = -(-self.size_of(bucket) // self.multiple_of) * self.multiple_of, bucket.capacity.n_atoms
        real = np.arange(size) < len(batch.rows)
        full = len(batch.rows) == size
        rows = np.concatenate([batch.rows, np.zeros(size - len(batch.rows), batch.rows.dtype)])
        arrays, dtype = bucket.arrays, self.dtype

        def floats(name: str, *shape: int) -> jax.Array:
            taken = arrays[name][rows]
            if not full:
                taken[len(batch.rows) :] = 0
            return jnp.asarray(taken.reshape(*shape))

        numbers = arrays["numbers"][rows] * real[:, None]
        first = np.arange(size, dtype=np.int32)[:, None, None] * n_atoms
        neighborhoods = []
        for c, cutoff in enumerate(self.cutoffs):
            mask = arrays["mask"][c][rows] & real[:, None, None]
            index = np.where(mask, arrays["index"][c][rows] + first, 0)
            shifts = arrays["shifts"][c][rows]
            slots = mask.shape[-1]
            neighborhoods.append(
                Neighbors(
                    cutoff=cutoff,
                    index=jnp.asarray(index.reshape(-1, slots).astype(np.int32)),
                    shifts=jnp.asarray(shifts.reshape(-1, slots, 3).astype(dtype)),
                    mask=jnp.asarray(mask.reshape(-1, slots)),
                )
            )
        graph = Graph(
            positions=floats("positions", -1, 3),
            numbers=jnp.asarray(numbers.reshape(-1).astype(np.int32)),
            species=jnp.asarray(arrays["species"][rows].reshape(-1)),
            owner=jnp.asarray(np.repeat(np.arange(size, dtype=np.int32), n_atoms)),
            cell=floats("cell", -1, 3, 3),
            charge=floats("charge", -1),
            neighborhoods=tuple(neighborhoods),
            atom_mask=jnp.asarray(numbers.reshape(-1) > 0),
            structure_mask=jnp.asarray(real),
            pbc=jnp.asarray(arrays["pbc"][rows] & real[:, None]),
        )
        labels = BatchLabels(
            energy=floats("energy", -1),
            forces=floats("forces", -1, 3),
            stress=floats("stress", -1, 3, 3),
            energy_weight=floats("energy_weight", -1),
            forces_weight=floats("forces_weight", -1),
            stress_weight=floats("stress_weight", -1),
            charges=floats("charges", -1),
            charges_weight=floats("charges_weight", -1),
        )
        return graph, labels


def frame_store(
    frames: Sequence[Frame],
    species: SpeciesTable,
    cutoffs: Sequence[float],
    *,
    batch_size: int,
    dtype: Any = np.float32,
    multiple_of: int = 1,
    energy_shift: Float[np.ndarray, " frames"] | None = None,
    species_weights: Sequence[float] | None = None,
    structure_weights: Float[np.ndarray, " frames"] | None = None,
    groups: Int[np.ndarray, " frames"] | None = None,
    on_disk: bool = False,
    scratch: Path | None = None,
    report: Callable[[str, int, int], None] = lambda *_: None,
) -> FrameStore:
    """Search the neighbours of all frames, and keep them padded.

    Args:
        frames: labelled structures.
        species: which elements (and orbits) the model knows.
        cutoffs: of the neighbourhoods, ascending, Å.
        batch_size: structures per batch.
        dtype: float type of the batches.
        multiple_of: batches are filled up to a multiple of this.
        energy_shift: subtracted from the energies in float64, eV: reference energies.
        species_weights: factor on the weight of the forces of each row of the species table.
        structure_weights: factor on the weights of all labels of each frame; None is 1.
        groups: a number for each frame; frames of different numbers are never in one batch.
        on_disk: keep the padded frames in a file that batches are read from, not in memory.
        scratch: folder of that file; None is the one for temporary files.
        report: report("neighbours", done, total).

    Raises:
        DataError: no frames, or no labels with a weight.
        UnknownSpeciesError, StructureError: frames that the model cannot see.
    """
    if not frames:
        raise DataError("There are no frames to train on. Is the data file empty, or the limit 0?")
    shift = np.zeros(len(frames)) if energy_shift is None else np.asarray(energy_shift)
    capacities = frame_capacities((f.structure for f in frames), cutoffs)
    factors = None if species_weights is None else np.asarray(species_weights, dtype=np.float64)
    of_frame = np.ones(len(frames)) if structure_weights is None else np.asarray(structure_weights, dtype=np.float64)
    buckets: list[Bucket] = []
    file = open_scratch(scratch, "frames") if on_disk else None

    def rows(capacity: Capacity, members: list[int], done: int) -> Iterator[dict[str, Any]]:
        for k in members:
            row = _row(frames[k], species, cutoffs, capacity, float(shift[k]), float(of_frame[k]), factors)
            yield jax.tree.map(lambda leaf: _narrow(np.asarray(leaf), dtype), row)
            done += 1
            report("neighbours", done, len(frames))

    of_bucket: list[int] = []
    for capacity, members, group in _grouped(merged_buckets(capacities), groups):
        of_bucket.append(group)
        found = rows(capacity, members, sum(len(b.members) for b in buckets))
        if file is None:
            arrays = jax.tree.map(lambda *leaves: np.stack(leaves), *found)
        else:
            arrays = stacked_on_disk(file, str(len(buckets)), found, len(members))
        buckets.append(Bucket(capacity, np.array(members), arrays))
    store = FrameStore(
        tuple(buckets),
        batch_size,
        tuple(cutoffs),
        np.dtype(dtype),
        multiple_of,
        tuple(of_bucket),
        None if structure_weights is None else of_frame,
    )
    if not any(b.arrays[kind].any() for b in store.buckets for kind in _WEIGHTS):
        raise DataError("None of the frames has a label with a weight (energy, forces, ...): nothing to learn from.")
    return store


def _grouped(
    buckets: Sequence[tuple[Capacity, list[int]]], groups: Int[np.ndarray, " frames"] | None
) -> Iterator[tuple[Capacity, list[int], int]]:
    """The buckets, each divided into frames of one group."""
    for capacity, members in buckets:
        of_member = np.zeros(len(members), int) if groups is None else np.asarray(groups)[members]
        for group in np.unique(of_member).tolist():
            yield capacity, [k for k, g in zip(members, of_member, strict=True) if g == group], group


def _narrow(array: np.ndarray, dtype: Any) -> np.ndarray:
    """Floats in the type of the batches, so that nothing is left to convert for each of them."""
    return array.astype(dtype) if array.dtype.kind == "f" else array


def merged_buckets(capacities: Sequence[Capacity]) -> list[tuple[Capacity, list[int]]]:
    """Few capacities that hold all frames, each with the indices of its frames, smallest first.

    Neighbouring sizes are put together while that costs little padding, and until there are at most MAX_BUCKETS.
    """
    by_capacity: dict[Capacity, list[int]] = {}
    for k, capacity in enumerate(capacities):
        by_capacity.setdefault(capacity, []).append(k)
    buckets = sorted(by_capacity.items(), key=lambda item: (item[0].n_atoms, item[0].n_slots))

    def cost(capacity: Capacity, members: list[int]) -> int:
        return len(members) * capacity.n_atoms * (1 + sum(capacity.n_slots))

    def joined(k: int) -> tuple[Capacity, list[int]]:
        (a, first), (b, second) = buckets[k], buckets[k + 1]
        slots = tuple(max(x, y) for x, y in zip(a.n_slots, b.n_slots, strict=True))
        return Capacity(max(a.n_atoms, b.n_atoms), 1, slots), sorted(first + second)

    def extra(k: int) -> int:
        return cost(*joined(k)) - cost(*buckets[k]) - cost(*buckets[k + 1])

    while len(buckets) > 1:
        total = sum(cost(*b) for b in buckets)
        k = min(range(len(buckets) - 1), key=extra)
        if len(buckets) <= MAX_BUCKETS and extra(k) > (_CHEAP - 1.0) * total / len(buckets):
            break
        buckets[k : k + 2] = [joined(k)]
    return buckets


def _row(
    frame: Frame,
    species: SpeciesTable,
    cutoffs: Sequence[float],
    capacity: Capacity,
    shift: float,
    factor: float,
    of_species: np.ndarray | None,
) -> dict[str, Any]:
    labels = frame.labels
    if labels.energy is not None:
        labels = dataclasses.replace(labels, energy=float(labels.energy) - shift)
    if labels.stress is not None and frame.structure.volume == 0:
        labels = dataclasses.replace(labels, stress=None)  # no volume, no stress
    with jax.enable_x64(True):
        graph = build_graph(frame.structure, species, cutoffs, capacity=capacity, dtype=jnp.float64)
        padded = pad_labels([labels], [frame.structure], graph)
    host = {f.name: np.asarray(getattr(padded, f.name)) for f in dataclasses.fields(padded)}
    host |= {name: factor * host[name] for name in _WEIGHTS}
    if of_species is not None:
        host["forces_weight"] = host["forces_weight"] * of_species[np.asarray(graph.species)]
    per_structure = ("energy", "stress", "energy_weight", "stress_weight")
    host = {name: (value[0] if name in per_structure else value) for name, value in host.items()}
    if not all(np.isfinite(value).all() for value in host.values()):
        raise DataError(
            f"The labels of a frame with {frame.structure.n_atoms} atoms ({frame.info or 'no info'}) are NaN or "
            "infinite. Drop it, or set the weight of the label to 0 and its value to None."
        )
    return host | {
        "positions": np.asarray(graph.positions),
        "numbers": np.asarray(graph.numbers),
        "species": np.asarray(graph.species),
        "cell": np.asarray(graph.cell)[0],
        "charge": np.asarray(graph.charge)[0],
        "pbc": np.asarray(frame.structure.pbc, dtype=bool),
        "index": tuple(np.asarray(n.index) for n in graph.neighborhoods),
        "shifts": tuple(np.asarray(n.shifts).astype(np.int16) for n in graph.neighborhoods),
        "mask": tuple(np.asarray(n.mask) for n in graph.neighborhoods),
    }


class Prefetch:
    """Batches made ready on a thread, a few ahead of the consumer; counts how long the consumer waited.

    Args:
        store: where batches come from.
        batches: which, in order.
        depth: how many wait at most.

    Attributes:
        waited: seconds the consumer stood still.
    """

    def __init__(self, store: FrameStore, batches: Sequence[Batch], depth: int = 3):
        self.waited = 0.0
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        double = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
        self._thread = threading.Thread(target=self._work, args=(store, list(batches), double), daemon=True)

    def _work(self, store: FrameStore, batches: list[Batch], double: bool) -> None:
        try:
            with jax.enable_x64(double):  # a setting of each thread
                for batch in batches:
                    if not self._put((batch, *store.load(batch))):
                        return
            self._put(None)
        except BaseException as error:  # handed over to the consumer
            self._put(error)

    def _put(self, item: Any) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def __enter__(self) -> "Prefetch":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[tuple[Batch, Graph, BatchLabels]]:
        while True:
            started = time.perf_counter()
            item = self._queue.get()
            self.waited += time.perf_counter() - started
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
