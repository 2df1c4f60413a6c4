"""Sums over neighbours in blocks of atoms whose reverse pass gathers: nothing of the size of all pairs is kept."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Int

from jorbit.core.blocks import in_blocks, map_atom_blocks, map_blocks

Tree = Any


def neighbor_sums(
    summed: Callable[[Tree, Tree, Tree], Tree],
    transposed: Callable[[Tree, Tree, Tree, Tree], Tree],
    weights: Tree,
    pairs: Tree,
    senders: Tree,
    index: Int[Array, "atoms slots"],
    block: int,
) -> Tree:
    """summed(weights, pairs, senders[index]): what atoms hear from their neighbours, a block of atoms at a time.

    The derivative by what a sender j says is a sum over those who hear it. Every pair stands in the lists of both atoms
    (pairs just at the cutoff, whose messages vanish, excepted), so these are j's own neighbours: the reverse pass
    gathers their cotangents where JAX would keep the rows of all pairs and scatter them. An atom whose own list is left
    empty, as at the rim of a domain, gets no derivative: what it says must not depend on positions.

    Args:
        summed: takes weights, pairs [block, slots, ...] and what the neighbours say [block, slots, ...]; returns
            arrays [block, ...] that are zero for empty slots.
        transposed: takes weights, pairs, what an atom says itself [block, ...] and the cotangents of its neighbours
            [block, slots, ...]; returns the cotangents [block, ...] of what it says. `pairs` are those of the atom's
            own list: a vector points away from it.
        weights: arrays that all atoms share.
        pairs: arrays [atoms, slots, ...].
        senders: arrays [atoms, ...].
        index: neighbours of each atom.
        block: atoms at a time, on a CPU.

    Example:
        >>> index = jnp.array([[1], [0]])
        >>> def summed(w, r, x):
        ...     return (w * r * x).sum(axis=1)
        >>> def transposed(w, r, own, heard):
        ...     return (w * r * heard).sum(axis=1)
        >>> neighbor_sums(summed, transposed, 3.0, jnp.full((2, 1), 2.0), jnp.array([1.0, 5.0]), index, 8).tolist()
        [30.0, 6.0]
    """

    def gathered(values: Tree, index: Array) -> Tree:
        return jax.tree.map(lambda x: x[index], values)

    def plain(weights: Tree, pairs: Tree, senders: Tree, index: Array) -> Tree:
        def one(pairs: Tree, index: Array) -> Tree:
            return summed(weights, pairs, gathered(senders, index))

        return map_atom_blocks(one, (pairs, index), block)

    def forward(weights: Tree, pairs: Tree, senders: Tree, index: Array) -> tuple[Tree, tuple]:
        return plain(weights, pairs, senders, index), (weights, pairs, senders, index)

    def backward(kept: tuple, cotangent: Tree) -> tuple:
        weights, pairs, senders, index = kept
        n_atoms = index.shape[0]

        def one(inputs: tuple) -> tuple[Tree, tuple[Tree, Tree]]:
            atoms, pairs, own, index, here = inputs
            once = jnp.diff(atoms, prepend=-1) != 0  # the last block is filled up with its last atom
            here = jax.tree.map(lambda x: jnp.where(once.reshape(-1, *(1,) * (x.ndim - 1)), x, 0.0), here)
            said = gathered(senders, index)
            _, pull = jax.vjp(lambda weights, pairs: summed(weights, pairs, said), weights, pairs)
            of_weights, of_pairs = pull(here)
            return of_weights, (of_pairs, transposed(weights, pairs, own, gathered(cotangent, index)))

        inputs = (jnp.arange(n_atoms), pairs, senders, index, cotangent)
        if not in_blocks(n_atoms, block):
            of_weights, of_atoms = one(inputs)
        else:
            of_weights, of_atoms = map_blocks(one, inputs, block)
            of_weights = jax.tree.map(lambda x: x.sum(axis=0), of_weights)
            of_atoms = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:n_atoms], of_atoms)
        return of_weights, *of_atoms, None

    sums = jax.custom_vjp(plain)
    sums.defvjp(forward, backward)
    return sums(weights, pairs, senders, index)
