"""Long-distance features: invariants of the potential that all atoms, at any distance, make around an atom."""

import dataclasses
import itertools
import math
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.electrostatics import Splitting
from jorbit.basis.far_potential import L_MAX, potential_coefficients
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Needs
from jorbit.core.structure import Structure


@dataclasses.dataclass(frozen=True)
class LODE:
    """V_an (linear) and p_abnn'l = sum_m V_anlm V_bn'lm / sqrt(2 l + 1), V_anlm the potential of species a projected.

    Every atom carries a Gaussian charge of one e; V_anlm is the projection of the potential of all others of a species
    on r^l exp(-r^2 / 2 s_n^2) Y_lm, in units of the widths. It decays as 1 / r^(l + 1) from any distance, so a linear
    model of V_an holds point charges, and products hold what depends on both sides. Sums run over waves in bulk and
    slabs and over all pairs in open space; there is no cutoff. Put it beside a local model.

    Attributes:
        n_species: rows of the species table.
        widths: sqrt(w0^2 + s_n^2), Å, of the charges' Gaussians w0 and the basis functions' s_n together; the smallest
            sets the number of waves.
        l_max: 3 at most.
        accuracy: of the sums over waves.
        max_length: longest lattice vector, Å. Features are NaN in longer cells; a potential refuses such structures.

    Example:
        >>> LODE(n_species=2, widths=(1.0, 2.0), l_max=2).n_features
        34

    References:
        Grisafi and Ceriotti, J. Chem. Phys. 151, 204105 (2019). Huguenin-Dumittan, Loche, Haoran and Ceriotti, J. Phys.
        Chem. Lett. 14, 9612 (2023). Written from the published formulas; the basis is Gaussian, so that projections are
        derivatives of potentials, see `jorbit.basis.far_potential`.
    """

    n_species: int
    widths: tuple[float, ...] = (1.0, 2.0)
    l_max: int = 2
    accuracy: float = 1e-4
    max_length: float = 20.0
    is_long_range: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.widths and min(self.widths) > 0 and 0 <= self.l_max <= L_MAX and 0 < self.accuracy < 0.1):
            raise ConfigError(
                f"LODE wants widths above 0 Å, l_max of 0 to {L_MAX} and an accuracy below 0.1, got {self.widths}, "
                f"{self.l_max} and {self.accuracy}."
            )

    @classmethod
    def tiny(cls, n_species: int = 2) -> "LODE":
        return cls(n_species=n_species, widths=(1.2,), l_max=3, accuracy=1e-12, max_length=30.0)

    @property
    def needs(self) -> Needs:
        return Needs(layers=None)

    def splitting(self, width: float) -> Splitting:
        """Of the sums over waves, for one width."""
        return Splitting(width * math.sqrt(-2.0 * math.log(self.accuracy)), self.accuracy, self.max_length)

    def check_structure(self, structure: Structure) -> None:
        """Raise for structures whose waves do not fit, see `Splitting.check`."""
        self.splitting(min(self.widths)).check(structure, "lode")

    @property
    def n_features(self) -> int:
        n = self.n_species * len(self.widths)
        return n + n * (n + 1) // 2 * (self.l_max + 1)

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """Zero on padding; NaN where waves do not reach."""
        dtype = graph.positions.dtype
        kinds = jnp.arange(self.n_species, dtype=jnp.int32)[None]
        sources = ((graph.species[:, None] == kinds) & graph.atom_mask[:, None]).astype(dtype)
        parts = []
        for width in self.widths:
            parts.append(potential_coefficients(graph, sources, width, self.l_max, self.splitting(width)))
        values = jnp.concatenate(parts, axis=1)
        first, second = np.array(list(itertools.combinations_with_replacement(range(values.shape[1]), 2))).T
        products = values[:, first] * values[:, second]
        starts = np.arange(self.l_max + 1) ** 2
        powers = [
            products[:, :, start : start + 2 * degree + 1].sum(axis=-1) / math.sqrt(2 * degree + 1)
            for degree, start in enumerate(starts)
        ]
        return jnp.concatenate([values[:, :, 0], *powers], axis=1)
