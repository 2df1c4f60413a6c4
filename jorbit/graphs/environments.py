"""Environments of one atom: random ones, and the derivatives of a descriptor with respect to the neighbours."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

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
# Corners of bodies whose densities lack low degrees, at distance 1 of their centre.
BODIES = {
    "pair": np.array([[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]),
    "tetrahedron": np.array([[1.0, 1.0, 1.0], [1.0, -1.0, -1.0], [-1.0, 1.0, -1.0], [-1.0, -1.0, 1.0]]) / np.sqrt(3.0),
    "octahedron": np.concatenate([np.eye(3), -np.eye(3)]),
}
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


def symmetric_environment(
    rng: np.random.Generator, body: str, n_bodies: int, radius: float, n_species: int = 1
) -> tuple[Structure, Float[np.ndarray, "coordinates motions"]]:
    """An atom at the origin of several rigid bodies of neighbours, each turned at random and of its own size.

    All bodies share the centre, so the densities of the neighbours keep what symmetry allows one body: of a pair of
    opposite atoms no odd degree, of a tetrahedron neither l = 1 nor l = 2, of an octahedron none of l = 1, 2, 3.

    Args:
        rng: source of randomness.
        body: one of `BODIES`.
        n_bodies: how many.
        radius: sizes are 0.35 to 0.9 of it, Å.
        n_species: the bodies are of elements 1 .. n_species, in turn; the centre is of element 1.

    Returns:
        The structure, and orthonormal directions of its neighbours' coordinates that keep it of this kind: turning and
        growing each body.

    Example:
        >>> structure, motions = symmetric_environment(np.random.default_rng(0), "tetrahedron", 2, 4.0)
        >>> structure.n_atoms, motions.shape
        (9, (24, 8))
    """
    corners = BODIES[body]
    positions, motions = [], np.zeros((3 * n_bodies * len(corners), 4 * n_bodies))
    for k, size in enumerate(rng.uniform(0.35, 0.9, size=n_bodies)):
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        here = radius * size * corners @ turn
        positions.append(here)
        rows = slice(here.size * k, here.size * (k + 1))
        moves = [np.cross(axis, here).reshape(-1) for axis in np.eye(3)] + [here.reshape(-1)]
        motions[rows, 4 * k : 4 * k + 4] = np.stack(moves, axis=1)
    vectors, lengths, _ = np.linalg.svd(motions, full_matrices=False)
    numbers = 1 + np.concatenate([[0], np.repeat(np.arange(n_bodies) % n_species, len(corners))])
    structure = Structure(positions=np.concatenate([np.zeros((1, 3)), *positions]), numbers=numbers)
    return structure, vectors[:, lengths > 1e-9 * lengths[0]]


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
    n_species, radius = getattr(descriptor, "n_species", 1), environment_radius(descriptor)
    seeds = range(seed, seed + points)
    return jacobians_at(
        descriptor, [random_environment(np.random.default_rng(k), n_neighbors, radius, n_species) for k in seeds]
    )


def environment_radius(descriptor: Descriptor) -> float:
    """Where the neighbours of random environments are put: the cutoff, or 5 Å for a descriptor without one."""
    return FREE_RADIUS if descriptor.needs.cutoff is None else descriptor.needs.cutoff


def jacobians_at(
    descriptor: Descriptor, structures: Sequence[Structure]
) -> list[Float[np.ndarray, "features directions"]]:
    """d features of atom 0 / d positions of the other atoms, 1/Å, in float64; structures of equally many atoms."""
    cutoff, n_atoms = descriptor.needs.cutoff, structures[0].n_atoms
    table = SpeciesTable.from_numbers(range(1, getattr(descriptor, "n_species", 1) + 1))
    cutoffs = [] if cutoff is None else [cutoff]
    capacity = Capacity(n_atoms=n_atoms, n_structures=1, n_slots=(n_atoms - 1,) * len(cutoffs))
    compiled: Callable[[Graph], Array] = jax.jit(functools.partial(_jacobian, descriptor))
    found = []
    for structure in structures:
        with jax.enable_x64(True):
            graph = build_graph(structure, table, cutoffs, capacity=capacity, dtype=jnp.float64)
            found.append(np.asarray(compiled(graph)))
    return found


def _jacobian(descriptor: Descriptor, graph: Graph) -> Array:
    """Forward mode, some directions at a time; the centre, atom 0, stays."""

    def features(positions: Array) -> Array:
        return descriptor(dataclasses.replace(graph, positions=positions))[0]

    def along(flat: Array) -> Array:
        return jax.jvp(features, (graph.positions,), (flat.reshape(graph.positions.shape),))[1]

    directions = jnp.eye(3 * (graph.n_atoms - 1), graph.positions.size, 3, dtype=graph.positions.dtype)
    batch = max(1, _MAX_BYTES // (8 * graph.n_atoms * descriptor.n_features * 8))
    return jax.lax.map(along, directions, batch_size=min(batch, len(directions))).T
