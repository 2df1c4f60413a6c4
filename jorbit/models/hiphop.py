"""HIP-HOP-NN: invariants of up to four moments of the neighbours in every neuron."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.invariant_sets import InvariantSet, invariant_set
from jorbit.core.errors import ConfigError
from jorbit.models.layers.hierarchical_network import HierarchicalNetwork
from jorbit.models.layers.normalization import NORMALIZATIONS, bounded, group_norm

EPSILON = 1e-5  # of the group norm, as in the authors' code


class HipHop(HierarchicalNetwork):
    """HIP-NN whose messages carry a scalar, a vector, a tensor, ... M per feature, whose invariants are mixed.

    y_ib = sum over features a and invariants k of X_kab N_k(I_k(M_ia)) + sum_a W_ab z_ia + c_b, with N a normalisation;
    the rest is `HipNN`. All weights of a message are shared by the degrees l of M.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        invariants: which set, see `jorbit.basis.invariant_sets.invariant_set`: "hop13" (as published), its truncations
            "hop13:n_max,l_max", "hop14", "flex15", "full20", "generated:n_max,l_max".
        normalization: "bounded" divides a product of n moments by the (n - 1)th power of their length: smooth. "group"
            is the published group norm over features: steep forces where the last neighbour leaves. "none".
        n_features: width of the network.
        n_sensitivities: radial functions.
        n_interactions: blocks, each with one message.
        n_atom_layers: layers of single atoms in each block.
        soft_min, soft_max: where the first and the last radial function start, Å; soft_max None is 0.9 cutoff.
        envelope: "quadratic" (smooth to second derivatives at the cutoff) or "cosine" (as published: the second
            derivative jumps there).

    Example:
        >>> HipHop(n_species=2, invariants="hop13:3,2").set.size
        5

    References:
        arXiv:2503.21939 (the invariants); Lubbers, Smith and Barros, J. Chem. Phys. 148, 241715 (2018) (the network).
        The layer is that of the authors' code, github.com/lanl/hippynn, which this model can read.
    """

    n_features: int = 32
    invariants: str = "hop14"
    normalization: str = "bounded"

    @classmethod
    def tiny(cls, n_species: int = 2) -> "HipHop":
        return cls(
            n_species=n_species,
            cutoff=3.0,
            invariants="hop13:3,2",
            n_features=4,
            n_sensitivities=5,
            n_atom_layers=1,
        )

    @property
    def set(self) -> InvariantSet:
        """The invariants of each feature."""
        return invariant_set(self.invariants)

    @property
    def l_max(self) -> int:
        """Highest degree of the moments."""
        return self.set.l_max

    def message(self, block: int, moments: Float[Array, "atoms moments features"]) -> Float[Array, "atoms features"]:
        """Invariants of the moments, normalised and mixed."""
        if self.normalization not in NORMALIZATIONS:
            raise ConfigError(f"Wanted a normalization in {NORMALIZATIONS}, got {self.normalization!r}.")
        return InvariantMixing(self.invariants, self.normalization, name=f"mixing_{block}")(moments)


class InvariantMixing(nn.Module):
    """y_ib = sum over k, a of X_kab N_k(I_k(M_ia)).

    Attributes:
        invariants: name of the set.
        normalization: N, see `jorbit.models.layers.normalization`.
    """

    invariants: str
    normalization: str

    @nn.compact
    def __call__(self, moments: Array) -> Array:
        chosen, width, dtype = invariant_set(self.invariants), moments.shape[2], moments.dtype
        orders = [c.order for c in chosen.contractions]
        initial = nn.initializers.normal((2.0 / ((chosen.size + width) * width)) ** 0.5)
        kernel = self.param("mixing_kernel", initial, (chosen.size, width, width), dtype)
        if self.normalization == "group":
            gain = self.param("gain", nn.initializers.ones, (chosen.size, width), dtype)
            bias = self.param("bias", nn.initializers.zeros, (chosen.size, width), dtype)

        # All atoms at once: in blocks of atoms, computed again in the reverse pass, XLA takes twice as long.
        parts = [x.squeeze(1) for x in jax.lax.split(moments, (1,) * moments.shape[1], axis=1)]
        values = chosen.columns(parts)
        if self.normalization == "group":  # of all at once, which is faster than one by one
            normal = group_norm(jnp.stack(values, axis=1), gain, bias, EPSILON)
            return normal.reshape(len(moments), -1) @ kernel.reshape(-1, width)
        if self.normalization == "bounded":
            lengths = [values[k] for k, n in enumerate(orders) if n == 2]  # v.v, Q:Q, ...
            values = bounded(values, sum(lengths, start=parts[0] ** 2), orders)
        return jnp.concatenate(values, axis=1) @ kernel.reshape(-1, width)
