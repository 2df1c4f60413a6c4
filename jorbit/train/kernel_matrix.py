"""The matrix of covariances between all force components of training frames, in tiles of fixed shape."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.basis.inverse_distances import inverse_distance_gradients, pair_indices, pair_matrix
from jorbit.basis.matern import decay, first, matern52
from jorbit.core.compilation import counted_jit
from jorbit.models.sgdml import SGDML

TILE_ELEMENTS = 2**17  # numbers of one tile: it stays in a core's cache


class Geometry:
    """Training frames as the kernel sees them.

    Attributes:
        x: descriptors, [frames, pairs], 1/Å.
        g: (r_i - r_j) / r^3, [frames, pairs, 3].
        n_atoms: of one frame.
    """

    def __init__(self, term: SGDML, positions: Float[np.ndarray, "frames atoms 3"]):
        with jax.enable_x64(True):
            vectors = term.pair_vectors(jnp.asarray(positions, jnp.float64))
            x, g = inverse_distance_gradients(vectors)
        self.x, self.g = np.asarray(x), np.asarray(g)
        self.n_atoms = term.n_atoms

    @property
    def n_frames(self) -> int:
        return len(self.x)

    @property
    def n_rows(self) -> int:
        """Number of force components."""
        return 3 * self.n_frames * self.n_atoms

    def pushed(self, vectors: Float[np.ndarray, "frames atoms 3"]) -> Float[np.ndarray, "frames pairs"]:
        """J v: how descriptors change along displacements."""
        i, j = pair_indices(self.n_atoms)
        return np.einsum("fkx,fkx->fk", self.g, vectors[:, j] - vectors[:, i])

    def pulled(self, covectors: Float[np.ndarray, "frames pairs"]) -> Float[np.ndarray, "frames atoms 3"]:
        """J^T w."""
        i, j = pair_indices(self.n_atoms)
        parts = self.g * covectors[..., None]
        result = np.zeros((len(parts), self.n_atoms, 3))
        for atom in range(self.n_atoms):
            result[:, atom] = parts[:, j == atom].sum(axis=1) - parts[:, i == atom].sum(axis=1)
        return result

    def dense(self) -> tuple[Float[np.ndarray, "frames atoms atoms"], Float[np.ndarray, "frames atoms atoms 3"]]:
        """x and g for ordered pairs: x symmetric, g antisymmetric, zero diagonals."""
        n = self.n_atoms
        table, off = pair_matrix(n), 1.0 - np.eye(n)
        i, j = np.indices((n, n))
        sign = np.where(i > j, 1.0, -1.0) * off
        return self.x[:, table] * off, self.g[:, table] * sign[..., None]


def _tile(
    x_a: Float[Array, "a n n"],
    g_a: Float[Array, "a n n 3"],
    x_b: Float[Array, "b n n"],
    g_b: Float[Array, "b n n 3"],
    permutations: Int[Array, "permutations n"],
    sigma: Float[Array, ""],
) -> tuple[Float[Array, "a b n 3 n 3"], Float[Array, "a b n 3"], Float[Array, "a b"]]:
    """Force-force, force(a)-energy(b) and energy-energy covariances of two groups of frames, summed over permutations.

    With Δ = x_a - p x_b, s = |Δ|²: cov(F_a, F_b) = 5/(3σ²) e^-u [(1 + u) J_aᵀ p J_b - 5/σ² (J_aᵀ Δ)(Δᵀ p J_b)].
    J_aᵀ p J_b has one block for every ordered pair of atoms, and sums of them on its diagonal.
    """
    n = x_a.shape[1]
    factor = 5.0 / (3.0 * sigma**2)
    diagonal = jnp.eye(n, dtype=bool)[None, None, :, None, :, None]
    product = functools.partial(jnp.einsum, precision="highest")

    def add(total, permutation):
        forces, mixed, energies = total
        back = jnp.argsort(permutation)
        y, h = x_b[:, permutation][:, :, permutation], g_b[:, permutation][:, :, permutation]
        delta = x_a[:, None] - y[None]
        squared = 0.5 * jnp.sum(delta * delta, axis=(2, 3))
        slope, exponential = factor * first(squared, sigma), factor * decay(squared, sigma)
        left = -product("amlx,abml->abmx", g_a, delta)
        right = -product("bmlx,abml->abmx", h, delta)
        own = product("amlx,bmly->abmxy", g_a, h)
        outer = g_a[:, None, :, :, :, None].transpose(0, 1, 2, 4, 3, 5) * h[None, :, :, None, :, :]
        block = jnp.where(diagonal, own[:, :, :, :, None, :], -outer)
        block = slope[:, :, None, None, None, None] * block
        scaled = (5.0 / sigma**2) * exponential[:, :, None, None] * left
        block = block - scaled[:, :, :, :, None, None] * right[:, :, None, None, :, :]
        forces = forces + block[:, :, :, :, back]
        return (forces, mixed + slope[:, :, None, None] * left, energies + matern52(squared, sigma)), None

    a, b = len(x_a), len(x_b)
    start = (
        jnp.zeros((a, b, n, 3, n, 3), x_a.dtype),
        jnp.zeros((a, b, n, 3), x_a.dtype),
        jnp.zeros((a, b), x_a.dtype),
    )
    return jax.lax.scan(add, start, permutations)[0]


_compiled_tile = counted_jit(_tile, "sgdml kernel")


class Tiles:
    """Blocks of the kernel matrix, computed on demand with one compilation.

    Args:
        geometry: training frames.
        permutations: of atoms.
    """

    def __init__(self, geometry: Geometry, permutations: Int[np.ndarray, "permutations atoms"]):
        n = geometry.n_atoms
        self.geometry, self.permutations = geometry, np.asarray(permutations, np.int32)
        self.size = max(1, min(geometry.n_frames, int(np.sqrt(TILE_ELEMENTS / (9 * n * n)))))
        self._x, self._g = geometry.dense()

    @property
    def starts(self) -> list[int]:
        """First frame of each tile; the last tile reaches back over frames of the one before."""
        n, size = self.geometry.n_frames, self.size
        return [min(k, n - size) for k in range(0, n, size)]

    def tile(self, a: int, b: int, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Covariances of the frames from a and from b on: [3·n·size, 3·n·size], [3·n·size, size], [size, size]."""
        rows, columns = slice(a, a + self.size), slice(b, b + self.size)
        with jax.enable_x64(True):
            forces, mixed, energies = _compiled_tile(
                self._x[rows], self._g[rows], self._x[columns], self._g[columns], self.permutations, np.float64(sigma)
            )
        width = 3 * self.geometry.n_atoms * self.size
        matrix = np.asarray(forces).transpose(0, 2, 3, 1, 4, 5).reshape(width, width)
        return matrix, np.asarray(mixed).transpose(0, 2, 3, 1).reshape(width, self.size), np.asarray(energies)


def kernel_matrix(
    tiles: Tiles, sigma: float, *, with_energies: bool = False, report: Callable[[int, int], None] | None = None
) -> Float[np.ndarray, "rows rows"]:
    """Covariances of all force components (and, after them, energies): the lower triangle, Fortran order.

    Args:
        tiles: of the training frames.
        sigma: length scale, 1/Å.
        with_energies: add one row and column for the energy of each frame.
        report: called with tiles done and all tiles.
    """
    geometry = tiles.geometry
    n, width = geometry.n_rows, 3 * geometry.n_atoms
    matrix = np.zeros((n + (geometry.n_frames if with_energies else 0),) * 2, order="F")
    pairs = list(_lower(tiles.starts))
    for done, (a, b) in enumerate(pairs):
        forces, mixed, energies = tiles.tile(a, b, sigma)
        rows, columns = slice(width * a, width * (a + tiles.size)), slice(width * b, width * (b + tiles.size))
        matrix[rows, columns] = forces
        if with_energies:
            # cov(E_a, F_b) = -cov(F_a, E_b) with the frames exchanged: both halves of the square are needed
            here, there = slice(n + a, n + a + tiles.size), slice(n + b, n + b + tiles.size)
            matrix[there, rows] = mixed.T
            matrix[here, columns] = mixed.T if a == b else tiles.tile(b, a, sigma)[1].T
            matrix[here, there] = energies
        if report is not None:
            report(done + 1, len(pairs))
    return matrix


def _lower(starts: list[int]) -> Iterator[tuple[int, int]]:
    for k, a in enumerate(starts):
        for b in starts[: k + 1]:
            yield a, b
