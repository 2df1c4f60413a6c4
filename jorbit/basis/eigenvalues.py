"""Sorted eigenvalues with derivatives that stay finite where eigenvalues cross."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def sorted_eigenvalues(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n"]:
    """Eigenvalues of symmetric matrices, largest first.

    Each sorted eigenvalue is a continuous function of the matrix. Where it is apart from the others its derivative is
    v^T dM v with v the eigenvector. Where several coincide (gaps below 100 times the rounding error of the largest) it
    has a kink, and all of them get the mean of v^T dM v over their common eigenspace: an element of the generalised
    gradient (Clarke's) that does not depend on which eigenvectors the solver returned. Second derivatives leave out the
    mixing inside such a group. Nothing is ever NaN.

    Example:
        >>> jax.grad(lambda m: sorted_eigenvalues(m)[0])(jnp.eye(2)).tolist()
        [[0.5, 0.0], [0.0, 0.5]]
    """
    return _eigh(0.5 * (matrix + jnp.swapaxes(matrix, -1, -2)))[0][..., ::-1]


@jax.custom_jvp
def _eigh(matrix: Array) -> tuple[Array, Array]:
    vectors, values = jax.lax.linalg.eigh(matrix, symmetrize_input=False)
    return values, vectors


@_eigh.defjvp
def _eigh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    values, vectors = _eigh(primals[0])
    change = jnp.einsum("...ki,...kl,...lj->...ij", vectors, tangents[0], vectors, precision="highest")
    size = jnp.max(jnp.abs(values), axis=-1, keepdims=True)
    apart = jnp.diff(values, axis=-1) > 100 * jnp.finfo(values.dtype).eps * size
    group = jnp.cumsum(jnp.concatenate([jnp.zeros_like(apart[..., :1]), apart], axis=-1), axis=-1)
    same = group[..., :, None] == group[..., None, :]
    mean = same.astype(values.dtype) / jnp.sum(same, axis=-1, keepdims=True, dtype=values.dtype)
    diagonal = jnp.diagonal(change, axis1=-2, axis2=-1)
    d_values = jnp.sum(mean * diagonal[..., None, :], axis=-1)
    gaps = values[..., None, :] - values[..., :, None]
    mixing = jnp.where(same, 0.0, change / jnp.where(same, 1.0, gaps))
    return (values, vectors), (d_values, jnp.matmul(vectors, mixing, precision="highest"))
