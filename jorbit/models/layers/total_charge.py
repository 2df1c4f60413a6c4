"""The total charge of a structure as an input of a network: each atom gets a part that depends on its features."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.ops import sum_over_structures


class TotalCharge(nn.Module):
    """x_i + f(a_i v), a_i = Q s_i / sum_j s_j, s_i = log(1 + exp(x_i W . k / sqrt(width))), j in the structure of i.

    Q is the total charge, e; k and v are learned vectors, other ones for positive than for negative Q; f(y) is
    y + W2 silu(W1 y) without biases. So nothing changes without charge, the parts of an atom add up to Q, and two
    molecules with the same atoms and another charge differ in every feature. Charge is shared at any distance: two
    molecules far apart feel how much of it they share, as in every model of this kind.

    Example:
        >>> from jorbit.models.schnet import SchNet
        >>> SchNet(n_species=1, total_charge=True).total_charge
        True

    References:
        Unke, Chmiela, Gastegger, Schütt, Sauceda and Müller, Nat. Commun. 12, 7273 (2021): attention over atoms.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "atoms features"], graph: Graph) -> Float[Array, "atoms features"]:
        width, dtype = x.shape[1], x.dtype
        spread = nn.initializers.normal(1.0 / math.sqrt(width))
        query = self.param("query", spread, (width, width), dtype)
        keys = self.param("keys", nn.initializers.normal(1.0), (2, width), dtype)
        values = self.param("values", nn.initializers.normal(1.0), (2, width), dtype)
        first = self.param("kernel_0", spread, (width, width), dtype)
        second = self.param("kernel_1", spread, (width, width), dtype)
        charge = graph.charge.astype(dtype)
        sign = (charge < 0).astype(jnp.int32)
        key, value = keys[sign][graph.owner], values[sign][graph.owner]
        share = jax.nn.softplus(jnp.sum((x @ query) * key, axis=1) / math.sqrt(width))
        total = sum_over_structures(share, graph)
        part = charge / jnp.where(total > 0, total, 1.0)
        y = (share * part[graph.owner])[:, None] * value
        return x + y + jax.nn.silu(y @ first) @ second
