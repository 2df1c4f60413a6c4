"""London dispersion: D3 with Becke-Johnson damping, coefficients that follow the coordination of each atom."""

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.core.units import BOHR, HARTREE

# s8, a1, a2 (Bohr) of two-body D3(BJ); s6 is 1.
METHODS = {
    "pbe": (0.7875, 0.4289, 4.4407),
    "pbe0": (1.2177, 0.4145, 4.8593),
    "revpbe": (2.3550, 0.5238, 3.5016),
    "revpbe0": (1.7588, 0.4679, 3.7619),
    "rpbe": (0.8318, 0.1820, 4.0094),
    "blyp": (2.6996, 0.4298, 4.2359),
    "b3lyp": (1.9889, 0.3981, 4.4211),
    "tpss": (1.9435, 0.4535, 4.4752),
    "hse06": (2.310, 0.383, 5.685),
    "scan": (0.0, 0.5380, 5.4200),
    "r2scan": (0.78981345, 0.49484001, 5.73083694),
}
BLOCK = 64  # atoms whose coefficients with all their neighbours are held at a time


@dataclasses.dataclass(frozen=True)
class Dispersion:
    """E = -1/2 sum_ij [C6 / (r^6 + f^6) + s8 C8 / (r^8 + f^8)] t(r) with f = a1 sqrt(C8 / C6) + a2.

    C6 interpolates between reference systems by the coordination numbers of both atoms. t switches the sum off
    smoothly between `onset` and `cutoff`, which the published method does not do (it sums to 50 Å): what lies beyond
    is missing, about 1 % of the energy of a dense solid at 12 Å. Nothing is fitted; put it before a model, and the
    model learns what is left.

    Attributes:
        method: the functional whose parameters are used.
        cutoff: Å.
        onset: where the switch begins, Å; below `cutoff`.

    Example:
        >>> Dispersion(method="revpbe0").cutoff
        12.0

    References:
        Grimme, Antony, Ehrlich and Krieg, J. Chem. Phys. 132, 154104 (2010). Grimme, Ehrlich and Goerigk, J. Comput.
        Chem. 32, 1456 (2011), for the damping and most parameters.
    """

    method: str = "pbe"
    cutoff: float = 12.0
    onset: float = 10.0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"There are no D3 parameters for {self.method!r}. Known: {', '.join(METHODS)}.")
        if not 0 < self.onset < self.cutoff:
            raise ConfigError(f"Wanted 0 < onset < cutoff, got {self.onset} and {self.cutoff} Å.")

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Dispersion":
        return cls(cutoff=4.0, onset=2.0)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff, layers=2)  # coordination numbers of neighbours count too

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """No free parameters."""
        return {}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        table = tables()
        s8, a1, a2 = METHODS[self.method]
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        dtype = r.dtype
        x = jnp.clip((r - self.onset) / (self.cutoff - self.onset), 0.0, 1.0)
        switch = jnp.where(neighbors.mask, 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2), 0.0)
        r = r / BOHR
        other = gather_neighbors(graph.numbers, neighbors)
        radii = jnp.asarray(table["radii"], dtype)
        bonds = jax.nn.sigmoid(16.0 * ((radii[graph.numbers][:, None] + radii[other]) / r - 1.0))
        # Sums over slots are products with the switch, 0 in empty ones: see jorbit.core.graph.sum_over_slots.
        coordination = jnp.einsum("as,as->a", bonds, switch, precision="highest")
        reference = jnp.asarray(table["coordination"], dtype)[graph.numbers]
        present = reference >= 0
        # exp(-4 (CN - CN_ref)^2) over their sum; as a softmax it survives coordination far from every reference.
        exponent = jnp.where(
            present, -4.0 * (coordination[:, None] - jnp.where(present, reference, 0.0)) ** 2, -jnp.inf
        )
        none = ~present.any(axis=1, keepdims=True)
        weights = jnp.where(none, 0.0, jax.nn.softmax(jnp.where(none, 0.0, exponent), axis=1))
        factors = jnp.asarray(table["r4r2"], dtype)
        pairs = jnp.asarray(table["c6"], dtype)

        def energies(r: Array, switch: Array, index: Array, own: Array, number: Array) -> Array:
            z = graph.numbers[index]
            low, high = jnp.minimum(number[:, None], z), jnp.maximum(number[:, None], z)
            blocks = pairs[low * len(table["radii"]) - (low * (low - 1)) // 2 + high - low]
            flipped = (number[:, None] > z)[..., None, None]
            blocks = jnp.where(flipped, jnp.swapaxes(blocks, -1, -2), blocks)
            c6 = jnp.einsum("aspq,ap,asq->as", blocks, own, weights[index])
            ratio = 3.0 * factors[number][:, None] * factors[z]
            length = a1 * jnp.sqrt(jnp.where(ratio > 0, ratio, 1.0)) + a2
            pair = c6 * (1.0 / (r**6 + length**6) + s8 * ratio / (r**8 + length**8))
            return -0.5 * HARTREE * jnp.einsum("as,as->a", pair, switch, precision="highest")

        inputs = (r, switch, neighbors.index, weights, graph.numbers)
        return AtomOutputs(energy=map_atom_blocks(energies, inputs, BLOCK, everywhere=True))


@functools.cache
def tables() -> dict[str, Float[np.ndarray, "..."]]:
    """Reference coordination numbers [numbers, 7] (negative: none), C6 [pairs z1 <= z2, 7, 7] (Hartree Bohr^6),
    sqrt(1/2 <r^4>/<r^2> sqrt(Z)) and 4/3 of covalent radii (Bohr), by atomic number.
    """
    with np.load(Path(__file__).parent / "data" / "dftd3.npz") as file:
        return {
            "coordination": file["coordination"].astype(np.float64),
            "c6": file["c6"].astype(np.float64),
            "r4r2": file["r4r2"].astype(np.float64),
            "radii": file["radii"].astype(np.float64),
        }
