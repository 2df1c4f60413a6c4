"""Atom-centred symmetry functions of Behler and Parrinello."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import cosine_cutoff
from jorbit.basis.symmetry_functions import PairSums, TripleSums, real_power, species_weights, third_side
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.protocols import Needs

BLOCK = 16  # atoms whose pairs of neighbours fit in a core's cache


@dataclasses.dataclass(frozen=True)
class ACSF:
    """G2 for each species, G4 and G5 for each unordered pair of species of the neighbours.

    With f_c(r) = (1 + cos(pi r / cutoff)) / 2, t the angle at the central atom i, and each pair {j, k} counted once:

    * G2 = sum_j exp(-eta (r_ij - r_s)^2) f_c(r_ij);
    * G4 = 2^(1 - zeta) sum_jk (1 + lambda cos t)^zeta exp(-eta (r_ij^2 + r_ik^2 + r_jk^2)) f_c(r_ij) f_c(r_ik)
      f_c(r_jk);
    * G5 = the same without r_jk.

    f_c has one continuous derivative at the cutoff. Features are ordered by species (all G2), then by pair of species
    (0, 0), (0, 1), ..., (1, 1), ... (all G4, then all G5).

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        g2: (eta in 1/Å^2, r_s in Å) of each G2.
        g4, g5: (eta in 1/Å^2, zeta >= 1, lambda = -1 or 1) of each function.

    Example:
        >>> ACSF(n_species=2, g2=((0.1, 0.0), (1.0, 2.0)), g4=((0.01, 1.0, 1.0),), g5=()).n_features
        7

    References:
        Behler and Parrinello, Phys. Rev. Lett. 98, 146401 (2007); Behler, J. Chem. Phys. 134, 074106 (2011).
    """

    n_species: int
    cutoff: float = 6.0
    g2: tuple[tuple[float, float], ...] = tuple((eta, 0.0) for eta in (0.003, 0.03, 0.07, 0.12, 0.25, 0.5, 1.0, 2.0))
    g4: tuple[tuple[float, float, float], ...] = tuple((0.01, z, s) for z in (1.0, 2.0, 4.0, 16.0) for s in (-1.0, 1.0))
    g5: tuple[tuple[float, float, float], ...] = ()

    def __post_init__(self) -> None:
        for name, rows in (("g4", self.g4), ("g5", self.g5)):
            if any(len(row) != 3 or row[1] < 1 or abs(row[2]) != 1 for row in rows):
                raise ConfigError(f"Wanted (eta, zeta >= 1, lambda = -1 or 1) for each function in {name}, got {rows}.")
        if any(len(row) != 2 for row in self.g2) or not (self.g2 or self.g4 or self.g5):
            raise ConfigError(f"Wanted (eta, r_s) for each G2, and at least one function in all, got g2 = {self.g2}.")

    @classmethod
    def tiny(cls, n_species: int = 2) -> "ACSF":
        return cls(
            n_species=n_species,
            cutoff=3.0,
            g2=((0.5, 0.0), (1.0, 1.5)),
            g4=((0.1, 1.0, 1.0), (0.3, 2.0, -1.0)),
            g5=((0.2, 1.5, 1.0),),
        )

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def n_features(self) -> int:
        n_pairs = self.n_species * (self.n_species + 1) // 2
        return self.n_species * len(self.g2) + n_pairs * (len(self.g4) + len(self.g5))

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """Features of each atom; zero on padding."""
        return map_atom_blocks(self._values, self._inputs(graph), BLOCK)

    def neighbor_gradients(
        self, graph: Graph
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms features slots 3"]]:
        """Features, and their derivatives with respect to r_ij of every neighbour, 1/Å; zero in empty slots.

        The derivative with respect to the position of atom k is the sum over slots that hold k, and minus the sum over
        all slots for the central atom itself.
        """
        return map_atom_blocks(self._values_and_gradients, self._inputs(graph), BLOCK)

    def _inputs(self, graph: Graph) -> tuple[Array, Array]:
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        species_j = gather_neighbors(graph.species, neighbors)
        return vectors, species_weights(species_j, neighbors.mask, self.n_species, vectors.dtype)

    def _pair_sums(self) -> PairSums:
        def radial(r: Array) -> Array:
            eta, r_s = (jnp.asarray([row[k] for row in self.g2], r.dtype) for k in (0, 1))
            shape = (1,) * r.ndim + (-1,)
            exponent = -eta.reshape(shape) * (r[..., None] - r_s.reshape(shape)) ** 2
            return jnp.exp(exponent) * cosine_cutoff(r, self.cutoff)[..., None]

        return PairSums(radial)

    def _triple_sums(self, rows: tuple[tuple[float, float, float], ...], with_third: bool) -> TripleSums:
        decays, shapes = sorted({row[0] for row in rows}), sorted({row[1:] for row in rows})

        def radial(a: Array, b: Array, cosine: Array) -> Array:
            cut, squares = cosine_cutoff(a, self.cutoff) * cosine_cutoff(b, self.cutoff), a**2 + b**2
            if with_third:
                c = third_side(a, b, cosine)
                cut, squares = cut * cosine_cutoff(c, self.cutoff), squares + c**2
            return jnp.stack([jnp.exp(-eta * squares) * cut for eta in decays], axis=-1)

        def angular(cosine: Array) -> Array:
            return jnp.stack([2.0 ** (1.0 - z) * real_power(1.0 + s * cosine, z) for z, s in shapes], axis=-1)

        return TripleSums(radial, angular, tuple((decays.index(row[0]), shapes.index(row[1:])) for row in rows))

    def _sums(self) -> list[PairSums | TripleSums]:
        """G2 for each species, and G4 and G5 for each pair of species."""
        kinds = [(self.g4, True), (self.g5, False)]
        return ([self._pair_sums()] if self.g2 else []) + [self._triple_sums(*kind) for kind in kinds if kind[0]]

    def _order(self) -> np.ndarray:
        """G4 and G5 of one pair of species side by side."""
        n_pairs, n_g2 = self.n_species * (self.n_species + 1) // 2, self.n_species * len(self.g2)
        g4 = n_g2 + np.arange(n_pairs * len(self.g4)).reshape(n_pairs, -1)
        g5 = n_g2 + g4.size + np.arange(n_pairs * len(self.g5)).reshape(n_pairs, -1)
        return np.concatenate([np.arange(n_g2), np.concatenate([g4, g5], axis=1).reshape(-1)]).astype(np.int32)

    def _joined(self, parts: list[Array]) -> Array:
        joined = jnp.concatenate(parts, axis=1)
        return joined[:, self._order()] if self.g4 and self.g5 else joined

    def _values(self, vectors: Array, weights: Array) -> Array:
        return self._joined([sums(vectors, weights) for sums in self._sums()])

    def _values_and_gradients(self, vectors: Array, weights: Array) -> tuple[Array, Array]:
        gradients = self._joined([sums.gradients(vectors, weights) for sums in self._sums()])
        return self._values(vectors, weights), gradients
