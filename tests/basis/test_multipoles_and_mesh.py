"""Multipoles against clouds of point charges, their Ewald sum against itself, and the mesh against the sum of waves."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.electrostatics import Splitting, coulomb_potential, surroundings
from jorbit.basis.multipoles import Moments, cutoff_energies, multipole_energies, splitting_for_moments
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import COULOMB
from jorbit.graphs.batching import build_graph

pytestmark = pytest.mark.usefixtures("x64")
SPECIES = SpeciesTable.from_numbers([1])
CELL = np.array([[6.0, 0.3, 0.0], [1.0, 5.5, 0.0], [-0.8, 0.7, 6.5]])


def atoms() -> tuple[Structure, Moments]:
    """Four atoms with charges, dipoles and quadrupoles, neutral."""
    rng = np.random.default_rng(3)
    fractional = np.array([[0.1, 0.1, 0.2], [0.55, 0.2, 0.7], [0.3, 0.7, 0.45], [0.8, 0.75, 0.05]])
    square = rng.normal(size=(4, 3, 3))
    square = square + np.swapaxes(square, 1, 2)
    square -= np.trace(square, axis1=1, axis2=2)[:, None, None] * np.eye(3) / 3
    moments = Moments(
        charges=jnp.array([0.7, -0.4, 0.5, -0.8]),
        dipoles=jnp.asarray(0.4 * rng.normal(size=(4, 3))),
        quadrupoles=jnp.asarray(0.5 * square),
    )
    return Structure(positions=fractional @ CELL, numbers=np.ones(4, int), cell=CELL, pbc=np.ones(3, bool)), moments


def cloud(structure: Structure, moments: Moments, h: float = 0.01) -> tuple[np.ndarray, np.ndarray]:
    """Positions and charges of points that have the same moments, up to h^2: differences along and between axes."""
    places, charges = [], []
    for r, q, mu, theta in zip(structure.positions, *(np.asarray(x) for x in jax.tree.leaves(moments)), strict=True):
        step = h * np.eye(3)
        places, charges = [*places, r], [*charges, q]
        for a in range(3):
            places += [r + step[a], r - step[a]]
            charges += [mu[a] / (2 * h), -mu[a] / (2 * h)]
        for a, b in itertools.product(range(3), repeat=2):  # 1/3 T_ab d_a d_b
            for i, j in itertools.product((1, -1), repeat=2):
                places.append(r + i * step[a] + j * step[b])
                charges.append(i * j * theta[a, b] / (12 * h * h))
    return np.array(places), np.array(charges)


@pytest.mark.slow
def test_pairs_of_moments_have_the_energy_of_small_clouds_of_charges():
    crystal, moments = atoms()
    molecule = dataclasses.replace(crystal, cell=np.zeros((3, 3)), pbc=np.zeros(3, bool))
    graph = build_graph(molecule, SPECIES, [20.0], dtype=jnp.float64)
    splitting = Splitting(20.0, 1e-5, 12.0)
    found = multipole_energies(graph, moments, splitting, surroundings(graph, splitting))
    exact = []
    for h in (0.02, 0.01):
        places, q = cloud(molecule, moments, h)
        owner = np.repeat(np.arange(4), len(q) // 4)
        apart = owner[:, None] != owner[None]
        r = np.linalg.norm(places[:, None] - places[None], axis=-1)
        pairs = np.where(apart, np.outer(q, q) / np.where(apart, r, 1.0), 0.0)
        exact.append(0.5 * COULOMB * np.array([pairs[owner == k].sum() for k in range(4)]))
    wanted = (4 * exact[1] - exact[0]) / 3  # errors are of order h^2
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    # Within a cutoff far outside of the molecule, the energies hardly differ.
    graph = build_graph(molecule, SPECIES, [60.0], dtype=jnp.float64)
    np.testing.assert_allclose(cutoff_energies(graph, moments, 60.0), found, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_sum_over_images_does_not_depend_on_its_splitting_and_keeps_its_accuracy():
    crystal, moments = atoms()
    totals = []
    for cutoff, accuracy in ((4.0, 1e-10), (7.0, 1e-10), (5.0, 1e-4)):
        splitting = splitting_for_moments(Splitting(cutoff, accuracy, 8.0))
        graph = build_graph(crystal, SPECIES, [cutoff], dtype=jnp.float64)
        totals.append(np.asarray(multipole_energies(graph, moments, splitting, surroundings(graph, splitting))))
    np.testing.assert_allclose(totals[0], totals[1], atol=1e-8)
    assert 1e-10 < np.abs(totals[2] - totals[0]).max() < 1e-4 * COULOMB


def test_dipoles_of_a_cubic_lattice_feel_the_field_of_lorentz():
    # 4 pi / 3 V of the dipole in a conducting surrounding.
    splitting, a, d = splitting_for_moments(Splitting(4.0, 1e-10, 5.0), 1), 5.0, 0.3
    one = Structure(positions=np.zeros((1, 3)), numbers=np.ones(1, int), cell=a * np.eye(3), pbc=np.ones(3, bool))
    graph = build_graph(one, SPECIES, [4.0], dtype=jnp.float64)
    n = graph.n_atoms
    dipoles = jnp.zeros((n, 3)).at[0, 2].set(d)
    moments = Moments(charges=jnp.zeros(n), dipoles=dipoles, quadrupoles=jnp.zeros((n, 3, 3)))
    found = multipole_energies(graph, moments, splitting, surroundings(graph, splitting)).sum()
    assert found == pytest.approx(-2 * np.pi / 3 * COULOMB * d * d / a**3, rel=1e-8)


@pytest.mark.parametrize("accuracy", [1e-3, pytest.param(1e-6, marks=pytest.mark.slow)])
def test_a_mesh_sums_waves_to_the_accuracy_asked_for_in_bulk_and_slabs(accuracy: float):
    crystal, moments = atoms()
    slab = dataclasses.replace(crystal, pbc=np.array([True, True, False]))
    slab = dataclasses.replace(slab, positions=slab.positions * [1.0, 1.0, 0.2])
    q = jnp.concatenate([moments.charges, moments.charges])[:, None]
    exact, found, sums = Splitting(5.0, 1e-11, 30.0), Splitting(5.0, accuracy, 30.0), []
    graph = build_graph([crystal, slab], SPECIES, [5.0], dtype=jnp.float64)

    def energy(positions, splitting, by_mesh):
        moved = dataclasses.replace(graph, positions=positions)
        where = surroundings(moved, splitting)
        return 0.5 * jnp.sum(q * coulomb_potential(moved, q, splitting, where, by_mesh=by_mesh))

    for splitting, by_mesh in ((exact, False), (found, True)):
        sums.append(jax.jit(jax.value_and_grad(lambda r, s=splitting, m=by_mesh: energy(r, s, m)))(graph.positions))
    errors = [float(np.abs(a - b).max()) for a, b in zip(*sums, strict=True)]
    assert errors[0] / 8 < accuracy * COULOMB and errors[1] < accuracy * COULOMB
    assert errors[0] > 0
