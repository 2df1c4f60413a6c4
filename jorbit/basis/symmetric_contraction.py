"""Equivariant polynomials of one set of tensors: all independent products of up to three factors of A_0 .. A_lmax.

A path is a way to couple factors to degree L and natural parity (-1)^L. Products of three are ((l1 l2)_K l3)_L with
l1 <= l2 <= l3. The factors are the same object, so that paths of one multiset (l1, l2, l3) can depend on each other:
those are found by rank and left out. What the table counts is therefore the dimension of the space, fewer than the
couplings that exist: 8 instead of 23 invariants of order three for l <= 3.
"""

import dataclasses
import functools
import itertools

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.coupling import clebsch_gordan, coupled_degrees
from jorbit.core.errors import ConfigError

Path = tuple[int, ...]  # (l,), (l1, l2) or (l1, l2, K, l3)


@dataclasses.dataclass(frozen=True)
class ContractionPaths:
    """Independent products that make a tensor of one degree, highest order first.

    Attributes:
        degree: L of the results.
        paths: ((l1, l2, K, l3), ...), then ((l1, l2), ...), then ((l,),).

    Example:
        >>> [len(contraction_paths(3, 3, degree).of_order(3)) for degree in (0, 1, 2)]
        [8, 12, 14]
    """

    degree: int
    paths: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def of_order(self, order: int) -> tuple[Path, ...]:
        """The paths with that many factors."""
        return tuple(p for p in self.paths if len(p) == {1: 1, 2: 2, 3: 4}[order])


@functools.cache
def contraction_paths(l_max: int, correlation: int, degree: int) -> ContractionPaths:
    """All independent products of 1 .. correlation factors A_l, l <= l_max, that transform as degree L.

    Raises:
        ConfigError: a correlation that is not 1, 2 or 3.
    """
    if correlation not in (1, 2, 3) or degree > l_max or degree < 0:
        raise ConfigError(
            f"Wanted a correlation of 1, 2 or 3 and a degree of 0 .. {l_max}, got {correlation} and {degree}."
        )
    paths: list[Path] = []
    if correlation == 3:
        for l1, l2, l3 in itertools.combinations_with_replacement(range(l_max + 1), 3):
            paths += _independent(l1, l2, l3, degree)
    if correlation >= 2:
        for l1, l2 in itertools.combinations_with_replacement(range(l_max + 1), 2):
            if (l1 + l2 + degree) % 2 == 0 and degree in coupled_degrees(l1, l2):
                paths.append((l1, l2))
    return ContractionPaths(degree, (*paths, (degree,)))


def _independent(l1: int, l2: int, l3: int, degree: int) -> list[Path]:
    """Intermediate degrees K whose polynomials are linearly independent, lowest first."""
    if (l1 + l2 + l3 + degree) % 2:
        return []
    rng = np.random.default_rng(0)
    factors = {l: rng.normal(size=(2 * l + 1, 64)) for l in (l1, l2, l3)}
    kept: list[Path] = []
    span = np.zeros((64 * (2 * degree + 1), 0))
    for k in coupled_degrees(l1, l2):
        if degree not in coupled_degrees(k, l3):
            continue
        pair = np.einsum("ap,bp,abm->mp", factors[l1], factors[l2], clebsch_gordan(l1, l2, k))
        values = np.einsum("ap,bp,abm->mp", pair, factors[l3], clebsch_gordan(k, l3, degree)).reshape(-1)
        size = np.linalg.norm(values)
        for _ in range(2):
            values = values - span @ (span.T @ values)
        if size > 1e-9 and np.linalg.norm(values) > 1e-8 * size:
            kept.append((l1, l2, k, l3))
            span = np.concatenate([span, values[:, None] / np.linalg.norm(values)], axis=1)
    return kept


def couple(left: Float[Array, " m1 *rest"], right: Float[Array, " m2 *rest"], degree: int) -> Float[Array, " m *rest"]:
    """(left right)_degree of the tensors of degrees (m1 - 1) / 2 and (m2 - 1) / 2."""
    if left.shape[0] == 1 or right.shape[0] == 1:
        return left * right
    if degree == 0:  # (-1)^l / sqrt(2l + 1) times the scalar product
        coefficient = float(clebsch_gordan(left.shape[0] // 2, left.shape[0] // 2, 0)[0, 0, 0])
        return coefficient * jnp.sum(left * right, axis=0, keepdims=True)
    return couple_outer(left[:, None] * right[None], degree)


def couple_outer(outer: Float[Array, " m1 m2 *rest"], degree: int) -> Float[Array, " m *rest"]:
    """The part of degree `degree` of a tensor of rank two: one matrix product over all atoms and channels."""
    table = clebsch_gordan(outer.shape[0] // 2, outer.shape[1] // 2, degree)
    matrix = jnp.asarray(table.reshape(-1, table.shape[2]).T, outer.dtype)
    return (matrix @ outer.reshape(matrix.shape[1], -1)).reshape(-1, *outer.shape[2:])


def symmetric_contraction(
    paths: ContractionPaths, tensors: list[Array], weights: Float[Array, " paths *rest"]
) -> Float[Array, " m *rest"]:
    """sum over paths of weight * product, a tensor of degree `paths.degree`.

    Args:
        paths: from `contraction_paths`.
        tensors: A_l [2l + 1, ...] for l = 0 .. l_max.
        weights: one per path for each of the trailing axes.

    References:
        Batatia, Kovács, Simm, Ortner and Csányi, NeurIPS 2022 (arXiv:2206.07697), the products of its equation 10.
    """
    position = {path: k for k, path in enumerate(paths.paths)}
    mixed: dict[tuple[int, int], list[Array]] = {}
    pairs: dict[tuple[int, int, int], Array] = {}
    weights = weights[:, None]  # the same for all components
    total = weights[position[(paths.degree,)]] * tensors[paths.degree]
    for path, k in position.items():
        if len(path) == 4:
            l1, l2, middle, l3 = path
            if (l1, l2, middle) not in pairs:
                pairs[l1, l2, middle] = couple(tensors[l1], tensors[l2], middle)
            mixed.setdefault((middle, l3), []).append(weights[k] * pairs[l1, l2, middle])
        elif len(path) == 2:  # coupled to its second factor together with the pairs of that degree
            mixed.setdefault(path, []).append(weights[k] * tensors[path[0]])
    for (_, l3), parts in mixed.items():
        total = total + couple(sum(parts[1:], parts[0]), tensors[l3], paths.degree)
    return total


def dense_tables(paths: ContractionPaths, l_max: int, order: int) -> Float[np.ndarray, "paths m ..."]:
    """The same products as symmetric tensors U[path, m, a, b, ...] over the components of all A_l: for conversions."""
    starts = [l * l for l in range(l_max + 1)]
    size = (l_max + 1) ** 2
    tables = []
    for path in paths.of_order(order):
        table = np.zeros((2 * paths.degree + 1, *(size,) * order))
        at = [slice(starts[l], starts[l] + 2 * l + 1) for l in (path[:2] + path[3:] if order == 3 else path)]
        if order == 1:
            block = np.eye(2 * paths.degree + 1)
        elif order == 2:
            block = np.moveaxis(clebsch_gordan(path[0], path[1], paths.degree), -1, 0)
        else:
            inner, outer = clebsch_gordan(*path[:3]), clebsch_gordan(path[2], path[3], paths.degree)
            block = np.einsum("abk,kcm->mabc", inner, outer)
        table[(slice(None), *at)] = block
        axes = [(0, *p) for p in itertools.permutations(range(1, order + 1))]
        tables.append(sum(table.transpose(p) for p in axes) / len(axes))
    return np.stack(tables)
