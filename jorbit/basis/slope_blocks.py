"""Rows of a linear system from slopes along pair vectors, a few atoms at a time."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jorbit.core.protocols import DesignRows

ROW_BLOCK = 8  # atoms whose derivatives [slots, 3, columns] are held together


def design_from_slopes(
    function: Callable[..., tuple[Array, Array]],
    inputs: tuple[Array, ...],
    vectors: Float[Array, "atoms slots 3"],
    index: Int[Array, "atoms slots"],
    n_columns: int,
    block: int = ROW_BLOCK,
) -> DesignRows:
    """Rows of energy, forces and dE/dε of one structure, of functions of the pair vectors of single atoms.

    With E = sum over i of phi_i(r_i1, r_i2, ...), the force on neighbour j is minus the slope along r_ij, that on i the
    sum of the slopes, and dE/dε the sum of r_ij ⊗ slope.

    Args:
        function: takes a block of each input, and returns phi [block, columns] and its slopes
            [block, slots, 3, columns] along the pair vectors.
        inputs: arrays [atoms, ...].
        vectors: r_ij, Å.
        index: atom j of each pair.
        n_columns: of the rows.
        block: atoms at a time.

    Example:
        >>> v = jnp.array([[[2.0, 0.0, 0.0]], [[-2.0, 0.0, 0.0]]])
        >>> square = lambda r: ((r**2).sum(-1), 2.0 * r[..., None])
        >>> design_from_slopes(square, (v,), v, jnp.array([[1], [0]]), 1).forces[:, 0, 0].tolist()
        [8.0, -8.0]
    """
    n_atoms = len(vectors)
    block = min(block, n_atoms)
    n_blocks = -(-n_atoms // block)

    def cut(a: Array) -> Array:
        a = jnp.pad(a, [(0, n_blocks * block - n_atoms)] + [(0, 0)] * (a.ndim - 1))
        return a.reshape(n_blocks, block, *a.shape[1:])

    def add(carry: tuple[Array, Array, Array], part: tuple[Array, ...]) -> tuple[tuple[Array, Array, Array], None]:
        (energy, forces, virial), (j, v, row, *rest) = carry, part
        values, slopes = function(*rest)
        forces = forces.at[j].add(-slopes)
        forces = forces.at[row].add(slopes.sum(axis=1))
        virial = virial + jnp.einsum("ajx,ajyp->xyp", v, slopes, precision="highest")
        return (energy + values.sum(axis=0), forces, virial), None

    dtype = vectors.dtype
    start = (
        jnp.zeros(n_columns, dtype),
        jnp.zeros((n_atoms, 3, n_columns), dtype),
        jnp.zeros((3, 3, n_columns), dtype),
    )
    parts = (index, vectors, jnp.arange(n_atoms), *inputs)
    (energy, forces, virial), _ = jax.lax.scan(add, start, tuple(cut(x) for x in parts))
    return DesignRows(energy=energy, forces=forces, virial=virial)
