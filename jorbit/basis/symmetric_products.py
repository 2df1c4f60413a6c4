"""Invariant products of the atomic basis: values, tangents, and contraction with coefficients.

Arrays carry the atoms last and m first: `atomic[l]` is [2l + 1, rows, atoms], so that every operation runs over
contiguous memory and each coupling is one matrix product [m, m1 m2] @ [m1 m2, pairs * atoms]. Every invariant of
order 4 is the dot product of two coupled pairs, every one of order 3 that of a pair and a single function: each pair
product is computed once and shared by all invariants that hold it.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.coupling import clebsch_gordan
from jorbit.basis.product_space import Block, ProductSpace

Atomic = Sequence[Float[Array, "_ _ _"]]


def pair_products(block: Block, left: Atomic, right: Atomic) -> Float[Array, "m pairs atoms"]:
    """(left_v1 right_v2)_L for every pair of a block; the atoms axes broadcast."""
    parts = []
    for group in block.groups:
        a, b = left[group.l1][:, group.rows1], right[group.l2][:, group.rows2]
        table = clebsch_gordan(group.l1, group.l2, block.degree)
        if group.l1 == 0:  # the coupling of a scalar with a degree-L tensor is their product
            parts.append(a * b)
            continue
        if block.degree == 0:  # a scalar product: the table is a multiple of the identity
            parts.append(float(table[0, 0, 0]) * (a * b).sum(axis=0, keepdims=True))
            continue
        outer = a[:, None] * b[None, :]
        n_pairs, n_atoms = outer.shape[2:]
        matrix = jnp.asarray(table.reshape(-1, table.shape[2]).T, outer.dtype)
        parts.append((matrix @ outer.reshape(matrix.shape[1], -1)).reshape(-1, n_pairs, n_atoms))
    return jnp.concatenate(parts, axis=1)


def invariants(space: ProductSpace, atomic: Atomic) -> Float[Array, "features atoms"]:
    """All invariants of the space.

    Args:
        space: tables from `product_space`.
        atomic: A_l [2l + 1, rows, atoms] for l = 0 .. l_max.
    """
    parts = [atomic[0][0, space.single]]
    for block in space.blocks:
        pairs = pair_products(block, atomic, atomic)
        parts.append(pairs[0, block.pair])
        if len(block.triple):
            parts.append((pairs[:, block.triple[:, 0]] * atomic[block.degree][:, block.triple[:, 1]]).sum(axis=0))
        parts.append((pairs[:, block.quadruple[:, 0]] * pairs[:, block.quadruple[:, 1]]).sum(axis=0))
    return jnp.concatenate(parts, axis=0)


def invariants_jvp(space: ProductSpace, atomic: Atomic, tangent: Atomic) -> tuple[Array, Array]:
    """Invariants of one atom and their derivatives along many directions at once.

    Args:
        space: tables from `product_space`.
        atomic: A_l [2l + 1, rows, 1].
        tangent: dA_l [2l + 1, rows, directions].

    Returns:
        Values [features] and derivatives [features, directions].
    """
    values, derivatives = [atomic[0][0, space.single]], [tangent[0][0, space.single]]
    for block in space.blocks:
        pairs = pair_products(block, atomic, atomic)
        d_pairs = pair_products(block, tangent, atomic) + pair_products(block, atomic, tangent)
        values.append(pairs[0, block.pair])
        derivatives.append(d_pairs[0, block.pair])
        if len(block.triple):
            (q, v), a, da = block.triple.T, atomic[block.degree], tangent[block.degree]
            values.append((pairs[:, q] * a[:, v]).sum(axis=0))
            derivatives.append((pairs[:, q] * da[:, v] + a[:, v] * d_pairs[:, q]).sum(axis=0))
        if len(block.quadruple):
            q, p = block.quadruple.T
            values.append((pairs[:, q] * pairs[:, p]).sum(axis=0))
            derivatives.append((pairs[:, q] * d_pairs[:, p] + pairs[:, p] * d_pairs[:, q]).sum(axis=0))
    return jnp.concatenate(values, axis=0)[:, 0], jnp.concatenate(derivatives, axis=0)


def linear_combination(
    space: ProductSpace,
    atomic: Atomic,
    coefficients: Float[Array, "species features"],
    chosen: Float[Array, "species atoms"],
) -> Float[Array, " atoms"]:
    """coefficients[species of the atom] @ invariants, without forming the invariants.

    Per block the coefficients of triples and quadruples are scattered into matrices [pairs, rows of A_L] and
    [pairs, pairs], and their sum becomes matrix products over all atoms. The reverse pass costs twice that.

    Args:
        space: tables from `product_space`.
        atomic: A_l [2l + 1, rows, atoms].
        coefficients: one per feature for each species of central atom.
        chosen: 1 where the atom is of the species, else 0; an atom with none has energy 0.
    """
    start = len(space.single)
    energy = coefficients[:, :start] @ atomic[0][0, space.single]
    for block in space.blocks:
        pairs = pair_products(block, atomic, atomic)
        sizes = (len(block.pair), len(block.triple), len(block.quadruple))
        c_pair, c_triple, c_quadruple = jnp.split(
            coefficients[:, start : start + sum(sizes)], np.cumsum(sizes)[:-1], axis=1
        )
        start += sum(sizes)
        if sizes[0]:
            energy = energy + c_pair @ pairs[0, block.pair]
        partners = []
        if sizes[1]:
            a = atomic[block.degree]
            partners.append(_weighted(block.triple, c_triple, (block.n_pairs, a.shape[1]), a, chosen))
        if sizes[2]:
            partners.append(_weighted(block.quadruple, c_quadruple, (block.n_pairs, block.n_pairs), pairs, chosen))
        if partners:
            energy = energy + (pairs * sum(partners[1:], partners[0])).sum(axis=(0, 1))[None]
    return (energy * chosen).sum(axis=0)


def _weighted(table: np.ndarray, c: Array, shape: tuple[int, int], right: Array, chosen: Array) -> Array:
    """sum over rows r of C_s[q, r] right[m, r, t] with s the species of atom t -> [m, q, t]."""
    n_species = c.shape[0]
    matrices = jnp.zeros((n_species, *shape), right.dtype).at[:, table[:, 0], table[:, 1]].add(c)
    if n_species == 1:
        return jnp.matmul(jnp.broadcast_to(matrices, (right.shape[0], *shape)), right)
    products = jnp.einsum("sqr,mrt->smqt", matrices, right)
    return (products * chosen[:, None, None, :]).sum(axis=0)
