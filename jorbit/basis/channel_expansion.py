"""A product of densities of elements as a sum of products of densities of their orbits.

The density of an element is the sum of the densities of its orbits, A_z = sum of A_o over the orbits o of z, so every
invariant of the coarse set is a linear combination of the invariants of the fine set with the same radial indices and
degrees. The coefficients are found numerically, group by group: both sides are polynomials of the same densities, and
equality at more random points than there are unknowns is equality.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jorbit.basis.coupling import clebsch_gordan
from jorbit.basis.product_space import ProductSpace
from jorbit.core.errors import ConfigError

LARGEST_GROUP = 4000  # fine invariants with the same radial indices and degrees; a dense solve of that size
TOLERANCE = 1e-8  # of the largest value of an invariant at the random points


class ChannelExpansion(NamedTuple):
    """coarse[k] = sum of value * fine[j] over the entries (k, j, value).

    Attributes:
        coarse, fine: feature indices.
        values: coefficients.
    """

    coarse: Int[np.ndarray, " entries"]
    fine: Int[np.ndarray, " entries"]
    values: Float[np.ndarray, " entries"]

    def apply(self, coefficients: Float[np.ndarray, "rows coarse"], n_fine: int) -> Float[np.ndarray, "rows fine"]:
        """Coefficients of the fine invariants that give the same sums as `coefficients` of the coarse ones."""
        result = np.zeros((len(coefficients), n_fine))
        np.add.at(result.T, self.fine, (coefficients[:, self.coarse] * self.values).T)
        return result


def expand_channels(coarse: ProductSpace, fine: ProductSpace, parents: Sequence[int]) -> ChannelExpansion:
    """How the invariants of `coarse` are made of those of `fine`.

    Args:
        coarse: invariants of densities of channels 0, 1, ...
        fine: invariants of densities of finer channels, with at least the same radial indices, degrees and orders.
        parents: coarse channel of each fine channel.

    Raises:
        ConfigError: products are missing in `fine`, or there are too many of one kind.

    Example:
        >>> from jorbit.basis.product_space import ProductLimits, product_space
        >>> one, two = (product_space(ProductLimits(n, 1, 0, (0, 0))) for n in (1, 2))
        >>> expansion = expand_channels(one, two, [0, 0])
        >>> expansion.values.round(9).tolist()  # A = a + b; A A = a a + 2 a b + b b
        [1.0, 1.0, 1.0, 2.0, 1.0]
    """
    rng = np.random.default_rng(0)
    weights: dict[tuple[int, int, int], float] = {}

    def weight(l: int, n: int, channel: int) -> float:
        return weights.setdefault((l, n, channel), float(rng.uniform(0.2, 1.0)))

    groups_coarse = _groups(coarse, lambda l, n, c: weight(l, n, c), rng)
    groups_fine = _groups(fine, lambda l, n, c: weight(l, n, int(parents[c])), rng)
    matched = _match(groups_coarse, groups_fine)
    most = max((len(members) for _, members in matched), default=0)
    if most > LARGEST_GROUP:
        raise ConfigError(
            f"{most} products of orbits stand for one product of elements, and {LARGEST_GROUP} can be solved for: use "
            "fewer orbits, lower orders, or orbits of the central atom only."
        )
    n_points = int(1.2 * most) + 12
    atomic_fine = [rng.normal(size=(2 * l + 1, len(rows), n_points)) for l, rows in enumerate(fine.rows)]
    atomic_coarse = [_summed(coarse.rows[l], fine.rows[l], parents, atomic_fine[l]) for l in range(len(coarse.rows))]
    left, right = _evaluate(coarse, atomic_coarse), _evaluate(fine, atomic_fine)
    entries: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for rows, members in matched:
        used = min(n_points, int(1.2 * len(members)) + 12)
        a, b = right[members, :used].T, left[rows, :used].T
        solution = np.linalg.lstsq(a, b, rcond=None)[0] if len(members) else np.zeros((0, len(rows)))
        if np.abs(a @ solution - b).max() > TOLERANCE * np.abs(b).max():
            raise ConfigError(
                "The finer model cannot repeat the coarser one: it lacks products of orbits that the elements have. "
                "Give it the same degrees, radial functions and features, and max_factors at least as large."
            )
        solution[np.abs(solution) < 1e-10] = 0.0
        fine_at, coarse_at = np.nonzero(solution)
        entries.append((np.asarray(rows)[coarse_at], np.asarray(members)[fine_at], solution[fine_at, coarse_at]))
    coarse_index, fine_index, values = (np.concatenate([e[k] for e in entries]) for k in range(3))
    order = np.lexsort((fine_index, coarse_index))
    return ChannelExpansion(coarse_index[order], fine_index[order], values[order])


def _evaluate(space: ProductSpace, atomic: list[np.ndarray]) -> np.ndarray:
    """Invariants [features, points] of densities [2l + 1, rows, points], on the host: shapes vary too much to compile.

    The definition of `jorbit.basis.symmetric_products.invariants`, written out.
    """
    parts = [atomic[0][0, space.single]]
    for block in space.blocks:
        pairs = np.concatenate(
            [
                np.einsum(
                    "abc,apt,bpt->cpt",
                    clebsch_gordan(g.l1, g.l2, block.degree),
                    atomic[g.l1][:, g.rows1],
                    atomic[g.l2][:, g.rows2],
                    optimize=True,
                )
                for g in block.groups
            ],
            axis=1,
        )
        parts.append(pairs[0, block.pair])
        if len(block.triple):
            parts.append((pairs[:, block.triple[:, 0]] * atomic[block.degree][:, block.triple[:, 1]]).sum(axis=0))
        parts.append((pairs[:, block.quadruple[:, 0]] * pairs[:, block.quadruple[:, 1]]).sum(axis=0))
    return np.concatenate(parts)


def _groups(
    space: ProductSpace, weight: Callable[[int, int, int], float], rng: np.random.Generator
) -> Float[np.ndarray, " features"]:
    """log of the factor by which each invariant grows when the density (l, n, channel) grows by exp(weight).

    Invariants of the same densities have the same one; random weights tell all others apart.
    """
    atomic = [rng.normal(size=(2 * l + 1, len(rows), 4)) for l, rows in enumerate(space.rows)]
    growth = [np.exp([weight(l, int(n), int(c)) for n, c in rows]) for l, rows in enumerate(space.rows)]
    both = [np.concatenate([a, a * np.reshape(g, (1, -1, 1))], axis=2) for a, g in zip(atomic, growth, strict=True)]
    plain, grown = np.split(_evaluate(space, both), 2, axis=1)
    best = np.abs(plain).argmax(axis=1)
    rows = np.arange(len(plain))
    return np.log(grown[rows, best] / plain[rows, best])


def _match(coarse: np.ndarray, fine: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Indices of coarse and of fine invariants that grow alike."""
    keys = np.concatenate([coarse, fine])
    order = np.argsort(keys, kind="stable")
    labels = np.empty(len(keys), dtype=int)
    labels[order] = np.cumsum(np.concatenate([[0], np.diff(keys[order]) > 1e-9]))
    of_coarse, of_fine = labels[: len(coarse)], labels[len(coarse) :]
    members: dict[int, list[int]] = {}
    for k, label in enumerate(of_fine.tolist()):
        members.setdefault(label, []).append(k)
    return [
        (np.flatnonzero(of_coarse == label), np.array(members.get(label, []), dtype=int))
        for label in np.unique(of_coarse).tolist()
    ]


def _summed(coarse: np.ndarray, fine: np.ndarray, parents: Sequence[int], values: np.ndarray) -> np.ndarray:
    """Densities of the coarse rows: sums over the fine rows of the same n whose channel belongs to theirs."""
    own = [(int(n), int(parents[c])) for n, c in fine]
    result = np.zeros((values.shape[0], len(coarse), values.shape[2]))
    for k, (n, c) in enumerate(coarse):
        members = [j for j, key in enumerate(own) if key == (int(n), int(c))]
        result[:, k] = values[:, members].sum(axis=1)
    return result
