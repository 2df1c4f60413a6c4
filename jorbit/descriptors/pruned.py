"""Pruning: the features of a descriptor that are not functions of the features before them, by rank of the Jacobian."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.independent_rows import IndependentRows
from jorbit.basis.moment_jacobians import MomentJacobians, candidate_order, degree_subsets, degrees_of_freedom
from jorbit.basis.product_space import ProductSpace
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import ChecksStructures, Descriptor, Needs
from jorbit.core.structure import Structure
from jorbit.descriptors import DESCRIPTORS
from jorbit.graphs.environments import environment_jacobians


@dataclasses.dataclass(frozen=True)
class StratumRank:
    """What a set resolves where some degrees of the density vanish.

    Attributes:
        zero: the degrees l whose A_nlm are all zero.
        rank: of the chosen features there, after features were added back.
        rank_before: of the generic selection there.
        degrees_of_freedom: of the other degrees.
    """

    zero: tuple[int, ...]
    rank: int
    rank_before: int
    degrees_of_freedom: int


@dataclasses.dataclass(frozen=True)
class Selection:
    """Result of `select_features`.

    Attributes:
        features: indices of the kept columns, ascending.
        rank: of the Jacobian of the kept columns at a random point.
        degrees_of_freedom: what a complete set reaches.
        n_candidates: columns there were to choose from.
        unanimous: whether all random points chose the same columns.
        smallest_kept, largest_dropped: residuals of unit rows on the two sides of the tolerance, over all points; None
            in exact arithmetic.
        strata: one entry per stratum asked for.
    """

    features: tuple[int, ...]
    rank: int
    degrees_of_freedom: int
    n_candidates: int
    unanimous: bool
    smallest_kept: float | None = None
    largest_dropped: float | None = None
    strata: tuple[StratumRank, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the kept columns resolve every direction in which the input can change."""
        return self.rank == self.degrees_of_freedom

    @property
    def independent(self) -> bool:
        """Whether none of the kept columns is (locally, at generic points) a function of the others."""
        return self.rank == len(self.features)


@dataclasses.dataclass(frozen=True)
class Pruned:
    """Some columns of another descriptor. For ACE use its own `restricted`, which computes nothing else.

    Attributes:
        descriptor: the complete set.
        features: ascending indices of the columns kept.

    Example:
        >>> Pruned.tiny(1).n_features
        3
    """

    descriptor: Any
    features: tuple[int, ...]

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Pruned":
        return cls(descriptor=DESCRIPTORS.load("ace").tiny(n_species), features=(0, 5, 7))

    def __post_init__(self) -> None:
        ascending = all(a < b for a, b in itertools.pairwise(self.features))
        if not self.features or not ascending or self.features[0] < 0:
            raise ConfigError(f"features must be ascending indices, at least one, got {self.features[:8]}.")

    @property
    def n_features(self) -> int:
        return len(self.features)

    @property
    def needs(self) -> Needs:
        return self.descriptor.needs

    @property
    def is_long_range(self) -> bool:
        """Whether the descriptor looks at any distance."""
        return getattr(self.descriptor, "is_long_range", False)

    def check_structure(self, structure: Structure) -> None:
        """Raise for structures that the descriptor is not for."""
        if isinstance(self.descriptor, ChecksStructures):
            self.descriptor.check_structure(structure)

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """The kept columns."""
        if self.features[-1] >= self.descriptor.n_features:
            raise ConfigError(f"The descriptor has {self.descriptor.n_features} features, none {self.features[-1]}.")
        return self.descriptor(graph)[:, np.asarray(self.features)]


def prune(descriptor: Descriptor, **options: Any) -> Descriptor:
    """The descriptor with the features that `select_features(descriptor, **options)` keeps.

    Example:
        >>> from jorbit.descriptors.ace import ACE
        >>> full = ACE(n_species=1, cutoff=4.0, max_degree=(3, 4, 4), l_max=2)
        >>> full.n_features, prune(full).n_features
        (38, 11)
    """
    return restricted(descriptor, select_features(descriptor, **options).features)


def restricted(descriptor: Descriptor, features: Sequence[int]) -> Descriptor:
    """Some columns of a descriptor, computed alone where the descriptor knows how."""
    own: Callable[[Sequence[int]], Descriptor] | None = getattr(descriptor, "restricted", None)
    return own(features) if own else Pruned(descriptor=descriptor, features=tuple(int(k) for k in features))


def select_features(
    descriptor: Descriptor | ProductSpace,
    *,
    order: str | Float[np.ndarray, " features"] = "body",
    variables: str = "moments",
    points: int = 3,
    seed: int = 0,
    tolerance: float = 1e-7,
    exact: bool = False,
    strata: int = 0,
    n_neighbors: int | None = None,
) -> Selection:
    """Keep, in a given order, each feature that is not (locally) a function of the features kept before it.

    A feature is kept when the gradient of it with respect to the input is no linear combination of the gradients of the
    kept ones. Ranks at random points are generic with probability one; each point votes on each feature, and the
    majority decides, against round-off only. Earlier features win: the order says what is cheap or good.

    For a linear readout this is a loss: a product of two features is a function of them, and goes. A nonlinear readout
    can make it again.

    Args:
        descriptor: any descriptor, or the tables of an ACE (`ACE.space`, `product_space`).
        order: "body" (fewest factors, then lowest total l, then lowest radial degree), "degree" (lowest n + l, then
            fewest factors), "cost" (fewest multiplications when computed alone), "given" (column order), or an
            importance per feature, largest first. The first three need the tables of an ACE.
        variables: "moments", the A_nlm as free numbers (needs the tables of an ACE), or "positions" of random
            neighbours (any descriptor).
        points: random points, at least 3, and odd.
        seed: of the points.
        tolerance: residual of a unit gradient that counts as independent.
        exact: work modulo a prime instead, without tolerance. For moments of an ACE only: radial functions of positions
            are no polynomials.
        strata: afterwards add features back until the set resolves what all features resolve with up to this many
            degrees l >= 1 of the density zero (moments only). 0 = no.
        n_neighbors: for positions: neighbours of the random environments; enough to reach the degrees of freedom of the
            moments, or the number of features, when not given.

    Raises:
        ConfigError: options that do not go together.

    Example:
        >>> from jorbit.basis.product_space import ProductLimits, product_space
        >>> space = product_space(ProductLimits(n_channels=1, n_radial=2, l_max=2, max_degree=(99, 99, 99)))
        >>> chosen = select_features(space)
        >>> space.n_features, len(chosen.features), chosen.rank, chosen.complete
        (37, 15, 15, True)

    References:
        arXiv:2503.23515 (pruning of ACE by functional independence, abstract); the procedure here is our own.
    """
    space = descriptor if isinstance(descriptor, ProductSpace) else getattr(descriptor, "space", None)
    space = space if isinstance(space, ProductSpace) else None
    if variables not in ("moments", "positions"):
        raise ConfigError(f"variables must be 'moments' or 'positions', got {variables!r}.")
    if variables == "moments" and space is None:
        raise ConfigError(f"{type(descriptor).__name__} has no product tables: use variables='positions'.")
    if variables == "positions" and (exact or strata or isinstance(descriptor, ProductSpace)):
        raise ConfigError("Exact arithmetic, strata and bare tables go with variables='moments' only.")
    if points < 3 or points % 2 == 0:
        raise ConfigError(f"Wanted an odd number of points, at least 3, got {points}.")
    n = descriptor.n_features
    sequence = candidate_order(order, n, space)
    source = MomentJacobians(space, exact, tolerance) if variables == "moments" and space else None
    if source is None:
        freedom, jacobians = _position_jacobians(descriptor, points, seed, n_neighbors)  # type: ignore[arg-type]
        filters = [IndependentRows(j.shape[1], tolerance) for j in jacobians]
    else:
        freedom, jacobians = degrees_of_freedom(space), (source.jacobian(seed + k) for k in range(points))  # type: ignore[arg-type]
        filters = [source.rows() for _ in range(points)]
    votes = np.zeros((points, n), dtype=bool)
    for k, jacobian in enumerate(jacobians):
        votes[k, sequence] = filters[k].add(jacobian[sequence])
    kept = votes.sum(axis=0) > points // 2
    found: list[StratumRank] = []
    if source and strata:
        for zero in degree_subsets(source.space, strata):
            rank, before = source.complete_stratum(zero, kept, sequence, seed)
            found.append(StratumRank(zero, rank, before, degrees_of_freedom(source.space, zero)))
    real = [f for f in filters if isinstance(f, IndependentRows)]
    return Selection(
        features=tuple(int(k) for k in np.flatnonzero(kept)),
        rank=max(f.rank for f in filters),
        degrees_of_freedom=freedom,
        n_candidates=n,
        unanimous=bool((votes == votes[0]).all()),
        smallest_kept=min((f.smallest_kept for f in real), default=None),
        largest_dropped=max((f.largest_dropped for f in real), default=None),
        strata=tuple(found),
    )


def _position_jacobians(
    descriptor: Descriptor, points: int, seed: int, n_neighbors: int | None = None
) -> tuple[int, list[Float[np.ndarray, "features directions"]]]:
    """d features of a central atom / d positions (Å) of random neighbours, in float64.

    Returns:
        Directions there are to resolve, and one Jacobian per point.

    Raises:
        ConfigError: a descriptor without cutoff and no number of neighbours.
    """
    space = getattr(descriptor, "space", None)
    most = degrees_of_freedom(space) if isinstance(space, ProductSpace) else descriptor.n_features
    count = (most + 3) // 3 + 3 if n_neighbors is None else n_neighbors
    if count < 1:
        raise ConfigError(f"Wanted at least one neighbour, got {count}.")
    shape = max(3 * count - 3, 1)  # two neighbours: three distances; one: one
    return min(shape, most), environment_jacobians(descriptor, count, points=points, seed=seed)
