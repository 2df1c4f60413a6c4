"""Statistics of all pair distances along a trajectory, with the exact minimum image.

Frames stream through in blocks; what is kept are weighted sums of d, d^2 and [d < bond length] for a few groups of
frames: whole trajectory, contiguous blocks, halves, random 80 % subsets. Memory O(atoms^2), whatever the length.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jorbit.orbits.covalent_radii import bond_lengths
from jorbit.orbits.frames import Trajectory
from jorbit.orbits.lattice import neighbor_images

MIN_BLOCK = 32  # frames that are worked on at once; more in small systems
BLOCK_ELEMENTS = 131_072  # pair distances that are worked on at once: a megabyte, which stays in the cache
MAX_COUNTED = 50  # frames in which bonded images of small cells are counted
MIN_SUBSET = 4  # frames; statistics of fewer say nothing


@dataclasses.dataclass(frozen=True, eq=False)
class PairStatistics:
    """What a trajectory says about each pair of atoms; symmetric matrices.

    Attributes:
        mean: μ, mean distance, Å.
        spread: s, standard deviation of the distance, Å.
        error: e, standard error of μ from block averages, Å; 0 where there are too few frames.
        bonded: p, fraction of frames in which the pair is bonded.
        n_bonds: mean number of bonded images, with the bonds of an atom to its own images on the diagonal; None in
            cells too large for several.
        n_frames: frames behind the numbers.
    """

    mean: Float[np.ndarray, "atoms atoms"]
    spread: Float[np.ndarray, "atoms atoms"]
    error: Float[np.ndarray, "atoms atoms"]
    bonded: Float[np.ndarray, "atoms atoms"]
    n_bonds: Float[np.ndarray, "atoms atoms"] | None
    n_frames: int

    @property
    def n_atoms(self) -> int:
        return len(self.mean)


class _Sums(NamedTuple):
    """Weighted sums over frames for each group of frames; distances relative to those of the first frame."""

    distance: Float[Array, "blocks groups rows atoms"]
    square: Float[Array, "blocks groups rows atoms"]
    bonded: Float[Array, "blocks groups rows atoms"]


def pair_distances(
    positions: Float[Array, "frames atoms 3"],
    vectors: Float[Array, "3 3"],
    periodic: Bool[Array, "3"],
    images: Float[Array, "images 3"],
) -> Float[Array, "frames atoms atoms"]:
    """Minimum-image distances (Å) of all pairs.

    Args:
        positions: Å.
        vectors, periodic, images: a `Lattice`: reduced cell, which rows repeat, images that rounding can miss.
    """
    fractional = positions @ jnp.linalg.inv(vectors)
    return _distances(fractional, fractional, vectors, periodic, images)


def _distances(
    some: Float[Array, "frames rows 3"],
    others: Float[Array, "frames atoms 3"],
    vectors: Float[Array, "3 3"],
    periodic: Bool[Array, "3"],
    images: Float[Array, "images 3"],
) -> Float[Array, "frames rows atoms"]:
    """Distances from some atoms to others, from fractional coordinates."""
    steps = [others[:, None, :, k] - some[:, :, None, k] for k in range(3)]
    steps = [f - jnp.round(f) * periodic[k].astype(f.dtype) for k, f in enumerate(steps)]
    x = [sum(steps[k] * vectors[k, a] for k in range(3)) for a in range(3)]
    rounded = x[0] ** 2 + x[1] ** 2 + x[2] ** 2
    shortest = rounded
    for n in range(images.shape[0]):
        along = sum(x[a] * images[n, a] for a in range(3))
        shortest = jnp.minimum(shortest, rounded - 2.0 * jnp.abs(along) + jnp.sum(images[n] ** 2))
    return jnp.sqrt(jnp.maximum(shortest, 0.0))


@functools.partial(jax.jit, donate_argnums=0)
def _accumulate(
    sums: _Sums,
    positions: Float[Array, "frames atoms 3"],
    weights: Float[Array, "groups frames"],
    origin: Float[Array, "blocks rows atoms"],
    longest: Float[Array, "blocks rows atoms"],
    lattice: tuple[Array, Array, Array],
) -> _Sums:
    """Add a block of frames, a few rows of the matrices at a time: what is computed stays in the cache."""
    n_frames, n_atoms, _ = positions.shape
    n_blocks, n_rows, _ = origin.shape
    fractional = positions @ jnp.linalg.inv(lattice[0])
    padded = jnp.pad(fractional, ((0, 0), (0, n_blocks * n_rows - n_atoms), (0, 0)))
    some = padded.reshape(n_frames, n_blocks, n_rows, 3).transpose(1, 0, 2, 3)

    def rows_of(block: tuple[_Sums, Array, Array, Array]) -> _Sums:
        before, mine, start, bond = block
        distance = jax.lax.optimization_barrier(_distances(mine, fractional, *lattice))  # once, not for each sum
        moved = distance - start[None]

        def weigh(values: Array) -> Array:
            return (weights @ values.reshape(n_frames, -1)).reshape(-1, n_rows, n_atoms)

        bonded = (distance < bond[None]).astype(distance.dtype)
        return _Sums(
            before.distance + weigh(moved), before.square + weigh(moved * moved), before.bonded + weigh(bonded)
        )

    return jax.lax.map(rows_of, (sums, some, origin, longest))


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """Which frames belong to which group: row 0 all, then blocks, then halves, then random 80 % subsets."""

    weights: Float[np.ndarray, "groups frames"]
    n_blocks: int

    @property
    def subsets(self) -> range:
        """Rows of the halves and random subsets, on which a partition is tried again."""
        return range(1 + self.n_blocks, len(self.weights))


def make_groups(n_frames: int, n_blocks: int, n_bootstraps: int, seed: int) -> Groups:
    """Contiguous blocks and halves, and subsets of 80 % drawn without replacement; nothing but `all` when too short."""
    rows = [np.ones(n_frames)]
    if n_frames < n_blocks * MIN_SUBSET:
        return Groups(np.stack(rows), 0)
    for pieces in (n_blocks, 2):
        for block in np.array_split(np.arange(n_frames), pieces):
            rows.append(np.isin(np.arange(n_frames), block).astype(np.float64))
    generator = np.random.default_rng(seed)
    for _ in range(n_bootstraps):
        row = np.zeros(n_frames)
        row[generator.choice(n_frames, size=max(1, round(0.8 * n_frames)), replace=False)] = 1.0
        rows.append(row)
    return Groups(np.stack(rows), n_blocks)


def pair_statistics(
    trajectory: Trajectory, groups: Groups, bond_factor: float
) -> tuple[PairStatistics, list[PairStatistics]]:
    """Statistics of the whole trajectory, and of each subset of `groups`.

    Args:
        trajectory: frames in one cell.
        groups: weights of the frames.
        bond_factor: a pair is bonded below bond_factor (r_i + r_j).

    Returns:
        All frames; halves and random subsets, whose errors are those of the whole scaled to fewer frames.
    """
    n = trajectory.n_atoms
    with jax.enable_x64(True):
        lattice = tuple(
            jnp.asarray(a) for a in (trajectory.lattice.vectors, trajectory.lattice.periodic, trajectory.lattice.images)
        )
        origin = np.array(pair_distances(jnp.asarray(trajectory.positions[:1]), *lattice)[0])
        size = min(trajectory.n_frames, max(MIN_BLOCK, BLOCK_ELEMENTS // n**2))
        rows = min(n, max(1, BLOCK_ELEMENTS // (size * n)))
        n_row_blocks = -(-n // rows)

        def in_rows(matrix: np.ndarray) -> Array:
            return jnp.asarray(np.pad(matrix, ((0, n_row_blocks * rows - n), (0, 0))).reshape(n_row_blocks, rows, n))

        start, longest = in_rows(origin), in_rows(bond_lengths(trajectory.numbers, bond_factor))
        shape = (n_row_blocks, len(groups.weights), rows, n)
        sums = _Sums(jnp.zeros(shape), jnp.zeros(shape), jnp.zeros(shape))
        for first, block in trajectory.chunks(size):
            weights = groups.weights[:, first : first + len(block)]
            missing = size - len(block)  # one shape, one compilation: the last block is filled up with weight 0
            block = np.concatenate([block, np.repeat(block[-1:], missing, axis=0)])
            weights = np.pad(weights, ((0, 0), (0, missing)))
            sums = _accumulate(sums, jnp.asarray(block), jnp.asarray(weights), start, longest, lattice)
        distance, square, bonded = (
            np.array(s).transpose(1, 0, 2, 3).reshape(len(groups.weights), -1, n)[:, :n] for s in sums
        )
    counts = groups.weights.sum(axis=1)[:, None, None]
    distance, square, bonded = distance / counts, square / counts, bonded / counts
    return _collect(distance, square, bonded, origin, groups, counts.ravel(), trajectory, bond_factor)


def _collect(
    distance: np.ndarray,
    square: np.ndarray,
    bonded: np.ndarray,
    origin: np.ndarray,
    groups: Groups,
    counts: np.ndarray,
    trajectory: Trajectory,
    bond_factor: float,
) -> tuple[PairStatistics, list[PairStatistics]]:
    blocks = distance[1 : 1 + groups.n_blocks]
    error = blocks.std(axis=0, ddof=1) / np.sqrt(groups.n_blocks) if groups.n_blocks > 1 else np.zeros_like(origin)
    n_bonds = count_bonded_images(trajectory, bond_factor)

    def of(row: int) -> PairStatistics:
        variance = np.maximum(square[row] - distance[row] ** 2, 0.0)
        np.fill_diagonal(bonded[row], 0.0)
        mean = origin + distance[row]
        np.fill_diagonal(mean, 0.0)
        larger = np.sqrt(counts[0] / counts[row])  # fewer frames, larger errors
        return PairStatistics(mean, np.sqrt(variance), error * larger, bonded[row], n_bonds, int(counts[row]))

    return of(0), [of(row) for row in groups.subsets]


def count_bonded_images(trajectory: Trajectory, bond_factor: float) -> Float[np.ndarray, "atoms atoms"] | None:
    """Mean number of images of j that i is bonded to; on the diagonal, bonds of an atom to images of itself.

    Only cells shorter than two bond lengths can hold several; None in all others.
    """
    n = trajectory.n_atoms
    longest = bond_lengths(trajectory.numbers, bond_factor)
    if trajectory.lattice.shortest > 2.0 * longest.max():
        return None
    images = neighbor_images(trajectory.lattice, float(longest.max()))
    total = np.zeros((n, n))
    inverse = np.linalg.inv(trajectory.lattice.vectors)
    some = np.unique(np.linspace(0, trajectory.n_frames - 1, MAX_COUNTED).round().astype(int))
    for positions in trajectory.positions[some]:
        fractional = positions @ inverse
        steps = fractional[None, :, :] - fractional[:, None, :]
        steps = (steps - np.round(steps) * trajectory.lattice.periodic) @ trajectory.lattice.vectors
        for image in images:
            total += np.linalg.norm(steps + image, axis=-1) < longest
    total[np.diag_indices(n)] -= len(some)  # each atom is at distance 0 of itself
    return total / len(some)
