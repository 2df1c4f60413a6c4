"""Smooth steps from 1 at r = 0 to exactly 0 at the cutoff and beyond."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float


def cosine_cutoff(r: Float[Array, "*batch"], cutoff: float) -> Float[Array, "*batch"]:
    """(1 + cos(pi r / cutoff)) / 2 inside, 0 outside. Value and first derivative vanish at the cutoff.

    The second derivative jumps there: prefer `polynomial_cutoff` where Hessians matter.

    References:
        Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007).
    """
    inside = r < cutoff
    return jnp.where(inside, 0.5 * (1.0 + jnp.cos(jnp.pi * jnp.where(inside, r, cutoff) / cutoff)), 0.0)


def polynomial_cutoff(
    r: Float[Array, "*batch"], cutoff: float, power: int = 6, *, continued: bool = False
) -> Float[Array, "*batch"]:
    """Polynomial in x = r / cutoff with value, first and second derivative 0 at x = 1, and flat at x = 0.

    f(x) = 1 - (p+1)(p+2)/2 x^p + p(p+2) x^(p+1) - p(p+1)/2 x^(p+2).

    Args:
        r: distances, Å.
        cutoff: Å.
        power: p; larger keeps the function near 1 for longer.
        continued: go on with the polynomial outside, for tables that want smooth functions.

    References:
        Gasteiger, Groß and Günnemann, ICLR 2020 (arXiv:2003.03123) (envelope).
    """
    x, p = r / cutoff, float(power)
    inside = x < 1.0
    x = x if continued else jnp.where(inside, x, 0.0)
    value = 1.0 - x**power * ((p + 1) * (p + 2) / 2 - x * (p * (p + 2) - x * p * (p + 1) / 2))
    return value if continued else jnp.where(inside, value, 0.0)


def quadratic_cutoff(r: Float[Array, "*batch"], cutoff: float, power: int = 3) -> Float[Array, "*batch"]:
    """(1 - (r / cutoff)^2)^power inside, 0 outside; continuous up to derivative power - 1.

    Falls off gradually from the origin, which regularises long-range correlations of flexible radial bases.
    """
    x = r / cutoff
    inside = x < 1.0
    return jnp.where(inside, (1.0 - jnp.where(inside, x, 0.0) ** 2) ** power, 0.0)
