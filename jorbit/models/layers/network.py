"""What every network is: parameters from a key in one compilation, constants that training leaves alone."""

import flax.linen as nn
import jax
from jax import Array

from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Params


class Network(nn.Module):
    """A flax module of the energy: `init(key, graph, upstream)` gives parameters, `apply` energies of atoms."""

    @nn.nowrap
    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Initial parameters. Traced as a whole: operation by operation, each would be compiled by itself."""
        return _initial(self, key, graph, upstream)

    @property
    def fixed_parameters(self) -> tuple[str, ...]:
        """What training leaves alone."""
        return ("constants/*",)


def _module_init(network: Network, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
    return nn.Module.init(network, key, graph, upstream)


_initial = jax.jit(_module_init, static_argnums=0)
