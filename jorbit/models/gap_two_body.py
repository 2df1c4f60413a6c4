"""Gaussian process of pair energies: the two-body part of a Gaussian approximation potential."""

import dataclasses
import itertools

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.basis.cluster_kernels import gaussian, own_pairs, pair_rows, pair_slopes
from jorbit.basis.slope_blocks import design_from_slopes
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors, safe_norm
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import DesignRows, Params
from jorbit.models.layers.cluster_gap import ClusterGAP, of_one_kind

BLOCK = 64  # atoms whose [slots, points] are held together


@dataclasses.dataclass(frozen=True)
class TwoBodyGAP(ClusterGAP):
    """E = sum over pairs of f(r_ij) g(r_ij), g = sum over sparse points s of their species of alpha_s k(r_ij, p_s).

    k(r, p) = exp(-(r - p)^2 / (2 length^2)); f falls smoothly to 0 at the cutoff. Each pair of elements has its own g.
    `jorbit.fit_gap` chooses the points, distances of the training set, and finds alpha; its `delta` is the standard
    deviation of the energy of one pair before it saw data, eV. Fitted together with other kernels it takes the steep
    part of the energy, and their sum extrapolates better.

    Attributes:
        cutoff: Å.
        n_points: sparse points of all pairs of species together.
        length: of the kernel, Å.
        n_species: rows of the species table that an unfitted model knows; a fit takes what the frames hold.

    Example:
        >>> TwoBodyGAP(cutoff=5.0, n_points=20).needs.cutoff
        5.0

    References:
        Bartók and Csányi, Int. J. Quantum Chem. 115, 1051 (2015); Deringer and Csányi, Phys. Rev. B 95, 094203 (2017)
        (two-body, three-body and many-body kernels together).
    """

    cutoff: float = 5.0
    n_points: int = 20

    @classmethod
    def tiny(cls, n_species: int = 2) -> "TwoBodyGAP":
        return cls(cutoff=3.0, n_points=n_species * (n_species + 1), n_species=n_species)

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Points of all kinds of pairs in turn, from near to far, and coefficients of zero."""
        kinds = np.array(list(itertools.combinations_with_replacement(range(self.n_species), 2)), dtype=np.int32)
        dtype = graph.positions.dtype
        return {
            "points": jnp.linspace(0.4, 0.9, self.n_points, dtype=dtype)[:, None] * self.cutoff,
            "species": jnp.asarray(kinds[np.arange(self.n_points) % len(kinds)]),
            "coefficients": jnp.zeros(self.n_points, dtype),
        }

    def candidates(self, graph: Graph) -> tuple[Float[Array, "pairs 1"], Int[Array, "pairs 2"], Bool[Array, " pairs"]]:
        """What sparse points are chosen from: distances, the species of both atoms, and which pairs are there."""
        neighbors = graph.within(self.cutoff)
        r, pair = safe_norm(pair_vectors(graph, neighbors)), self._species(graph)
        return r.reshape(-1, 1), pair.reshape(-1, 2), neighbors.mask.reshape(-1)

    def _species(self, graph: Graph) -> Int[Array, "atoms slots 2"]:
        """Of both atoms of each pair, the lower one first."""
        theirs = gather_neighbors(graph.species, graph.within(self.cutoff))
        mine = jnp.broadcast_to(graph.species[:, None], theirs.shape)
        return jnp.stack([jnp.minimum(mine, theirs), jnp.maximum(mine, theirs)], axis=-1)

    def _inputs(self, params: Params, graph: Graph) -> tuple[Array, Array]:
        neighbors = graph.within(self.cutoff)
        same = jnp.all(self._species(graph)[:, :, None] == jnp.asarray(params["species"])[None, None], axis=-1)
        return pair_vectors(graph, neighbors), same & neighbors.mask[:, :, None]

    def atom_rows(self, params: Params, graph: Graph) -> Float[Array, "atoms points"]:
        """Half the sum over the pairs of each atom, and points: energies are these times the coefficients."""
        points = params["points"]

        def rows(vectors: Array, wanted: Array) -> Array:
            return pair_rows(vectors, wanted, points, self.cutoff, self.length)

        return map_atom_blocks(rows, self._inputs(params, graph), BLOCK)

    def design(self, params: Params, graph: Graph) -> DesignRows:
        """Rows whose product with the coefficients is energy, forces and dE/dε of a one-structure graph."""
        points, inputs = jnp.asarray(params["points"]), self._inputs(params, graph)

        def rows(vectors: Array, wanted: Array) -> tuple[Array, Array]:
            return pair_slopes(vectors, wanted, points, self.cutoff, self.length)

        return design_from_slopes(rows, inputs, inputs[0], graph.within(self.cutoff).index, self.n_points)

    def own_covariance(self, params: Params, graph: Graph) -> Float[Array, " atoms"]:
        """Prior variance of the energy of each atom, for a delta of 1."""
        neighbors = graph.within(self.cutoff)
        theirs = gather_neighbors(graph.species, neighbors)
        alike = (theirs[:, :, None] == theirs[:, None]) & neighbors.mask[:, :, None] & neighbors.mask[:, None]

        def own(vectors: Array, alike: Array) -> Array:
            return own_pairs(vectors, alike, self.cutoff, self.length)

        return map_atom_blocks(own, (pair_vectors(graph, neighbors), alike), BLOCK)

    def gram(self, params: Params) -> Float[Array, "points points"]:
        """Covariances of g at the points."""
        p = jnp.asarray(params["points"])[:, 0]
        return jnp.where(of_one_kind(params), gaussian(p[:, None], p[None], self.length), 0.0)
