"""Atomic environment vectors of ANI: symmetry functions with shifted Gaussians and shifted angles."""

import dataclasses
import math

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import cosine_cutoff, quadratic_cutoff
from jorbit.basis.symmetry_functions import PairSums, TripleSums, real_power, species_weights
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, Neighbors, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.protocols import Needs

ENVELOPES = {"cosine": cosine_cutoff, "quadratic": quadratic_cutoff}
BLOCK = 16  # atoms whose pairs of neighbours fit in a core's cache


@dataclasses.dataclass(frozen=True)
class AEV:
    """Radial functions for each species, angular functions for each unordered pair of species of the neighbours.

    With the envelope f_c, (1 + cos(pi r / cutoff)) / 2 as published, t = arccos(0.95 cos(angle at i)), and each pair
    {j, k} counted once:

    * radial: sum_j exp(-radial_eta (r_ij - r_s)^2) f_c(r_ij) / 4;
    * angular: 2 sum_jk ((1 + cos(t - t_s)) / 2)^zeta exp(-angular_eta ((r_ij + r_ik) / 2 - r_s)^2) f_c(r_ij) f_c(r_ik).

    The factors 1 / 4 and 0.95 are those of the ANI codes (0.95 keeps arccos smooth). The shifts r_s start at `start`
    and end before the cutoff, evenly; the angles t_s are the midpoints of equal parts of [0, pi]. Defaults are
    ANI-1x's; `ani2x` gives those of ANI-2x.

    The angular functions have a shorter cutoff. They read a neighbourhood of their own where the graph holds one of
    exactly that cutoff, and otherwise mask the longer list: the same numbers, but more empty pairs.

    Attributes:
        n_species: rows of the species table.
        cutoff: of the radial functions, Å.
        angular_cutoff: Å.
        radial_eta, angular_eta: 1/Å^2.
        zeta: sharpness in the angle.
        start: first shift, Å.
        n_radial, n_angular_shifts, n_angles: numbers of shifts and angles.
        envelope: "cosine" as published (the second derivative jumps at the cutoffs), or "quadratic", (1 - (r /
            cutoff)^2)^3, with two continuous derivatives.

    Example:
        >>> AEV(n_species=4).n_features, AEV.ani2x(n_species=7).n_features
        (384, 1008)

    References:
        Smith, Isayev and Roitberg, Chem. Sci. 8, 3192 (2017); Devereux et al., J. Chem. Theory Comput. 16, 4192 (2020).
    """

    n_species: int
    cutoff: float = 5.2
    angular_cutoff: float = 3.5
    radial_eta: float = 16.0
    angular_eta: float = 8.0
    zeta: float = 32.0
    start: float = 0.9
    n_radial: int = 16
    n_angular_shifts: int = 4
    n_angles: int = 8
    envelope: str = "cosine"

    def __post_init__(self) -> None:
        if not 0 < self.angular_cutoff <= self.cutoff or not self.start < self.angular_cutoff or self.zeta < 1:
            raise ConfigError(
                "Wanted start < angular_cutoff <= cutoff (Å) and zeta >= 1, got "
                f"{self.start}, {self.angular_cutoff}, {self.cutoff} and {self.zeta}."
            )

        if self.envelope not in ENVELOPES:
            raise ConfigError(f"Wanted an envelope in {sorted(ENVELOPES)}, got {self.envelope!r}.")

    @classmethod
    def tiny(cls, n_species: int = 2) -> "AEV":
        return cls(
            n_species=n_species,
            cutoff=3.0,
            angular_cutoff=2.8,
            radial_eta=1.0,
            angular_eta=1.0,
            zeta=2.5,
            start=0.5,
            n_radial=2,
            n_angular_shifts=2,
            n_angles=2,
        )

    @classmethod
    def ani2x(cls, n_species: int = 7) -> "AEV":
        """The functions of ANI-2x (H, C, N, O, F, S, Cl)."""
        return cls(
            n_species=n_species,
            cutoff=5.1,
            radial_eta=19.7,
            angular_eta=12.5,
            zeta=14.1,
            start=0.8,
            n_angular_shifts=8,
            n_angles=4,
        )

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff, inner=(self.angular_cutoff,) if self.angular_cutoff < self.cutoff else ())

    @property
    def n_features(self) -> int:
        n_pairs = self.n_species * (self.n_species + 1) // 2
        return self.n_species * self.n_radial + n_pairs * self.n_angular_shifts * self.n_angles

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """Features of each atom; zero on padding."""
        return map_atom_blocks(self._values, self._inputs(graph), BLOCK)

    def neighbor_gradients(
        self, graph: Graph
    ) -> tuple[Float[Array, "atoms features"], Float[Array, "atoms features slots 3"]]:
        """Features, and their derivatives with respect to r_ij of every neighbour within `cutoff`, 1/Å.

        The derivative with respect to the position of atom k is the sum over slots that hold k, and minus the sum over
        all slots for the central atom itself.
        """
        longer = self._of(graph, graph.within(self.cutoff))
        return map_atom_blocks(self._values_and_gradients, longer, BLOCK)

    def _inputs(self, graph: Graph) -> tuple[Array, ...]:
        longer = graph.within(self.cutoff)
        near = [n for n in graph.neighborhoods if abs(n.cutoff - self.angular_cutoff) < 1e-9]
        return *self._of(graph, longer), *self._of(graph, near[0] if near else longer)

    def _of(self, graph: Graph, neighbors: Neighbors) -> tuple[Array, Array]:
        vectors = pair_vectors(graph, neighbors)
        species_j = gather_neighbors(graph.species, neighbors)
        return vectors, species_weights(species_j, neighbors.mask, self.n_species, vectors.dtype)

    def _pair_sums(self) -> PairSums:
        def radial(r: Array) -> Array:
            shifts = jnp.asarray(_shifts(self.start, self.cutoff, self.n_radial), r.dtype)
            exponent = -self.radial_eta * (r[..., None] - shifts.reshape((1,) * r.ndim + (-1,))) ** 2
            return jnp.exp(exponent) * 0.25 * ENVELOPES[self.envelope](r, self.cutoff)[..., None]

        return PairSums(radial)

    def _triple_sums(self) -> TripleSums:
        shifts = _shifts(self.start, self.angular_cutoff, self.n_angular_shifts)
        centres = [math.pi * (k + 0.5) / self.n_angles for k in range(self.n_angles)]

        def radial(a: Array, b: Array, cosine: Array) -> Array:
            fade = ENVELOPES[self.envelope]
            cut = 2.0 * fade(a, self.angular_cutoff) * fade(b, self.angular_cutoff)
            mean = 0.5 * (a + b)
            return jnp.stack([jnp.exp(-self.angular_eta * (mean - shift) ** 2) * cut for shift in shifts], axis=-1)

        def angular(cosine: Array) -> Array:
            c = 0.95 * cosine
            s = jnp.sqrt(1.0 - jnp.minimum(c**2, 0.95))  # c**2 <= 0.9025: the minimum only guards rounding
            halves = [0.5 * (1.0 + math.cos(t) * c + math.sin(t) * s) for t in centres]
            return jnp.stack([real_power(half, self.zeta) for half in halves], axis=-1)

        which = tuple((k, p) for k in range(self.n_angular_shifts) for p in range(self.n_angles))
        return TripleSums(radial, angular, which)

    def _values(self, vectors: Array, weights: Array, near: Array, near_weights: Array) -> Array:
        pairs, triples = self._pair_sums()(vectors, weights), self._triple_sums()(near, near_weights)
        return jnp.concatenate([pairs, triples], axis=1)

    def _values_and_gradients(self, vectors: Array, weights: Array) -> tuple[Array, Array]:
        gradients = [sums.gradients(vectors, weights) for sums in (self._pair_sums(), self._triple_sums())]
        return self._values(vectors, weights, vectors, weights), jnp.concatenate(gradients, axis=1)


def _shifts(start: float, end: float, n: int) -> list[float]:
    return [start + (end - start) * k / n for k in range(n)]
