"""Thermostats and barostats sample the ensembles they are named after."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import space
from scipy import stats
from simulated_systems import KELVIN, argon, argon_crystal, structure_of

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN, FS, GPA
from jorbit.potential import Potential
from jorbit.simulate import run
from jorbit.simulate.barostat import npt_langevin, npt_langevin_invariant, symmetric_exponential
from jorbit.terms.lennard_jones import LennardJones

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_npt.json").read_text())


def standard_error(values: np.ndarray, n_blocks: int = 20) -> float:
    blocks = values[: len(values) // n_blocks * n_blocks].reshape(n_blocks, -1).mean(axis=1)
    return float(blocks.std(ddof=1) / np.sqrt(n_blocks))


def rahmans_argon() -> tuple[Potential, dict]:
    return Potential((LennardJones(cutoff=6.0, onset=4.5),), SpeciesTable.from_numbers([18])), {"lennard_jones": {}}


def sampled(integrator: str, n_steps: int = 6000, **options):
    potential, params = rahmans_argon()
    settings = dict(timestep=4.0, temperature=40.0, record_every=10, block_size=1000, progress=False)
    return run(
        potential, params, structure_of(argon_crystal()), integrator=integrator, n_steps=n_steps, **settings | options
    )


@pytest.mark.parametrize(
    ("integrator", "options"),
    [
        ("temp_csvr", {"damping_time": 40.0}),
        ("nvt_langevin", {"friction": 0.02}),
        pytest.param("nvt_nose_hoover", {"damping_time": 100.0}, marks=pytest.mark.slow),
        pytest.param("npt_langevin", {"friction": 0.01, "barostat_time": 300.0}, marks=pytest.mark.slow),
        pytest.param("npt_nose_hoover", {"damping_time": 100.0, "barostat_time": 600.0}, marks=pytest.mark.slow),
    ],
)
def test_kinetic_energies_have_their_canonical_distribution(integrator, options):
    kinetic = sampled(integrator, **options).kinetic_energies[60:]
    # 2 K / kT of 93 motions about the centre of mass is chi-square distributed with 93 degrees of freedom.
    ratio = 2 * kinetic / (40.0 * BOLTZMANN)
    assert ratio.mean() == pytest.approx(93, abs=5 * standard_error(ratio) + 0.2)
    assert ratio.std() == pytest.approx(np.sqrt(2 * 93), rel=0.15)  # about 100 independent energies: 7 %
    assert stats.kstest(ratio[::12], stats.chi2(93).cdf).pvalue > 1e-3


def test_velocity_rescaling_of_few_atoms_has_the_shape_of_its_distribution():
    # A gas without forces: nothing but the thermostat changes energies; 12 motions of 5 atoms, far from normal.
    from jorbit.simulate.velocity_rescaling import temp_csvr

    init, apply = temp_csvr(lambda R, **_: 0.0 * R.sum(), lambda R, dR, **_: R + dR, 1.0, 2.0, 0.5)
    state = init(jax.random.key(0), jnp.zeros((5, 3)), mass=jnp.arange(1.0, 6.0))

    def step(state, _):
        state = apply(state)
        return state, jnp.sum(state.momentum**2 / state.mass)

    _, twice = jax.jit(lambda s: jax.lax.scan(step, s, None, length=4000))(state)
    assert stats.kstest(np.asarray(twice)[::4] / 2.0, stats.chi2(12).cdf).pvalue > 1e-3


def gas(cell: str, gamma: float, dt: float = 0.05):
    _, shift = space.periodic_general(jnp.eye(3), fractional_coordinates=True)
    return npt_langevin(lambda R, **_: 0.0 * R.sum(), shift, dt, 1e-3, 0.025, gamma, tau=1.0, cell=cell)


def test_an_ideal_gas_has_the_volumes_of_its_ensemble():
    # Volumes are gamma distributed: V^N exp(-P V / kT).
    init, apply = gas("isotropic", 1.0)
    state = init(jax.random.key(0), jnp.zeros((8, 3)), box=6.0 * jnp.eye(3), mass=1.0)

    def step(state, _):
        state = apply(state)
        return state, jnp.linalg.det(state.box)

    _, volume = jax.jit(lambda s: jax.lax.scan(step, s, None, length=60000))(state)
    volume = np.asarray(volume, np.float64)[2000:]
    assert volume.mean() == pytest.approx(9 * 25.0, abs=5 * standard_error(volume))
    assert standard_error(volume) < 0.02 * 9 * 25.0
    assert volume.std() == pytest.approx(3 * 25.0, rel=0.1)


def pressed(cell: str):
    options = dict(friction=0.01, barostat_time=400.0, pressure=0.1 * GPA, record_every=20)
    return sampled("npt_langevin", n_steps=16000, cell=cell, **options)


@pytest.mark.slow
def test_the_volume_under_pressure_is_that_of_ases_barostat():
    result = pressed("isotropic")
    volumes = result.volumes[60:]
    error = np.hypot(standard_error(volumes), GOLDEN["volume"][1])
    assert volumes.mean() == pytest.approx(GOLDEN["volume"][0], abs=4 * error)
    assert error < 0.005 * GOLDEN["volume"][0]
    assert volumes.std() == pytest.approx(GOLDEN["volume_deviation"], rel=0.25)
    energies = result.potential_energies[60:]
    error = np.hypot(standard_error(energies), GOLDEN["potential_energy"][1])
    assert energies.mean() == pytest.approx(GOLDEN["potential_energy"][0], abs=4 * error)


@pytest.mark.slow
def test_the_pressure_inside_a_flexible_cell_is_the_one_outside():
    result = pressed("full")
    # Integrating by parts over the strains of the cell: <V (P_ab - P delta_ab)> = -kT delta_ab.
    work = -result.stresses[60:] * result.volumes[60:, None, None]
    work -= 0.1 * GPA * result.volumes[60:, None, None] * np.eye(3)
    for a in range(3):
        for b in range(a, 3):
            error = standard_error(work[:, a, b])
            assert work[:, a, b].mean() == pytest.approx(-40.0 * BOLTZMANN * (a == b), abs=4.5 * error)


@pytest.mark.slow
def test_the_extended_energy_is_conserved_to_second_order(x64):
    potential, params = argon()
    atoms = argon_crystal()
    box = jnp.asarray(atoms.cell.array.T)
    displacement, shift = space.periodic_general(box, fractional_coordinates=True)
    neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)
    position = jnp.asarray(atoms.get_scaled_positions())
    neighbors = neighbor_fn.allocate(position)

    def wander(fs: float, n_steps: int) -> float:
        init, apply = npt_langevin(energy_fn, shift, fs * FS, 0.0, 40 * KELVIN, 0.0, tau=300 * FS)
        state = init(jax.random.key(1), position, box=box, mass=39.95, neighbor=neighbors)

        def step(carry, _):
            state, neighbors = carry
            neighbors = neighbors.update(state.position, box=state.box)
            state = apply(state, neighbor=neighbors)
            return (state, neighbors), (
                npt_langevin_invariant(energy_fn, state, 0.0, neighbor=neighbors.update(state.position, box=state.box)),
                jnp.linalg.det(state.box),
            )

        (_, last), (energy, volume) = jax.jit(lambda c: jax.lax.scan(step, c, None, length=n_steps))((state, neighbors))
        assert not last.did_buffer_overflow and np.ptp(volume) > 20.0
        return float(np.std(energy))

    coarse, fine = wander(8.0, 150), wander(4.0, 300)
    assert coarse / fine == pytest.approx(4.0, rel=0.3)
    assert fine < 1e-4  # eV, of a kinetic energy of 0.16 eV


@pytest.mark.slow
def test_cells_keep_the_shape_they_are_given_leave_to():
    start = 6.0 * jnp.eye(3) + 0.3 * jnp.roll(jnp.eye(3), 1, axis=0)
    shapes = {}
    for cell in ("isotropic", "orthorhombic", "full"):
        init, apply = gas(cell, 1.0)
        state = init(jax.random.key(0), jnp.zeros((4, 3)), box=start, mass=1.0)
        state = jax.jit(lambda s, apply=apply: jax.lax.fori_loop(0, 50, lambda _, s: apply(s), s))(state)
        shapes[cell] = np.asarray(state.box @ jnp.linalg.inv(start))  # the deformation
    np.testing.assert_allclose(shapes["isotropic"], shapes["isotropic"][0, 0] * np.eye(3), atol=1e-5)
    np.testing.assert_allclose(shapes["orthorhombic"], np.diag(np.diag(shapes["orthorhombic"])), atol=1e-5)
    assert np.ptp(np.diag(shapes["orthorhombic"])) > 1e-3 and abs(shapes["full"][0, 1]) > 1e-3
    assert abs(shapes["isotropic"][0, 0] - 1) > 1e-3
    with pytest.raises(ConfigError, match="orthorhombic"):
        gas("cubic", 1.0)


def test_the_exponential_of_a_strain_is_exact():
    from scipy.linalg import expm

    matrix = np.array([[0.3, -0.2, 0.1], [-0.2, -0.4, 0.25], [0.1, 0.25, 0.15]])
    with jax.enable_x64(True):
        np.testing.assert_allclose(symmetric_exponential(jnp.asarray(matrix)), expm(matrix), atol=1e-13)


@pytest.mark.slow
def test_a_shrinking_cell_is_followed_past_the_sizes_of_its_first_lists():
    potential, params = rahmans_argon()
    atoms = argon_crystal(rattle=0.02)
    atoms.set_cell(1.06 * atoms.cell.array, scale_atoms=True)  # stretched, and pressed: it shrinks by a third
    result = run(
        potential,
        params,
        structure_of(atoms),
        integrator="npt_langevin",
        cell="isotropic",
        n_steps=600,
        timestep=4.0,
        temperature=20.0,
        pressure=1.0 * GPA,
        barostat_time=200.0,
        friction=0.02,
        capacity_multiplier=1.0,
        progress=False,
    )
    assert result.volumes[-1] < 0.75 * result.volumes[0]
    assert result.n_reallocations >= 1
    energy = float(jorbit.predict(potential, params, result.structure).energy[0])
    assert energy == pytest.approx(result.potential_energies[-1], abs=1e-4)  # float32 here


def test_brownian_particles_spread_with_einsteins_diffusion_constant():
    # Free particles: <|r|^2> = 6 D t, D = kT / (m gamma).
    potential, params = rahmans_argon()
    far = Structure(positions=np.array([[100.0 * k, 0, 0] for k in range(400)]), numbers=np.full(400, 18))
    result = run(
        potential,
        params,
        far,
        integrator="brownian",
        friction=0.05,
        temperature=100.0,
        n_steps=200,
        timestep=10.0,
        measure=("msd",),
        progress=False,
    )
    msd = result.measurements["msd"]
    expected = 100.0 * BOLTZMANN / (39.948 * 0.05 / FS) * FS  # Å^2/fs
    assert msd.slope(0.0, 500.0) / 6 == pytest.approx(expected, rel=0.1)
    assert np.isnan(result.temperatures).all()


def test_constant_pressure_needs_a_crystal():
    potential, params = argon()
    pair = Structure(positions=np.array([[0.0, 0, 0], [4.0, 0, 0]]), numbers=np.array([18, 18]))
    with pytest.raises(ConfigError, match="three directions"):
        run(potential, params, pair, integrator="npt_langevin", progress=False)
    with pytest.raises(ConfigError, match="Stress needs"):
        run(potential, params, pair, measure=("stress",), progress=False)
