"""Orthonormal radial functions g_nl, and their overlaps with the Gaussian of a neighbour: the radial part of SOAP."""

import functools
import math

import numpy as np
import scipy.special
from jaxtyping import Float

from jorbit.basis.radial_table import chebyshev_series
from jorbit.core.errors import ConfigError

FAMILIES = ("gto", "gto_powers", "polynomial")


def radial_functions(
    family: str, r: Float[np.ndarray, " points"], n_radial: int, degree: int, cutoff: float
) -> Float[np.ndarray, "points n_radial"]:
    """Orthonormal g_n(r) of one degree l: integral of r^2 g_n g_k over r is 1 for n = k, else 0.

    Primitives, made orthonormal by the inverse square root of their overlap matrix:

    * "gto": r^l exp(-a_nl r^2), with a_nl such that it has fallen to 0.001 at distances from 1 Å to the cutoff;
    * "gto_powers": r^n exp(-r^2 / (2 s_n^2)), s_n = sqrt(max(n, 1)) cutoff / n_radial, n = 0 .. n_radial - 1;
    * "polynomial": (cutoff - r)^(n + 3), n = 0 .. n_radial - 1, zero beyond the cutoff.

    Args:
        family: one of the three.
        r: distances, Å.
        n_radial: number of functions.
        degree: l.
        cutoff: Å.

    Raises:
        ConfigError: an unknown family, or functions too alike to be told apart in double precision.

    References:
        Himanen et al., Comput. Phys. Commun. 247, 106949 (2020) ("gto" and "polynomial"); Bigi, Fraux, Browning and
        Ceriotti, J. Chem. Phys. 159, 064802 (2023) and references therein ("gto_powers").
    """
    n = np.arange(n_radial)
    if family == "gto":
        if cutoff <= 1.0 and n_radial > 1:
            raise ConfigError(f"Radial functions of the family 'gto' need a cutoff above 1 Å, got {cutoff}.")
        ends = np.linspace(1.0, cutoff, n_radial)
        decay = -np.log(1e-3 / ends**degree) / ends**2
        both = decay[:, None] + decay[None, :]
        overlap = 0.5 * scipy.special.gamma(degree + 1.5) * both ** (-degree - 1.5)
        primitive = r[:, None] ** degree * np.exp(-decay * r[:, None] ** 2)
        scale = np.ones(n_radial)
    elif family == "gto_powers":
        width = np.sqrt(np.maximum(n, 1)) * cutoff / n_radial
        both = 0.5 / width[:, None] ** 2 + 0.5 / width[None, :] ** 2
        power = 0.5 * (3.0 + n[:, None] + n[None, :])
        overlap = 0.5 * scipy.special.gamma(power) * both**-power
        primitive = r[:, None] ** n * np.exp(-0.5 * (r[:, None] / width) ** 2)
        scale = 1.0 / np.sqrt(np.diag(overlap))
    elif family == "polynomial":
        k = n[:, None] + n[None, :]
        overlap = 2.0 * cutoff ** (9.0 + k) / ((7.0 + k) * (8.0 + k) * (9.0 + k))
        primitive = np.clip(cutoff - r[:, None], 0.0, None) ** (n + 3.0)
        scale = np.ones(n_radial)
    else:
        raise ConfigError(f"Wanted a radial family in {FAMILIES}, got {family!r}.")
    values, vectors = np.linalg.eigh(scale[:, None] * overlap * scale)
    if values[0] <= 1e-16 * values[-1]:
        raise ConfigError(
            f"{n_radial} radial functions of the family {family!r} within {cutoff} Å are too alike: use fewer."
        )
    return (primitive * scale) @ (vectors / np.sqrt(values)) @ vectors.T


@functools.lru_cache(maxsize=64)
def gaussian_overlaps(
    family: str, n_radial: int, l_max: int, cutoff: float, sigma: float
) -> tuple[Float[np.ndarray, "terms functions"], Float[np.ndarray, " n_radial"]]:
    """Series of I_nl(r), ordered by l and then n, and I_n0(0).

    The density exp(-|r - r_j|^2 / (2 sigma^2)) of a neighbour at r_j has the coefficients I_nl(|r_j|) Y_lm(r̂_j) in the
    functions g_nl(r) Y_lm(r̂), with orthonormal Y_lm and

    I_nl(d) = 4 pi int_0^inf r^2 g_nl(r) exp(-a (r^2 + d^2)) i_l(2 a r d) dr, a = 1 / (2 sigma^2),

    i_l the modified spherical Bessel functions. The integrals are done on the host by Gauss-Legendre quadrature.

    Args:
        family, n_radial, cutoff: see `radial_functions`.
        l_max: highest degree.
        sigma: width of the Gaussians, Å.

    Example:
        >>> series, at_centre = gaussian_overlaps("gto", n_radial=3, l_max=1, cutoff=4.0, sigma=0.5)
        >>> series.shape[1], at_centre.shape
        (6, (3,))
    """
    a = 0.5 / sigma**2
    end = cutoff if family == "polynomial" else cutoff + 9.0 * sigma
    nodes, weights = np.polynomial.legendre.leggauss(100 + math.ceil(20 * end / sigma))
    r, w = 0.5 * end * (nodes + 1.0), 0.5 * end * weights
    functions = [radial_functions(family, r, n_radial, degree, cutoff) for degree in range(l_max + 1)]

    def overlaps(distances: np.ndarray) -> np.ndarray:
        x = 2.0 * a * np.outer(distances, r)
        safe = np.where(x > 0, x, 1.0)
        results = []
        for degree, g in enumerate(functions):
            bessel = np.sqrt(0.5 * np.pi / safe) * scipy.special.ive(degree + 0.5, safe)
            bessel = np.where(x > 0, bessel, 1.0 if degree == 0 else 0.0)
            gaussian = np.exp(-a * (distances[:, None] - r) ** 2)
            results.append((4.0 * np.pi * gaussian * bessel * w * r**2) @ g)
        return np.concatenate(results, axis=1)

    return chebyshev_series(overlaps, cutoff), overlaps(np.zeros(1))[0, :n_radial]
