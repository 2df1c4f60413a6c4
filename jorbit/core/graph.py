"""Padded batches of structures with dense neighbours: the one input of every model."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import MissingInputError
from jorbit.core.pytree import pytree, static


@pytree
class Neighbors:
    """All pairs within `cutoff`, dense: slot s of atom i is atom index[i, s] shifted by shifts[i, s] cells.

    Attributes:
        cutoff: static, Å.
        index: j of each pair (i, slot); 0 in empty slots.
        shifts: lattice image of j, whole numbers: r_ij = r_j - r_i + shift @ cell.
        mask: which slots hold a pair.
    """

    cutoff: float = static()
    index: Int[Array, "atoms slots"]
    shifts: Float[Array, "atoms slots 3"]
    mask: Bool[Array, "atoms slots"]


@pytree
class Graph:
    """One or more structures, padded to static sizes. Lengths in Å.

    Attributes:
        positions: Cartesian, Å; zeros on padding.
        numbers: atomic numbers, 0 = padding (physics reads this).
        species: index into the SpeciesTable (learned models read this); 0 on padding.
        owner: which structure an atom belongs to, ascending; padding belongs to the last structure.
        cell: lattice vectors as rows; zeros = no cell.
        charge: total charge of each structure, e.
        neighborhoods: one per distinct cutoff asked for, ascending.
        atom_mask, structure_mask: True where real.
        pbc: which lattice directions repeat. None: those that have a lattice vector.
    """

    positions: Float[Array, "atoms 3"]
    numbers: Int[Array, " atoms"]
    species: Int[Array, " atoms"]
    owner: Int[Array, " atoms"]
    cell: Float[Array, "structures 3 3"]
    charge: Float[Array, " structures"]
    neighborhoods: tuple[Neighbors, ...]
    atom_mask: Bool[Array, " atoms"]
    structure_mask: Bool[Array, " structures"]
    pbc: Bool[Array, "structures 3"] | None = None

    @property
    def periodic(self) -> Bool[Array, "structures 3"]:
        """Which lattice directions repeat. Long-range terms read this; neighbours have their images already."""
        return jnp.any(self.cell != 0, axis=-1) if self.pbc is None else self.pbc

    @property
    def n_atoms(self) -> int:
        """Padded number of atoms."""
        return self.positions.shape[0]

    @property
    def n_structures(self) -> int:
        """Padded number of structures."""
        return self.cell.shape[0]

    def within(self, cutoff: float) -> Neighbors:
        """The neighbours of one cutoff.

        Raises:
            MissingInputError: no neighbourhood of that cutoff was built.
        """
        for neighbors in self.neighborhoods:
            if abs(neighbors.cutoff - cutoff) < 1e-9:
                return neighbors
        have = [n.cutoff for n in self.neighborhoods]
        raise MissingInputError(
            f"Neighbours within {cutoff} Å were asked for, but the graph holds {have} Å. Build the graph with the "
            "potential's own `needs` (jorbit.graphs.build_graph(structures, potential.species, potential.cutoffs))."
        )


def pair_vectors(graph: Graph, neighbors: Neighbors) -> Float[Array, "atoms slots 3"]:
    """r_ij = r_j - r_i + shift @ cell, in Å. The only place with a sign for r_ij.

    Empty slots hold the constant vector (cutoff, 0, 0), so that no singular function ever sees a zero there.
    Products of lengths run at full precision: the default of recent GPUs and TPUs rounds float32 factors to 10 or 8
    bits, which would move atoms by 1e-3 of a cell. The atom's own position is spread over its slots by a product, so
    that in the derivative slots are added up as in `sum_over_slots`.
    """
    shift = jnp.einsum("asx,axy->asy", neighbors.shifts, graph.cell[graph.owner], precision="highest")
    filled = neighbors.mask.astype(graph.positions.dtype)
    own = jnp.einsum("as,ax->asx", filled, graph.positions, precision="highest")
    vectors = graph.positions[neighbors.index] - own + shift
    dummy = jnp.array([neighbors.cutoff, 0.0, 0.0], dtype=vectors.dtype)
    return jnp.where(neighbors.mask[..., None], vectors, dummy)


def sum_over_slots(values: Float[Array, "atoms slots"], neighbors: Neighbors) -> Float[Array, " atoms"]:
    """Sum over the neighbours of each atom, the same bits however many slots are empty.

    A plain sum is added up in an order that depends on the number of slots; a product with the mask is not, on CPUs.

    Args:
        values: finite, in empty slots too.
        neighbors: whose slots they belong to.
    """
    return jnp.einsum("as,as->a", neighbors.mask.astype(values.dtype), values, precision="highest")


def apply_strain(graph: Graph, strain: Float[Array, "structures 3 3"]) -> Graph:
    """Deform each structure: every vector v becomes v @ (1 + strain), positions and cells alike."""
    deformation = jnp.eye(3, dtype=strain.dtype)[None] + strain
    positions = jnp.einsum("ax,axy->ay", graph.positions, deformation[graph.owner], precision="highest")
    cell = jnp.einsum("sux,sxy->suy", graph.cell, deformation, precision="highest")
    return dataclasses.replace(graph, positions=positions, cell=cell)


def structure_volumes(graph: Graph) -> Float[Array, " structures"]:
    """Cell volumes in Å^3; 1 where there is no full cell, so that dividing is safe."""
    volume = jnp.abs(jnp.linalg.det(jax.lax.stop_gradient(graph.cell)))
    return jnp.where(volume > 0, volume, 1.0)
