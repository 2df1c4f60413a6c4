"""The A_nlm of a product space as free variables: derivatives, degrees of freedom, and orders of the features."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.basis.exact_products import exact_jacobian, field_prime
from jorbit.basis.independent_rows import ExactIndependentRows, IndependentRows
from jorbit.basis.product_space import ProductSpace
from jorbit.basis.symmetric_products import invariants_jvp
from jorbit.core.errors import ConfigError

ORDERS = ("body", "degree", "cost", "given")


def degrees_of_freedom(space: ProductSpace, zero: tuple[int, ...] = ()) -> int:
    """Numbers that describe the A_nlm of a product space up to rotation, with some degrees l zero.

    sum (2l + 1) over the functions that the space uses, minus the dimension of a generic orbit: 3, or 2 when one vector
    is all that can turn, or 0 when nothing can.
    """
    used = {degree: len(rows) for degree, rows in enumerate(space.rows) if len(rows) and degree not in zero}
    turning = sum(count for degree, count in used.items() if degree)
    orbit = 0 if not turning else 2 if turning == 1 and 1 in used else 3
    return sum((2 * degree + 1) * count for degree, count in used.items()) - orbit


def candidate_order(
    order: str | Float[np.ndarray, " features"], n_features: int, space: ProductSpace | None = None
) -> Int[np.ndarray, " features"]:
    """Indices of the features, first choice first; ties in column order.

    Args:
        order: see `select_features`.
        n_features: columns.
        space: tables of the products, for the orders that look at them.
    """
    if not isinstance(order, str):
        importance = np.asarray(order, dtype=np.float64)
        if importance.shape != (n_features,) or not np.isfinite(importance).all():
            raise ConfigError(f"Wanted {n_features} finite importances, got shape {importance.shape}.")
        return np.argsort(-importance, kind="stable")
    if order not in ORDERS:
        raise ConfigError(f"order must be one of {ORDERS} or an importance per feature, got {order!r}.")
    if order == "given":
        return np.arange(n_features)
    if space is None:
        raise ConfigError(f"order={order!r} needs the product tables of an ACE: use 'given' or importances.")
    n, l = np.maximum(space.radial, 0).sum(axis=1), np.maximum(space.angular, 0).sum(axis=1)  # noqa: E741
    if order == "body":
        return np.lexsort((n, l, space.order))
    if order == "degree":
        return np.lexsort((space.order, n + l))
    return np.lexsort((n + l, space.order, feature_cost(space)))


def feature_cost(space: ProductSpace) -> Int[np.ndarray, " features"]:
    """Multiplications of each feature computed alone from the A_nlm: coupling its pairs, and the dot product."""
    widths = np.where(space.angular >= 0, 2 * space.angular + 1, 1)
    first, second = widths[:, 0] * widths[:, 1], widths[:, 2] * widths[:, 3]
    return np.select([space.order == k for k in (1, 2, 3)], [np.ones_like(first), widths[:, 0], first * widths[:, 2]],
                     default=first + second + np.minimum(first, second))  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class MomentJacobians:
    """Jacobians with respect to the A_nlm as free numbers, in floating-point or modular arithmetic.

    Attributes:
        space: tables of the products.
        exact: integers modulo `field_prime()` instead of float64.
        tolerance: of the choice of rows in float64.

    Example:
        >>> from jorbit.basis.product_space import ProductLimits, product_space
        >>> space = product_space(ProductLimits(n_channels=1, n_radial=1, l_max=1, max_degree=(9, 9)))
        >>> MomentJacobians(space, exact=True).jacobian(seed=0).shape
        (3, 4)
    """

    space: ProductSpace
    exact: bool = False
    tolerance: float = 1e-7

    @property
    def n_variables(self) -> int:
        return sum((2 * degree + 1) * len(rows) for degree, rows in enumerate(self.space.rows))

    @functools.cached_property
    def _derivatives(self) -> Callable[..., Array]:
        return jax.jit(lambda atomic, tangent: invariants_jvp(self.space, atomic, tangent)[1])

    def rows(self) -> IndependentRows | ExactIndependentRows:
        """An empty choice of rows."""
        if self.exact:
            return ExactIndependentRows(self.n_variables, field_prime())
        return IndependentRows(self.n_variables, self.tolerance)

    def jacobian(self, seed: int, zero: tuple[int, ...] = ()) -> np.ndarray:
        """[features, variables] at a random point; the degrees in `zero` vanish there and stay zero."""
        rng = np.random.default_rng(seed)
        shapes = [(2 * degree + 1, len(rows)) for degree, rows in enumerate(self.space.rows)]
        identity = np.eye(self.n_variables, dtype=np.int64)
        atomic, tangent, start = [], [], 0
        for degree, (m, k) in enumerate(shapes):
            value = rng.integers(0, field_prime(), (m, k, 1)) if self.exact else rng.normal(size=(m, k, 1))
            present = 0 if degree in zero else 1
            atomic.append(value * present)
            tangent.append(identity[start : start + m * k].reshape(m, k, -1) * present)
            start += m * k
        if self.exact:
            return exact_jacobian(self.space, atomic, tangent)
        with jax.enable_x64(True):
            as_float = [[jnp.asarray(x, jnp.float64) for x in arrays] for arrays in (atomic, tangent)]
            return np.asarray(self._derivatives(*as_float))

    def complete_stratum(
        self, zero: tuple[int, ...], kept: np.ndarray, sequence: np.ndarray, seed: int
    ) -> tuple[int, int]:
        """Add to `kept` (in place) what all features resolve on a stratum and the kept ones do not.

        Returns:
            Rank there afterwards, and before.
        """
        jacobian, rows = self.jacobian(seed, zero), self.rows()
        rows.add(jacobian[sequence[kept[sequence]]])
        before, rest = rows.rank, sequence[~kept[sequence]]
        kept[rest] |= rows.add(jacobian[rest])
        return rows.rank, before


def degree_subsets(space: ProductSpace, most: int) -> Iterator[tuple[int, ...]]:
    """Sets of degrees l >= 1 that leave something besides l = 0, smallest first."""
    degrees = [degree for degree, rows in enumerate(space.rows) if degree and len(rows)]
    for size in range(1, min(most, len(degrees) - 1) + 1):
        yield from itertools.combinations(degrees, size)
