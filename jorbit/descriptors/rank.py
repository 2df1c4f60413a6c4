"""The rank laboratory for descriptors: what do the features of one atom resolve of the positions of its neighbours?"""

import statistics

from jorbit.basis.rank import TOLERANCE, RankReport, numerical_rank
from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Descriptor
from jorbit.graphs.environments import environment_jacobians

MOST_FEATURES = 600  # up to here independence is tested by default: it takes a third as many neighbours as features


def environment_dof(n_neighbors: int) -> int:
    """Numbers that describe the positions of neighbours (of known species) up to rotation: 3 N - 3; 1 for N = 1."""
    return max(3 * n_neighbors - 3, 1)


def position_rank(
    descriptor: Descriptor, n_neighbors: int, *, points: int = 3, seed: int = 0, tolerance: float = TOLERANCE
) -> int:
    """Rank of d features / d positions of the neighbours of one atom, at random environments in float64.

    Args:
        descriptor: any.
        n_neighbors: around the atom, inside the cutoff.
        points: random environments; the rank that most of them have is returned.
        seed: of the environments.
        tolerance: of the singular values, rows scaled to length 1.

    Example:
        >>> from jorbit.descriptors.cartesian import Cartesian
        >>> pair = Cartesian(n_species=1, n_radial=4, invariants="hop13:1,0")  # four radial functions, no angles
        >>> position_rank(pair, 5)
        4
    """
    jacobians = environment_jacobians(descriptor, n_neighbors, points=points, seed=seed)
    return statistics.mode(numerical_rank(j, tolerance) for j in jacobians)


def descriptor_report(
    name: str,
    descriptor: Descriptor,
    *,
    n_neighbors: int = 8,
    points: int = 3,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> RankReport:
    """Verdicts about any descriptor.

    Complete: the features of an atom resolve every motion of n_neighbors neighbours other than turning all of them.
    Independent: the rank grows to the number of features when there are enough neighbours. Whether the set is flexible
    is not asked, as positions have no strata.

    Args:
        name: what to call it.
        descriptor: the descriptor.
        n_neighbors: of the random environments. More neighbours ask more.
        points, seed, tolerance: see `position_rank`.

    Raises:
        ConfigError: no neighbours.
    """
    if n_neighbors < 1:
        raise ConfigError(f"Wanted at least one neighbour, got {n_neighbors}.")
    size, dof = descriptor.n_features, environment_dof(n_neighbors)
    rank = position_rank(descriptor, n_neighbors, points=points, seed=seed, tolerance=tolerance)
    most = rank
    if rank < size <= MOST_FEATURES:
        enough = size // 3 + 4
        most = position_rank(descriptor, enough, points=points, seed=seed, tolerance=tolerance)
    return RankReport(name, size, rank, dof, independent=most == size, n_neighbors=n_neighbors)
