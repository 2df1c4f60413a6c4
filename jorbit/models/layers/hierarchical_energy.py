"""Energies of atoms: a sum of linear functions of their features after each block, in a unit that fits the data."""

from collections.abc import Iterable, Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels
from jorbit.core.protocols import Params
from jorbit.models.layers.energy_scale import energy_scale


class HierarchicalEnergy(nn.Module):
    """E_i = scale * sum over blocks k of (w_k . z_i^k + c_k).

    The scale is a constant, the root mean square of the training forces times 1 Å, see `with_energy_scale`.

    References:
        Lubbers, Smith and Barros, J. Chem. Phys. 148, 241715 (2018).
    """

    @nn.compact
    def __call__(self, features: Sequence[Float[Array, "atoms _"]]) -> Float[Array, " atoms"]:
        dtype = features[0].dtype
        scale = self.variable("constants", "energy_scale", jnp.ones, (), dtype).value
        total = jnp.zeros_like(features[0][:, 0])
        for k, z in enumerate(features):
            w = self.param(f"kernel_{k}", nn.initializers.normal(z.shape[1] ** -0.5), (z.shape[1],), dtype)
            total = total + z @ w + self.param(f"bias_{k}", nn.initializers.zeros, (), dtype)
        return scale * total


def with_energy_scale(params: Params, batches: Iterable[tuple[Graph, BatchLabels]], name: str = "readout") -> Params:
    """Parameters whose constant energy scale is that of training data; what is learned stays as it is.

    Args:
        params: of a model with a `HierarchicalEnergy` called `name`.
        batches: see `energy_scale`.
    """
    old = params["constants"][name]["energy_scale"]
    constants = {**params["constants"], name: {"energy_scale": jnp.asarray(energy_scale(batches), old.dtype)}}
    return {**params, "constants": constants}
