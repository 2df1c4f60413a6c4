"""A neural network on any descriptor: the shortest way from invariants of an atom to its energy."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.core.protocols import Descriptor, Needs, Params
from jorbit.descriptors.ace import ACE
from jorbit.models.layers.activations import ACTIVATIONS, check_activation
from jorbit.models.layers.energy_scale import energy_scale
from jorbit.models.layers.feature_statistics import FeatureStatistics
from jorbit.models.layers.network import Network
from jorbit.models.layers.species_networks import map_species


class Readout(Network):
    """E_i = s * (network_z(x_i) + linear_z . x_i), x_i = (B_i - shift_z) / scale_z, z the species of atom i.

    B_i are the features of the descriptor. Shift and scale are the mean and standard deviation of each feature over the
    training atoms of each species, s is the root mean square of the training forces times 1 Å (of the energies per atom
    where there are no forces). They are found by `calibrate` before training and kept as constants.

    Attributes:
        descriptor: a registered descriptor.
        n_species: rows of the species table.
        hidden: widths of the hidden layers; () leaves the linear part alone.
        activation: "silu", "tanh", "gelu", "softplus" or "square": all smooth, so forces and Hessians are. One hidden
            layer of squares, as wide as there are features, is a general quadratic function of them.
        per_species: weights of their own for each species (as in Behler and Parrinello's networks), or shared weights
            and biases of their own (less to learn when there are many species or orbits).
        linear: add a linear function of the features, with coefficients per species.

    Example:
        >>> Readout(descriptor=ACE(n_species=2), n_species=2).needs.cutoff
        5.0

    References:
        Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007).
    """

    descriptor: Descriptor
    n_species: int
    hidden: tuple[int, ...] = (32, 32)
    activation: str = "silu"
    per_species: bool = True
    linear: bool = True

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Readout":
        return cls(descriptor=ACE(n_species, cutoff=3.0, max_degree=(3, 2), l_max=2), n_species=n_species, hidden=(4,))

    @property
    def needs(self) -> Needs:
        return self.descriptor.needs

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        check_activation(self.activation)
        dtype, shape = graph.positions.dtype, (self.n_species, self.descriptor.n_features)
        shift = self.variable("constants", "shift", jnp.zeros, shape, dtype).value
        scale = self.variable("constants", "scale", jnp.ones, shape, dtype).value
        unit = self.variable("constants", "energy_scale", jnp.ones, (), dtype).value
        features = self.descriptor(graph)
        x = (features - shift[graph.species]) / scale[graph.species]
        return AtomOutputs(energy=jnp.where(graph.atom_mask, unit * self._network(x, graph.species), 0.0))

    def _network(self, x: Float[Array, "atoms features"], species: Array) -> Float[Array, " atoms"]:
        activate, energy = ACTIVATIONS[self.activation], jnp.zeros_like(x[:, 0])
        if self.linear or not self.hidden:
            weights = self.param("linear", nn.initializers.zeros, (self.n_species, x.shape[1]), x.dtype)
            energy = energy + jnp.sum(x * weights[species], axis=1)
        if not self.hidden:
            return energy
        names = [*(f"hidden_{k}" for k in range(len(self.hidden))), "output"]
        sizes = (x.shape[1], *self.hidden, 1)
        layers = [self._layer(name, sizes[k], sizes[k + 1], x.dtype) for k, name in enumerate(names)]
        if self.per_species:

            def network(layers: list[tuple[Array, Array]], x: Array) -> Array:
                for kernel, bias in layers[:-1]:
                    x = activate(x @ kernel + bias[None])
                return x @ layers[-1][0][:, 0] + layers[-1][1][0]

            return energy + map_species(network, layers, x, species, self.n_species)
        for kernel, bias in layers[:-1]:
            x = activate(x @ kernel + bias[species])
        return energy + x @ layers[-1][0][:, 0] + layers[-1][1][species, 0]

    def _layer(self, name: str, n_in: int, n_out: int, dtype: jnp.dtype) -> tuple[Array, Array]:
        """Kernel, of each species where they have their own, and bias of each species."""
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (self.n_species, n_out), dtype)
        if not self.per_species:
            return self.param(f"{name}_kernel", nn.initializers.lecun_normal(), (n_in, n_out), dtype), bias
        initial = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=(0,))
        return self.param(f"{name}_kernel", initial, (self.n_species, n_in, n_out), dtype), bias

    def calibrate(self, params: Params, batches: Iterable[tuple[Graph, BatchLabels]]) -> Params:
        """Shift, scale and energy scale from training data; the trained parameters stay as they are.

        Args:
            params: as from `init`.
            batches: graphs with the labels that this term is to learn.

        Returns:
            Parameters with other constants, of the same dtypes.
        """
        statistics = FeatureStatistics(self.descriptor, self.n_species)
        unit = energy_scale(statistics.watched(batches))
        constants = {"shift": statistics.mean, "scale": statistics.scale, "energy_scale": unit}
        old: Any = params["constants"]
        return {**params, "constants": {k: jnp.asarray(v, old[k].dtype) for k, v in constants.items()}}
