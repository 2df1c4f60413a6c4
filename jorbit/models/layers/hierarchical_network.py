"""What HIP-NN and HIP-HOP-NN share: blocks of messages and atom layers, and energies that are a sum over the blocks."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.opposite_pairs import opposite_pairs
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.core.protocols import Needs, Params
from jorbit.models.layers.hierarchical_energy import HierarchicalEnergy, with_energy_scale
from jorbit.models.layers.neighbor_moments import NeighborMoments, one_hot_species
from jorbit.models.layers.network import Network
from jorbit.models.layers.refined_species import refined_first_block
from jorbit.models.layers.residual import AtomLayers, ResidualUpdate, dense
from jorbit.models.layers.sensitivity import Sensitivities
from jorbit.models.layers.total_charge import TotalCharge


class HierarchicalNetwork(Network):
    """z^0 = one-hot species; per block y_i = m(M_i) + W z_i + b, z -> z + W' softplus(y) + b', atom layers.

    M_i are the moments of the neighbours' features up to degree `l_max`, see `NeighborMoments`; a network says by
    `message` what it makes of them.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_features: width of the network.
        n_sensitivities: radial functions.
        n_interactions: blocks, each with one message.
        n_atom_layers: layers of single atoms in each block.
        soft_min, soft_max: where the first and the last radial function start, Å; soft_max None is 0.9 cutoff.
        envelope: "quadratic" (smooth to second derivatives at the cutoff) or "cosine" (the second derivative jumps).
        total_charge: atoms learn after each block what their part of the total charge is, see
            `jorbit.models.layers.total_charge`.
    """

    n_species: int
    cutoff: float = 5.0
    n_features: int = 64
    n_sensitivities: int = 20
    n_interactions: int = 2
    n_atom_layers: int = 3
    soft_min: float = 0.75
    soft_max: float | None = None
    envelope: str = "quadratic"
    total_charge: bool = False

    @property
    def needs(self) -> Needs:
        # A share of the total charge depends on every atom.
        return Needs(cutoff=self.cutoff, layers=None if self.total_charge else self.n_interactions)

    @property
    def l_max(self) -> int:
        """Highest degree of the moments."""
        return 0

    @property
    def sensitivities(self) -> Sensitivities:
        """The radial functions of every block."""
        soft_max = 0.9 * self.cutoff if self.soft_max is None else self.soft_max
        return Sensitivities(self.n_sensitivities, self.cutoff, self.soft_min, soft_max, self.envelope)

    def message(self, block: int, moments: Float[Array, "atoms moments features"]) -> Float[Array, "atoms features"]:
        """m(M_i) of one block."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        opposite = opposite_pairs(neighbors) if self.l_max and self.n_interactions > 1 else None
        x = one_hot_species(graph.species, self.n_species, vectors.dtype)
        levels = []
        for k in range(self.n_interactions):
            moments = NeighborMoments(self.n_features, self.l_max, self.sensitivities, name=f"message_{k}")
            # Species are sent by atoms whose own lists may be empty, at the edge of what a rank of LAMMPS knows.
            received = moments(vectors, neighbors, x, opposite if k else None)
            y = self.message(k, received) + dense(self.n_features, x, f"self_{k}")(x)
            x = AtomLayers(self.n_atom_layers, name=f"atoms_{k}")(
                ResidualUpdate(self.n_features, name=f"update_{k}")(x, y)
            )
            if self.total_charge:
                x = TotalCharge(name=f"charge_{k}")(x, graph)
            levels.append(x)
        energy = HierarchicalEnergy(name="readout")(levels)
        return AtomOutputs(energy=jnp.where(graph.atom_mask, energy, 0.0), features=x)

    def calibrate(self, params: Params, batches: Iterable[tuple[Graph, BatchLabels]]) -> Params:
        """The unit of energy from training data; the trained parameters stay as they are."""
        return with_energy_scale(params, batches)

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple[Any, Params]:
        """The same function over more species: each behaves as the row it comes from."""
        return self.clone(n_species=len(parents)), refined_first_block(params, parents)
