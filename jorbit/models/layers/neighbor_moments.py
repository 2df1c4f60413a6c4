"""Messages that carry moments: a scalar, a vector, a tensor, ... per output feature, all with the same weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.moments import n_components, stf_components
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.graph import Neighbors
from jorbit.core.ops import gather_neighbors, safe_divide, safe_norm
from jorbit.models.layers.sensitivity import Sensitivities

BLOCK = 32  # atoms whose temporaries fit in a core's cache


class NeighborMoments(nn.Module):
    """M_ica = sum over n, b of V_nba sum over j of s_n(r_ij) Y_c(r̂_ij) z_jb.

    Y_c are the components of the trace-free tensors of r̂ up to l_max, s_n the sensitivities, z the features of the
    neighbours. The sum over neighbours comes first, one batched matrix product; the weights V follow, per atom, one
    matrix product for all degrees.

    Attributes:
        width: output features a.
        l_max: highest degree; 0 gives HIP-NN's message.
        sensitivities: radial functions s_n.

    References:
        Lubbers, Smith and Barros, J. Chem. Phys. 148, 241715 (2018) (l = 0); Chigaev et al., J. Chem. Phys. 158, 184108
        (2023) (one set of weights for all degrees).
    """

    width: int
    l_max: int
    sensitivities: Sensitivities

    @nn.compact
    def __call__(
        self, vectors: Float[Array, "atoms slots 3"], neighbors: Neighbors, features: Float[Array, "atoms features"]
    ) -> Float[Array, "atoms components width"]:
        s, dtype, n_in = self.sensitivities, features.dtype, features.shape[1]
        centers, widths = s.initial()
        centers = self.param("centers", lambda _: jnp.asarray(centers, dtype))
        widths = self.param("widths", lambda _: jnp.asarray(widths, dtype))
        normal = nn.initializers.normal((2.0 / ((self.width + s.n) * n_in)) ** 0.5)
        weights = self.param("interaction_kernel", normal, (s.n, n_in, self.width), dtype)
        flat = weights.reshape(s.n * n_in, self.width)

        def moments(vectors: Array, mask: Array, values: Array) -> Array:
            r = safe_norm(vectors)
            radial = jnp.where(mask[..., None], s(r, centers, widths), 0.0)
            if self.l_max:
                unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
                angular = stf_components(unit, self.l_max)
                radial = (angular[..., :, None] * radial[..., None, :]).reshape(*mask.shape, -1)
            environment = jnp.einsum("asm,asb->amb", radial, values)
            summed = environment.reshape(-1, s.n * n_in) @ flat
            return summed.reshape(len(vectors), n_components(self.l_max), self.width)

        inputs = (vectors, neighbors.mask, gather_neighbors(features, neighbors))
        if self.l_max == 0:
            return moments(*inputs)  # temporaries are small: computing them twice, as blocks do, takes longer
        return map_atom_blocks(moments, inputs, BLOCK)


def one_hot_species(species: Array, n_species: int, dtype: jax.typing.DTypeLike) -> Float[Array, "atoms species"]:
    """The features that HIP-NN starts from: 1 for an atom's own species."""
    return jax.nn.one_hot(species, n_species, dtype=dtype)
