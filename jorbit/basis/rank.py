"""The rank laboratory for sets of moment invariants: complete, independent, flexible?

The Jacobian d invariants / d moments at a random point has the rank of the map. A set is complete when that rank equals
the number of directions in which moments can differ other than by turning (degrees of freedom), independent when it
equals the size of the set, and flexible when it stays complete on every stratum: wherever some of v, Q, T, ... vanish,
as they do at symmetric sites. All this is local: a complete set tells a generic point from its neighbours, and may
still confuse two distant ones (`jorbit.basis.preimages`).
"""

import dataclasses
import functools
import itertools
import statistics
from collections.abc import Callable, Iterable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.exact_contractions import PRIME, exact_jacobian
from jorbit.basis.independent_rows import ExactIndependentRows
from jorbit.basis.invariant_sets import InvariantSet
from jorbit.basis.moments import LETTERS, stf_components
from jorbit.core.errors import ConfigError

TOLERANCE = 1e-9  # of singular values, relative to the largest, after every row was scaled to length 1


def degrees_of_freedom(degrees: Iterable[int], n_channels: int = 1) -> int:
    """Numbers that describe moments of these degrees up to rotation: sum (2l + 1) - 3, per channel but for the 3.

    One vector alone turns in two directions only, and scalars in none.

    Example:
        >>> [degrees_of_freedom(range(l_max + 1)) for l_max in (1, 2, 3, 4, 5)]
        [2, 6, 13, 22, 33]
    """
    degrees = set(degrees)
    turning = n_channels * sum(1 for l in degrees if l)
    orbit = 0 if not turning else 2 if turning == 1 and 1 in degrees else 3
    return n_channels * sum(2 * l + 1 for l in degrees) - orbit


def numerical_rank(matrix: Float[np.ndarray, "rows columns"], tolerance: float = TOLERANCE) -> int:
    """Rank by singular values in float64, rows scaled to length 1 first; rows of zeros (and of dust) count nothing.

    Args:
        matrix: any real matrix.
        tolerance: singular values below this times the largest are zero.

    Example:
        >>> numerical_rank(np.array([[1.0, 0.0], [1e-20, 1e-20], [0.0, 0.0]]))
        2
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    norms = np.linalg.norm(matrix, axis=1)
    rows = matrix[norms > 0] / norms[norms > 0, None]
    if not rows.size:
        return 0
    singular = np.linalg.svd(rows, compute_uv=False)
    return int((singular > tolerance * singular[0]).sum())


def rank_modulo(matrix: np.ndarray, prime: int = PRIME) -> int:
    """Rank of an integer matrix in the field of `prime` elements."""
    rows = ExactIndependentRows(matrix.shape[1], prime)
    rows.add(matrix)
    return rows.rank


def moment_jacobian(
    invariants: Callable[[Array], Array], moments: Float[np.ndarray, " components"]
) -> Float[np.ndarray, "invariants components"]:
    """d invariants / d components at one point, in float64."""
    with jax.enable_x64(True):
        return np.asarray(_derivative(invariants)(jnp.asarray(moments, jnp.float64)))


@functools.cache
def _derivative(invariants: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Compiled once per set."""
    return jax.jit(jax.jacrev(invariants))


def moment_rank(
    invariants: InvariantSet,
    degrees: Iterable[int] | None = None,
    *,
    at: Float[np.ndarray, " components"] | None = None,
    points: int = 3,
    seed: int = 0,
    exact: bool = False,
    tolerance: float = TOLERANCE,
) -> int:
    """Rank of the map from moments to invariants at random points, or at one given point.

    Args:
        invariants: the set.
        degrees: only moments of these degrees are non-zero, and only they vary; all up to l_max when not given. The
            scalar, l = 0, always is.
        at: a point of your own, instead of random ones.
        points: random points.
        seed: of the random points.
        exact: integers modulo a prime instead of float64.
        tolerance: of the singular values.

    Example:
        >>> from jorbit.basis.invariant_sets import hop13
        >>> moment_rank(hop13()), moment_rank(hop13(), [3]), moment_rank(hop13(), [3], exact=True)
        (13, 3, 3)
    """
    return _ranks(invariants, [_present(invariants, degrees)], at, points, seed, exact, tolerance)[0]


def _present(invariants: InvariantSet, degrees: Iterable[int] | None) -> tuple[int, ...]:
    chosen = set(range(invariants.l_max + 1) if degrees is None else degrees) | {0}
    if not chosen <= set(range(invariants.l_max + 1)):
        raise ConfigError(
            f"The set {invariants.name} has moments of l = 0 to {invariants.l_max}, got {sorted(chosen)}."
        )
    return tuple(sorted(chosen))


def _ranks(
    invariants: InvariantSet,
    strata: Sequence[tuple[int, ...]],
    at: np.ndarray | None,
    points: int,
    seed: int,
    exact: bool,
    tolerance: float,
) -> list[int]:
    """One rank per stratum; the derivative is compiled once."""
    if at is None and points < 1:
        raise ConfigError(f"Wanted at least one random point, got {points}.")
    n = invariants.n_components
    rng = np.random.default_rng(seed)
    if at is not None:
        samples = np.asarray(at)[None]
    else:
        samples = rng.integers(1, PRIME, (points, n)) if exact else rng.normal(size=(points, n))
    found: list[list[int]] = []
    for degrees in strata:
        kept = np.concatenate([np.full(2 * l + 1, l in degrees) for l in range(invariants.l_max + 1)])
        ranks = []
        for sample in samples:
            point = np.where(kept, sample, 0)
            if exact:
                ranks.append(rank_modulo(exact_jacobian(invariants.contractions, point)[:, kept]))
            else:
                ranks.append(numerical_rank(moment_jacobian(invariants, point)[:, kept], tolerance))
        found.append(ranks)
    # Modulo a prime a rank can only be too low; in floating point rounding errs both ways.
    return [max(r) if exact else statistics.mode(r) for r in found]


@dataclasses.dataclass(frozen=True)
class StratumRank:
    """What a set resolves where only some moments are non-zero.

    Attributes:
        nonzero: names of the moments that are not zero (v, Q, T, D, ... for l = 1, 2, 3, 4); the scalar s always is.
        size: invariants that are not zero for all such moments.
        rank, dof: of the map, and degrees of freedom, the scalar included.
    """

    nonzero: tuple[str, ...]
    size: int
    rank: int
    dof: int

    @property
    def complete(self) -> bool:
        return self.rank == self.dof

    @property
    def independent(self) -> bool:
        """Whether none of the invariants that live here is a function of the others."""
        return self.rank == self.size


@dataclasses.dataclass(frozen=True)
class RankReport:
    """Verdicts about a set.

    Attributes:
        basis: name of the set or descriptor.
        size: number of invariants.
        rank, dof: at a generic point.
        independent: rank = size.
        strata: one entry per combination of non-zero moments; for a descriptor of positions, if they were asked for.
        n_neighbors: of the random environments, for a descriptor of positions.
        exact: whether ranks are modulo a prime.
    """

    basis: str
    size: int
    rank: int
    dof: int
    independent: bool
    strata: tuple[StratumRank, ...] = ()
    n_neighbors: int | None = None
    exact: bool = False

    @property
    def complete(self) -> bool:
        return self.rank == self.dof

    @property
    def flexible(self) -> bool | None:
        """Whether the set is complete, at generic points and on every stratum; None where strata were not looked at."""
        return self.complete and all(s.complete for s in self.strata) if self.strata else None

    def as_json(self) -> dict:
        """Plain data: basis, size, rank, dof, complete, independent, flexible, strata."""
        strata = [{"nonzero": list(s.nonzero), "rank": s.rank, "dof": s.dof} for s in self.strata]
        names = ("basis", "size", "rank", "dof", "complete", "independent", "flexible")
        return {name: getattr(self, name) for name in names} | {"strata": strata}


def stratum_ranks(
    invariants: InvariantSet, *, points: int = 3, seed: int = 0, exact: bool = False, tolerance: float = TOLERANCE
) -> tuple[StratumRank, ...]:
    """Ranks for every combination of non-zero moments, fewest first; the last one is the generic stratum.

    Example:
        >>> from jorbit.basis.invariant_sets import flex15
        >>> [(s.nonzero, s.rank, s.dof) for s in stratum_ranks(flex15())][2:4]
        [(('T',), 5, 5), (('v', 'Q'), 6, 6)]
    """
    turning = range(1, invariants.l_max + 1)
    strata = [(0, *c) for k in range(1, len(turning) + 1) for c in itertools.combinations(turning, k)] or [(0,)]
    ranks = _ranks(invariants, strata, None, points, seed, exact, tolerance)
    return tuple(
        StratumRank(
            nonzero=tuple(LETTERS[l] for l in degrees if l),
            size=sum(set(c.degrees) <= set(degrees) for c in invariants.contractions),
            rank=rank,
            dof=degrees_of_freedom(degrees),
        )
        for degrees, rank in zip(strata, ranks, strict=True)
    )


def rank_report(
    invariants: InvariantSet, *, points: int = 3, seed: int = 0, exact: bool = False, tolerance: float = TOLERANCE
) -> RankReport:
    """All verdicts about a set of moment invariants.

    Example:
        >>> from jorbit.basis.invariant_sets import hop14
        >>> report = rank_report(hop14())
        >>> report.rank, report.dof, report.complete, report.independent, report.flexible
        (13, 13, True, False, False)
    """
    strata = stratum_ranks(invariants, points=points, seed=seed, exact=exact, tolerance=tolerance)
    rank, dof = strata[-1].rank, strata[-1].dof
    independent = rank == invariants.size
    return RankReport(invariants.name, invariants.size, rank, dof, independent, strata, exact=exact)


def neighbor_rank(invariants: InvariantSet, n_neighbors: int, *, seed: int = 0) -> int:
    """Rank with respect to the directions of neighbours that all weigh the same: at most 2 n_neighbors - 3.

    Args:
        invariants: the set.
        n_neighbors: on a sphere around the atom.
        seed: of their directions.
    """
    with jax.enable_x64(True):
        positions = np.random.default_rng(seed).normal(size=(n_neighbors, 3))
        parts = [_one_neighbor(invariants.l_max)(jnp.asarray(p)) for p in positions]
    total = np.sum([np.asarray(value) for value, _ in parts], axis=0)
    turned = np.hstack([np.asarray(derivative) for _, derivative in parts])  # [components, neighbours * 3]
    return numerical_rank(moment_jacobian(invariants, total) @ turned)


@functools.cache
def _one_neighbor(l_max: int) -> Callable[[Array], tuple[Array, Array]]:
    """Position -> moments of its direction, and their derivative."""

    def moments(position: Array) -> tuple[Array, Array]:
        values = stf_components(position / jnp.linalg.norm(position), l_max)
        return values, values

    def with_derivative(position: Array) -> tuple[Array, Array]:
        derivative, values = jax.jacfwd(moments, has_aux=True)(position)
        return values, derivative

    return jax.jit(with_derivative)


def mixed_rank(invariants: InvariantSet, mixing: Float[np.ndarray, "mixtures channels"]) -> int:
    """Joint rank of the set applied to several mixtures of channels, with respect to the moments of all channels.

    Invariants of one mixture never contract different mixtures, but |v_1 + v_2|^2 knows v_1 . v_2: enough mixtures
    resolve all channels, `degrees_of_freedom(range(l_max + 1), n_channels)`.

    Args:
        invariants: the set.
        mixing: weight of each channel in each mixture (neuron).
    """
    mixing = np.asarray(mixing, dtype=np.float64)
    moments = np.random.default_rng(0).normal(size=(mixing.shape[1], invariants.n_components))
    blocks = np.stack([moment_jacobian(invariants, row @ moments) for row in mixing])
    jacobian = blocks[:, :, None, :] * mixing[:, None, :, None]
    return numerical_rank(jacobian.reshape(invariants.size * len(mixing), -1))
