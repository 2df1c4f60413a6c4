"""Gaussian process of triplet energies: the three-body part of a Gaussian approximation potential."""

import dataclasses
import itertools
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.basis.cluster_kernels import gaussian, own_triplets, triplet_rows, triplet_slopes
from jorbit.basis.slope_blocks import design_from_slopes
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors, safe_norm
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import DesignRows, Params
from jorbit.models.layers.cluster_gap import ClusterGAP, of_one_kind

BLOCK = 4  # atoms whose [slots, slots, points] are held together


@dataclasses.dataclass(frozen=True)
class ThreeBodyGAP(ClusterGAP):
    """E = sum over atoms i and pairs {j, k} of their neighbours of f(r_ij) f(r_ik) g(r_ij, r_ik, r_jk).

    g = sum over sparse points s of their species of alpha_s k(q, p_s), k a Gaussian of the three distances q of width
    length, averaged over the exchange of j and k where they are of one element. f falls smoothly to 0 at the cutoff.
    `jorbit.fit_gap` chooses the points, triplets of the training set, and finds alpha; its `delta` is the standard
    deviation of the energy of one triplet before it saw data, eV.

    Attributes:
        cutoff: of r_ij and r_ik, Å. The cost grows with the square of the neighbours: the first shell is usual.
        n_points: sparse points of all triplets of species together.
        length: of the kernel, Å.
        n_species: rows of the species table that an unfitted model knows; a fit takes what the frames hold.

    Example:
        >>> ThreeBodyGAP(cutoff=3.5, n_points=100).needs.cutoff
        3.5

    References:
        Bartók and Csányi, Int. J. Quantum Chem. 115, 1051 (2015); Deringer and Csányi, Phys. Rev. B 95, 094203 (2017)
        (two-body, three-body and many-body kernels together).
    """

    cutoff: float = 3.5
    n_points: int = 100

    steps: ClassVar[float] = 10.0

    @classmethod
    def tiny(cls, n_species: int = 2) -> "ThreeBodyGAP":
        return cls(cutoff=3.0, n_points=n_species**2 * (n_species + 1) // 2, n_species=n_species)

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Points of all kinds of triplets in turn, from near to far, and coefficients of zero."""
        pairs = itertools.combinations_with_replacement(range(self.n_species), 2)
        kinds = np.array([(a, b, c) for (b, c), a in itertools.product(pairs, range(self.n_species))], dtype=np.int32)
        dtype = graph.positions.dtype
        sides = jnp.array([0.8, 1.0, 1.2], dtype)[None]
        return {
            "points": jnp.linspace(0.4, 0.8, self.n_points, dtype=dtype)[:, None] * self.cutoff * sides,
            "species": jnp.asarray(kinds[np.arange(self.n_points) % len(kinds)]),
            "coefficients": jnp.zeros(self.n_points, dtype),
        }

    def candidates(
        self, graph: Graph
    ) -> tuple[Float[Array, "triplets 3"], Int[Array, "triplets 3"], Bool[Array, " triplets"]]:
        """What sparse points are chosen from: (r_ij, r_ik, r_jk), the species of i, j, k, and which are there.

        Each triplet is there once: the lower species first, the nearer neighbour first where they are alike.
        """
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        r, theirs = safe_norm(vectors), gather_neighbors(graph.species, neighbors)
        n_atoms, n_slots = r.shape
        shape = (n_atoms, n_slots, n_slots)
        first, second = (jnp.broadcast_to(a, shape) for a in (r[:, :, None], r[:, None]))
        b, c = (jnp.broadcast_to(a, shape) for a in (theirs[:, :, None], theirs[:, None]))
        third = safe_norm(vectors[:, :, None] - vectors[:, None])
        ordered = (b < c) | ((b == c) & (first <= second))
        present = ordered & neighbors.mask[:, :, None] & neighbors.mask[:, None] & ~jnp.eye(n_slots, dtype=bool)[None]
        center = jnp.broadcast_to(graph.species[:, None, None], shape)
        q, species = jnp.stack([first, second, third], axis=-1), jnp.stack([center, b, c], axis=-1)
        return q.reshape(-1, 3), species.reshape(-1, 3), present.reshape(-1)

    def _inputs(self, params: Params, graph: Graph) -> tuple[Array, Array, Array]:
        """Pair vectors, and which neighbours may be j, and k, of each point."""
        neighbors, species = graph.within(self.cutoff), jnp.asarray(params["species"])[None, None]
        theirs = gather_neighbors(graph.species, neighbors)[:, :, None]
        here = neighbors.mask[:, :, None] & (graph.species[:, None, None] == species[..., 0])
        return pair_vectors(graph, neighbors), here & (theirs == species[..., 1]), here & (theirs == species[..., 2])

    def _weights(self, params: Params) -> Float[Array, " points"]:
        """1/2 where j and k are alike: every pair of them is met twice."""
        species, points = jnp.asarray(params["species"]), jnp.asarray(params["points"])
        return jnp.where(species[:, 1] == species[:, 2], 0.5, 1.0).astype(points.dtype)

    def atom_rows(self, params: Params, graph: Graph) -> Float[Array, "atoms points"]:
        """The sum over the triplets of each atom, and points: energies are these times the coefficients."""
        points, weights = params["points"], self._weights(params)

        def rows(vectors: Array, first: Array, second: Array) -> Array:
            return triplet_rows(vectors, first, second, weights, points, self.cutoff, self.length)

        return map_atom_blocks(rows, self._inputs(params, graph), BLOCK, everywhere=True)

    def design(self, params: Params, graph: Graph) -> DesignRows:
        """Rows whose product with the coefficients is energy, forces and dE/dε of a one-structure graph."""
        points, weights, inputs = jnp.asarray(params["points"]), self._weights(params), self._inputs(params, graph)

        def rows(vectors: Array, first: Array, second: Array) -> tuple[Array, Array]:
            return triplet_slopes(vectors, first, second, weights, points, self.cutoff, self.length)

        return design_from_slopes(rows, inputs, inputs[0], graph.within(self.cutoff).index, self.n_points, BLOCK)

    def own_covariance(self, params: Params, graph: Graph) -> Float[Array, " atoms"]:
        """Prior variance of the energy of each atom, for a delta of 1."""
        neighbors = graph.within(self.cutoff)
        theirs = gather_neighbors(graph.species, neighbors)
        alike = (theirs[:, :, None] == theirs[:, None]) & neighbors.mask[:, :, None] & neighbors.mask[:, None]

        def own(vectors: Array, alike: Array) -> Array:
            return own_triplets(vectors, alike, self.cutoff, self.length)

        return map_atom_blocks(own, (pair_vectors(graph, neighbors), alike), 1, everywhere=True)

    def gram(self, params: Params) -> Float[Array, "points points"]:
        """Covariances of g at the points."""
        p, species = jnp.asarray(params["points"]), jnp.asarray(params["species"])
        straight = jnp.prod(gaussian(p[:, None], p[None], self.length), axis=-1)
        crossed = jnp.prod(gaussian(p[:, None], p[None][..., jnp.array([1, 0, 2])], self.length), axis=-1)
        alike = (species[:, 1] == species[:, 2])[:, None]
        return jnp.where(of_one_kind(params), jnp.where(alike, 0.5 * (straight + crossed), straight), 0.0)
