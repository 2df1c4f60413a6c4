"""Energies of some atoms act on all; charges add up to the total charge; what repeats without being told."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.ops import neutralized
from jorbit.core.species import SpeciesTable
from jorbit.graphs.batching import build_graph
from jorbit.potential import Potential
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.terms.lennard_jones import LennardJones
from jorbit.testing import finite_difference, systems

SPECIES = SpeciesTable.from_numbers([1, 8, 14])
POTENTIAL = Potential(terms=(LennardJones(epsilon=0.02, sigma=1.5, cutoff=4.0, onset=2.0),), species=SPECIES)


def test_forces_are_those_of_the_energies_that_are_counted_and_act_on_the_other_atoms_too(x64):
    n = systems.water().n_atoms
    graph = POTENTIAL.graph(systems.water())
    first = jnp.arange(graph.n_atoms) == 0

    @jax.jit
    def answers(positions):
        moved = dataclasses.replace(graph, positions=positions)
        return [energy_and_derivatives(POTENTIAL, {"lennard_jones": {}}, moved, counted) for counted in (first, None)]

    found, every = answers(graph.positions)
    np.testing.assert_array_equal(found.energies[1:], 0.0)
    assert float(found.energy[0]) == float(found.energies[0]) == float(every.energies[0]) != 0.0
    for atom, direction in np.ndindex(n, 3):
        unit = np.zeros((graph.n_atoms, 3))
        unit[atom, direction] = 1.0
        wanted = -finite_difference(lambda h, u=unit: answers(graph.positions + h * u)[1].energies[0], 1e-4)
        np.testing.assert_allclose(found.forces[atom, direction], wanted, atol=1e-6 * np.abs(found.forces).max())
    assert np.abs(found.forces[1:n]).max() > 0.0


def test_charges_are_shifted_alike_until_they_add_up_to_the_charge_of_their_structure(x64):
    ions = [dataclasses.replace(systems.water(), charge=charge) for charge in (1.0, -2.0)]
    graph = build_graph([*ions, systems.single_atom(14)], SPECIES, (3.0,))
    given = jnp.asarray(np.random.default_rng(0).normal(size=graph.n_atoms))
    charges = np.asarray(neutralized(given, graph))
    owner, real = np.asarray(graph.owner), np.asarray(graph.atom_mask)
    shift = charges - np.asarray(given)
    for k, total in enumerate((1.0, -2.0, 0.0)):
        mine = (owner == k) & real
        np.testing.assert_allclose(charges[mine].sum(), total, atol=1e-12)
        np.testing.assert_allclose(shift[mine], shift[mine][0], atol=1e-12)
    assert real.sum() < len(real) and not charges[~real].any()


def test_directions_with_a_lattice_vector_repeat_where_nothing_is_said(x64):
    graph = build_graph([systems.triclinic_crystal(), systems.water()], SPECIES, (3.0,))
    assert np.array_equal(dataclasses.replace(graph, pbc=None).periodic[:2], [[True] * 3, [False] * 3])
    one = np.zeros(graph.cell.shape)
    one[0, 1] = (0.0, 0.0, 5.0)
    wire = dataclasses.replace(graph, pbc=None, cell=jnp.asarray(one))
    assert np.array_equal(wire.periodic[0], [False, True, False])
    told = dataclasses.replace(graph, pbc=jnp.ones(graph.cell.shape[:2], dtype=bool))
    assert told.periodic.all()
