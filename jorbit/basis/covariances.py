"""Covariance functions of feature vectors, and their slopes in the form that forces need.

Both kernels are functions whose gradient is a combination of the two vectors themselves,

    dk(d, p)/dd = a(d, p) p + b(d, p) d,

so that a derivative with respect to positions needs the products p . G and d . G of a Jacobian G = dd/dr only.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.ops import safe_norm

KERNELS = ("polynomial", "rbf")


class Covariance(NamedTuple):
    """k(d_i, p_s) and the two factors of its gradient.

    Attributes:
        value: k.
        along_point, along_features: a and b.
    """

    value: Float[Array, "atoms points"]
    along_point: Float[Array, "atoms points"]
    along_features: Float[Array, "atoms points"]


def polynomial(
    features: Float[Array, "atoms features"], points: Float[Array, "points features"], zeta: int
) -> Covariance:
    """k = (d . p / (|d| |p|))^zeta: 1 for features that differ by a factor; 0 where either vanishes.

    Args:
        features, points: any units.
        zeta: whole number >= 1.

    Example:
        >>> polynomial(jnp.array([[1.0, 0.0]]), jnp.array([[2.0, 0.0], [1.0, 1.0]]), 2).value.round(3).tolist()
        [[1.0, 0.5]]
    """
    length, lengths = safe_norm(features), safe_norm(points)
    inverse = jnp.where(length > 0, 1.0 / jnp.where(length > 0, length, 1.0), 0.0)[:, None]
    scale = jnp.where(lengths > 0, 1.0 / jnp.where(lengths > 0, lengths, 1.0), 0.0)[None, :]
    cosine = jnp.matmul(features, points.T, precision="highest") * inverse * scale
    slope = zeta * cosine ** (zeta - 1)
    return Covariance(cosine**zeta, slope * inverse * scale, -slope * cosine * inverse**2)


def rbf(features: Float[Array, "atoms features"], points: Float[Array, "points features"], length: float) -> Covariance:
    """k = exp(-|d - p|^2 / (2 length^2)).

    Args:
        features, points: any units.
        length: in the same units.

    Example:
        >>> bool(jnp.allclose(rbf(jnp.zeros((1, 2)), jnp.ones((1, 2)), 1.0).value, jnp.exp(-1.0)))
        True
    """
    squares = jnp.sum(features**2, axis=-1)[:, None] + jnp.sum(points**2, axis=-1)[None, :]
    distance = squares - 2.0 * jnp.matmul(features, points.T, precision="highest")
    value = jnp.exp(-0.5 * jnp.maximum(distance, 0.0) / length**2)
    return Covariance(value, value / length**2, -value / length**2)
