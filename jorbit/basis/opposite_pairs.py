"""Where a pair of atoms stands in the neighbour list of the other atom."""

import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

from jorbit.core.blocks import map_atom_blocks
from jorbit.core.graph import Neighbors

BLOCK = 256  # atoms whose comparisons, slots^2 each, are held at a time
Opposite = tuple[Int[Array, "atoms slots"], Bool[Array, "atoms slots"]]  # what `opposite_pairs` returns
_FAR = 128  # images further away than 63 cells in any direction are told apart no longer


def opposite_pairs(neighbors: Neighbors) -> tuple[Int[Array, "atoms slots"], Bool[Array, "atoms slots"]]:
    """Index, in arrays [atoms * slots, ...], of the pair (j, i) for each pair (i, j), and whether it is there.

    It is missing for empty slots, and where rounding left one of two atoms just outside the other's cutoff.

    Example:
        >>> one = jnp.array([[1], [0]])
        >>> pair = Neighbors(cutoff=3.0, index=one, shifts=jnp.zeros((2, 1, 3)), mask=jnp.ones((2, 1), bool))
        >>> opposite_pairs(pair)[0].tolist()
        [[1], [0]]
    """
    n_atoms, n_slots = neighbors.index.shape
    index, image = neighbors.index, _packed(lax.stop_gradient(neighbors.shifts))
    index = jnp.where(neighbors.mask, index, -1)

    def found(atom: Array, other: Array, image_here: Array) -> tuple[Array, Array]:
        same = (index[other] == atom[:, None, None]) & (image[other] == -image_here[:, :, None])
        return jnp.argmax(same, axis=-1), same.any(axis=-1)

    atoms = jnp.arange(n_atoms, dtype=index.dtype)
    slot, there = map_atom_blocks(found, (atoms, neighbors.index, image), BLOCK, everywhere=True)
    return neighbors.index * n_slots + slot.astype(index.dtype), there & neighbors.mask


def swapped_pairs(values: Float[Array, "atoms slots width"], opposite: Opposite) -> Float[Array, "atoms slots width"]:
    """The value of pair (j, i) in the place of pair (i, j); pairs without an opposite keep their own.

    The swap is its own inverse and its own transpose. JAX would reverse a gather by a scatter; as the solution of a
    linear system with a symmetric matrix it is reversed by the same gather, in derivatives of any order and under vmap.

    Example:
        >>> opposite = (jnp.array([[1], [0]]), jnp.ones((2, 1), bool))
        >>> print(swapped_pairs(jnp.array([[[1.0]], [[2.0]]]), opposite).ravel())
        [2. 1.]
    """
    index, there = opposite
    own = jnp.arange(index.size, dtype=index.dtype).reshape(index.shape)
    place = jnp.where(there, index, own).reshape(-1)
    flat = values.reshape(index.size, -1)
    swapped = lax.custom_linear_solve(lambda x: x[place], flat, lambda _, b: b[place], symmetric=True)
    return swapped.reshape(values.shape)


def _packed(shifts: Float[Array, "atoms slots 3"]) -> Int[Array, "atoms slots"]:
    """One number per lattice image; that of the opposite image is its negative."""
    whole = jnp.round(shifts).astype(jnp.int32)
    return (whole[..., 0] * _FAR + whole[..., 1]) * _FAR + whole[..., 2]
