"""Which symmetric products of the atomic basis make a linearly independent set of invariants: host-side tables."""

import dataclasses
import functools
import itertools
from collections.abc import Iterator

import numpy as np

from jorbit.basis.coupling import coupled_degrees, independent_couplings
from jorbit.core.errors import ConfigError

OneParticle = tuple[int, int, int]  # (l, n, channel)


@dataclasses.dataclass(frozen=True)
class ProductLimits:
    """Which products are kept.

    A one-particle function with radial index n = 0, 1, ... and degree l has total degree n + l; a product of nu of them
    is kept when the sum of their degrees is at most max_degree[nu - 1].

    Attributes:
        n_channels: copies of the radial index that degrees do not count (neighbour species).
        n_radial: radial indices 0 .. n_radial - 1.
        l_max: highest l in products of two or more.
        max_degree: limit on the total degree per order nu = 1, 2, ... (at most 4); its length is the correlation order.
        max_factors: at most this many factors of each channel in a product; None = no limit. An atom with one oxygen
            neighbour needs no products of two oxygen functions: they are functions of that one neighbour again.
    """

    n_channels: int
    n_radial: int
    l_max: int
    max_degree: tuple[int, ...]
    max_factors: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if not 1 <= len(self.max_degree) <= 4:
            raise ConfigError(f"max_degree needs one number per order, 1 to 4 of them, got {self.max_degree}.")
        if self.n_channels < 1 or self.n_radial < 1 or self.l_max < 0:
            raise ConfigError(f"Wanted n_channels, n_radial >= 1 and l_max >= 0, got {self}.")
        if self.max_factors is not None and len(self.max_factors) != self.n_channels:
            raise ConfigError(f"max_factors needs one number per species ({self.n_channels}), got {self.max_factors}.")


@dataclasses.dataclass(frozen=True, eq=False)
class PairGroup:
    """Pairs (a1 a2)_L of one kind (l1, l2, L): rows of A_l1 and A_l2, and where they start in their block."""

    l1: int
    l2: int
    rows1: np.ndarray
    rows2: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """All pairs of one degree L and parity ("even": true tensors), and the invariants made from them.

    Attributes:
        degree: L.
        groups: pair kinds, their pairs concatenated in this order.
        pair: rows of the block that are invariants by themselves (L = 0, even).
        triple: [features, 2]: (pair row, row of A_L) whose dot product is an invariant (even only).
        quadruple: [features, 2]: (pair row, pair row) whose dot product is an invariant.
    """

    degree: int
    groups: tuple[PairGroup, ...]
    pair: np.ndarray
    triple: np.ndarray
    quadruple: np.ndarray

    @property
    def n_pairs(self) -> int:
        return sum(len(g.rows1) for g in self.groups)


@dataclasses.dataclass(frozen=True, eq=False)
class ProductSpace:
    """Tables of a set of invariants. Features are ordered: singles, then per block its pairs, triples, quadruples.

    Attributes:
        rows: for each l, the (n, channel) of every row of A_l, [rows, 2].
        single: rows of A_0 that are features.
        blocks: see Block.
        order: nu of each feature.
        radial, angular, channel: n, l and channel of the factors of each feature, [features, 4], -1 where there are
            fewer factors.
    """

    rows: tuple[np.ndarray, ...]
    single: np.ndarray
    blocks: tuple[Block, ...]
    order: np.ndarray
    radial: np.ndarray
    angular: np.ndarray
    channel: np.ndarray

    @property
    def n_features(self) -> int:
        return len(self.order)

    @property
    def l_max(self) -> int:
        return len(self.rows) - 1

    def within(self, max_degree: tuple[int, ...], max_factors: tuple[int, ...] | None = None) -> np.ndarray:
        """Which features also keep to these limits, [features] of bool; see `ProductLimits`.

        Example:
            >>> space = product_space(ProductLimits(n_channels=2, n_radial=2, l_max=0, max_degree=(1, 1)))
            >>> print(space.within((1,)).sum(), space.within((1, 1)).sum(), space.within((1, 1), (1, 0)).sum())
            4 11 2
        """
        factors = self.radial >= 0
        degree = np.where(factors, self.radial + self.angular, 0).sum(axis=1)
        kept = degree <= np.array((*max_degree, *(-1,) * (4 - len(max_degree))))[self.order - 1]
        for channel, most in enumerate(max_factors or ()):
            kept &= (self.channel == channel).sum(axis=1) <= most
        return kept


def _multisets(functions: list[OneParticle], order: int, limits: ProductLimits) -> Iterator[tuple[OneParticle, ...]]:
    """Sorted tuples of `order` functions within the limits, with even sum of l."""
    by_degree = sorted(functions, key=lambda v: (v[0] + v[1], v))
    degrees = [v[0] + v[1] for v in by_degree]
    most = limits.max_factors
    # (first function that may follow, degrees left, functions so far)
    stack: list[tuple[int, int, tuple[OneParticle, ...]]] = [(0, limits.max_degree[order - 1], ())]
    while stack:
        start, room, chosen = stack.pop()
        left = order - len(chosen)
        if left == 0:
            if sum([v[0] for v in chosen]) % 2 == 0:
                yield chosen
            continue
        for k in range(start, len(by_degree)):
            if degrees[k] * left > room:  # the rest have at least this degree
                break
            channel = by_degree[k][2]
            if most is not None and sum([v[2] == channel for v in chosen]) >= most[channel]:
                continue
            stack.append((k, room - degrees[k], (*chosen, by_degree[k])))


def _best_pairing(four: tuple[OneParticle, ...]) -> tuple[OneParticle, OneParticle, OneParticle, OneParticle]:
    """The split into two pairs that keeps the larger pair small, so that few distinct pairs are needed in all."""
    a, b, c, d = four
    best = None
    for s in ((a, b, c, d), (a, c, b, d), (a, d, b, c)):
        l_left, l_right = s[0][0] + s[1][0], s[2][0] + s[3][0]
        cost = (max(l_left + s[0][1] + s[1][1], l_right + s[2][1] + s[3][1]), max(l_left, l_right))
        if best is None or cost < best[0]:
            best = (cost, s)
    return best[1] if best else (a, b, c, d)


Feature = tuple[str, tuple[int, int] | None, tuple, tuple[OneParticle, ...]]
_KINDS = ("single", "pair", "triple", "quadruple")


def _features(limits: ProductLimits) -> Iterator[Feature]:
    """(kind, block key, data, factors) of every kept invariant; pair keys are (v1, v2) with v1 <= v2."""
    functions = [
        (l, n, c) for l in range(limits.l_max + 1) for n in range(limits.n_radial) for c in range(limits.n_channels)
    ]
    order = len(limits.max_degree)
    most = limits.max_factors or (1,) * limits.n_channels
    for v in functions:
        if v[0] == 0 and v[1] <= limits.max_degree[0] and most[v[2]] > 0:
            yield "single", None, (v,), (v,)
    if order >= 2:
        for a, b in _multisets(functions, 2, limits):
            if a[0] == b[0]:
                yield "pair", (0, 0), tuple(sorted((a, b))), (a, b)
    if order >= 3:
        for a, b, c in _multisets(functions, 3, limits):
            if c[0] in coupled_degrees(a[0], b[0]):
                # Three tensors have one invariant; the two of lowest degree make the pair, the third is dotted with it.
                yield "triple", (c[0], 0), (tuple(sorted((a, b))), c), (a, b, c)
    if order >= 4:
        for four in _multisets(functions, 4, limits):
            a, b, c, d = _best_pairing(four)
            a, b, c, d = *sorted((a, b)), *sorted((c, d))
            names: dict[OneParticle, int] = {}
            labels = tuple(names.setdefault(v, len(names)) for v in (a, b, c, d))
            for L in independent_couplings((a[0], b[0], c[0], d[0]), labels):  # type: ignore[arg-type]
                yield "quadruple", (L, (a[0] + b[0] + L) % 2), ((a, b), (c, d)), four


@functools.lru_cache(maxsize=4)
def _ordered_features(limits: ProductLimits) -> tuple[Feature, ...]:
    """All features in the order of a ProductSpace: kinds of one block together, blocks by degree and parity."""
    by_kind: dict[tuple[tuple[int, int], int], list[Feature]] = {}
    for feature in _features(limits):
        block = feature[1] or (-1, 0)
        by_kind.setdefault((block, _KINDS.index(feature[0])), []).append(feature)
    return tuple(feature for key in sorted(by_kind) for feature in by_kind[key])


@functools.lru_cache(maxsize=16)
def product_space(limits: ProductLimits, features: tuple[int, ...] | None = None) -> ProductSpace:
    """Enumerate the linearly independent rotation-, reflection- and permutation-invariant products within `limits`.

    Products of different multisets of one-particle functions are independent as polynomials; within a multiset the
    independent couplings are found by `independent_couplings`.

    Args:
        limits: what is kept.
        features: only these of all features (ascending indices), with the tables that they need and no others; they
            stay in the same order. None = all.

    Raises:
        ConfigError: limits that no product keeps to; indices that are not ascending, or beyond the number of features.

    Example:
        >>> limits = ProductLimits(n_channels=1, n_radial=1, l_max=2, max_degree=(99,) * 4)
        >>> product_space(limits).n_features, product_space(limits, (0, 2, 5)).n_features
        (18, 3)

    References:
        Drautz, Phys. Rev. B 99, 014104 (2019); Dusson et al., J. Comput. Phys. 454, 110946 (2022).
    """
    found = _ordered_features(limits)
    if not found:
        raise ConfigError(f"No product keeps to these limits: {limits}. Raise max_degree, or max_factors.")
    if features is not None:
        found = _chosen(found, features)
    used = sorted({v for _, _, _, factors in found for v in factors})
    rows = tuple(
        np.array([v[1:] for v in used if v[0] == l], dtype=np.int32).reshape(-1, 2)
        for l in range(max(v[0] for v in used) + 1)
    )
    row_of = {(l, *map(int, r)): k for l in range(len(rows)) for k, r in enumerate(rows[l])}

    by_kind: dict[tuple[str, tuple[int, int] | None], list[Feature]] = {}
    for feature in found:
        by_kind.setdefault(feature[:2], []).append(feature)
    ordered = list(by_kind.get(("single", None), []))
    single = np.array([row_of[f[2][0]] for f in ordered], dtype=np.int32)
    blocks = []
    for key in sorted({k for _, k in by_kind if k is not None}):
        pairs, triples, quadruples = (by_kind.get((kind, key), []) for kind in ("pair", "triple", "quadruple"))
        needed = {f[2] for f in pairs} | {f[2][0] for f in triples} | {p for f in quadruples for p in f[2]}
        groups, position = _pair_groups(needed, row_of)
        blocks.append(
            Block(
                degree=key[0],
                groups=groups,
                pair=np.array([position[f[2]] for f in pairs], dtype=np.int32),
                triple=_table([(position[f[2][0]], row_of[f[2][1]]) for f in triples]),
                quadruple=_table([(position[f[2][0]], position[f[2][1]]) for f in quadruples]),
            )
        )
        ordered += pairs + triples + quadruples
    return ProductSpace(
        rows=rows,
        single=single,
        blocks=tuple(blocks),
        order=np.array([len(f[3]) for f in ordered]),
        radial=np.array([[v[1] for v in f[3]] + [-1] * (4 - len(f[3])) for f in ordered]),
        angular=np.array([[v[0] for v in f[3]] + [-1] * (4 - len(f[3])) for f in ordered]),
        channel=np.array([[v[2] for v in f[3]] + [-1] * (4 - len(f[3])) for f in ordered]),
    )


def _chosen(found: tuple[Feature, ...], features: tuple[int, ...]) -> tuple[Feature, ...]:
    ascending = all(a < b for a, b in itertools.pairwise(features))
    if not features or not ascending or features[0] < 0 or features[-1] >= len(found):
        raise ConfigError(
            f"features must be ascending indices from 0 to {len(found) - 1} (the set has {len(found)} features), at "
            f"least one, got {len(features)}: {str(features[:8])[1:-1]}{' ...' if len(features) > 8 else ''}."
        )
    return tuple(found[k] for k in features)


def _pair_groups(needed: set, row_of: dict) -> tuple[tuple[PairGroup, ...], dict]:
    """Pairs sorted by (l1, l2), and the position of each in the block."""
    pairs = sorted(needed, key=lambda p: (p[0][0], p[1][0], p))
    position = {p: k for k, p in enumerate(pairs)}
    groups = []
    for l1, l2 in sorted({(a[0], b[0]) for a, b in pairs}):
        chosen = [p for p in pairs if (p[0][0], p[1][0]) == (l1, l2)]
        groups.append(
            PairGroup(
                l1=l1,
                l2=l2,
                rows1=np.array([row_of[a] for a, _ in chosen], dtype=np.int32),
                rows2=np.array([row_of[b] for _, b in chosen], dtype=np.int32),
            )
        )
    return tuple(groups), position


def _table(rows: list[tuple[int, int]]) -> np.ndarray:
    return np.array(rows, dtype=np.int32).reshape(-1, 2)
