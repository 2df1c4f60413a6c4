"""Derivatives through dynamics, ensembles and minima against finite differences."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk
from simulated_systems import argon_crystal, structure_of

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.units import BOLTZMANN, FS
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.simulate import relax, relax_many
from jorbit.simulate.differentiable import Reweighting, relaxed_positions, relaxed_scale, trajectory
from jorbit.terms.lennard_jones import LennardJones

pytestmark = pytest.mark.usefixtures("x64")


def adjustable() -> tuple[Potential, dict]:
    """Argon with a small many-body correction, whose coefficients are the parameters."""
    ace = dataclasses.replace(LinearACE.tiny(n_species=1), cutoff=5.0)
    potential = Potential((LennardJones(cutoff=6.0, onset=4.5), ace), SpeciesTable.from_numbers([18]))
    coefficients = 2e-4 * np.random.default_rng(1).normal(size=(1, ace.n_functions))
    return potential, {"lennard_jones": {}, "linear_ace": {"coefficients": jnp.asarray(coefficients)}}


def shifted(params: dict, direction: np.ndarray, step: float) -> dict:
    return params | {"linear_ace": {"coefficients": params["linear_ace"]["coefficients"] + step * direction}}


@pytest.fixture(scope="module")
def direction() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(1, adjustable()[0].terms[1].n_functions))


@pytest.mark.slow
def test_the_gradient_through_a_trajectory_is_its_finite_difference(direction):
    potential, params = adjustable()
    atoms = argon_crystal((1, 1, 1), rattle=0.2)
    atoms.pbc, atoms.cell = False, np.zeros((3, 3))
    graph = potential.graph(structure_of(atoms), dtype="float64")
    mass = jnp.full((graph.n_atoms, 1), 39.95)

    def force(p, r):
        return -jax.grad(lambda x: potential.energy(p, dataclasses.replace(graph, positions=x)).sum())(r)

    @jax.jit
    def spread(step):
        start, rest = graph.positions, jnp.zeros_like(graph.positions)
        p = shifted(params, direction, step)
        r, _, kept = trajectory(force, p, start, rest, mass, dt=5 * FS, n_steps=60)
        assert kept.shape == (10, graph.n_atoms, 3)
        return jnp.sum((r[0] - r[1]) ** 2)

    slope = float(jax.jit(jax.grad(spread))(0.0))
    numerical = float(spread(1e-5) - spread(-1e-5)) / 2e-5
    assert slope == pytest.approx(numerical, rel=1e-6) and abs(slope) > 1e-3
    with pytest.raises(ConfigError, match="divides"):
        trajectory(force, params, graph.positions, graph.positions, mass, dt=1.0, n_steps=10, segment=3)


@pytest.mark.slow
def test_reweighted_means_have_the_derivative_of_fluctuation_theory(direction):
    potential, params = adjustable()
    frames = []
    for seed in range(12):
        atoms = argon_crystal((1, 1, 1), rattle=0.0)
        atoms.rattle(0.15, seed=seed)
        frames.append(structure_of(atoms))
    kT = 40 * BOLTZMANN
    ensemble = Reweighting.of(potential, params, frames, kT, dtype="float64")
    values = jnp.asarray(np.random.default_rng(0).normal(size=(12, 3)))
    assert float(ensemble.effective_frames(params)) == pytest.approx(12.0)
    np.testing.assert_allclose(ensemble.average(params, values), values.mean(axis=0), atol=1e-12)
    slopes = jax.jacobian(lambda s: ensemble.average(shifted(params, direction, s), values))(0.0)
    energy_slopes = jax.jacobian(lambda s: ensemble.energies(shifted(params, direction, s)))(0.0)
    covariance = np.mean(values * energy_slopes[:, None], axis=0) - values.mean(axis=0) * energy_slopes.mean()
    np.testing.assert_allclose(slopes, -covariance / kT, rtol=1e-9)
    assert float(ensemble.effective_frames(shifted(params, direction, 1e-3))) < 11.9


def test_a_gaussian_ensemble_is_reweighted_to_another():
    # Harmonic bonds to the origin stand for a potential: <x^2> = kT / k for any k.
    class Springs:
        def energy(self, k, graph):
            return 0.5 * k * jnp.sum(graph**2)[None]

    x = jnp.asarray(np.random.default_rng(0).normal(size=(20000, 1)))
    ensemble = Reweighting(Springs(), x, 0.5 * x[:, 0] ** 2, 1.0)
    mean, slope = jax.value_and_grad(lambda k: ensemble.average(k, x[:, 0] ** 2))(1.3)
    assert float(mean) == pytest.approx(1 / 1.3, rel=0.03)
    assert float(slope) == pytest.approx(-1 / 1.3**2, rel=0.06)
    assert 0.5 * 20000 < float(ensemble.effective_frames(1.3)) < 20000


@pytest.mark.slow
def test_minima_move_with_the_parameters_as_relaxations_say(direction):
    potential, params = adjustable()
    atoms = argon_crystal((2, 1, 1), rattle=0.1)
    del atoms[3]  # a vacancy: atoms have somewhere to go
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + np.diag([0.02, 0.0], 1)), scale_atoms=True)
    start = relax(potential, params, structure_of(atoms), max_force=1e-10).structure
    graph = potential.graph(start, dtype="float64")
    target = np.random.default_rng(3).normal(size=graph.positions.shape)
    target -= target.mean(axis=0)  # the centre of the atoms is left alone

    def observable(step):
        return jnp.sum(target * relaxed_positions(potential, shifted(params, direction, step), graph))

    slope = float(jax.jit(jax.grad(observable))(0.0))  # backwards
    forward = float(jax.jvp(observable, (0.0,), (1.0,))[1])
    ends = []
    for step in (1e-4, -1e-4):
        (found,) = relax_many(potential, shifted(params, direction, step), [start], max_force=1e-10)
        ends.append(np.sum(target[:7] * found.structure.positions))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3) and abs(slope) > 1e-4
    assert forward == pytest.approx(slope, rel=1e-7)


@pytest.mark.slow
def test_lattice_constants_move_with_the_parameters_as_relaxations_say(direction):
    potential, params = adjustable()
    start = structure_of(bulk("Ar", "fcc", a=5.25))
    crystal = relax(potential, params, start, relax_cell=True, max_force=1e-9).structure
    graph = potential.graph(crystal, dtype="float64")
    slope = float(jax.jit(jax.grad(lambda s: relaxed_scale(potential, shifted(params, direction, s), graph)))(0.0))
    volumes = [
        relax(potential, shifted(params, direction, s), crystal, relax_cell=True, max_force=1e-9).structure.volume
        for s in (1e-5, -1e-5)
    ]
    numerical = (np.cbrt(volumes[0] / crystal.volume) - np.cbrt(volumes[1] / crystal.volume)) / 2e-5
    assert slope == pytest.approx(numerical, rel=1e-3) and abs(slope) > 1e-3
