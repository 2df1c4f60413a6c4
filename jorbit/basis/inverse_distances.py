"""All inverse distances of a molecule as one vector, its permutations, and the nearest periodic image of each pair.

Pairs (i, j), i > j, are ordered by rows of the lower triangle: (1,0), (2,0), (2,1), (3,0), ...
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

_MAX_INCIDENCE = 64  # atoms up to which differences are a matrix product: no scatter in the reverse pass


@functools.lru_cache(maxsize=64)
def pair_indices(n_atoms: int) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """First and second atom of each pair.

    Example:
        >>> [p.tolist() for p in pair_indices(3)]
        [[1, 2, 2], [0, 0, 1]]
    """
    i, j = np.tril_indices(n_atoms, -1)
    return i.astype(np.int32), j.astype(np.int32)


@functools.lru_cache(maxsize=64)
def pair_matrix(n_atoms: int) -> Int[np.ndarray, "atoms atoms"]:
    """Number of the pair of two atoms, in either order; 0 on the diagonal, where there is none."""
    i, j = pair_indices(n_atoms)
    index = np.zeros((n_atoms, n_atoms), np.int32)
    index[i, j] = index[j, i] = np.arange(len(i), dtype=np.int32)
    return index


def pair_permutations(
    permutations: Int[Array | np.ndarray, "permutations atoms"],
) -> Int[Array | np.ndarray, "permutations pairs"]:
    """What permutations of atoms do to the vector of pairs: (p x)[(i, j)] = x[(p[i], p[j])].

    Example:
        >>> pair_permutations(np.array([[0, 2, 1]])).tolist()
        [[1, 0, 2]]
    """
    i, j = pair_indices(permutations.shape[1])
    table = pair_matrix(permutations.shape[1])
    if isinstance(permutations, np.ndarray):
        return table[permutations[:, i], permutations[:, j]]
    return jnp.asarray(table)[permutations[:, i], permutations[:, j]]


@functools.lru_cache(maxsize=16)
def _incidence(n_atoms: int) -> Float[np.ndarray, "pairs atoms"]:
    i, j = pair_indices(n_atoms)
    matrix = np.zeros((len(i), n_atoms))
    matrix[np.arange(len(i)), i] = 1.0
    matrix[np.arange(len(i)), j] = -1.0
    return matrix


def pair_differences(values: Float[Array, "*batch atoms components"]) -> Float[Array, "*batch pairs components"]:
    """v_i - v_j for every pair."""
    n_atoms = values.shape[-2]
    if n_atoms <= _MAX_INCIDENCE:
        return jnp.matmul(jnp.asarray(_incidence(n_atoms), values.dtype), values, precision="highest")
    i, j = pair_indices(n_atoms)
    return values[..., i, :] - values[..., j, :]


def sum_pairs(values: Float[Array, "*batch pairs components"], n_atoms: int) -> Float[Array, "*batch atoms components"]:
    """The transpose of `pair_differences`: each pair's value is added to its first atom and taken from its second."""
    if n_atoms <= _MAX_INCIDENCE:
        return jnp.matmul(jnp.asarray(_incidence(n_atoms).T, values.dtype), values, precision="highest")
    i, j = pair_indices(n_atoms)
    zeros = jnp.zeros((*values.shape[:-2], n_atoms, values.shape[-1]), values.dtype)
    return zeros.at[..., i, :].add(values).at[..., j, :].add(-values)


def nearest_images(
    vectors: Float[Array, "*batch pairs 3"],
    cell: Float[Array, "periodic 3"],
    images: Int[np.ndarray, "images periodic"],
) -> Float[Array, "*batch pairs 3"]:
    """The shortest periodic image of each vector.

    Whole numbers of lattice vectors are chosen without derivative, so that a strained cell takes its images along.

    Args:
        vectors: Å.
        cell: reduced lattice vectors of the periodic directions as rows, Å.
        images: in units of these, what can be nearer than rounding of fractions finds; empty where angles are right,
            or to reproduce models that only round.
    """
    rows = jax.lax.stop_gradient(cell)
    fixed = jax.lax.stop_gradient(vectors)
    dual = jnp.matmul(rows.T, jnp.linalg.inv(jnp.matmul(rows, rows.T, precision="highest")), precision="highest")
    shift = -jnp.round(jnp.matmul(fixed, dual, precision="highest"))
    best = fixed + jnp.matmul(shift, rows, precision="highest")
    rounded, base, shortest = best, shift, jnp.sum(best * best, axis=-1)
    for image in images:
        step = jnp.asarray(image, vectors.dtype).reshape((1,) * (vectors.ndim - 1) + (-1,))
        moved = rounded + jnp.matmul(step, rows, precision="highest")
        length = jnp.sum(moved * moved, axis=-1)
        nearer = (length < shortest)[..., None]
        shift = jnp.where(nearer, base + step, shift)
        shortest = jnp.minimum(length, shortest)
    return vectors + jnp.matmul(shift, cell, precision="highest")


def inverse_distances(vectors: Float[Array, "*batch pairs 3"]) -> Float[Array, "*batch pairs"]:
    """1/r of each pair, 1/Å; 0 for zero vectors (padding), with all derivatives."""
    squared = jnp.sum(vectors * vectors, axis=-1)
    present = squared > 0
    return jnp.where(present, jax.lax.rsqrt(jnp.where(present, squared, 1.0)), 0.0)


def inverse_distance_gradients(
    vectors: Float[Array, "*batch pairs 3"],
) -> tuple[Float[Array, "*batch pairs"], Float[Array, "*batch pairs 3"]]:
    """x = 1/r and g = (r_i - r_j) / r^3 of each pair: dx/dr_j = g, dx/dr_i = -g."""
    x = inverse_distances(vectors)
    return x, vectors * (x**3)[..., None]
