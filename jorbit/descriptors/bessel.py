"""Spherical Bessel descriptors: the power spectrum of each pair of elements in few smooth radial functions."""

import dataclasses
import functools

import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.envelope import Envelope
from jorbit.basis.neighbor_density import NeighborDensity, product_gradients, products
from jorbit.basis.spherical_bessel import bessel_series
from jorbit.basis.symmetry_functions import species_weights
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.protocols import Needs

VALUE_BLOCK, GRADIENT_BLOCK = 8, 16  # atoms whose temporaries fit in a core's cache


@dataclasses.dataclass(frozen=True)
class Bessel:
    """p_(a b n l) = sum_m c_(a n lm) c_(b n lm) for species a <= b, 0 <= l <= n <= n_max.

    c_(a n lm) = sum over neighbours j of species a of g_(n-l, l)(r_ij) Y_lm(r̂_ij), with orthonormal Y_lm and the
    orthonormal functions of `jorbit.basis.spherical_bessel`, zero at the cutoff with two derivatives. By the addition
    theorem p = (2l + 1) / (4 pi) sum_jk g(r_ij) g(r_ik) P_l(cos of the angle between them), j of species a, k of b.

    Features are ordered by l, then pair of species (0, 0), (0, 1), ..., (1, 1), ..., then n; `labels` lists them.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_max: highest n; (n_max + 1) (n_max + 2) / 2 features for each pair of species.

    Example:
        >>> Bessel(n_species=2, n_max=4).n_features
        45

    References:
        Kocer, Mason and Erturk, AIP Adv. 10, 015021 (2020); Montes-Campos, Carrete, Bichelmaier, Varela and Madsen,
        J. Chem. Inf. Model. 62, 88 (2022) (for each pair of elements).
    """

    n_species: int
    cutoff: float = 5.0
    n_max: int = 4

    def __post_init__(self) -> None:
        if self.n_species < 1 or self.n_max < 0 or self.cutoff <= 0:
            raise ConfigError(
                "Wanted n_species >= 1, n_max >= 0 and a positive cutoff, got "
                f"{self.n_species}, {self.n_max} and {self.cutoff}."
            )

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Bessel":
        return cls(n_species=n_species, cutoff=3.0, n_max=2)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def n_features(self) -> int:
        return self.n_species * (self.n_species + 1) // 2 * (self.n_max + 1) * (self.n_max + 2) // 2

    @property
    def labels(self) -> tuple[tuple[int, int, int, int], ...]:
        """(species a, species b, n, l) of each feature."""
        rows = []
        for degree, (left, right) in enumerate(_pairs(self.n_species, self.n_max)):
            size = self.n_max + 1 - degree
            rows += [(p // size, q // size, degree + p % size, degree) for p, q in zip(left, right, strict=True)]
        return tuple(tuple(int(x) for x in row) for row in rows)  # type: ignore[return-value]

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """Features of each atom; zero on padding."""
        return map_atom_blocks(self._values, self._inputs(graph), VALUE_BLOCK)

    def neighbor_gradients(
        self, graph: Graph
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms features slots 3"]]:
        """Features, and their derivatives with respect to r_ij of every neighbour, 1/Å; zero in empty slots.

        The derivative with respect to the position of atom k is the sum over slots that hold k, and minus the sum over
        all slots for the central atom itself.
        """
        return map_atom_blocks(self._values_and_gradients, self._inputs(graph), GRADIENT_BLOCK)

    def _inputs(self, graph: Graph) -> tuple[Array, Array]:
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        species_j = gather_neighbors(graph.species, neighbors)
        return vectors, species_weights(species_j, neighbors.mask, self.n_species, vectors.dtype)

    def _density(self) -> NeighborDensity:
        n_radial = tuple(self.n_max + 1 - degree for degree in range(self.n_max + 1))
        return NeighborDensity(bessel_series(self.n_max, self.cutoff), Envelope("step", self.cutoff), n_radial)

    def _products(self) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[float]]:
        return list(_pairs(self.n_species, self.n_max)), [1.0] * (self.n_max + 1)

    def _values(self, vectors: Array, weights: Array) -> Array:
        return products(self._density().coefficients(vectors, weights), *self._products())

    def _values_and_gradients(self, vectors: Array, weights: Array) -> tuple[Array, Array]:
        density = self._density()
        coefficients = density.coefficients(vectors, weights)
        tables = density.gradient_tables(vectors, weights, coefficients)
        return products(coefficients, *self._products()), product_gradients(tables, *self._products())


@functools.lru_cache(maxsize=64)
def _pairs(n_species: int, n_max: int) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """For each degree, the indices (species * functions + k) of the two factors of each product."""
    a, b = np.triu_indices(n_species)
    pairs = []
    for degree in range(n_max + 1):
        size = n_max + 1 - degree
        k = np.arange(size)
        left, right = ((x[:, None] * size + k).reshape(-1).astype(np.int32) for x in (a, b))
        pairs.append((left, right))
    return tuple(pairs)
