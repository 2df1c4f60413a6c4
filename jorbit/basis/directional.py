"""Functions of the distance and angle of two pairs that share an atom, summed without a list of triples.

sqrt(2l + 1) P_l(cos angle) is a sum over m of products Y_lm Y_lm of the two directions, so a sum over one of the two
neighbours is done once for each atom, not for each pair of neighbours.
"""

import functools

import jax.numpy as jnp
import numpy as np
import scipy.special
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.moments import degree_slice
from jorbit.basis.radial_table import chebyshev_series, evaluate_series
from jorbit.basis.spherical_bessel import bessel_roots


@functools.lru_cache(maxsize=16)
def _series(l_max: int, n_radial: int, cutoff: float) -> Float[np.ndarray, "terms functions"]:
    def functions(r: np.ndarray) -> np.ndarray:
        found = []
        for degree in range(l_max + 1):
            roots = bessel_roots(degree, n_radial)
            norm = np.sqrt(2.0 / cutoff**3) / np.abs(scipy.special.spherical_jn(degree + 1, roots))
            found.append(norm * scipy.special.spherical_jn(degree, np.outer(r / cutoff, roots)))
        return np.concatenate(found, axis=1)

    return chebyshev_series(functions, cutoff)


def spherical_waves(
    r: Float[Array, "atoms slots"], l_max: int, n_radial: int, cutoff: float
) -> Float[Array, "atoms slots degrees n_radial"]:
    """envelope(r) c_ln j_l(z_ln r / cutoff), z_ln the n-th root of j_l; without envelope normalised in the sphere.

    References:
        Gasteiger, Groß and Günnemann, ICLR 2020 (arXiv:2003.03123), the radial part of its equation 6.
    """
    values = evaluate_series(_series(l_max, n_radial, cutoff), r, cutoff)
    values = values.reshape(*r.shape, l_max + 1, n_radial)
    return values * polynomial_cutoff(r, cutoff)[..., None, None]


def directional_sums(
    filters: Float[Array, "atoms slots degrees features"],
    harmonics: Float[Array, "atoms slots lm"],
    values: Float[Array, "atoms slots features"],
) -> Float[Array, "atoms slots features"]:
    """For each slot s the sum over the other slots t of the same atom of filter_l(t) sqrt(2l + 1) P_l(cos st) value(t).

    Args:
        filters: of each slot and degree; zero in empty slots.
        harmonics: Y_lm of the directions.
        values: of each slot.
    """
    total = jnp.zeros_like(values)
    for degree in range(filters.shape[2]):
        weighted = filters[:, :, degree] * values
        y = harmonics[..., degree_slice(degree)]
        moments = jnp.einsum("atm,atf->amf", y, weighted)
        pairs = jnp.einsum("asm,amf->asf", y, moments) - (2 * degree + 1) * weighted  # without itself
        total = total + pairs / np.sqrt(2 * degree + 1).astype(values.dtype)
    return total
