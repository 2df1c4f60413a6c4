"""Cartesian moment invariants: one vector, tensor, ... per radial and species channel, contracted to scalars."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.invariant_sets import InvariantSet, invariant_set
from jorbit.basis.moments import stf_from_monomials, unit_monomials
from jorbit.basis.radial import RadialBasis
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors, safe_divide, safe_norm
from jorbit.core.protocols import Needs

BLOCK = 128  # atoms whose temporaries fit in a core's cache


@dataclasses.dataclass(frozen=True)
class Cartesian:
    """I_k(M_c) for every invariant k of a set and every channel c, a radial function times a species of neighbours.

    M_c^(l) = sum over neighbours j of species z of R_n(r_ij) STF(r̂_ij^l), c = (n, z). An invariant never contracts two
    channels, so how the vector of one channel lies to that of another is lost. Mixtures bring it back: each is one more
    channel with M = sum_c w_c M_c, fixed weights w. `jorbit rank --basis cartesian` measures what is resolved.

    The sum runs over monomials of the unit vector, one batched matrix product over neighbour slots; the map to
    trace-free tensors is applied afterwards, per atom.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_radial: radial functions.
        invariants: which set, see `jorbit.basis.invariant_sets.invariant_set`: "hop13", "hop14", "flex15", "full20",
            "hop13:n_max,l_max", "generated:n_max,l_max".
        n_mixtures: fixed mixtures of all channels, in addition to the channels themselves.
        family, envelope, bond_lengths: see `jorbit.basis.radial.RadialBasis`.

    Example:
        >>> Cartesian(n_species=2, n_radial=4, invariants="hop13").n_features
        104

    References:
        arXiv:2503.21939 (the sets); Lubbers, Smith and Barros, J. Chem. Phys. 148, 241715 (2018) (networks of neurons).
    """

    n_species: int
    cutoff: float = 5.0
    n_radial: int = 8
    invariants: str = "hop14"
    n_mixtures: int = 0
    family: str = "chebyshev"
    envelope: str = "quadratic"
    bond_lengths: float | tuple[tuple[float, ...], ...] = 1.5

    def __post_init__(self) -> None:
        if self.n_species < 1 or self.n_mixtures < 0:
            raise ConfigError(f"Wanted n_species >= 1 and n_mixtures >= 0, got {self.n_species} and {self.n_mixtures}.")
        invariant_set(self.invariants)

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Cartesian":
        return cls(n_species=n_species, cutoff=3.0, n_radial=2, invariants="hop13:3,3", n_mixtures=1)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def set(self) -> InvariantSet:
        """The set applied to each channel."""
        return invariant_set(self.invariants)

    @property
    def n_channels(self) -> int:
        """Radial functions times species, and mixtures."""
        return self.n_radial * self.n_species + self.n_mixtures

    @property
    def n_features(self) -> int:
        return self.n_channels * self.set.size

    @property
    def mixing(self) -> Float[np.ndarray, "channels pure"]:
        """Weights of the pure channels in every channel: the identity, and rows of cosines with unrelated phases."""
        n = self.n_radial * self.n_species
        row, column = np.ogrid[1 : self.n_mixtures + 1, 1 : n + 1]
        mixed = np.cos(np.sqrt(2.0) * row * column**2 + column) * np.sqrt(2.0 / n)
        return np.concatenate([np.eye(n), mixed])

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """Invariants of each atom, channel after channel; zero on padding."""
        neighbors = graph.within(self.cutoff)
        species_j = gather_neighbors(graph.species, neighbors)
        inputs = (pair_vectors(graph, neighbors), graph.species, species_j, neighbors.mask, graph.atom_mask)
        return map_atom_blocks(self._values, inputs, BLOCK)

    def moments(self, graph: Graph) -> Float[Array, "atoms channels components"]:
        """M_c of each atom and channel, independent components of l = 0, 1, ...; padding included."""
        neighbors = graph.within(self.cutoff)
        species_j = gather_neighbors(graph.species, neighbors)
        moments = self._moments(pair_vectors(graph, neighbors), graph.species, species_j, neighbors.mask)
        return jnp.moveaxis(moments, 0, -1)

    def _moments(self, vectors: Array, species_i: Array, species_j: Array, mask: Array) -> Array:
        """[components, atoms, channels]."""
        radial = RadialBasis(self.n_radial, self.cutoff, self.family, self.envelope, self.bond_lengths)
        r = safe_norm(vectors)
        unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
        bonds = radial.pair_bond_lengths(self.n_species)
        alike = (bonds == bonds[0, 0]).all()
        r0 = float(bonds[0, 0]) if alike else jnp.asarray(bonds, r.dtype)[species_i[:, None], species_j]
        species = jax.nn.one_hot(species_j, self.n_species, dtype=r.dtype) * mask[..., None].astype(r.dtype)
        weights = (radial(r, r0)[..., :, None] * species[..., None, :]).reshape(*mask.shape, -1)
        monomials = unit_monomials(unit, self.set.l_max)
        summed = jnp.einsum("ask,asc->kac", monomials, weights, precision="highest")
        if self.n_mixtures:
            summed = jnp.einsum("kac,dc->kad", summed, jnp.asarray(self.mixing, r.dtype), precision="highest")
        to_tensors = jnp.asarray(stf_from_monomials(self.set.l_max), r.dtype)
        return jnp.einsum("mk,kac->mac", to_tensors, summed, precision="highest")

    def _values(self, vectors: Array, species_i: Array, species_j: Array, mask: Array, present: Array) -> Array:
        moments = self._moments(vectors, species_i, species_j, mask)
        parts = jax.lax.split(moments, (1,) * len(moments), axis=0)
        values = jnp.stack(self.set.columns([x.squeeze(0) for x in parts]), axis=-1)
        return jnp.where(present[:, None], values.reshape(len(vectors), -1), 0.0)
