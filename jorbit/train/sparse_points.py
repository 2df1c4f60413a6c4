"""Which atoms of a training set stand for all of them in a sparse Gaussian process."""

import numpy as np
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2

from jorbit.core.errors import ConfigError

METHODS = ("cur", "fps", "kmeans")


def sparse_points(
    features: Float[np.ndarray, "atoms features"], n_points: int, method: str = "cur", seed: int = 0
) -> Int[np.ndarray, " points"]:
    """Indices of different atoms, ascending; all of them where there are not more than asked for.

    Args:
        features: of atoms of one species.
        n_points: how many.
        method: "cur" draws atoms by their leverage on the leading singular vectors; "fps" takes the farthest from those
            taken so far; "kmeans" the nearest to the centres of so many clusters.
        seed: of the draws, of the first point and of the clusters.

    Raises:
        ConfigError: an unknown method.

    Example:
        >>> sparse_points(np.array([[0.0], [0.1], [5.0]]), 2, "fps").tolist()
        [0, 2]

    References:
        Mahoney and Drineas, Proc. Natl. Acad. Sci. 106, 697 (2009) (CUR).
    """
    if method not in METHODS:
        raise ConfigError(f"Sparse points are chosen by one of {', '.join(METHODS)}, got {method!r}.")
    distinct = np.sort(np.unique(features, axis=0, return_index=True)[1])
    if len(distinct) <= n_points:
        return distinct
    rng, x = np.random.default_rng(seed), features[distinct]
    if method == "cur":
        left, values, _ = np.linalg.svd(x, full_matrices=False)
        rank = max(1, min(int((values > 1e-10 * values[0]).sum()), n_points))
        leverage = (left[:, :rank] ** 2).sum(axis=1)
        leverage = leverage + 1e-12 * leverage.max()
        chosen = rng.choice(len(x), n_points, replace=False, p=leverage / leverage.sum())
    elif method == "fps":
        chosen = _farthest(x, n_points)
    else:
        spread = x.std(axis=0)
        scaled = x / np.where(spread > 0, spread, 1.0)
        with np.errstate(all="ignore"):
            centers, _ = kmeans2(scaled, n_points, minit="++", rng=rng, missing="warn")
        chosen = _nearest(scaled, centers)
    return np.sort(distinct[chosen])


def _farthest(x: np.ndarray, n: int) -> np.ndarray:
    """The atom farthest from the mean first, then always the one farthest from all taken."""
    taken = [int(np.argmax(((x - x.mean(axis=0)) ** 2).sum(axis=1)))]
    distance = ((x - x[taken[0]]) ** 2).sum(axis=1)
    while len(taken) < n:
        taken.append(int(np.argmax(distance)))
        distance = np.minimum(distance, ((x - x[taken[-1]]) ** 2).sum(axis=1))
    return np.array(taken)


def _nearest(x: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """A different atom for each centre."""
    free = np.ones(len(x), dtype=bool)
    taken = []
    for center in centers:
        distance = np.where(free, ((x - center) ** 2).sum(axis=1), np.inf)
        taken.append(int(np.argmin(distance)))
        free[taken[-1]] = False
    return np.array(taken)
