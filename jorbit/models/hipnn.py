"""HIP-NN: messages of distances and features, and energies that are a sum over the blocks of the network."""

from jax import Array
from jaxtyping import Float

from jorbit.models.layers.hierarchical_network import HierarchicalNetwork


class HipNN(HierarchicalNetwork):
    """z^0 = one-hot species; per block y_i = sum_j V(r_ij) z_j + W z_i + b, z -> z + W' softplus(y) + b', atom layers.

    V_ab(r) = sum_n V_nab s_n(r) with learned radial functions, see `Sensitivities`. E_i is a sum of linear functions of
    the features after each block. Everything depends on distances only: two atoms' environments with equal sets of
    distances differ from the second block on.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_features: width of the network.
        n_sensitivities: radial functions.
        n_interactions: blocks, each with one message.
        n_atom_layers: layers of single atoms in each block.
        soft_min, soft_max: where the first and the last radial function start, Å; soft_max None is 0.9 cutoff.
        envelope: "quadratic" (smooth to second derivatives at the cutoff) or "cosine" (as published: the second
            derivative jumps there).

    Example:
        >>> HipNN(n_species=2, cutoff=5.5).needs.cutoff
        5.5

    References:
        Lubbers, Smith and Barros, J. Chem. Phys. 148, 241715 (2018).
    """

    @classmethod
    def tiny(cls, n_species: int = 2) -> "HipNN":
        return cls(n_species=n_species, cutoff=3.0, n_features=4, n_sensitivities=5, n_atom_layers=1)

    def message(self, block: int, moments: Float[Array, "atoms moments features"]) -> Float[Array, "atoms features"]:
        """The moments of degree 0 themselves."""
        return moments[:, 0]
