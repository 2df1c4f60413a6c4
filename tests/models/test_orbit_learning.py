"""What orbits are good for: sites that look alike within the cutoff and are not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jorbit
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.graphs.batching import build_graph
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.train import evaluate

SPRINGS = np.array([1.0, 4.0, 9.0, 16.0, 9.0, 4.0, 1.0])  # eV/Å^2 along a chain: k depends on the place in it
ORBITS = np.array([0, 1, 2, 3, 3, 2, 1, 0])


def chain(rng: np.random.Generator) -> Frame:
    """Eight equal atoms 2 Å apart, with harmonic bonds whose constants no atom can see within 2.9 Å."""
    positions = np.stack([2.0 * np.arange(8), np.zeros(8), np.zeros(8)], axis=1) + 0.1 * rng.normal(size=(8, 3))
    bonds = positions[1:] - positions[:-1]
    lengths = np.linalg.norm(bonds, axis=1)
    pulls = (SPRINGS * (lengths - 2.0) / lengths)[:, None] * bonds
    forces = np.zeros((8, 3))
    forces[:-1] += pulls
    forces[1:] -= pulls
    return Frame(
        structure=Structure(positions=positions, numbers=np.full(8, 18), orbits=ORBITS),
        labels=Labels(energy=float(0.5 * (SPRINGS * (lengths - 2.0) ** 2).sum()), forces=forces),
    )


@pytest.mark.slow
def test_a_tenth_of_the_parameters_learn_what_elements_cannot(x64):
    rng = np.random.default_rng(0)
    train, test = ([chain(rng) for _ in range(n)] for n in (40, 20))
    table = jorbit.SpeciesTable.from_structures([train[0].structure])
    options = dict(cutoff=2.9, bond_lengths=2.0)
    argon = jorbit.SpeciesTable.from_numbers([18])
    by_element = Potential((LinearACE(1, max_degree=(28, 28), l_max=1, **options),), argon)
    by_orbit = Potential((LinearACE(4, max_degree=(8,), l_max=0, channel_of=(0, 0, 0, 0), **options),), table)
    errors = []
    for potential in (by_element, by_orbit):
        fitted = jorbit.fit(train, potential, prior="ridge", ridge=1e-9)
        errors.append(evaluate(fitted.potential, fitted.params, test).force_rmse)
    assert by_orbit.terms[0].n_parameters * 10 <= by_element.terms[0].n_parameters
    assert errors[1] < errors[0] / 10


def test_labels_that_are_absent_have_no_part_in_energy_or_gradient(x64):
    """Structures with other sets of labels in one batch, and padding: each row of parameters serves its own atoms."""
    model = LinearACE(4, cutoff=2.9, max_degree=(3, 2), l_max=2)
    table = jorbit.SpeciesTable(((18, 0), (18, 1), (18, 2), (18, 3)))
    potential = Potential((model,), table)
    params = {"linear_ace": {"coefficients": np.random.default_rng(0).normal(size=(4, model.n_functions))}}
    whole = chain(np.random.default_rng(1)).structure
    ends, middle = (
        dataclasses.replace(whole, positions=whole.positions[s], numbers=whole.numbers[s], orbits=whole.orbits[s])
        for s in (slice(0, 2), slice(2, 5))
    )
    alone = [float(jorbit.predict(potential, params, s).energy[0]) for s in (ends, middle)]
    graph = build_graph([ends, middle], table, potential.cutoffs, dtype=jnp.float64)
    assert graph.n_atoms > 5  # padding
    np.testing.assert_allclose(jorbit.predict(potential, params, graph).energy[:2], alone, rtol=1e-12)
    slope = jax.grad(lambda p: potential.energy(p, potential.graph(ends, dtype=jnp.float64)).sum())(params)
    rows = np.abs(slope["linear_ace"]["coefficients"]).max(axis=1)
    assert (rows[:2] > 0).all() and (rows[2:] == 0).all()


def test_a_lookup_is_the_product_with_one_hot_vectors():
    from jorbit.basis.label_embedding import label_embedding

    embedding = label_embedding("factored", [0, 0, 1], 5, rank=2)
    table = embedding.table(embedding.init(jax.random.key(0)))
    labels = jnp.array([2, 0, 1, 1])
    np.testing.assert_allclose(table[labels], jax.nn.one_hot(labels, 3) @ table, atol=1e-6)


@pytest.fixture(scope="module")
def sheet():
    frames = jorbit.read("graphene_n3_gfn1")[:60]
    return frames, jorbit.find_orbits(frames, n_bootstraps=0)


def test_a_supercell_gets_the_labels_of_its_cell_and_twice_the_energy(sheet):
    """N3V1 graphene, repeated along a, its atoms in another order, one frame at 500 K."""
    frames, orbits = sheet
    table = jorbit.train.orbit_table(orbits)
    model = LinearACE(len(table), cutoff=3.0, max_degree=(4,), channel_of=(0,) * (len(table) - 1) + (1,))
    potential, params, _ = jorbit.fit(frames[:6], Potential((model,), table), orbits=orbits, prior="ridge", ridge=1e-4)
    cell = frames[10].structure
    order = np.random.default_rng(0).permutation(2 * cell.n_atoms)
    twice = Structure(
        positions=np.concatenate([cell.positions, cell.positions + cell.cell[0]])[order],
        numbers=np.tile(cell.numbers, 2)[order],
        cell=cell.cell * np.array([[2.0], [1.0], [1.0]]),
        pbc=cell.pbc,
    )
    one, two = (jorbit.predict(potential, params, s) for s in (cell, twice))
    np.testing.assert_allclose(two.energy, 2 * one.energy, rtol=1e-5)
    np.testing.assert_allclose(two.forces, np.tile(one.forces, (2, 1))[order], atol=2e-3)
