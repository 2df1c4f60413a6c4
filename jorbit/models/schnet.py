"""SchNet: continuous filters of the distance multiply the neighbours' features."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.radial import gaussians
from jorbit.basis.tables import Tabulated, tabulated
from jorbit.core.blocks import shared_block
from jorbit.core.graph import Graph, Neighbors, pair_vectors
from jorbit.core.neighbor_sums import neighbor_sums
from jorbit.core.ops import safe_norm
from jorbit.core.outputs import AtomOutputs
from jorbit.models.layers.activations import ACTIVATIONS, check_activation, shifted_softplus
from jorbit.models.layers.envelopes import check_envelope, envelope
from jorbit.models.layers.ewald_messages import EwaldNetwork
from jorbit.models.layers.residual import dense

BLOCK = 16  # atoms whose filters fit in a core's cache
KNOTS = 4  # of the table, for each distance between Gaussians


class SchNet(EwaldNetwork):
    """x_i += W''(phi(W' sum_j f(r_ij) * (W x_j) + b') + b''), f a network of Gaussians of the distance.

    x^0 is an embedding of the species, * multiplies feature by feature. E_i = scale_z (w . phi'(W x + b) + c) + shift_z
    of the features after the last block.

    In float32 and with 128 atoms or more, the filters f come from a table that is made in each call, in training and in
    simulations alike: a quintic spline with four knots between Gaussians and four continuous derivatives, of which
    forces are the derivatives. It is used where it is within 1e-5 of the largest value and 1e-4 of the largest slope of
    the network (`jorbit.basis.tables.Tabulated`); with weights of ordinary size it is within 4e-6 and 2e-5.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_features: width of the network and of its filters.
        n_gaussians: radial functions, centred between 0 and the cutoff, as wide as they are apart.
        n_interactions: blocks.
        envelope: of the filters, "quadratic" (smooth to second derivatives at the cutoff) or "cosine" (the second
            derivative jumps there).
        readout_activation: phi', one of `jorbit.models.layers.activations`.
        total_charge, ewald_widths, ewald_channels, ewald_accuracy, ewald_max_length: the total charge as an input, and
            messages at all distances, see `jorbit.models.layers.ewald_messages.EwaldNetwork`.

    Example:
        >>> SchNet(n_species=2, cutoff=5.5).needs.cutoff
        5.5

    References:
        Schütt et al., J. Chem. Phys. 148, 241722 (2018).
    """

    n_features: int = 64
    n_gaussians: int = 20
    n_interactions: int = 3
    envelope: str = "quadratic"
    readout_activation: str = "shifted_softplus"

    @classmethod
    def tiny(cls, n_species: int = 2) -> "SchNet":
        return cls(n_species=n_species, cutoff=3.0, n_features=6, n_gaussians=5, n_interactions=2)

    @property
    def message_layers(self) -> int:
        """How many times atoms hear from their neighbours, one after the other."""
        return self.n_interactions

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        check_envelope(self.envelope)
        check_activation(self.readout_activation)
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        x = self.embedding(graph, self.n_features, vectors.dtype)
        for k in range(self.n_interactions):
            message = ContinuousFilter(self.n_gaussians, self.cutoff, self.envelope, name=f"message_{k}")
            y = message(vectors, neighbors, dense(self.n_features, x, f"in_{k}", bias=False)(x))
            y = shifted_softplus(dense(self.n_features, x, f"out_{k}")(y))
            x = x + dense(self.n_features, x, f"update_{k}")(y) + self.far_messages(k, x, graph)
        hidden = ACTIVATIONS[self.readout_activation](dense(max(self.n_features // 2, 1), x, "hidden")(x))
        return self.energies(graph, dense(1, x, "readout")(hidden)[:, 0], x)


class ContinuousFilter(nn.Module):
    """sum over j of f(r_ij) * h_j with f = W' phi(W g(r) + b) + b', times an envelope; g are Gaussians.

    Attributes:
        n_gaussians: how many.
        cutoff: Å.
        envelope: see `jorbit.models.layers.envelopes`.
    """

    n_gaussians: int
    cutoff: float
    envelope: str

    @nn.compact
    def __call__(
        self, vectors: Float[Array, "atoms slots 3"], neighbors: Neighbors, h: Float[Array, "atoms features"]
    ) -> Float[Array, "atoms features"]:
        width, dtype = h.shape[1], h.dtype
        normal, zeros = nn.initializers.glorot_normal(), nn.initializers.zeros
        first = self.param("kernel_0", normal, (self.n_gaussians, width), dtype)
        second = self.param("kernel_1", normal, (width, width), dtype)
        bias = [self.param(f"bias_{k}", zeros, (width,), dtype)[None, :] for k in range(2)]

        def network(weights: Any, r: Array) -> Array:
            first, second, *bias = weights
            hidden = shifted_softplus(gaussians(r, self.cutoff, self.n_gaussians) @ first + bias[0])
            return hidden @ second + bias[1]

        weights: Any = (first, second, *bias)
        filters: Callable[[Any, Array], Array] = network
        if tabulated(len(h), dtype):
            filters = Tabulated(network, self.cutoff, KNOTS * max(self.n_gaussians - 1, 1))
            weights = filters.prepared(weights, dtype)

        def summed(weights: Any, pairs: tuple[Array, Array], said: Array) -> Array:
            r, filled = (x.reshape(-1) for x in pairs)
            fade = filled * envelope(self.envelope, r, self.cutoff)
            return jnp.einsum(
                "as,asf->af", fade.reshape(said.shape[:2]), filters(weights, r).reshape(said.shape) * said
            )

        def transposed(weights: Any, pairs: tuple[Array, Array], own: Array, heard: Array) -> Array:
            return summed(weights, pairs, heard)  # a filter is the same from both sides

        pairs = (safe_norm(vectors), neighbors.mask.astype(dtype))
        return neighbor_sums(summed, transposed, weights, pairs, h, neighbors.index, shared_block(BLOCK))
