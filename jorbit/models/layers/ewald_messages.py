"""Messages at all distances: an Ewald sum of learned features, for networks whose other messages end at a cutoff."""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.electrostatics import Splitting, coulomb_potential
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Needs
from jorbit.core.structure import Structure
from jorbit.core.units import COULOMB
from jorbit.models.layers.atom_network import AtomNetwork


def smeared_splitting(width: float, accuracy: float, max_length: float) -> Splitting:
    """The splitting whose waves are those of Gaussians of a width: alpha = 1 / (sqrt(2) width)."""
    return Splitting(width * math.sqrt(-2.0 * math.log(accuracy)), accuracy, max_length)


class EwaldMessages(nn.Module):
    """M_i = W' [phi^w_i for all widths w], phi^w_ic = sum_k F_w(k) sum_j (W_w x_j)_c cos(k . (r_i - r_j)).

    F_w(k) = 4 pi / (V k^2) exp(-w^2 k^2 / 2) and k = 0 is left out. In open space the same sum is
    sum_j (W_w x_j)_c erf(r_ij / (sqrt(2) w)) / r_ij over all pairs. Slabs work, too. Differences of two widths are
    filters of a band of wave lengths; the widest is the only one that reaches to any distance.

    Attributes:
        widths: w, Å; the smallest sets the number of waves.
        channels: of each width.
        accuracy: of the sums over waves.
        max_length: longest lattice vector, Å.

    References:
        Kosmala, Gasteiger, Gao and Günnemann, ICML 2023 (arXiv:2303.04791): messages by structure factors, filtered in
        reciprocal space. There, the filters are free functions of |k| (without a cell) or of the index of k (crystals);
        here they are spanned by functions that are known in both spaces, so that energies do not depend on which cell
        describes a crystal, nor on the orientation of a molecule.
    """

    widths: tuple[float, ...]
    channels: int
    accuracy: float
    max_length: float

    @nn.compact
    def __call__(self, x: Float[Array, "atoms features"], graph: Graph) -> Float[Array, "atoms features"]:
        n, dtype = x.shape[1], x.dtype
        spread = nn.initializers.normal(1.0 / math.sqrt(n))
        kernel = self.param("kernel_in", spread, (len(self.widths), n, self.channels), dtype)
        parts = []
        for k, width in enumerate(self.widths):
            splitting = smeared_splitting(width, self.accuracy, self.max_length)
            sources = jnp.where(graph.atom_mask[:, None], x @ kernel[k], 0.0)
            parts.append(coulomb_potential(graph, sources, splitting, points=False) / COULOMB)
        received = jnp.concatenate(parts, axis=1)
        normal = nn.initializers.normal(0.1 / math.sqrt(received.shape[1]))
        return received @ self.param("kernel_out", normal, (received.shape[1], n), dtype)


class EwaldNetwork(AtomNetwork):
    """An `AtomNetwork` that can send messages at all distances beside those within its cutoff.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        total_charge: see `AtomNetwork`.
        ewald_widths: of the Gaussians, Å, such as (1.0, 2.0, 4.0); () sends no such messages.
        ewald_channels: of each width.
        ewald_accuracy: of the sums over waves.
        ewald_max_length: longest lattice vector, Å.
    """

    ewald_widths: tuple[float, ...] = ()
    ewald_channels: int = 8
    ewald_accuracy: float = 1e-3
    ewald_max_length: float = 20.0

    @property
    def needs(self) -> Needs:
        needs = super().needs
        return dataclasses.replace(needs, layers=None) if self.is_long_range else needs

    @property
    def is_long_range(self) -> bool:
        """Whether atoms beyond the cutoff count."""
        return bool(self.ewald_widths)

    def check_structure(self, structure: Structure) -> None:
        """Raise for structures whose waves do not fit, see `Splitting.check`."""
        if self.ewald_widths:
            smeared_splitting(min(self.ewald_widths), self.ewald_accuracy, self.ewald_max_length).check(
                structure, "ewald messages (ewald_max_length)"
            )

    def far_messages(self, layer: int, x: Float[Array, "atoms features"], graph: Graph) -> Float[Array, "..."]:
        """What one layer adds from all distances; zero where no such messages are wanted."""
        if not self.ewald_widths:
            return jnp.zeros((), x.dtype)
        if min(self.ewald_widths) <= 0 or self.ewald_channels < 1:
            raise ConfigError(
                f"Wanted ewald_widths above 0 Å and channels, got {self.ewald_widths} and {self.ewald_channels}."
            )
        settings = (self.ewald_widths, self.ewald_channels, self.ewald_accuracy, self.ewald_max_length)
        return EwaldMessages(*settings, name=f"ewald_{layer}")(x, graph)
