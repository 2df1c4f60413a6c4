"""Mapping a function of single atoms over blocks of atoms: memory linear in atoms, temporaries that fit in cache."""

import os
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

LARGER = 8  # times; blocks do not grow further, for the temporaries of a block grow with it


def shared_block(block: int) -> int:
    """A block whose operations are worth sharing: `block` atoms for one thread, twice as many for each of several.

    A CPU's threads share single operations. Those of a block that suits one core's cache are over before a second
    thread has begun: networks were slower on two threads than on one.

    Args:
        block: atoms whose temporaries fit in a core's cache.

    Example:
        >>> shared_block(16) % 16
        0
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return block * (1 if threads == 1 else min(2 * threads, LARGER))


def map_atom_blocks(
    function: Callable[..., Any], inputs: tuple[Any, ...], block: int, *, everywhere: bool = False
) -> Any:
    """function(*inputs) with its temporaries held for `block` atoms at a time.

    On a CPU temporaries that stay in a core's cache are worth more than large operations; an accelerator gets all atoms
    at once, unless the temporaries are too large for any device (`everywhere`). The reverse pass computes each block
    again instead of keeping its temporaries.

    Args:
        function: takes arrays whose first axis is atoms, returns arrays (or a tree of them) whose first axis is atoms;
            an atom's results may depend on that atom's inputs only.
        inputs: arrays [atoms, ...], or trees of them.
        block: atoms per block.
        everywhere: use blocks on every device.

    Example:
        >>> map_atom_blocks(lambda x: 2.0 * x, (jnp.arange(5.0),), block=2).tolist()
        [0.0, 2.0, 4.0, 6.0, 8.0]
    """
    n_atoms = jax.tree.leaves(inputs)[0].shape[0]
    if not in_blocks(n_atoms, block, everywhere=everywhere):
        return function(*inputs)
    results = map_blocks(lambda one: function(*one), inputs, block)
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:])[:n_atoms], results)


def in_blocks(n_atoms: int, block: int, *, everywhere: bool = False) -> bool:
    """Whether so many atoms are computed in blocks, see `map_atom_blocks`."""
    return n_atoms > block and (everywhere or jax.default_backend() == "cpu")


def map_blocks(function: Callable[[Any], Any], inputs: Any, block: int) -> Any:
    """Results of function(block of the inputs), stacked [blocks, ...]; the last block is filled up with its last atom.

    Args:
        function: takes a tree like `inputs`, of one block; computed again in the reverse pass.
        inputs: tree of arrays [atoms, ...].
        block: atoms per block.
    """
    n_atoms = jax.tree.leaves(inputs)[0].shape[0]
    n_blocks = -(-n_atoms // block)
    room = n_blocks * block - n_atoms

    def cut(a: Array) -> Array:
        if room:  # `jnp.pad` would leave arrays of zeros for its reverse pass, even without anything to pad
            a = jnp.concatenate([a, jnp.broadcast_to(a[-1:], (room, *a.shape[1:]))])
        return a.reshape(n_blocks, block, *a.shape[1:])

    return jax.lax.map(jax.checkpoint(function), jax.tree.map(cut, inputs))
