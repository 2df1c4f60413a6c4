"""Functions of the distance from a table: quintic splines through values on evenly spaced knots."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

ORDER = 5  # of the pieces
DENSE = 256  # rows of a table up to which a change of it is a product with all rows: reversed, faster than scattering
FROM = 128  # atoms from which on a table is worth making in each call
VALUES, SLOPES = 1e-5, 1e-4  # errors of a table that is used, of the largest value and slope
_MARGIN = 24  # knots outside the interval; what lies beyond counts for less than 1e-8 within
# Pieces of the cardinal spline on [0, 1] as polynomials, constants first: of the coefficients k, k + 1, ..., k + 5.
_PIECES = (
    np.array(
        [
            [1, -5, 10, -10, 5, -1],
            [26, -50, 20, 20, -20, 5],
            [66, 0, -60, 0, 30, -10],
            [26, 50, 20, -20, -20, 10],
            [1, 5, 10, 10, 5, -5],
            [0, 0, 0, 0, 0, 1],
        ]
    )
    / 120.0
)


def tabulated(n_atoms: int, dtype: jax.typing.DTypeLike) -> bool:
    """Whether functions of the distance come from tables: in float32, which hides their error, and for many atoms."""
    return jnp.dtype(dtype) == jnp.float32 and n_atoms >= FROM


def spline_table(
    function: Callable[[Array], Array], end: float, n_intervals: int, dtype: jax.typing.DTypeLike
) -> Float[Array, "coefficients width"]:
    """Coefficients of the quintic spline through `function` on n_intervals + 1 knots between 0 and `end`.

    The spline has four continuous derivatives. Its error is about 3e-5 h^6 max|f^(6)|, with h = end / n_intervals. The
    function is evaluated a little outside the interval as well and must be smooth there.

    Args:
        function: values [knots, width] at distances [knots].
        end: of the interval, Å.
        n_intervals: how many.
        dtype: of the table.

    Example:
        >>> table = spline_table(lambda r: jnp.cos(r)[:, None], 5.0, 50, jnp.float32)
        >>> abs(float(spline_values(table, jnp.array([1.234]), 5.0)[0, 0]) - 0.33046) < 1e-4
        True

    References:
        Unser, IEEE Signal Process. Mag. 16 (6), 22 (1999) (splines on evenly spaced knots by a filter).
    """
    knots = jnp.asarray(np.arange(-2 - _MARGIN, n_intervals + 3 + _MARGIN) * (end / n_intervals), dtype)
    return jnp.matmul(jnp.asarray(_filter(n_intervals), dtype), function(knots), precision="highest")


def spline_values(
    table: Float[Array, "coefficients width"], r: Float[Array, " pairs"], end: float, derivative: int = 0
) -> Float[Array, "pairs width"]:
    """The spline, or a derivative of it, at distances r; beyond its ends that of the outermost piece's end.

    Args:
        table: of `spline_table`.
        r: distances, Å.
        end: of the interval, Å.
        derivative: how often.
    """
    n = table.shape[0] - ORDER
    t = jnp.clip(r * (n / end), 0.0, n)
    values = _looked_up(table, t, derivative)
    return values * (n / end) ** derivative if derivative else values


def _pieces(table: Array, t: Array, derivative: int) -> tuple[Array, list[Array]]:
    """First of the six rows of each pair, and their weights."""
    first = jnp.clip(jnp.floor(t), 0, table.shape[0] - ORDER - 1)
    u, pieces, weights = t - first, _PIECES, []
    for _ in range(derivative):
        pieces = np.concatenate([pieces[:, 1:] * np.arange(1, pieces.shape[1]), np.zeros((len(pieces), 1))], axis=1)
    for piece in pieces:
        weight = jnp.full_like(u, piece[-1])
        for constant in piece[-2::-1]:
            weight = weight * u + float(constant)
        weights.append(weight)
    return lax.optimization_barrier((first.astype(jnp.int32), weights))  # or XLA finds them for each channel


@dataclasses.dataclass(frozen=True)
class Tabulated:
    """A function of the distance that comes from a table where that is accurate, and else from itself.

    In every call values and slopes of the spline are compared with the function's between the knots: parameters change
    in training, and a network may be sharper than its table is fine. Where values differ by more than 1e-5 of the
    largest or slopes by more than 1e-4, all of them are the function's own.

    Attributes:
        function: values [pairs, width] from a tree of weights and distances [pairs].
        end: of the table, Å.
        n_intervals: of the table.
    """

    function: Callable[[Any, Array], Array]
    end: float
    n_intervals: int

    def prepared(self, weights: Any, dtype: jax.typing.DTypeLike) -> tuple[Any, Array, Array]:
        """Weights, the table, and 1 where the table is accurate or 0, for `__call__`."""
        table = spline_table(lambda r: self.function(weights, r), self.end, self.n_intervals, dtype)
        between = np.arange(self.n_intervals) + np.where(np.arange(self.n_intervals) % 2, 0.5, 0.25)
        between = jnp.asarray(between * (self.end / self.n_intervals), dtype)
        fixed, rows = lax.stop_gradient((weights, table))
        known = jax.jvp(lambda r: self.function(fixed, r), (between,), (jnp.ones_like(between),))
        accurate = jnp.asarray(True)
        for order, (exact, most) in enumerate(zip(known, (VALUES, SLOPES), strict=True)):
            error = jnp.abs(spline_values(rows, between, self.end, order) - exact).max()
            accurate = accurate & (error <= most * jnp.abs(exact).max())
        return weights, table, accurate.astype(dtype)

    def __call__(self, prepared: tuple[Any, Array, Array], r: Float[Array, " pairs"]) -> Float[Array, "pairs width"]:
        """Values at distances r."""
        weights, table, accurate = prepared
        # Checkpointed, or each of both branches keeps what the other would want for its reverse pass.
        branches = [
            jax.checkpoint(lambda weights, table, r: spline_values(table, r, self.end)),
            jax.checkpoint(lambda weights, table, r: self.function(weights, r)),
        ]
        return lax.cond(accurate > 0.5, *branches, weights, table, r)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _looked_up(table: Array, t: Array, derivative: int) -> Array:
    row, weights = _pieces(table, t, derivative)
    return functools.reduce(jnp.add, (w[:, None] * table[row + k] for k, w in enumerate(weights)))


@_looked_up.defjvp
def _looked_up_jvp(derivative: int, primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    """The slope from the same rows, where rules of differentiation would read them once for each power of t."""
    table, t = primals
    of_table, of_t = tangents
    change = _looked_up(table, t, derivative + 1) * of_t[:, None]
    if table.shape[0] > DENSE:
        return _looked_up(table, t, derivative), change + _looked_up(of_table, t, derivative)
    row, weights = _pieces(table, t, derivative)
    rows = jnp.arange(table.shape[0], dtype=row.dtype)[None]
    parts = (jnp.where(rows == (row + k)[:, None], w[:, None], 0.0) for k, w in enumerate(weights))
    change = change + functools.reduce(jnp.add, parts) @ of_table
    return _looked_up(table, t, derivative), change


@functools.cache
def _filter(n_intervals: int) -> np.ndarray:
    """Matrix from values on knots (with margins) to the coefficients of the spline through them."""
    n = n_intervals + ORDER + 2 * _MARGIN
    rows = np.arange(n)
    through = np.zeros((n, n))
    for shift, weight in zip(range(-2, 3), (1, 26, 66, 26, 1), strict=True):
        inside = (rows + shift >= 0) & (rows + shift < n)
        through[rows[inside], rows[inside] + shift] = weight / 120.0
    return np.linalg.inv(through)[_MARGIN : n - _MARGIN]
