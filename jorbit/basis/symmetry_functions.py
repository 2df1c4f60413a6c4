"""Sums over neighbours and over pairs of neighbours, resolved by species: what ACSF and ANI's AEV share."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.ops import safe_divide, safe_norm


def species_weights(
    species_j: Int[Array, "atoms slots"], mask: Bool[Array, "atoms slots"], n_species: int, dtype: jnp.dtype
) -> Float[Array, "atoms slots species"]:
    """1 where the slot holds a neighbour of the species, else 0."""
    return jnp.where(mask[..., None], jax.nn.one_hot(species_j, n_species, dtype=dtype), 0.0)


def species_pairs(n_species: int) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Unordered pairs of species (p <= q): (0, 0), (0, 1), ..., (1, 1), ..."""
    left, right = np.triu_indices(n_species)
    return left.astype(np.int32), right.astype(np.int32)


def angles(
    own: Float[Array, "atoms slots 3"], others: Float[Array, "atoms slots 3"]
) -> tuple[Float[Array, "atoms slots 1"], Float[Array, "atoms 1 slots"], Float[Array, "atoms slots slots"]]:
    """Lengths of both sides (Å) and the cosine of the angle between every two neighbours.

    `own` and `others` are the same vectors; as two arguments they can be differentiated apart.
    """
    r_s, r_t = safe_norm(own), safe_norm(others)
    unit_s = safe_divide(own, jnp.broadcast_to(r_s[..., None], own.shape))
    unit_t = safe_divide(others, jnp.broadcast_to(r_t[..., None], others.shape))
    cosines = sum(unit_s[:, :, None, x] * unit_t[:, None, :, x] for x in range(3))
    return r_s[:, :, None], r_t[:, None, :], jnp.asarray(cosines)


def different_slots(n_slots: int, dtype: jnp.dtype) -> Float[Array, "1 {n_slots} {n_slots}"]:
    """0 where both neighbours are the same slot, else 1."""
    return 1.0 - jnp.eye(n_slots, dtype=dtype)[None]


def real_power(base: Float[Array, "*batch"], exponent: float) -> Float[Array, "*batch"]:
    """base^exponent of a base >= 0; whole exponents by multiplication, 0 at base 0 with slope 0 for the others."""
    if float(exponent).is_integer():
        return base ** int(exponent)
    positive = base > 0
    return jnp.where(positive, jnp.exp(exponent * jnp.log(jnp.where(positive, base, 1.0))), 0.0)


def triple_shares(
    radial: Float[Array, "atoms slots slots k"],
    angular: Float[Array, "atoms slots slots p"],
    weights: Float[Array, "atoms slots species"],
) -> Float[Array, "atoms slots species functions"]:
    """Sum over the second neighbour t of radial_k(s, t) angular_p(s, t), by the species of t.

    One small matrix product per neighbour s, [k * species, t] @ [t, p].
    """
    weighted = radial[..., None] * weights[:, None, :, None, :]  # [atoms, s, t, k, species]
    shares = jnp.einsum("astkq,astp->asqkp", weighted, angular, precision="highest")
    return shares.reshape(*shares.shape[:3], -1)


def radial_sums(
    shares: Float[Array, "atoms slots k"], weights: Float[Array, "atoms slots species"]
) -> Float[Array, "atoms features"]:
    """Sum over neighbours of each species."""
    return jnp.einsum("ask,asq->aqk", shares, weights, precision="highest").reshape(len(shares), -1)


def triple_sums(
    shares: Float[Array, "atoms slots species k"], weights: Float[Array, "atoms slots species"]
) -> Float[Array, "atoms features"]:
    """Sum over unordered pairs of neighbours, each pair once, for each unordered pair of species."""
    left, right = species_pairs(weights.shape[-1])
    sums = jnp.einsum("asqk,asp->apqk", shares, weights, precision="highest")[:, left, right]
    once = jnp.asarray(np.where(left == right, 0.5, 1.0), shares.dtype)
    return (sums * once[None, :, None]).reshape(len(shares), -1)


def share_gradients(
    functions: Callable[[Array, Array], tuple[Array, Array]],
    vectors: Float[Array, "atoms slots 3"],
    weights: Float[Array, "atoms slots species"],
) -> Float[Array, "atoms features slots 3"]:
    """Derivatives of radial and triple sums with respect to each pair vector.

    A sum over unordered pairs of h(r_s, r_t) = h(r_t, r_s) has the derivative sum over t of dh / d(first argument) with
    respect to r_s, so that three directions are enough, whatever the number of neighbours.

    Args:
        functions: (own vectors, other vectors) -> radial shares [atoms, slots, k] and triple shares [atoms, slots,
            species, k], the share of a slot depending on its own vector through the first argument only.
        vectors: pair vectors, Å.
        weights: see `species_weights`.
    """
    left, right = species_pairs(weights.shape[-1])
    once = jnp.asarray(np.where(left == right, 0.5, 1.0), vectors.dtype)
    columns = []
    for x in range(3):
        direction = jnp.broadcast_to(jnp.eye(3, dtype=vectors.dtype)[x], vectors.shape)
        pairs, triples = jax.jvp(lambda own: functions(own, vectors), (vectors,), (direction,))[1]
        # features first: contiguous slots in the result
        pairs, triples, w = jnp.moveaxis(pairs, 1, -1), jnp.moveaxis(triples, 1, -1), jnp.moveaxis(weights, 1, -1)
        by_species = w[:, :, None] * pairs[:, None]
        by_pair = w[:, left, None] * triples[:, right] + w[:, right, None] * triples[:, left]
        by_pair = by_pair * once[None, :, None, None]
        n_atoms, n_slots = vectors.shape[:2]
        columns.append(
            jnp.concatenate([by_species.reshape(n_atoms, -1, n_slots), by_pair.reshape(n_atoms, -1, n_slots)], axis=1)
        )
    return jnp.stack(columns, axis=-1)
