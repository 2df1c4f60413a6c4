"""Lists of the device search (or jax-md's own) -> the Neighbors of a Graph, at present positions and exactly cut."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, Neighbors, apply_strain, pair_vectors
from jorbit.core.structure import Structure
from jorbit.graphs.cell_list import DeviceNeighbors, SearchPlan, geometry, whole_cells
from jorbit.graphs.neighbors import complete_cell


def add_neighborhoods(
    graph: Graph, neighbors: DeviceNeighbors, deformation: Float[Array, "3 3"] | None = None
) -> Graph:
    """The graph of one structure with `neighborhoods` at its present positions, exactly within each cutoff.

    Args:
        graph: one structure without padding; its `neighborhoods` are replaced.
        neighbors: lists of the same atoms; atoms may have been wrapped into the cell since the search.
        deformation: every vector v becomes v @ deformation (positions and cell) after the images are chosen.
    """
    neighbors = jax.lax.stop_gradient(neighbors)
    positions, cell = jax.lax.stop_gradient((graph.positions, graph.cell[0]))
    moved = jnp.matmul(positions, geometry(neighbors.plan, cell)[1], precision="highest") - neighbors.reference
    jumps = whole_cells(neighbors.plan, moved).astype(jnp.int32)
    if deformation is not None:
        strain = deformation - jnp.eye(3, dtype=deformation.dtype)
        graph = apply_strain(graph, strain[None])
    lists = []
    for k, cutoff in enumerate(neighbors.plan.cutoffs):
        index = neighbors.index[k]
        shifts = (neighbors.shifts[k] + jumps[:, None, :] - jumps[index]).astype(positions.dtype)
        whole = Neighbors(cutoff=cutoff, index=index, shifts=shifts, mask=neighbors.mask[k])
        lists.append(trim(graph, whole, cutoff))
    return dataclasses.replace(graph, neighborhoods=tuple(lists))


def from_dense(
    index: Int[Array, "atoms slots"],
    positions: Float[Array, "atoms 3"],
    cell: Float[Array, "3 3"],
    *,
    structure_cell: Float[np.ndarray, "3 3"],
    pbc: tuple[bool, bool, bool],
    cutoffs: tuple[float, ...],
) -> DeviceNeighbors:
    """Lists in our form from a dense list made elsewhere (jax-md's `partition.Dense`), by the nearest image.

    Args:
        index: neighbours of each atom, the number of atoms in empty slots.
        positions, cell: present ones, Å.
        structure_cell: a cell on the host, to check that one image is enough.
        pbc: which directions repeat.
        cutoffs: of the potential, Å; the foreign list must reach the largest.

    Raises:
        ConfigError: a cutoff beyond half the width of the cell, where the nearest image is not the only one.
    """
    n_atoms = len(positions)
    full = complete_cell(
        Structure(positions=np.zeros((1, 3)), numbers=np.ones(1, int), cell=structure_cell, pbc=np.array(pbc))
    )
    widths = 1.0 / np.linalg.norm(np.linalg.inv(full), axis=0)
    narrowest = min((float(w) for w, p in zip(widths, pbc, strict=True) if p), default=np.inf)
    if max(cutoffs, default=0.0) > narrowest / 2:
        raise ConfigError(
            f"A list of nearest images holds cutoffs up to half the width of the cell, {narrowest / 2:.3f} Å, but the "
            f"potential needs {max(cutoffs)} Å. Use the neighbor_fn that to_jax_md returns: it finds every image."
        )
    plan = SearchPlan(
        cutoffs=cutoffs,
        skin=0.0,
        pbc=pbc,
        filler=tuple(tuple(float(x) for x in row) for row in full),
        n_bins=(1, 1, 1),
        reach=(1, 1, 1),
        bin_capacity=n_atoms,
        n_slots=(index.shape[1],) * len(cutoffs),
    )
    positions, cell = jax.lax.stop_gradient((positions, cell))
    fractional = jnp.matmul(positions, geometry(plan, cell)[1], precision="highest")
    mask = index < n_atoms
    index = jnp.where(mask, index, 0).astype(jnp.int32)
    shifts = -whole_cells(plan, fractional[index] - fractional[:, None, :]).astype(jnp.int32)
    n = len(cutoffs)
    return DeviceNeighbors(
        plan=plan,
        index=(index,) * n,
        shifts=(jnp.where(mask[..., None], shifts, 0),) * n,
        mask=(mask,) * n,
        reference=fractional,
        cell=cell,
        overflow=jnp.zeros((), bool),
    )


def without_skin(graph: Graph, cutoffs: tuple[float, ...]) -> Graph:
    """The graph with lists that reach exactly as far as `cutoffs` (Å) in place of its longer ones, one for each."""
    exact = []
    for cutoff, wide in zip(cutoffs, graph.neighborhoods, strict=True):
        same = Neighbors(cutoff=cutoff, index=wide.index, shifts=wide.shifts, mask=wide.mask)
        exact.append(trim(graph, same, cutoff))
    return dataclasses.replace(graph, neighborhoods=tuple(exact))


def trim(graph: Graph, neighbors: Neighbors, cutoff: float) -> Neighbors:
    """The same slots with the pairs at or beyond `cutoff` (Å) masked out: a list with a skin becomes exact."""
    vectors = jax.lax.stop_gradient(pair_vectors(graph, neighbors))
    near = jnp.sum(vectors * vectors, axis=-1) < cutoff * cutoff
    return Neighbors(cutoff=cutoff, index=neighbors.index, shifts=neighbors.shifts, mask=neighbors.mask & near)
