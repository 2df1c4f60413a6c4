"""Forces, stress and Hessians by differentiation. The only home of their signs."""

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jorbit.core.graph import Graph, apply_strain, structure_volumes
from jorbit.core.ops import sum_over_structures
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Params
from jorbit.potential.potential import Potential


def energy_and_derivatives(
    potential: Potential, params: Params, graph: Graph, counted: Bool[Array, " atoms"] | None = None
) -> Prediction:
    """Energies, forces and stresses of a graph in one reverse pass.

    forces = -dE/dr; stress = (1/V) dE/dε at ε = 0, where every vector v becomes v @ (1 + ε).

    Args:
        potential: sum of terms.
        params: its parameters.
        graph: one or more structures.
        counted: the atoms whose energies make up E, all of them if not given. Forces act on the others too.
    """

    def total(positions: Array, strain: Array) -> tuple[Array, tuple[Array, Array | None]]:
        strained = apply_strain(dataclasses.replace(graph, positions=positions), strain)
        outputs = potential.outputs(params, strained)
        energies = outputs.energy if counted is None else jnp.where(counted, outputs.energy, 0.0)
        return energies.sum(), (energies, outputs.charges)

    strain = jnp.zeros_like(graph.cell)
    (_, (energies, charges)), (gradient, virial) = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(
        graph.positions, strain
    )
    has_cell = jnp.abs(jnp.linalg.det(graph.cell)) > 0
    stress = jnp.where(has_cell[:, None, None], virial / structure_volumes(graph)[:, None, None], 0.0)
    return Prediction(
        energy=sum_over_structures(energies, graph),
        energies=energies,
        forces=-gradient,
        stress=stress,
        charges=charges,
    )


def hessian_vector_product(
    potential: Potential, params: Params, graph: Graph, vectors: Float[Array, "atoms 3"]
) -> Float[Array, "atoms 3"]:
    """(d2E/dr dr') @ vectors, without building the Hessian. eV/Å^2 times the unit of `vectors`."""

    def gradient(positions: Array) -> Array:
        moved = dataclasses.replace(graph, positions=positions)
        return jax.grad(lambda r: potential.energy(params, dataclasses.replace(moved, positions=r)).sum())(positions)

    return jax.jvp(gradient, (graph.positions,), (vectors,))[1]


def hessian(potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms 3 atoms 3"]:
    """d2E/dr dr', eV/Å^2; zero in rows and columns of padding. Memory grows with the square of the atoms."""
    n_atoms = graph.n_atoms
    basis = jnp.eye(3 * n_atoms, dtype=graph.positions.dtype).reshape(3 * n_atoms, n_atoms, 3)
    columns = jax.lax.map(lambda v: hessian_vector_product(potential, params, graph, v), basis)
    return columns.reshape(n_atoms, 3, n_atoms, 3)
