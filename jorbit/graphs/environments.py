"""Environments of one atom: random ones, and the derivatives of a descriptor with respect to the neighbours."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.protocols import Capacity, Descriptor
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph

FREE_RADIUS = 5.0  # Å, where neighbours are put for a descriptor without cutoff
_MAX_BYTES = 2**28  # of the tangents of one batch of directions


def random_environment(
    rng: np.random.Generator, n_neighbors: int, radius: float, n_species: int = 1, *, equidistant: bool = False
) -> Structure:
    """An atom at the origin and neighbours around it, in random directions, away from any symmetry.

    Args:
        rng: source of randomness.
        n_neighbors: atoms 1, 2, ... of the structure.
        radius: distances are 0.35 to 0.9 of it, Å.
        n_species: the neighbours are of elements 1 .. n_species, in turn; the centre is of element 1.
        equidistant: all at 0.6 of the radius instead.
    """
    directions = rng.normal(size=(n_neighbors, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    distances = np.full((n_neighbors, 1), 0.6) if equidistant else rng.uniform(0.35, 0.9, size=(n_neighbors, 1))
    positions = np.concatenate([np.zeros((1, 3)), radius * distances * directions])
    numbers = 1 + np.concatenate([[0], np.arange(n_neighbors) % n_species])
    return Structure(positions=positions, numbers=numbers)


def environment_jacobians(
    descriptor: Descriptor, n_neighbors: int, *, points: int = 3, seed: int = 0
) -> list[Float[np.ndarray, "features directions"]]:
    """d features of an atom / d positions of its neighbours, 1/Å, in random environments in float64.

    Args:
        descriptor: with one column per feature.
        n_neighbors: of each environment.
        points: environments.
        seed: of the environments.
    """
    cutoff, n_species = descriptor.needs.cutoff, getattr(descriptor, "n_species", 1)
    table = SpeciesTable.from_numbers(range(1, n_species + 1))
    cutoffs = [] if cutoff is None else [cutoff]
    capacity = Capacity(n_atoms=n_neighbors + 1, n_structures=1, n_slots=(n_neighbors,) * len(cutoffs))
    compiled: Callable[[Graph], Array] = jax.jit(functools.partial(_jacobian, descriptor))
    found = []
    for k in range(points):
        rng = np.random.default_rng(seed + k)
        structure = random_environment(rng, n_neighbors, FREE_RADIUS if cutoff is None else cutoff, n_species)
        with jax.enable_x64(True):
            graph = build_graph(structure, table, cutoffs, capacity=capacity, dtype=jnp.float64)
            found.append(np.asarray(compiled(graph)))
    return found


def _jacobian(descriptor: Descriptor, graph: Graph) -> Array:
    """Forward mode, some directions at a time; the centre, atom 0, stays."""

    def features(positions: Array) -> Array:
        return descriptor(graph.replace(positions=positions))[0]  # type: ignore[attr-defined]

    def along(flat: Array) -> Array:
        return jax.jvp(features, (graph.positions,), (flat.reshape(graph.positions.shape),))[1]

    directions = jnp.eye(3 * (graph.n_atoms - 1), graph.positions.size, 3, dtype=graph.positions.dtype)
    batch = max(1, _MAX_BYTES // (8 * graph.n_atoms * descriptor.n_features * 8))
    return jax.lax.map(along, directions, batch_size=min(batch, len(directions))).T
