"""The Atomic Cluster Expansion as a descriptor: a linearly independent set of invariants of each atom."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.atomic_basis import AtomicBasis
from jorbit.basis.product_space import ProductLimits, ProductSpace, product_space
from jorbit.basis.radial import RadialBasis
from jorbit.basis.symmetric_products import invariants
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.protocols import Needs


@dataclasses.dataclass(frozen=True)
class ACE:
    """B_i = all independent invariants of A_(z n l m), up to products of len(max_degree) factors.

    A_i(z n l m) = sum over neighbours j of species z of R_n(r_ij) Y_lm(r̂_ij); products of nu factors describe nu + 1
    bodies and are coupled to invariants with generalised Clebsch-Gordan coefficients. The total degree of a product,
    the sum of n + l over its factors, is limited per order.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        max_degree: limit on the total degree for nu = 1, 2, ...
        l_max: highest l.
        family, envelope, bond_lengths: see `jorbit.basis.radial.RadialBasis`.
        max_factors: at most this many factors of each neighbour species in a product (None = no limit): the largest
            number of neighbours of that species is enough, since more only give powers of the same functions.
        n_radial: radial functions per neighbour species; None = as many as max_degree leaves room for.
        channel_of: channel of each neighbour species, 0, 1, ...; None = one of its own for each. With orbits as species
            and elements as channels, atoms see elements around them; max_factors then counts channels.
        features: only these of all invariants (ascending indices); products, radial functions and channels that none of
            them needs are not computed. None = all. `jorbit.descriptors.pruned` chooses them.

    Example:
        >>> full = ACE(n_species=1, cutoff=5.0, max_degree=(3, 2))
        >>> full.n_features, full.restricted((0, 4, 8)).n_features
        (9, 3)

    References:
        Drautz, Phys. Rev. B 99, 014104 (2019).
    """

    n_species: int
    cutoff: float = 5.0
    max_degree: tuple[int, ...] = (12, 8, 6)
    l_max: int = 6
    family: str = "chebyshev"
    envelope: str = "quadratic"
    bond_lengths: float | tuple[tuple[float, ...], ...] = 1.5
    max_factors: tuple[int, ...] | None = None
    n_radial: int | None = None
    channel_of: tuple[int, ...] | None = None
    features: tuple[int, ...] | None = None

    @classmethod
    def tiny(cls, n_species: int = 2) -> "ACE":
        return cls(n_species=n_species, cutoff=3.0, max_degree=(3, 3, 2, 2), l_max=2)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def space(self) -> ProductSpace:
        """Tables of the invariants (cached)."""
        n_radial = max(self.max_degree) + 1 if self.n_radial is None else self.n_radial
        n_channels = self.n_species if self.channel_of is None else max(self.channel_of) + 1
        limits = ProductLimits(n_channels, n_radial, self.l_max, self.max_degree, self.max_factors)
        return product_space(limits, self.features)

    @property
    def atomic_basis(self) -> AtomicBasis:
        n_radial = 1 + max(int(rows[:, 0].max()) for rows in self.space.rows if len(rows))
        radial = RadialBasis(n_radial, self.cutoff, self.family, self.envelope, self.bond_lengths)
        return AtomicBasis(radial, self.space.l_max, self.n_species, self.channel_of)

    @property
    def n_features(self) -> int:
        return self.space.n_features

    def restricted(self, features: Sequence[int]) -> "ACE":
        """The same descriptor with these columns only; what no column needs is not computed.

        Args:
            features: ascending indices of columns of this descriptor.
        """
        own = range(self.n_features) if self.features is None else self.features
        return dataclasses.replace(self, features=tuple(own[int(k)] for k in features))

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """Invariants of each atom; zero on padding."""
        neighbors = graph.within(self.cutoff)
        atomic = self.atomic_basis(
            pair_vectors(graph, neighbors),
            graph.species,
            gather_neighbors(graph.species, neighbors),
            neighbors.mask,
            self.space,
        )
        return jnp.where(graph.atom_mask[:, None], invariants(self.space, atomic).T, 0.0)
