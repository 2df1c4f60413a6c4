"""Repulsion of two nuclei screened by their electrons: the universal function of Ziegler, Biersack and Littmark."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jorbit.core.units import COULOMB

# phi(x) = sum_k AMPLITUDES[k] exp(-RATES[k] x)
AMPLITUDES = (0.02817, 0.28022, 0.50986, 0.18175)
RATES = (0.20162, 0.40290, 0.94229, 3.19980)
LENGTH = 0.46850  # Å
EXPONENT = 0.23


def zbl_energy(
    r: Float[Array, "*batch"],
    number_i: Int[Array, "*#batch"],
    number_j: Int[Array, "*#batch"],
    *,
    length: float = LENGTH,
    exponent: float = EXPONENT,
    coulomb: float = COULOMB,
    amplitudes: tuple[float, ...] = AMPLITUDES,
    rates: tuple[float, ...] = RATES,
) -> Float[Array, "*batch"]:
    """e^2 / (4 pi eps0) Z_i Z_j / r phi(r / a) with a = length / (Z_i^exponent + Z_j^exponent), in eV.

    Args:
        r: distances, Å, positive.
        number_i, number_j: atomic numbers.
        length, exponent: of the screening length, Å.
        coulomb: e^2 / (4 pi eps0), eV Å.
        amplitudes, rates: of the exponentials in phi.

    Example:
        >>> round(float(zbl_energy(jnp.array(1.0), jnp.array(14), jnp.array(14))), 2)
        50.97

    References:
        Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter, vol. 1, Pergamon (1985).
    """
    z_i, z_j = number_i.astype(r.dtype), number_j.astype(r.dtype)
    x = r * (jnp.maximum(z_i, 1.0) ** exponent + jnp.maximum(z_j, 1.0) ** exponent) / length
    phi = sum(a * jnp.exp(-rate * x) for a, rate in zip(amplitudes, rates, strict=True))
    return coulomb * z_i * z_j / r * phi
