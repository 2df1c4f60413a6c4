"""Messages that carry moments: a scalar, a vector, a tensor, ... per output feature, all with the same weights."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.moments import n_components, stf_components
from jorbit.basis.opposite_pairs import Opposite, swapped_pairs
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.graph import Neighbors
from jorbit.core.ops import gather_neighbors, safe_divide, safe_norm
from jorbit.models.layers.sensitivity import Sensitivities

BLOCK = 256  # atoms at a time: blocks keep temporaries small, but are computed again in the reverse pass


class NeighborMoments(nn.Module):
    """M_ica = sum over n, b of V_nba sum over j of s_n(r_ij) Y_c(r̂_ij) z_jb.

    Y_c are the components of the trace-free tensors of r̂ up to l_max, s_n the sensitivities, z the features of the
    neighbours. There are two orders of the sums, and the shapes say which has less to multiply:

    * gathered: e_icnb = sum_j s_n Y_c z_jb, one batched matrix product, then V per atom, once for all degrees. For few
      features, such as those of the first block: Y_c is multiplied by the shorter of s_n and z_jb first.
    * sent: p_jna = sum_b V_nba z_jb per atom, m_ija = sum_n s_n(r_ij) p_jna where the sender j keeps its pairs, then
      M_ica = sum_j Y_c m_ija where the receiver i keeps them. Two small batched matrix products; what passes between is
      one row per pair, found by the place of the opposite pair, so the reverse pass gathers as well and never scatters.
      Every pair must be in the lists of both atoms; one that is not (just at the cutoff) counts as 0.

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
        self,
        vectors: Float[Array, "atoms slots 3"],
        neighbors: Neighbors,
        features: Float[Array, "atoms features"],
        opposite: Opposite | None = None,
    ) -> Float[Array, "atoms components width"]:
        """The moments; sent, where that is less work and `opposite` says where pairs stand at the other atom."""
        s, dtype, n_in = self.sensitivities, features.dtype, features.shape[1]
        centers, widths = s.initial()
        centers = self.param("centers", lambda _: jnp.asarray(centers, dtype))
        widths = self.param("widths", lambda _: jnp.asarray(widths, dtype))
        normal = nn.initializers.normal((2.0 / ((self.width + s.n) * n_in)) ** 0.5)
        weights = self.param("interaction_kernel", normal, (s.n, n_in, self.width), dtype)
        if opposite is not None and self.sends(n_in, neighbors.mask.shape[1]):

            def radial(vectors: Array, mask: Array) -> Array:
                return jnp.where(mask[..., None], s(safe_norm(vectors), centers, widths), 0.0)

            return self._sent(radial(vectors, opposite[1]), vectors, features, weights, opposite)
        few = n_in < s.n  # features: e_icbn is cheaper to come by than e_icnb
        flat = (jnp.moveaxis(weights, 0, 1) if few else weights).reshape(s.n * n_in, self.width)

        def moments(vectors: Array, mask: Array, values: Array) -> Array:
            r = safe_norm(vectors)
            radial = jnp.where(mask[..., None], s(r, centers, widths), 0.0)
            short, long = (values, radial) if few else (radial, values)
            if self.l_max:
                unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
                angular = stf_components(unit, self.l_max)
                short = (angular[..., :, None] * short[..., None, :]).reshape(*mask.shape, -1)
            environment = jnp.einsum("asm,asb->amb", short, long)
            summed = environment.reshape(-1, s.n * n_in) @ flat
            return summed.reshape(len(vectors), n_components(self.l_max), self.width)

        inputs = (vectors, neighbors.mask, gather_neighbors(features, neighbors))
        if self.l_max == 0:
            return moments(*inputs)  # temporaries are small: computing them twice, as blocks do, takes longer
        return map_atom_blocks(moments, inputs, BLOCK)

    def sends(self, n_in: int, n_slots: int) -> bool:
        """Whether sending is less work than gathering: fewer than half the multiplications, for it moves more."""
        n, a, c = self.sensitivities.n, self.width, n_components(self.l_max)
        gathered, sent = c * n * n_in * (n_slots + a), a * (n * n_in + n_slots * (n + c))
        return self.l_max > 0 and 2 * sent < gathered

    def _sent(
        self, radial: Array, vectors: Array, features: Array, weights: Array, opposite: Opposite
    ) -> Float[Array, "atoms components width"]:
        n, n_in, width = weights.shape
        own = (features @ jnp.moveaxis(weights, 0, 1).reshape(n_in, n * width)).reshape(-1, n, width)
        messages = swapped_pairs(jnp.einsum("asn,anf->asf", radial, own), opposite)
        unit = safe_divide(vectors, jnp.broadcast_to(safe_norm(vectors)[..., None], vectors.shape))
        return jnp.einsum("asc,asf->acf", stf_components(unit, self.l_max), messages)


def one_hot_species(species: Array, n_species: int, dtype: jax.typing.DTypeLike) -> Float[Array, "atoms species"]:
    """The features that HIP-NN starts from: 1 for an atom's own species."""
    return jax.nn.one_hot(species, n_species, dtype=dtype)
