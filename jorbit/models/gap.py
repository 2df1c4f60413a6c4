"""Gaussian approximation potential: a sparse Gaussian process of atomic energies on any registered descriptor."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.basis.covariances import KERNELS, Covariance, polynomial, rbf
from jorbit.basis.slope_blocks import design_from_slopes
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, apply_strain, pair_vectors
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Descriptor, DesignRows, Needs, Params
from jorbit.descriptors.soap import SOAP


@dataclasses.dataclass(frozen=True)
class GAP:
    """E_i = sum over sparse points s of the species of i: alpha_s k(d_i, p_s).

    d_i are the features of atom i, p_s those of atoms chosen from the training set, k a covariance function
    (`jorbit.basis.covariances`). `jorbit.train.gap.fit_gap` chooses the points and finds alpha; several GAPs with
    descriptors of their own add up.

    Attributes:
        descriptor: any registered one; SOAP is usual.
        n_points: sparse points of all species together.
        kernel: "polynomial", (d . p / |d| |p|)^zeta, or "rbf", exp(-|d - p|^2 / 2 length^2).
        zeta: of the polynomial kernel.
        length: of the other one, in the unit of the features.

    Example:
        >>> GAP(descriptor=SOAP(n_species=1), n_points=100).needs.cutoff
        5.0

    References:
        Bartók, Payne, Kondor and Csányi, Phys. Rev. Lett. 104, 136403 (2010); Bartók and Csányi, Int. J. Quantum Chem.
        115, 1051 (2015).
    """

    descriptor: Descriptor
    n_points: int
    kernel: str = "polynomial"
    zeta: int = 4
    length: float = 1.0

    def __post_init__(self) -> None:
        if self.kernel not in KERNELS:
            raise ConfigError(f"Wanted a kernel in {KERNELS}, got {self.kernel!r}.")
        if self.n_points < 1 or self.zeta < 1 or not self.length > 0:
            raise ConfigError(
                f"Wanted n_points >= 1, zeta >= 1 and a positive length, got {self.n_points}, {self.zeta} and "
                f"{self.length}."
            )

    @classmethod
    def tiny(cls, n_species: int = 2) -> "GAP":
        return cls(descriptor=SOAP.tiny(n_species), n_points=4, zeta=2)

    @property
    def needs(self) -> Needs:
        return self.descriptor.needs

    @property
    def sampling(self) -> str:
        """How sparse points are usually chosen."""
        return "cur"

    @property
    def resolution(self) -> float | None:
        """Candidates nearer to each other than this are one; None: all are different."""
        return None

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Atoms of the graph as points, over and over, and coefficients of zero."""
        real = jnp.where(graph.atom_mask, jnp.arange(graph.n_atoms), 0)
        chosen = real[jnp.arange(self.n_points) % jnp.maximum(graph.atom_mask.sum(), 1)]
        return {
            "points": self.descriptor(graph)[chosen],
            "species": graph.species[chosen],
            "coefficients": jnp.zeros(self.n_points, graph.positions.dtype),
        }

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        rows = self.atom_rows(params, graph)
        return AtomOutputs(energy=jnp.matmul(rows, params["coefficients"], precision="highest"))

    def covariance(
        self, features: Float[Array, "atoms features"], points: Float[Array, "points features"]
    ) -> Covariance:
        """k between atoms and points, whatever their species."""
        if self.kernel == "polynomial":
            return polynomial(features, points, self.zeta)
        return rbf(features, points, self.length)

    def atom_rows(self, params: Params, graph: Graph) -> Float[Array, "atoms points"]:
        """k(d_i, p_s), zero between different species and on padding: energies are these times the coefficients."""
        value = self.covariance(self.descriptor(graph), params["points"]).value
        return jnp.where(self._related(params["species"], graph.species, graph.atom_mask), value, 0.0)

    def own_covariance(self, params: Params, graph: Graph) -> Float[Array, " atoms"]:
        """k(d_i, d_i): 1, but for padding and atoms without features."""
        features = self.descriptor(graph)
        seen = jnp.any(features != 0, axis=-1) if self.kernel == "polynomial" else graph.atom_mask
        return jnp.where(seen & graph.atom_mask, jnp.ones((), features.dtype), 0.0)

    def gram(self, params: Params) -> Float[Array, "points points"]:
        """Covariances of the points with each other."""
        points, species = jnp.asarray(params["points"]), params["species"]
        return jnp.where(species[:, None] == species[None, :], self.covariance(points, points).value, 0.0)

    def design(self, params: Params, graph: Graph) -> DesignRows:
        """Rows whose product with the coefficients is energy, forces and dE/dε of a one-structure graph.

        Descriptors that know their derivatives by neighbour (`neighbor_gradients`) need no reverse passes.
        """
        cutoff = self.needs.cutoff
        if cutoff is None or not hasattr(self.descriptor, "neighbor_gradients"):
            return self._design_by_reverse(params, graph)
        neighbors = graph.within(cutoff)
        vectors = pair_vectors(graph, neighbors)
        features, gradients = self.descriptor.neighbor_gradients(graph)  # type: ignore[attr-defined]
        related = self._related(params["species"], graph.species, graph.atom_mask)
        points = params["points"]

        def rows(d: Array, g: Array, related: Array) -> tuple[Array, Array]:
            k = self.covariance(d, points)
            a, b = (jnp.where(related, x, 0.0) for x in (k.along_point, k.along_features))
            flat = g.reshape(*g.shape[:2], -1)  # [atoms, features, slots 3]
            toward = jnp.matmul(points, flat, precision="highest")
            own = jnp.einsum("af,afc->ac", d, flat, precision="highest")
            slope = a[:, :, None] * toward + b[:, :, None] * own[:, None, :]
            slope = slope.reshape(len(d), -1, vectors.shape[1], 3).transpose(0, 2, 3, 1)
            return jnp.where(related, k.value, 0.0), slope

        return design_from_slopes(rows, (features, gradients, related), vectors, neighbors.index, self.n_points)

    def _design_by_reverse(self, params: Params, graph: Graph) -> DesignRows:
        def total(positions: Array, strain: Array) -> Array:
            moved = apply_strain(dataclasses.replace(graph, positions=positions), strain)
            return self.atom_rows(params, moved).sum(axis=0)

        strain = jnp.zeros((1, 3, 3), graph.positions.dtype)
        by_position, by_strain = jax.jacrev(total, argnums=(0, 1))(graph.positions, strain)
        return DesignRows(
            energy=total(graph.positions, strain),
            forces=-jnp.moveaxis(by_position, 0, -1),
            virial=jnp.moveaxis(by_strain[:, 0], 0, -1),
        )

    def candidates(
        self, graph: Graph
    ) -> tuple[Float[Array, "atoms features"], Int[Array, " atoms"], Bool[Array, " atoms"]]:
        """What sparse points are chosen from: features of atoms, their species, and which of them are there."""
        return self.descriptor(graph), graph.species, graph.atom_mask

    def with_points(
        self, points: Float[np.ndarray, "points features"], species: Int[np.ndarray, " points"]
    ) -> tuple["GAP", dict[str, Any]]:
        """This model with other points, and parameters for it with coefficients of zero."""
        params = {"points": points, "species": species, "coefficients": np.zeros(len(points))}
        return dataclasses.replace(self, n_points=len(points)), params

    @staticmethod
    def _related(point: Array, atom: Array, present: Array) -> Array:
        return (atom[:, None] == point[None, :]) & present[:, None]
