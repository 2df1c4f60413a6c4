"""Sorted eigenvalues of the Coulomb matrix of a structure; of the sine or Ewald matrix of a crystal."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.basis.eigenvalues import sorted_eigenvalues
from jorbit.basis.lattice_pairs import ewald_potential, sine_distance
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Needs

PERIODIC = ("sine", "ewald")


@dataclasses.dataclass(frozen=True)
class CoulombMatrix:
    """Eigenvalues, largest first, of M_ij = Z_i Z_j / d_ij and M_ii = Z_i^2.4 / 2; one spectrum for each structure.

    d_ij is the distance in Å. Of periodic structures, depending on `periodic`:

    * "sine": d_ij is the smooth periodic length `jorbit.basis.lattice_pairs.sine_distance`, with any number of periodic
      directions; without one it is the distance;
    * "ewald": M_ij = Z_i Z_j times the potential at i of the ion j, its images and a neutralising background, and M_ii
      half of Z_i^2 times the potential of its own images. Needs three periodic directions, or none; with one or two the
      features are NaN.

    This describes structures, not atoms: `spectrum` returns one row for each structure, and the descriptor gives every
    atom the row of its structure. Eigenvalues after the last atom's are 0. A structure with more than `n_atoms` atoms
    has NaN features. For derivatives where eigenvalues coincide see `jorbit.basis.eigenvalues.sorted_eigenvalues`.
    Cost and memory grow as n_atoms^3 and n_atoms^2 for each structure.

    Attributes:
        n_atoms: of the largest structure; the number of features.
        periodic: "sine" or "ewald".
        n_images: see `jorbit.basis.lattice_pairs.ewald_potential`; "sine" does not read it.

    Example:
        >>> CoulombMatrix(n_atoms=23).n_features
        23

    References:
        Rupp, Tkatchenko, Müller and von Lilienfeld, Phys. Rev. Lett. 108, 058301 (2012); Faber, Lindmaa, von Lilienfeld
        and Armiento, Int. J. Quantum Chem. 115, 1094 (2015).
    """

    n_atoms: int = 32
    periodic: str = "sine"
    n_images: int = 3

    def __post_init__(self) -> None:
        if self.n_atoms < 1 or self.n_images < 1 or self.periodic not in PERIODIC:
            raise ConfigError(
                f"Wanted n_atoms >= 1, n_images >= 1 and periodic in {PERIODIC}, got {self.n_atoms}, {self.n_images} "
                f"and {self.periodic!r}."
            )

    @classmethod
    def tiny(cls, n_species: int = 2) -> "CoulombMatrix":
        return cls(n_atoms=8)

    @property
    def needs(self) -> Needs:
        return Needs(layers=None)

    @property
    def n_features(self) -> int:
        return self.n_atoms

    def __call__(self, graph: Graph) -> Float[Array, "atoms features"]:
        """The spectrum of its structure for each atom; zero on padding."""
        return jnp.where(graph.atom_mask[:, None], self.spectrum(graph)[graph.owner], 0.0)

    def spectrum(self, graph: Graph) -> Float[Array, "structures features"]:
        """Sorted eigenvalues of each structure's matrix, e^2/Å; zero on padding."""
        count = jax.ops.segment_sum(
            graph.atom_mask.astype(jnp.int32), graph.owner, graph.n_structures, indices_are_sorted=True
        )
        start = jnp.cumsum(count, dtype=jnp.int32) - count
        members = jnp.minimum(start[:, None] + jnp.arange(self.n_atoms, dtype=jnp.int32)[None, :], graph.n_atoms - 1)
        present = jnp.arange(self.n_atoms, dtype=jnp.int32)[None, :] < count[:, None]
        cell = jnp.where(graph.periodic[..., None], graph.cell, 0.0)  # a box around a molecule is no lattice
        values = jax.vmap(self._one)(graph.positions[members], graph.numbers[members], present, cell)
        possible = count <= self.n_atoms
        if self.periodic == "ewald":
            n_vectors = jnp.sum(graph.periodic, axis=1)
            possible = possible & ((n_vectors == 0) | (n_vectors == 3))
        return jnp.where(possible[:, None], values, jnp.nan)

    def matrix(
        self, positions: Float[Array, "n 3"], numbers: Int[Array, " n"], cell: Float[Array, "3 3"]
    ) -> Float[Array, "n n"]:
        """M of one structure without padding: positions and cell in Å, zeros where there is no lattice vector.

        With "ewald" and one or two lattice vectors it is the matrix without them.
        """
        z = numbers.astype(positions.dtype)
        same = jnp.eye(len(z), dtype=bool)
        vectors = positions[None, :] - positions[:, None]
        both = z[:, None] * z[None, :]
        # zeros never reach a singular function: the diagonal holds a dummy distance
        d = sine_distance(jnp.where(same[..., None], 1.0, vectors), cell if self.periodic == "sine" else 0.0 * cell)
        apart = d > 0
        matrix = jnp.where(same, 0.5 * both**1.2, jnp.where(apart, both / jnp.where(apart, d, 1.0), 0.0))
        if self.periodic == "sine":
            return matrix
        rows = jnp.sum(jnp.any(cell != 0, axis=1))
        safe_cell = jnp.where(rows == 3, cell, jnp.eye(3, dtype=cell.dtype))
        others, own = ewald_potential(vectors, safe_cell, self.n_images)
        ewald = both * jnp.where(same, 0.5 * own, others)
        return jnp.where(rows == 3, ewald, matrix)

    def _one(
        self,
        positions: Float[Array, "n 3"],
        numbers: Int[Array, " n"],
        present: Bool[Array, " n"],
        cell: Float[Array, "3 3"],
    ) -> Float[Array, " n"]:
        # padding atoms are set apart from all others, so that no two atoms share a place
        n = jnp.arange(len(numbers), dtype=positions.dtype)
        away = positions[:1] + jnp.stack([1.7 + 0.13 * n, 0.31 * n, 0.59 * n], axis=-1)
        matrix = self.matrix(jnp.where(present[:, None], positions, away), numbers, cell)
        both = present[:, None] & present[None, :]
        matrix = jnp.where(both, matrix, 0.0)
        # rows of padding get eigenvalues below all others (Gershgorin), which sorting puts last and the mask removes
        below = -1.0 - jnp.max(jnp.sum(jnp.abs(jax.lax.stop_gradient(matrix)), axis=1))
        matrix = matrix + jnp.diag(jnp.where(present, 0.0, below))
        return jnp.where(present, sorted_eigenvalues(matrix), 0.0)
