"""Universal screened repulsion of nuclei at short distances: the safety net below what data reach."""

import dataclasses
from typing import ClassVar

import jax.numpy as jnp
from jax import Array

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.screened_coulomb import AMPLITUDES, EXPONENT, LENGTH, RATES, zbl_energy
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors, sum_over_slots
from jorbit.core.ops import gather_neighbors
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.core.units import COULOMB
from jorbit.orbits.covalent_radii import RADII


@dataclasses.dataclass(frozen=True)
class ZBL:
    """E_i = 1/2 sum_j k Z_i Z_j / r phi(r / a_ij) s(r / c_ij), with c_ij = min(scale (R_i + R_j), cutoff).

    phi and a are those of Ziegler, Biersack and Littmark; R are covalent radii; s is a polynomial with two continuous
    derivatives, nearly 1 where nuclei meet and 0 from c_ij on. Nothing is fitted: put it before a model in a sum, and
    the model learns what is left. It knows every element.

    Attributes:
        cutoff: Å; no pair reaches farther.
        scale: of the sum of covalent radii.
        power: of the polynomial that ends the interaction; larger leaves more of it.
        length, exponent: of the screening length, Å.
        coulomb: e^2 / (4 pi eps0), eV Å.
        amplitudes, rates: of the exponentials that screen the charges (other programs round them).

    Example:
        >>> ZBL(cutoff=2.5).needs.cutoff
        2.5

    References:
        Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter, vol. 1, Pergamon (1985).
        Cordero et al., Dalton Trans. 2832 (2008), for the radii.
    """

    cutoff: float = 3.0
    scale: float = 1.0
    power: int = 6
    length: float = LENGTH
    exponent: float = EXPONENT
    coulomb: float = COULOMB
    amplitudes: tuple[float, ...] = AMPLITUDES
    rates: tuple[float, ...] = RATES
    is_short_range: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.cutoff > 0 and self.scale > 0 and self.power >= 2):
            raise ConfigError(
                f"ZBL wants a cutoff and a scale above 0 and a power of 2 or more, got {self.cutoff} Å, {self.scale} "
                f"and {self.power}."
            )

    @classmethod
    def tiny(cls, n_species: int = 2) -> "ZBL":
        return cls(scale=1.5)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """No free parameters."""
        return {}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        z_i, z_j = graph.numbers[:, None], gather_neighbors(graph.numbers, neighbors)
        radii = self.scale * jnp.asarray(RADII, r.dtype)
        reach = jnp.minimum(radii[z_i] + radii[z_j], self.cutoff)
        energy = zbl_energy(
            r,
            z_i,
            z_j,
            length=self.length,
            exponent=self.exponent,
            coulomb=self.coulomb,
            amplitudes=self.amplitudes,
            rates=self.rates,
        )
        energy = energy * polynomial_cutoff(r / reach, 1.0, self.power)
        return AtomOutputs(energy=0.5 * sum_over_slots(energy, neighbors))
