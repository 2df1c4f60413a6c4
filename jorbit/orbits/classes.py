"""Classes of pairs: thresholds apply to whole classes of like distances, so that they never split what is alike."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.orbits.statistics import PairStatistics


@dataclasses.dataclass(frozen=True)
class PairClass:
    """One class of pairs.

    Attributes:
        numbers: atomic numbers of the two ends, ascending.
        mean, spread: medians over its pairs of mean and standard deviation of the distance, Å.
        n_pairs: number of its pairs i < j.
        kind: "bond", "distance", or "dropped" (a distance that varies too much to be used).
    """

    numbers: tuple[int, int]
    mean: float
    spread: float
    n_pairs: int
    kind: str


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Pairs of two kinds of atoms, cut into classes along the mean distance.

    Attributes:
        kinds: the two kinds.
        i, j: pairs i < j, sorted by mean distance.
        cluster: class of each pair, ascending from 0.
        width: g, the narrowest gap that is a cut, Å.
        cuts: position of each cut, Å, and how wide the gap around it is, [cuts, 2].
    """

    kinds: tuple[int, int]
    i: Int[np.ndarray, " pairs"]
    j: Int[np.ndarray, " pairs"]
    cluster: Int[np.ndarray, " pairs"]
    width: float
    cuts: Float[np.ndarray, "cuts 2"]

    def members(self) -> list[Int[np.ndarray, " members"]]:
        """Positions of the pairs of each class; classes are contiguous unless counts of bonded images split them."""
        order = np.argsort(self.cluster, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.cluster[order])) + 1) if len(order) else []


def cut(values: Float[np.ndarray, " sorted"], width: float) -> Int[np.ndarray, " sorted"]:
    """Single-linkage clusters of sorted numbers: a new one starts behind every gap above `width`.

    Example:
        >>> cut(np.array([1.0, 1.05, 1.4, 1.45]), 0.1).tolist()
        [0, 0, 1, 1]
    """
    return np.concatenate([[0], np.cumsum(np.diff(values) > width)]).astype(np.int64)


def make_pools(
    statistics: PairStatistics,
    kinds: Int[np.ndarray, " atoms"],
    chosen: Bool[np.ndarray, "atoms atoms"],
    gap: float,
) -> list[Pool]:
    """Cut the chosen pairs into classes, for each pair of kinds by itself.

    Args:
        statistics: mean distances, their errors, counts of bonded images.
        kinds: what makes atoms different before any distance is looked at.
        chosen: symmetric; the pairs to classify.
        gap: narrowest cut, Å; never narrower than four median standard errors.
    """
    i, j = np.nonzero(np.triu(chosen, 1))
    low, high = np.minimum(kinds[i], kinds[j]), np.maximum(kinds[i], kinds[j])
    key = low.astype(np.int64) * (int(kinds.max(initial=0)) + 1) + high
    mean = statistics.mean[i, j]
    order = np.lexsort((mean, key))
    i, j, key, mean = i[order], j[order], key[order], mean[order]
    pools = []
    for part in np.split(np.arange(len(key)), np.flatnonzero(np.diff(key)) + 1) if len(key) else []:
        width = max(gap, 4.0 * float(np.median(statistics.error[i[part], j[part]])))
        cluster = cut(mean[part], width)
        jumps = np.flatnonzero(np.diff(cluster))
        left, right = mean[part][jumps], mean[part][jumps + 1]
        cuts = np.stack([(left + right) / 2, right - left], axis=1)
        if statistics.n_bonds is not None:
            cluster = _split_by_count(cluster, statistics.n_bonds[i[part], j[part]])
        pair = (int(kinds[i[part[0]]]), int(kinds[j[part[0]]]))
        pools.append(Pool((min(pair), max(pair)), i[part], j[part], cluster, width, cuts))
    return pools


def _split_by_count(
    cluster: Int[np.ndarray, " pairs"], count: Float[np.ndarray, " pairs"]
) -> Int[np.ndarray, " pairs"]:
    """Divide each class where the sorted numbers of bonded images leave a gap above one half."""
    order = np.lexsort((count, cluster))
    new = (np.diff(cluster[order]) > 0) | (np.diff(count[order]) > 0.5)
    result = np.empty_like(cluster)
    result[order] = np.concatenate([[0], np.cumsum(new)])
    return result


def describe(
    pool: Pool, members: Int[np.ndarray, " members"], statistics: PairStatistics, numbers: np.ndarray, kind: str
) -> PairClass:
    """The row of a class in tables."""
    i, j = pool.i[members], pool.j[members]
    ends = sorted((int(numbers[i[0]]), int(numbers[j[0]])))
    return PairClass(
        (ends[0], ends[1]),
        float(np.median(statistics.mean[i, j])),
        float(np.median(statistics.spread[i, j])),
        len(members),
        kind,
    )
