"""What networks for energies of atoms share: constants from the training data, and new species from old ones."""

import math
from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.core.protocols import Needs, Params
from jorbit.models.layers.energy_scale import scale_and_neighbors
from jorbit.models.layers.network import Network
from jorbit.models.layers.total_charge import TotalCharge

Layer = tuple[Array, Array]  # kernel, bias


def linear(x: Float[Array, "*batch n_in"], layer: Layer) -> Float[Array, "*batch n_out"]:
    """x W + b."""
    kernel, bias = layer
    flat = x.reshape(-1, x.shape[-1]) @ kernel + bias[None]
    return flat.reshape(*x.shape[:-1], kernel.shape[1])


def silu(x: Float[Array, "*batch n_in"], layer: Layer) -> Float[Array, "*batch n_out"]:
    """A linear layer with its activation, y / (1 + e^-y)."""
    return jax.nn.silu(linear(x, layer))


class AtomNetwork(Network):
    """E_i = scale_z * network_i + shift_z, z the species of atom i.

    The constants (scale, shift, where wanted the average number of neighbours) are found by `calibrate` before training
    and kept: the scale is the root mean square of the training forces times 1 Å.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        total_charge: the network reads the total charge of a structure, see `jorbit.models.layers.total_charge`.
            Without it, ions and molecules of the same atoms have the same energy.
    """

    n_species: int
    cutoff: float = 5.0
    total_charge: bool = False

    @property
    def needs(self) -> Needs:
        # A share of the total charge depends on every atom.
        return Needs(cutoff=self.cutoff, layers=None if self.total_charge else self.message_layers)

    @property
    def message_layers(self) -> int:
        """How many times atoms hear from their neighbours, one after the other."""
        return 1

    def energies(
        self, graph: Graph, values: Float[Array, " atoms"], features: Float[Array, "atoms features"] | None = None
    ) -> AtomOutputs:
        """What the network made of each atom, in eV, and the features it came from, for terms that follow."""
        shape, dtype = (self.n_species,), values.dtype
        scale = self.variable("constants", "energy_scale", jnp.ones, shape, dtype).value
        shift = self.variable("constants", "energy_shift", jnp.zeros, shape, dtype).value
        energy = scale[graph.species] * values + shift[graph.species]
        return AtomOutputs(energy=jnp.where(graph.atom_mask, energy, 0.0), features=features)

    def average_neighbors(self, dtype: jnp.dtype) -> Float[Array, ""]:
        """Of the training data; 1 before it is known."""
        return self.variable("constants", "average_neighbors", jnp.ones, (), dtype).value

    def embedding(self, graph: Graph, width: int, dtype: jnp.dtype) -> Float[Array, "atoms width"]:
        """The row of a learned table that belongs to each atom's species, and its part of the total charge."""
        table = self.param("embedding", nn.initializers.normal(1.0), (self.n_species, width), dtype)
        return self.charged(table[graph.species], graph)

    def charged(self, x: Float[Array, "atoms width"], graph: Graph) -> Float[Array, "atoms width"]:
        """Features that know the total charge, where wanted."""
        return TotalCharge(name="charge")(x, graph) if self.total_charge else x

    def kernel(self, name: str, n_in: int, n_out: int, dtype: jnp.dtype) -> Float[Array, "n_in n_out"]:
        """A learned matrix that keeps the variance of what it multiplies."""
        return self.param(name, nn.initializers.normal(1.0 / math.sqrt(n_in)), (n_in, n_out), dtype)

    def layer(self, name: str, n_in: int, n_out: int, dtype: jnp.dtype) -> Layer:
        """Matrix and bias, called <name>_kernel and <name>_bias."""
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (n_out,), dtype)
        return self.kernel(f"{name}_kernel", n_in, n_out, dtype), bias

    def calibrate(self, params: Params, batches: Iterable[tuple[Graph, BatchLabels]]) -> Params:
        """Scale of energies and average number of neighbours; what is trained stays as it is.

        Args:
            params: as from `init`.
            batches: graphs with the labels that this term is to learn; without forces, energies per atom set the scale.

        Returns:
            Parameters with other constants, of the same dtypes.
        """
        scale, average = scale_and_neighbors(batches, self.cutoff)
        old: Any = params["constants"]
        values = {"energy_scale": scale, "energy_shift": 0.0, "average_neighbors": average}
        return {**params, "constants": {**old, **{k: jnp.full_like(old[k], v) for k, v in values.items() if k in old}}}

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple[Any, Params]:
        """The same energies over more species: every new species starts with the rows of the one it comes from.

        Args:
            params: of this model.
            parents: species of this model that each new one comes from.
            neighbors: orbits enter as centres and as neighbours alike; not used.
        """
        chosen, learned = np.array(parents), dict(params["params"])
        for name in ("embedding", *self.species_tables):
            if name in learned:
                learned[name] = np.asarray(learned[name])[chosen]
        constants = {k: np.asarray(v)[chosen] if np.ndim(v) else v for k, v in params["constants"].items()}
        return self.clone(n_species=len(parents)), {**params, "params": learned, "constants": constants}

    @property
    def species_tables(self) -> tuple[str, ...]:
        """Parameters, besides the embedding, whose rows are species."""
        return ()
