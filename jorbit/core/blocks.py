"""Mapping a function of single atoms over blocks of atoms: memory linear in atoms, temporaries that fit in cache."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def map_atom_blocks(
    function: Callable[..., Any], inputs: tuple[Array, ...], block: int, *, everywhere: bool = False
) -> Any:
    """function(*inputs) with its temporaries held for `block` atoms at a time.

    On a CPU temporaries that stay in a core's cache are worth more than large operations; an accelerator gets all atoms
    at once, unless the temporaries are too large for any device (`everywhere`). The reverse pass computes each block
    again instead of keeping its temporaries.

    Args:
        function: takes arrays whose first axis is atoms, returns arrays (or a tree of them) whose first axis is atoms;
            an atom's results may depend on that atom's inputs only.
        inputs: arrays [atoms, ...].
        block: atoms per block.
        everywhere: use blocks on every device.

    Example:
        >>> map_atom_blocks(lambda x: 2.0 * x, (jnp.arange(5.0),), block=2).tolist()
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    n_atoms = inputs[0].shape[0]
    if n_atoms <= block or not (everywhere or jax.default_backend() == "cpu"):
        return function(*inputs)
    n_blocks = -(-n_atoms // block)
    room = n_blocks * block - n_atoms

    def cut(a: Array) -> Array:
        a = jnp.pad(a, [(0, room)] + [(0, 0)] * (a.ndim - 1), mode="edge")
        return a.reshape(n_blocks, block, *a.shape[1:])

    def joined(a: Array) -> Array:
        return a.reshape(n_blocks * block, *a.shape[2:])[:n_atoms]

    results = jax.lax.map(jax.checkpoint(lambda one: function(*one)), tuple(cut(a) for a in inputs))
    return jax.tree.map(joined, results)
