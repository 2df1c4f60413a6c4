"""Radial functions of any shape as Chebyshev series in r: one matrix product evaluates all of them and their slopes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError

MOST_TERMS = 512


def chebyshev_series(
    function: Callable[[np.ndarray], np.ndarray], cutoff: float, tolerance: float = 1e-12
) -> Float[np.ndarray, "terms functions"]:
    """Coefficients of smooth functions on [0, cutoff], as short as the tolerance allows.

    Args:
        function: takes distances [points] (Å), returns values [points, functions]; evaluated on the host.
        cutoff: end of the interval, Å.
        tolerance: what may be left out, relative to the largest coefficient of each function.

    Raises:
        ConfigError: more than 512 terms would be needed: the functions are too sharp.

    Example:
        >>> chebyshev_series(lambda r: np.stack([r, r**2], axis=-1), cutoff=2.0).round(12).tolist()
        [[1.0, 1.5], [1.0, 2.0], [0.0, 0.5]]
    """
    n = 32
    while n <= MOST_TERMS:
        nodes = np.cos(np.pi * (np.arange(n) + 0.5) / n)
        values = np.asarray(function(0.5 * cutoff * (nodes + 1.0)), np.float64)
        transform = np.cos(np.pi * np.outer(np.arange(n), np.arange(n) + 0.5) / n) * 2.0 / n
        transform[0] *= 0.5
        series = transform @ values
        series = shortened(series, tolerance)
        if len(series) <= 3 * n // 4 and _agrees(series, function, cutoff, 2 * n + 1, tolerance):
            return series
        n *= 2
    raise ConfigError(
        f"The radial functions vary too fast for {MOST_TERMS} Chebyshev terms over {cutoff} Å: "
        "use wider Gaussians or fewer radial functions."
    )


def _agrees(
    series: np.ndarray, function: Callable[[np.ndarray], np.ndarray], cutoff: float, points: int, tolerance: float
) -> bool:
    """Between the nodes as well: a peak that no node has seen is not missed."""
    r = np.linspace(0.0, cutoff, points)
    values = np.asarray(function(r), np.float64)
    error = np.abs(np.polynomial.chebyshev.chebval(2.0 * r / cutoff - 1.0, series).T - values).max(axis=0)
    return bool((error <= 1e3 * tolerance * np.abs(values).max(axis=0)).all())


def chebyshev_polynomials(x: Float[Array, "*batch"], n: int) -> Float[Array, "terms ..."]:
    """T_0 .. T_(n-1) of x in [-1, 1], by the recursion T_(k+1) = 2 x T_k - T_(k-1)."""

    def step(two: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], Array]:
        return (two[1], 2.0 * x * two[1] - two[0]), two[0]

    return jax.lax.scan(step, (jnp.ones_like(x), x), None, length=n)[1]


def evaluate_series(
    series: Float[np.ndarray, "terms functions"], r: Float[Array, "*batch"], cutoff: float
) -> Float[Array, "*batch functions"]:
    """Values of the functions at distances r (Å); constant beyond the interval.

    Derivatives of any order come from the differentiated series and the same polynomials, not from differentiating the
    recursion.
    """
    if r.dtype == jnp.float32:
        series = shortened(series, 3e-9)
    return _function(series, cutoff)(jnp.clip(r, 0.0, cutoff))


def shortened(series: Float[np.ndarray, "terms functions"], tolerance: float) -> Float[np.ndarray, "fewer functions"]:
    """The series without last terms that are below a tolerance, relative to the largest of each function."""
    large = np.flatnonzero((np.abs(series) > tolerance * np.abs(series).max(axis=0)).any(axis=1))
    return series[: int(large.max(initial=0)) + 1]


def differentiated(series: Float[np.ndarray, "terms functions"], cutoff: float) -> Float[np.ndarray, "terms functions"]:
    """The series of the derivatives with respect to r, with as many terms."""
    slope = np.zeros_like(series)
    if len(series) > 1:
        slope[:-1] = np.polynomial.chebyshev.chebder(series, axis=0) * 2.0 / cutoff
    return slope


def _function(series: np.ndarray, cutoff: float) -> Callable[[Array], Array]:
    @jax.custom_jvp
    def function(r: Array) -> Array:
        terms = chebyshev_polynomials(2.0 * r.reshape(-1) / cutoff - 1.0, len(series))
        values = jnp.einsum("kp,kf->pf", terms, jnp.asarray(series, r.dtype), precision="highest")
        return values.reshape(*r.shape, series.shape[1])

    def jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
        both = _function(np.concatenate([series, differentiated(series, cutoff)], axis=1), cutoff)(primals[0])
        values, slopes = jnp.split(both, 2, axis=-1)
        return values, slopes * tangents[0][..., None]

    function.defjvp(jvp)
    return function
