"""The rank laboratory for descriptors: what do the features of one atom resolve of the positions of its neighbours?"""

import statistics

import numpy as np

from jorbit.basis.rank import TOLERANCE, RankReport, StratumRank, numerical_rank
from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Descriptor
from jorbit.graphs.environments import (
    BODIES,
    environment_jacobians,
    environment_radius,
    jacobians_at,
    symmetric_environment,
)

MOST_FEATURES = 600  # up to here independence is tested by default: it takes a third as many neighbours as features
# Moments of l <= 4 that the density around bodies of one kind has; it always has the scalar.
_NONZERO = {"octahedron": ("D",), "tetrahedron": ("T", "D"), "pair": ("Q", "D")}


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


def position_strata(
    descriptor: Descriptor, n_neighbors: int = 8, *, points: int = 3, seed: int = 0, tolerance: float = TOLERANCE
) -> tuple[StratumRank, ...]:
    """Ranks where low moments of the density vanish by symmetry, whatever the radial functions are.

    The neighbours form octahedra (no v, Q, T), tetrahedra (no v, Q) or pairs of opposite atoms (no v, T), about
    n_neighbors atoms and at least two bodies. Degrees of freedom are what describes the sizes and mutual orientations
    of the bodies; the features are differentiated along these motions only.

    Args:
        descriptor: any.
        n_neighbors, points, seed, tolerance: see `position_rank`.

    Example:
        >>> from jorbit.descriptors.cartesian import Cartesian
        >>> blind = Cartesian(n_species=1, n_radial=1, invariants="hop13:4,2")  # no moments of l = 3 and 4
        >>> [(s.nonzero, s.rank, s.dof) for s in position_strata(blind)]
        [(('D',), 1, 5), (('T', 'D'), 1, 5), (('Q', 'D'), 3, 9)]
    """
    radius, n_species = environment_radius(descriptor), getattr(descriptor, "n_species", 1)
    found = []
    for body, nonzero in _NONZERO.items():
        n_bodies = max(2, n_neighbors // len(BODIES[body]))
        rngs = [np.random.default_rng(seed + k) for k in range(points)]
        places = [symmetric_environment(rng, body, n_bodies, radius, n_species) for rng in rngs]
        jacobians = jacobians_at(descriptor, [structure for structure, _ in places])
        inside = [j @ motions for j, (_, motions) in zip(jacobians, places, strict=True)]
        rank = statistics.mode(numerical_rank(_without_dust(j), tolerance) for j in inside)
        sizes = [int((np.abs(_without_dust(j)) > 0).any(axis=1).sum()) for j in inside]
        found.append(StratumRank(nonzero, statistics.mode(sizes), rank, places[0][1].shape[1] - 3))
    return tuple(found)


def _without_dust(jacobian: np.ndarray) -> np.ndarray:
    """Rows that are zero but for rounding, as features of vanishing moments have them, set to zero."""
    norms = np.linalg.norm(jacobian, axis=1, keepdims=True)
    return np.where(norms > 1e-12 * norms.max(initial=0.0), jacobian, 0.0)


def descriptor_report(
    name: str,
    descriptor: Descriptor,
    *,
    n_neighbors: int = 8,
    strata: bool = False,
    points: int = 3,
    seed: int = 0,
    tolerance: float = TOLERANCE,
) -> RankReport:
    """Verdicts about any descriptor.

    Complete: the features of an atom resolve every motion of n_neighbors neighbours other than turning all of them.
    Independent: the rank grows to the number of features when there are enough neighbours. Flexible: complete in
    symmetric environments as well (`position_strata`), if they are asked for.

    Args:
        name: what to call it.
        descriptor: the descriptor.
        n_neighbors: of the random environments. More neighbours ask more.
        strata: look at symmetric environments, too.
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
    where = position_strata(descriptor, n_neighbors, points=points, seed=seed, tolerance=tolerance) if strata else ()
    return RankReport(name, size, rank, dof, independent=most == size, strata=where, n_neighbors=n_neighbors)
