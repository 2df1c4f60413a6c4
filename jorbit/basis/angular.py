"""Real spherical harmonics as polynomials of the unit vector."""

import math

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.ops import safe_divide, safe_norm


def real_spherical_harmonics(unit: Float[Array, "*batch 3"], l_max: int) -> Float[Array, "*batch lm"]:
    """Y_lm for l = 0 .. l_max, m = -l .. l, in the order (0,0), (1,-1), (1,0), (1,1), (2,-2), ...

    Normalised so that the sum over m of Y_lm^2 is 2l + 1 (4 pi times the orthonormal ones), without
    Condon-Shortley phase: Y_00 = 1 and (Y_1-1, Y_10, Y_11) = sqrt(3) (y, z, x).
    Y_lm = N_lm Q_lm(z) Re or Im (x + i y)^|m|, with Q the associated Legendre functions without their factor sin^m,
    from the upward recursion in l; no trigonometric function and no singularity at the poles.

    Args:
        unit: unit vectors (x, y, z).
        l_max: highest degree.

    References:
        Bigi, Fraux, Browning and Ceriotti, J. Chem. Phys. 159, 064802 (2023).
    """
    return _harmonics(unit[..., 0], unit[..., 1], unit[..., 2], l_max)


def direction_gradients(
    vectors: Float[Array, "*batch 3"], l_max: int
) -> tuple[Float[Array, "*batch lm"], Float[Array, "*batch 3 lm"]]:
    """Y_lm of the directions of vectors (Å), and d Y_lm / d vector, 1/Å; zero gradients for zero vectors.

    The polynomials are differentiated with respect to x, y and z one at a time, and the part along the vector removed:
    a third of the work of differentiating through the norm.
    """
    r = safe_norm(vectors)
    unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
    x, y, z = xyz = (unit[..., 0], unit[..., 1], unit[..., 2])
    one = jnp.ones_like(r)
    slopes = [
        jax.jvp(lambda x: _harmonics(x, y, z, l_max), (x,), (one,))[1],
        jax.jvp(lambda y: _harmonics(x, y, z, l_max), (y,), (one,))[1],
        jax.jvp(lambda z: _harmonics(x, y, z, l_max), (z,), (one,))[1],
    ]
    outwards = sum(u[..., None] * slope for u, slope in zip(xyz, slopes, strict=True))
    inverse = safe_divide(jnp.ones_like(r), r)[..., None]
    across = [inverse * (slope - u[..., None] * outwards) for u, slope in zip(xyz, slopes, strict=True)]
    return _harmonics(x, y, z, l_max), jnp.stack(across, axis=-2)


def _harmonics(x: Array, y: Array, z: Array, l_max: int) -> Array:
    """Y_lm as polynomials of the components of a unit vector."""
    cosines, sines = [jnp.ones_like(x)], [jnp.zeros_like(x)]
    for _ in range(l_max):
        cosines, sines = (
            [*cosines, x * cosines[-1] - y * sines[-1]],
            [*sines, x * sines[-1] + y * cosines[-1]],
        )
    legendre: dict[tuple[int, int], Array] = {}
    for m in range(l_max + 1):
        legendre[m, m] = jnp.full_like(x, float(math.prod(range(1, 2 * m, 2))))
        if m < l_max:
            legendre[m + 1, m] = (2 * m + 1) * z * legendre[m, m]
        for l in range(m + 2, l_max + 1):  # noqa: E741
            legendre[l, m] = ((2 * l - 1) * z * legendre[l - 1, m] - (l + m - 1) * legendre[l - 2, m]) / (l - m)
    values = []
    for l in range(l_max + 1):  # noqa: E741
        for m in range(-l, l + 1):
            k = abs(m)
            norm = math.sqrt((2 * l + 1) * math.factorial(l - k) / math.factorial(l + k) * (2 if k else 1))
            values.append(norm * legendre[l, k] * (cosines[k] if m >= 0 else sines[k]))
    return jnp.stack(values, axis=-1)
