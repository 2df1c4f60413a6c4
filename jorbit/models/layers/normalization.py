"""Bringing products of 1, 2, 3, 4 moments to one scale before they are mixed."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

NORMALIZATIONS = ("bounded", "group", "none")


def group_norm(
    invariants: Float[Array, "atoms invariants features"],
    gain: Float[Array, "invariants features"],
    bias: Float[Array, "invariants features"],
    epsilon: float,
) -> Float[Array, "atoms invariants features"]:
    """(I_ka - mean_a I_k) / sqrt(var_a I_k + epsilon) * gain + bias, for each atom and invariant k over its features a.

    Where the last neighbour leaves, all I_k and their variance vanish and the factor grows to 1 / sqrt(epsilon): a
    product of n moments, which fades as w^n, still counts until w^n falls below sqrt(epsilon), and then fades quickly.
    Forces are continuous but can be steep near the cutoff. `bounded` has no such step.

    References:
        Wu and He, ECCV 2018 (arXiv:1803.08494); its use here is that of HIP-HOP-NN's code, github.com/lanl/hippynn.
    """
    centered = invariants - invariants.mean(axis=2, keepdims=True)
    variance = jnp.mean(centered**2, axis=2, keepdims=True)
    return centered * jax.lax.rsqrt(variance + epsilon) * gain[None] + bias[None]


def bounded(
    invariants: Sequence[Float[Array, "atoms features"]],
    squared_norm: Float[Array, "atoms features"],
    orders: Sequence[int],
) -> list[Float[Array, "atoms features"]]:
    """I_ka / (1 + |M_a|^2)^((n_k - 1) / 2): a product of n moments that grows as one moment.

    Where all moments are small it is the product itself. Smooth everywhere, with derivatives bounded by the moments'
    own; each feature stands for itself, so nothing depends on a variance that vanishes with the last neighbour.

    Args:
        invariants: one array per invariant.
        squared_norm: s^2 + v.v + Q:Q + ... of each feature.
        orders: n_k, how many moments are multiplied.
    """
    factor = jax.lax.rsqrt(1.0 + squared_norm)
    powers: dict[int, Array] = {1: jnp.ones_like(factor)}
    for n in range(2, max(orders) + 1):
        powers[n] = powers[n - 1] * factor
    return [values * powers[n] if n > 1 else values for values, n in zip(invariants, orders, strict=True)]
