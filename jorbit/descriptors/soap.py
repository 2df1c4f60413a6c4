"""Smooth overlap of atomic positions: the power spectrum of a density of Gaussians on the neighbours."""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.envelope import Envelope
from jorbit.basis.gaussian_density import FAMILIES, gaussian_overlaps
from jorbit.basis.neighbor_density import NeighborDensity, product_gradients, products
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.protocols import Needs

PAIRS = ("all", "same_species", "with_total")
# Atoms whose temporaries fit in a core's cache: pulling back through 128 at a time took three times as long.
VALUE_BLOCK, GRADIENT_BLOCK = 8, 16


@dataclasses.dataclass(frozen=True)
class SOAP:
    """p_(a n b k l) = pi sqrt(8 / (2l + 1)) sum_m c_(a n lm) c_(b k lm).

    c_(a n lm) are the coefficients of the density of channel a in orthonormal functions g_nl(r) Y_lm(r̂),

    rho_a(r) = sum over atoms j of M_(a, species of j) w(r_ij) exp(-|r - r_ij|^2 / (2 sigma^2)),

    the central atom included. Without mixing, M is the identity: one channel per species. Compression:

    * `species_mixing` makes fewer channels (or one, "element-agnostic": ((1.0, 1.0),) for two species);
    * `radial_mixing` makes fewer radial functions, g'_k = sum over n of W_kn g_n; both cost nothing per pair;
    * `pairs`: "all" products of channels, products of the "same_species" channel only, or products of each channel
      "with_total" density, the sum over channels.

    Features are ordered by l, then by pairs of (channel, n), the second never before the first; `labels` lists them.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_radial: radial functions before mixing.
        l_max: highest l.
        sigma: width of the Gaussians, Å.
        family: of the radial functions, see `jorbit.basis.gaussian_density.radial_functions`: "gto", "gto_powers" or
            "polynomial".
        envelope: w, see `jorbit.basis.envelope.Envelope`: "quadratic", "cubic" or "shifted_cosine".
        width: of the step of "shifted_cosine", Å.
        central_weight: weight of the central atom's own Gaussian.
        pairs: which products, see above.
        species_mixing: rows of M [channels, species], or None.
        radial_mixing: rows of W [functions, n_radial], or None.

    Example:
        >>> SOAP(n_species=1, n_radial=8, l_max=6).n_features
        252

    References:
        Bartók, Kondor and Csányi, Phys. Rev. B 87, 184115 (2013); De, Bartók, Csányi and Ceriotti, Phys. Chem. Chem.
        Phys. 18, 13754 (2016); Darby, Kermode and Csányi, npj Comput. Mater. 8, 166 (2022) (compression).
    """

    n_species: int
    cutoff: float = 5.0
    n_radial: int = 8
    l_max: int = 6
    sigma: float = 0.5
    family: str = "gto"
    envelope: str = "quadratic"
    width: float = 0.5
    central_weight: float = 1.0
    pairs: str = "all"
    species_mixing: tuple[tuple[float, ...], ...] | None = None
    radial_mixing: tuple[tuple[float, ...], ...] | None = None

    def __post_init__(self) -> None:
        if self.family not in FAMILIES or self.pairs not in PAIRS:
            raise ConfigError(
                f"Wanted a radial family in {FAMILIES} and pairs in {PAIRS}, got {self.family!r} and {self.pairs!r}."
            )
        if self.n_species < 1 or self.n_radial < 1 or self.l_max < 0 or self.sigma <= 0:
            raise ConfigError(
                "Wanted n_species >= 1, n_radial >= 1, l_max >= 0 and a positive sigma, got "
                f"{self.n_species}, {self.n_radial}, {self.l_max} and {self.sigma}."
            )
        Envelope(self.envelope, self.cutoff, self.width)  # checks them
        for name, width in (("species_mixing", self.n_species), ("radial_mixing", self.n_radial)):
            rows = getattr(self, name)
            if rows is not None and (len(rows) == 0 or any(len(row) != width for row in rows)):
                raise ConfigError(f"Wanted rows of {width} numbers in {name}, got {[len(row) for row in rows]}.")

    @classmethod
    def tiny(cls, n_species: int = 2) -> "SOAP":
        return cls(n_species=n_species, cutoff=3.0, n_radial=3, l_max=2, sigma=0.6)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def n_channels(self) -> int:
        """Densities per atom: species, or rows of `species_mixing`."""
        return self.n_species if self.species_mixing is None else len(self.species_mixing)

    @property
    def n_mixed(self) -> int:
        """Radial functions after mixing."""
        return self.n_radial if self.radial_mixing is None else len(self.radial_mixing)

    @property
    def n_features(self) -> int:
        return (self.l_max + 1) * len(self._pairs()[0])

    @property
    def labels(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """(channel a, n, channel b, k, l) of each feature; with pairs="with_total", b is the number of channels."""
        rows = [
            (*divmod(int(p), self.n_mixed), *divmod(int(q), self.n_mixed)) for p, q in zip(*self._pairs(), strict=True)
        ]
        return tuple((*row, l) for l in range(self.l_max + 1) for row in rows)

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

    def _inputs(self, graph: Graph) -> tuple[Array, ...]:
        neighbors = graph.within(self.cutoff)
        species_j = gather_neighbors(graph.species, neighbors)
        return pair_vectors(graph, neighbors), graph.species, species_j, neighbors.mask, graph.atom_mask

    def _density(self) -> tuple[NeighborDensity, np.ndarray]:
        series, at_centre = gaussian_overlaps(self.family, self.n_radial, self.l_max, self.cutoff, self.sigma)
        if self.radial_mixing is not None:
            mixing = np.asarray(self.radial_mixing).T
            series = (series.reshape(len(series), -1, self.n_radial) @ mixing).reshape(len(series), -1)
            at_centre = at_centre @ mixing
        envelope = Envelope(self.envelope, self.cutoff, self.width)
        return NeighborDensity(series, envelope, (self.n_mixed,) * (self.l_max + 1)), at_centre

    def _pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices (channel * n_mixed + n) of the two factors of each product of one degree."""
        return _channel_pairs(self.pairs, self.n_channels, self.n_mixed)

    def _products(self) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[float]]:
        factors = [math.pi * math.sqrt(8.0 / (2 * l + 1)) for l in range(self.l_max + 1)]
        return [self._pairs()] * (self.l_max + 1), factors

    def _weights(self, species: Array, dtype: jnp.dtype) -> Array:
        """Weight of an atom's Gaussian in each channel, [..., channels]; the total comes last if it is needed."""
        mixing = np.eye(self.n_species) if self.species_mixing is None else np.asarray(self.species_mixing)
        if self.pairs == "with_total":
            mixing = np.concatenate([mixing, mixing.sum(axis=0, keepdims=True)])
        one_hot = jax.nn.one_hot(species, self.n_species, dtype=dtype)
        return jnp.matmul(one_hot, jnp.asarray(mixing.T, dtype), precision="highest")

    def _coefficients(
        self, vectors: Array, species_i: Array, species_j: Array, mask: Array
    ) -> tuple[NeighborDensity, Array, list[Array]]:
        density, at_centre = self._density()
        weights = jnp.where(mask[..., None], self._weights(species_j, vectors.dtype), 0.0)
        coefficients = density.coefficients(vectors, weights)
        own = self.central_weight * 0.5 / math.sqrt(math.pi) * jnp.asarray(at_centre, vectors.dtype)
        centre = self._weights(species_i, vectors.dtype)[:, :, None] * own[None, None, :]
        coefficients[0] = coefficients[0] + centre.reshape(len(vectors), -1).T[None]
        return density, weights, coefficients

    def _values(self, vectors: Array, species_i: Array, species_j: Array, mask: Array, present: Array) -> Array:
        _, _, coefficients = self._coefficients(vectors, species_i, species_j, mask)
        return jnp.where(present[:, None], products(coefficients, *self._products()), 0.0)

    def _values_and_gradients(
        self, vectors: Array, species_i: Array, species_j: Array, mask: Array, present: Array
    ) -> tuple[Array, Array]:
        density, weights, coefficients = self._coefficients(vectors, species_i, species_j, mask)
        values = jnp.where(present[:, None], products(coefficients, *self._products()), 0.0)
        tables = density.gradient_tables(vectors, weights, coefficients)
        return values, product_gradients(tables, *self._products())


@functools.lru_cache(maxsize=64)
def _channel_pairs(kind: str, n_channels: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    size = n_channels * n
    left, right = (a.astype(np.int32) for a in np.triu_indices(size))
    if kind == "same_species":
        keep = left // n == right // n
        return left[keep], right[keep]
    if kind == "with_total":
        left, right = np.divmod(np.arange(size * n, dtype=np.int32), n)
        return left.astype(np.int32), (size + right).astype(np.int32)
    return left, right
