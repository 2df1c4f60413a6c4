"""Energies of atoms: a sum of linear functions of their features after each block, in a unit that fits the data."""

from collections.abc import Iterable, Sequence

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels
from jorbit.core.protocols import Params


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


def energy_scale(batches: Iterable[tuple[Graph, BatchLabels]]) -> float:
    """Root mean square of the forces times 1 Å, of the energies per atom where there are no forces; eV, 1 without both.

    Args:
        batches: graphs with their labels, from which reference energies are subtracted already.
    """
    squares, weights = np.zeros(2), np.zeros(2)  # of forces, of energies per atom
    for graph, labels in batches:
        real = np.asarray(graph.atom_mask)
        n_atoms = np.bincount(np.asarray(graph.owner)[real], minlength=graph.n_structures)
        forces = np.asarray(labels.forces, np.float64)[np.asarray(labels.forces_weight) > 0]
        per_atom = np.asarray(labels.energy, np.float64) / np.maximum(n_atoms, 1)
        for k, rows in enumerate((forces, per_atom[np.asarray(labels.energy_weight) > 0])):
            squares[k], weights[k] = squares[k] + np.sum(rows**2), weights[k] + rows.size
    rms = np.sqrt(squares / np.maximum(weights, 1))
    return float(next((value for value in rms if value > 0), 1.0))


def with_energy_scale(params: Params, batches: Iterable[tuple[Graph, BatchLabels]], name: str = "readout") -> Params:
    """Parameters whose constant energy scale is that of training data; what is learned stays as it is.

    Args:
        params: of a model with a `HierarchicalEnergy` called `name`.
        batches: see `energy_scale`.
    """
    old = params["constants"][name]["energy_scale"]
    constants = {**params["constants"], name: {"energy_scale": jnp.asarray(energy_scale(batches), old.dtype)}}
    return {**params, "constants": constants}
