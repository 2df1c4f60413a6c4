"""Neighbour search on the device, for simulation: static shapes, linear in the number of atoms.

One algorithm for every cell. Atoms are sorted into bins along the lattice directions; the candidates of an atom are the
atoms in the bins around its own, counted through the cell boundary as often as the cutoff asks. A large cell has
many bins and reach 1; a cell smaller than the cutoff has one bin and a reach of several images.

`plan_search` runs on the host and decides all sizes. `search` and `update` run on the device. What does not fit the
sizes any more (more neighbours, fuller bins, a box that has shrunk) sets `overflow`: such a list is never to be used,
make a new plan.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.pytree import pytree, static
from jorbit.core.structure import Structure
from jorbit.graphs.batching import round_up
from jorbit.graphs.neighbors import complete_cell, find_pairs

_BOX_MARGIN = 1.02  # the box may shrink by 2 % before a plan no longer holds
_RENEW_AT = 0.8  # of the skin: integrators move atoms once more between `update` and the forces


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """Static sizes of a search; hashable, so equal plans share compiled functions.

    Attributes:
        cutoffs: one neighbour list is made per cutoff, ascending, Å.
        skin: lists hold pairs up to cutoff + skin, so that they last for several steps, Å.
        pbc: which lattice directions repeat.
        filler: rows that stand in for the lattice vectors of directions that do not repeat.
        n_bins: bins along each lattice direction.
        reach: how many bins away a neighbour may be.
        bin_capacity: atoms a bin can hold.
        n_slots: neighbour slots per atom, one number per cutoff.
    """

    cutoffs: tuple[float, ...]
    skin: float
    pbc: tuple[bool, bool, bool]
    filler: tuple[tuple[float, ...], ...]
    n_bins: tuple[int, int, int]
    reach: tuple[int, int, int]
    bin_capacity: int
    n_slots: tuple[int, ...]

    @property
    def radius(self) -> float:
        """The longest distance a list holds, Å."""
        return max(self.cutoffs, default=0.0) + self.skin


@pytree
class DeviceNeighbors:
    """Neighbour lists in static shapes, with what is needed to tell how long they hold.

    Attributes:
        plan: static sizes.
        index, shifts, mask: one array per cutoff, dense; pairs within cutoff + skin at the time of the search.
        reference: fractional coordinates at the time of the search.
        cell: lattice vectors (rows) at the time of the search, Å.
        overflow: True when the lists are incomplete.
    """

    plan: SearchPlan = static()
    index: tuple[Int[Array, "atoms _"], ...]
    shifts: tuple[Int[Array, "atoms _ 3"], ...]
    mask: tuple[Bool[Array, "atoms _"], ...]
    reference: Float[Array, "atoms 3"]
    cell: Float[Array, "3 3"]
    overflow: Bool[Array, ""]


def plan_search(
    structure: Structure, cutoffs: tuple[float, ...], *, skin: float = 0.0, headroom: float = 1.25
) -> SearchPlan:
    """Decide the sizes of a search from one structure.

    Args:
        structure: a typical configuration.
        cutoffs: Å.
        skin: extra radius, Å; a list stays valid until an atom has moved by half of it.
        headroom: capacities are this many times what the structure needs; of bins with few atoms, whose numbers
            scatter more, 8 (headroom - 1) more than that.

    Raises:
        StructureError: a structure that makes no sense.
        ConfigError: a negative skin, or headroom below 1.

    Example:
        >>> pair = Structure(positions=np.array([[0.0, 0, 0], [0, 0, 1]]), numbers=np.array([1, 1]))
        >>> plan_search(pair, (3.0,)).n_bins
        (1, 1, 1)
    """
    if skin < 0 or headroom < 1:
        raise ConfigError(f"Wanted skin >= 0 Å and headroom >= 1, got {skin} and {headroom}.")
    structure.check()
    cutoffs = tuple(sorted({float(c) for c in cutoffs}))
    radius = max(cutoffs, default=0.0) + skin
    pbc, cell = np.asarray(structure.pbc, dtype=bool), complete_cell(structure)
    inverse = np.linalg.inv(cell)
    widths = 1.0 / np.linalg.norm(inverse, axis=0)
    fractional = np.asarray(structure.positions) @ inverse
    extent = np.where(pbc, 1.0, np.ptp(fractional, axis=0))
    n_bins = np.maximum(1, np.floor(extent * widths / (_BOX_MARGIN * max(radius, 1e-3)))).astype(int)
    while n_bins.prod() > max(8, 4 * structure.n_atoms):  # mostly empty space: wider bins lose nothing
        n_bins[np.argmax(n_bins)] = -(-n_bins.max() // 2)
    reach = np.where(pbc, np.ceil(_BOX_MARGIN * radius * n_bins / widths), n_bins > 1).astype(int)

    lower = np.where(pbc, 0.0, fractional.min(axis=0))
    width = np.where(pbc, 1.0 / n_bins, np.maximum(radius / widths, extent / n_bins))
    inside = fractional - np.where(pbc, np.floor(fractional), 0.0)
    bins = np.clip(np.floor((inside - lower) / width), 0, n_bins - 1).astype(int)
    fullest = np.bincount(np.ravel_multi_index(tuple(bins.T), tuple(n_bins))).max()

    pairs = find_pairs(structure, radius) if cutoffs else None
    most = [] if pairs is None else [pairs.within(c + skin).slot_counts(structure.n_atoms).max() for c in cutoffs]
    return SearchPlan(
        cutoffs=cutoffs,
        skin=float(skin),
        pbc=(bool(pbc[0]), bool(pbc[1]), bool(pbc[2])),
        filler=tuple(tuple(float(x) for x in row) for row in cell),
        n_bins=(int(n_bins[0]), int(n_bins[1]), int(n_bins[2])),
        reach=(int(reach[0]), int(reach[1]), int(reach[2])),
        bin_capacity=min(structure.n_atoms, int(np.ceil(max(headroom * fullest, fullest + 8 * (headroom - 1))))),
        n_slots=tuple(round_up(int(np.ceil(headroom * n))) for n in most),
    )


def search(plan: SearchPlan, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]) -> DeviceNeighbors:
    """All pairs within each cutoff + skin. Atoms may lie outside the cell. Not differentiated.

    Args:
        plan: static sizes.
        positions: Cartesian, Å.
        cell: lattice vectors as rows, Å; rows of directions that do not repeat are ignored.
    """
    positions, cell = jax.lax.stop_gradient((positions, cell))
    n_atoms, dtype = positions.shape[0], positions.dtype
    full_cell, inverse, widths = geometry(plan, cell.astype(dtype))
    fractional = jnp.matmul(positions, inverse, precision="highest")
    image = jnp.where(_periodic(plan), jnp.floor(fractional), 0.0)
    inside = fractional - image
    bins, fits = _bins(plan, inside, widths)
    table, not_too_full = _bin_table(plan, bins, n_atoms)
    wrapped = jnp.matmul(inside, full_cell, precision="highest")
    far = jnp.full((1, 3), jnp.inf, dtype)
    binned = jnp.concatenate([wrapped, far])[table]  # [bins + 1, capacity, 3]; empty places are infinitely far

    offsets = np.array(list(itertools.product(*[range(-m, m + 1) for m in plan.reach])), np.int32)[None]
    n_bins, pbc = np.array(plan.n_bins, np.int32), np.array(plan.pbc)[None, None]

    def block(args: tuple[Array, Array, Array, Array]) -> list[tuple[Array, Array, Array]]:
        atom, here, bin_here, image_here = args
        target = bin_here[:, None, :] + offsets
        crossed = target // n_bins[None, None]
        target = target - crossed * n_bins[None, None]
        flat = (target[..., 0] * n_bins[1] + target[..., 1]) * n_bins[2] + target[..., 2]
        outside = jnp.any((crossed != 0) & ~pbc, axis=-1)
        flat = jnp.where(outside, int(n_bins.prod()), flat)
        shift = jnp.einsum("amx,xy->amy", crossed.astype(dtype), full_cell, precision="highest")
        vectors = binned[flat] + (shift - here[:, None, :])[:, :, None, :]
        squared = jnp.sum(vectors * vectors, axis=-1).reshape(len(atom), -1)
        itself = (table[flat].reshape(len(atom), -1) == atom[:, None]) & (squared < 1e-6)
        results = []
        for cutoff, n_slots in zip(plan.cutoffs, plan.n_slots, strict=True):
            radius = cutoff + plan.skin
            pick, valid, count = _compact((squared < radius * radius) & ~itself, n_slots)
            which, place = pick // plan.bin_capacity, pick % plan.bin_capacity
            j = jnp.where(valid, table[jnp.take_along_axis(flat, which, axis=1), place], 0)
            through = jnp.take_along_axis(crossed, which[..., None], axis=1)
            shifts = through + image_here[:, None, :] - image_i32[j]
            results.append((j, jnp.where(valid[..., None], shifts, 0), count))
        return results

    image_i32 = image.astype(jnp.int32)
    found = _in_blocks(block, (jnp.arange(n_atoms, dtype=jnp.int32), wrapped, bins, image_i32))
    slots = [jnp.arange(n, dtype=jnp.int32) for n in plan.n_slots]
    too_many = [jnp.any(count > n) for (_, _, count), n in zip(found, plan.n_slots, strict=True)]
    fits = fits & not_too_full
    return DeviceNeighbors(
        plan=plan,
        index=tuple(j for j, _, _ in found),
        shifts=tuple(s for _, s, _ in found),
        mask=tuple(slot[None] < count[:, None] for slot, (_, _, count) in zip(slots, found, strict=True)),
        reference=fractional,
        cell=cell.astype(dtype),
        overflow=~fits | jnp.any(jnp.stack([jnp.zeros((), bool), *too_many])),
    )


def update(
    neighbors: DeviceNeighbors,
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    margin: Float[Array, ""] | None = None,
) -> DeviceNeighbors:
    """The lists for new positions and cell: searched again only when the old ones may have become incomplete.

    Once `overflow` is set it stays set.

    Args:
        neighbors: the old lists.
        positions: Cartesian, Å.
        cell: lattice vectors as rows, Å.
        margin: how much nearer two atoms may come before the next update, Å; a fifth of the skin when not given.
    """
    plan = neighbors.plan
    positions, cell = jax.lax.stop_gradient((positions, cell))

    def again(_: None) -> DeviceNeighbors:
        found = search(plan, positions, cell)
        return dataclasses.replace(found, overflow=found.overflow | neighbors.overflow)

    if plan.skin == 0:
        return again(None)
    limit = _RENEW_AT * plan.skin if margin is None else plan.skin - jax.lax.stop_gradient(margin)
    return jax.lax.cond(approach(neighbors, positions, cell) < limit, lambda _: neighbors, again, None)


def approach(
    neighbors: DeviceNeighbors, positions: Float[Array, "atoms 3"], cell: Float[Array, "3 3"]
) -> Float[Array, ""]:
    """How much nearer two atoms can have come since the search, Å: lists are complete while it is below the skin."""
    plan = neighbors.plan
    full_cell = geometry(plan, cell.astype(positions.dtype))[0]
    farthest = farthest_step(neighbors, neighbors.reference, positions, cell)
    # A pair r of the old cell is r F now, F = cell_old^-1 cell: |r F| >= |r| (1 - |F - 1|), and both ends have moved.
    old_inverse = geometry(plan, neighbors.cell.astype(positions.dtype))[1]
    strain = jnp.matmul(old_inverse, full_cell, precision="highest") - jnp.eye(3, dtype=positions.dtype)
    return 2 * farthest + plan.radius * jnp.sqrt(jnp.sum(strain * strain))


def farthest_step(
    neighbors: DeviceNeighbors,
    reference: Float[Array, "atoms 3"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
) -> Float[Array, ""]:
    """The longest way of an atom from fractional coordinates to Cartesian positions, Å; wrapping does not count."""
    full_cell, inverse, _ = geometry(neighbors.plan, cell.astype(positions.dtype))
    moved = jnp.matmul(positions, inverse, precision="highest") - reference
    moved = jnp.matmul(moved - whole_cells(neighbors.plan, moved), full_cell, precision="highest")
    return jnp.sqrt(jnp.max(jnp.sum(moved * moved, axis=-1)))


def geometry(
    plan: SearchPlan, cell: Float[Array, "3 3"]
) -> tuple[Float[Array, "3 3"], Float[Array, "3 3"], Float[Array, "3"]]:
    """Cell of full rank, its inverse, and its perpendicular widths."""
    full = jnp.where(_periodic(plan).T, cell, jnp.asarray(np.array(plan.filler), cell.dtype))
    # By cross products: a factorisation of a 3 x 3 matrix takes longer than the step of a small molecule's list.
    columns = jnp.stack([jnp.cross(full[1], full[2]), jnp.cross(full[2], full[0]), jnp.cross(full[0], full[1])], axis=1)
    inverse = columns / jnp.sum(full[0] * columns[:, 0])
    return full, inverse, 1.0 / jnp.sqrt(jnp.sum(inverse * inverse, axis=0))


def _periodic(plan: SearchPlan) -> np.ndarray:
    """Which directions repeat, [1, 3]."""
    return np.array(plan.pbc)[None]


def whole_cells(plan: SearchPlan, moved: Float[Array, "*batch 3"]) -> Float[Array, "*batch 3"]:
    """Whole cells in a change of fractional coordinates: atoms were wrapped, they did not travel."""
    pbc = np.array(plan.pbc).reshape((1,) * (moved.ndim - 1) + (3,))
    return jnp.where(pbc, jnp.round(moved), 0.0)


def _bins(
    plan: SearchPlan, inside: Float[Array, "atoms 3"], widths: Float[Array, "3"]
) -> tuple[Int[Array, "atoms 3"], Bool[Array, ""]]:
    """The bin of each atom along each direction, and whether the plan's reach still covers its radius."""
    pbc, n_bins = _periodic(plan), jnp.asarray(np.array(plan.n_bins), inside.dtype)[None]
    lower, upper = inside.min(axis=0, keepdims=True), inside.max(axis=0, keepdims=True)
    # A direction without period: bins follow the atoms and are never narrower than the radius.
    open_width = jnp.maximum(plan.radius / widths[None], (upper - lower) / n_bins)
    scaled = jnp.where(pbc, inside * n_bins, (inside - lower) / open_width)
    bins = jnp.clip(jnp.floor(scaled), 0.0, n_bins - 1.0).astype(jnp.int32)
    covered = jnp.asarray(np.array(plan.reach), inside.dtype)[None] * widths[None] / n_bins >= plan.radius
    return bins, jnp.all(covered | ~pbc)


def _bin_table(
    plan: SearchPlan, bins: Int[Array, "atoms 3"], n_atoms: int
) -> tuple[Int[Array, "bins capacity"], Bool[Array, ""]]:
    """Atoms of each bin, `n_atoms` in empty places; one empty bin more at the end, for what lies outside."""
    n_bins = plan.n_bins
    total = n_bins[0] * n_bins[1] * n_bins[2]
    flat = (bins[:, 0] * n_bins[1] + bins[:, 1]) * n_bins[2] + bins[:, 2]
    order = jnp.argsort(flat).astype(jnp.int32)
    counts = jnp.zeros(total + 1, jnp.int32).at[flat].add(1)
    starts = jnp.cumsum(counts, dtype=jnp.int32) - counts
    place = jnp.arange(plan.bin_capacity, dtype=jnp.int32)[None]
    atoms = order[jnp.minimum(starts[:, None] + place, n_atoms - 1)]
    return jnp.where(place < counts[:, None], atoms, n_atoms), counts.max() <= plan.bin_capacity


def _compact(
    wanted: Bool[Array, "atoms candidates"], n_slots: int
) -> tuple[Int[Array, "atoms slots"], Bool[Array, "atoms slots"], Int[Array, " atoms"]]:
    """Columns of the first `n_slots` True entries of each row.

    The rows are packed into 32-bit words; the k-th set bit is found by population counts. No sort and no scatter:
    both cost several times the distance computation on a CPU.

    Returns:
        Column per slot, whether the slot is filled, and the number of True entries of each row.
    """
    n_words = -(-wanted.shape[1] // 32)
    padded = jnp.pad(wanted, ((0, 0), (0, 32 * n_words - wanted.shape[1]))).reshape(len(wanted), n_words, 32)
    bits = (np.uint32(1) << np.arange(32, dtype=np.uint32))[None, None]
    words = jnp.sum(jnp.where(padded, bits, np.uint32(0)), axis=-1, dtype=jnp.uint32)
    counts = jax.lax.population_count(words).astype(jnp.int32)
    cumulative = jnp.cumsum(counts, axis=1, dtype=jnp.int32)
    slot = jnp.arange(n_slots, dtype=jnp.int32)[None]
    word_index = jnp.sum(cumulative[:, None, :] <= slot[:, :, None], axis=-1, dtype=jnp.int32)
    word_index = jnp.minimum(word_index, n_words - 1)
    rank = slot - jnp.take_along_axis(cumulative - counts, word_index, axis=1)
    word = jnp.take_along_axis(words, word_index, axis=1)
    position = jnp.zeros_like(rank)
    for width in (16, 8, 4, 2, 1):
        below = jax.lax.population_count(word & np.uint32((1 << width) - 1)).astype(jnp.int32)
        upper = rank >= below
        rank = jnp.where(upper, rank - below, rank)
        position = jnp.where(upper, position + width, position)
        word = jnp.where(upper, word >> np.uint32(width), word)
    total = cumulative[:, -1]
    valid = slot < total[:, None]
    return jnp.where(valid, 32 * word_index + position, 0), valid, total


def _in_blocks(function: Callable[[Any], Any], arrays: tuple[Array, ...]) -> Any:
    """`function` over blocks of atoms, so that the candidates of a large system never exist all at once."""
    n_atoms = arrays[0].shape[0]
    size = 4096 if jax.default_backend() == "cpu" else 65536
    if n_atoms <= size:
        return function(arrays)
    n_blocks = -(-n_atoms // size)
    missing = n_blocks * size - n_atoms

    def split(x: Array) -> Array:
        return jnp.concatenate([x, x[:missing]]).reshape(n_blocks, size, *x.shape[1:])

    results = jax.lax.map(function, tuple(split(x) for x in arrays))
    return jax.tree.map(lambda x: x.reshape(n_blocks * size, *x.shape[2:])[:n_atoms], results)
