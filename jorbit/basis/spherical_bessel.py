"""Orthonormal radial functions from spherical Bessel functions, smooth at the cutoff."""

import functools
import math

import numpy as np
import scipy.optimize
import scipy.special
from jaxtyping import Float

from jorbit.basis.radial_table import chebyshev_series


@functools.lru_cache(maxsize=64)
def bessel_roots(degree: int, n: int) -> Float[np.ndarray, " {n}"]:
    """The first n positive roots of the spherical Bessel function j_l.

    Between two neighbouring roots of j_(l-1) lies one of j_l.

    Example:
        >>> (bessel_roots(0, 2) / math.pi).tolist()
        [1.0, 2.0]
    """
    if degree == 0:
        return math.pi * np.arange(1, n + 1)
    ends = bessel_roots(degree - 1, n + 1)

    def function(x: float) -> float:
        return float(scipy.special.spherical_jn(degree, x))

    return np.array([scipy.optimize.brentq(function, a, b, xtol=1e-14) for a, b in zip(ends, ends[1:], strict=False)])


def smooth_bessel_functions(
    r: Float[np.ndarray, " points"], degree: int, n: int, cutoff: float
) -> Float[np.ndarray, "points {n}"]:
    """g_0l .. g_(n-1)l: zero with two derivatives at the cutoff, and int r^2 g_kl g_ml dr = 1 for k = m, else 0.

    They are made from f_k = c_k (v j_l(u x) / j_(l+1)(u) - u j_l(v x) / j_(l+1)(v)) with x = r / cutoff, u and v the
    k-th and next root of j_l and c_k = sqrt(2 / (cutoff^3 (u^2 + v^2))). The overlap matrix of the f_k is
    tridiagonal, and Gram-Schmidt orthogonalisation a recursion.

    Args:
        r: distances, Å; the functions are for r <= cutoff.
        degree: l.
        n: number of functions.
        cutoff: Å.

    References:
        Kocer, Mason and Erturk, J. Chem. Phys. 150, 154102 (2019) and AIP Adv. 10, 015021 (2020).
    """
    u = bessel_roots(degree, n + 1)
    j = scipy.special.spherical_jn(degree, np.outer(r / cutoff, u)) / scipy.special.spherical_jn(degree + 1, u)
    squares = u**2
    f = np.sqrt(2.0 / (cutoff**3 * (squares[:-1] + squares[1:]))) * (u[1:] * j[:, :-1] - u[:-1] * j[:, 1:])
    functions = [f[:, 0]]
    d = 1.0
    for k in range(1, n):
        e = squares[k - 1] * squares[k + 1] / ((squares[k - 1] + squares[k]) * (squares[k] + squares[k + 1]))
        before, d = d, 1.0 - e / d
        functions.append((f[:, k] + math.sqrt(e / before) * functions[-1]) / math.sqrt(d))
    return np.stack(functions, axis=-1)


@functools.lru_cache(maxsize=64)
def bessel_series(n_max: int, cutoff: float) -> Float[np.ndarray, "terms functions"]:
    """Chebyshev series of g_(n-l, l) for l = 0 .. n_max and n = l .. n_max, ordered by l and then n."""
    return chebyshev_series(
        lambda r: np.concatenate(
            [smooth_bessel_functions(r, degree, n_max - degree + 1, cutoff) for degree in range(n_max + 1)], axis=1
        ),
        cutoff,
    )
