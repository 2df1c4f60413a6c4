"""The run loop: conservation, recovery from overflow, trajectories that survive, and bad input."""

import dataclasses

import ase
import ase.io
import numpy as np
import pytest
from jax_md import simulate
from simulated_systems import argon, argon_crystal, structure_of, triclinic_argon

import jorbit
from jorbit.core.errors import ConfigError, DataError, SimulationError, StructureError, UnknownSpeciesError
from jorbit.core.structure import Structure
from jorbit.core.units import FS
from jorbit.simulate import observables, run
from jorbit.simulate.trajectory import TrajectoryWriter


def simulate_argon(structure: Structure, **options):
    potential, params = argon()
    return run(potential, params, structure, **(dict(timestep=2.0, progress=False) | options))


@pytest.fixture(scope="module")
def nve(tmp_path_factory):
    path = tmp_path_factory.mktemp("nve") / "trajectory.extxyz"
    result = simulate_argon(
        structure_of(triclinic_argon()), n_steps=205, temperature=60.0, record_every=10, block_size=50, trajectory=path
    )
    return result, path


def test_nve_conserves_the_energy_and_is_compiled_once(nve):
    result, _ = nve
    assert result.n_steps == 205
    assert result.times.tolist() == [20.0 * k for k in range(21)] + [410.0]
    assert np.ptp(result.total_energies) < 0.01 * np.ptp(result.kinetic_energies)
    assert result.n_compilations == 1
    assert result.n_reallocations == 0
    slope, error = observables.energy_drift(result.times, result.total_energies, 32)
    assert (result.drift, result.drift_error) == (slope, error)


def test_the_trajectory_holds_what_ase_needs(nve):
    result, path = nve
    frames = ase.io.read(path, ":")
    assert len(frames) == len(result.times)
    assert [f.info["time_fs"] for f in frames] == pytest.approx(result.times.tolist())
    np.testing.assert_allclose([f.get_potential_energy() for f in frames], result.potential_energies, atol=1e-7)
    np.testing.assert_allclose([f.get_kinetic_energy() for f in frames], result.kinetic_energies, atol=1e-6)
    np.testing.assert_allclose(frames[-1].positions, result.structure.positions, atol=1e-7)
    velocities = frames[-1].get_velocities() * ase.units.fs  # Å/fs
    np.testing.assert_allclose(velocities, result.velocities, atol=1e-8)
    # 32 atoms, centre of mass at rest: ASE counts 3 N degrees of freedom, we 3 N - 3.
    assert frames[-1].get_temperature() * 96 / 93 == pytest.approx(result.temperatures[-1], rel=1e-5)
    atoms = frames[7].copy()
    atoms.calc = jorbit.Calculator(argon())
    assert atoms.get_potential_energy() == pytest.approx(result.potential_energies[7], abs=1e-6)
    np.testing.assert_allclose(atoms.get_forces(), frames[7].get_forces(), atol=1e-6)


@pytest.mark.slow
def test_a_run_can_be_continued_from_its_velocities():
    start = structure_of(triclinic_argon())
    whole = simulate_argon(start, n_steps=40, temperature=60.0)
    first = simulate_argon(start, n_steps=20, temperature=60.0)
    second = simulate_argon(first.structure, n_steps=20, velocities=first.velocities)
    np.testing.assert_allclose(second.structure.positions, whole.structure.positions, atol=1e-9)


@pytest.mark.parametrize("integrator", ["nvt_langevin", "nvt_nose_hoover", simulate.nvt_langevin])
def test_thermostats_reach_their_temperature(integrator):
    result = simulate_argon(
        structure_of(argon_crystal()),
        integrator=integrator,
        n_steps=1500,
        temperature=60.0,
        friction=0.02,
        damping_time=50.0,
        record_every=5,
    )
    # A single temperature of 32 atoms scatters by sqrt(2 / 93) = 15 %; 2.4 ps hold about 20 independent ones.
    assert result.temperatures[60:].mean() == pytest.approx(60.0, rel=0.15)


@pytest.mark.slow
def test_a_simulation_that_blows_up_says_so_and_leaves_the_frames_before(tmp_path):
    path = tmp_path / "hot.extxyz"
    with pytest.raises(SimulationError, match=r"blown up at step \d+"):
        simulate_argon(
            structure_of(argon_crystal()), n_steps=2000, temperature=3e3, timestep=50.0, trajectory=path, block_size=10
        )
    frames = ase.io.read(path, ":")
    assert frames[0].info["time_fs"] == 0.0
    assert all(np.isfinite(frame.positions).all() for frame in frames)


def test_ctrl_c_leaves_a_readable_trajectory(tmp_path, monkeypatch):
    path = tmp_path / "interrupted.extxyz"
    append, calls = TrajectoryWriter.append, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 4:
            raise KeyboardInterrupt
        append(self, *args)

    monkeypatch.setattr(TrajectoryWriter, "append", interrupted)
    with pytest.raises(KeyboardInterrupt):
        simulate_argon(
            structure_of(argon_crystal()), n_steps=100, record_every=5, block_size=10, temperature=20.0, trajectory=path
        )
    frames = ase.io.read(path, ":")
    assert len(frames) == 6  # three blocks of two records
    assert frames[-1].info["time_fs"] == 50.0


def test_float32_runs_and_one_atom_runs():
    result = simulate_argon(structure_of(argon_crystal()), n_steps=20, temperature=20.0, dtype="float32")
    assert np.isfinite(result.total_energies).all()
    alone = Structure(positions=np.zeros((1, 3)), numbers=np.array([18]))
    flight = simulate_argon(alone, n_steps=10, velocities=np.array([[0.01, 0.0, 0.0]]))
    np.testing.assert_allclose(flight.structure.positions, [[0.01 * 20.0, 0.0, 0.0]], atol=1e-12)


def test_the_drift_of_a_straight_line_is_its_slope():
    times = np.linspace(0.0, 4000.0, 200)
    noise = 1e-6 * np.random.default_rng(0).normal(size=200)
    slope, error = observables.energy_drift(times, 3.0 + 0.004 * times / 1000.0 + noise, n_atoms=4)
    assert slope == pytest.approx(1.0, abs=4 * error)  # 4 meV/ps shared by 4 atoms
    assert 0 < error < 1e-3


def test_bad_input_is_refused_before_anything_is_compiled(tmp_path):
    start = structure_of(argon_crystal())
    with pytest.raises(ConfigError, match="nvt_langevin"):
        simulate_argon(start, integrator="langevin")
    with pytest.raises(ConfigError, match="n_steps"):
        simulate_argon(start, n_steps=0)
    with pytest.raises(ConfigError, match="float16"):
        simulate_argon(start, dtype="float16")
    with pytest.raises(StructureError, match="velocities"):
        simulate_argon(start, velocities=np.zeros((3, 3)))
    with pytest.raises(StructureError, match="masses"):
        simulate_argon(start, masses=np.ones(1))
    with pytest.raises(ConfigError, match="npt_langevin"):
        simulate_argon(start, pressure=0.01)
    with pytest.raises(DataError, match="folder"):
        simulate_argon(start, trajectory=tmp_path / "no" / "such" / "x.extxyz")
    with pytest.raises(UnknownSpeciesError, match="Xe"):
        simulate_argon(dataclasses.replace(start, numbers=np.full(32, 54)))
    broken = dataclasses.replace(start, positions=np.full((32, 3), np.nan))
    with pytest.raises(StructureError, match="NaN"):
        simulate_argon(broken)
    left_handed = dataclasses.replace(start, cell=start.cell[[1, 0, 2]])
    with pytest.raises(StructureError, match="left-handed"):
        simulate_argon(left_handed)


def test_one_femtosecond_is_ases():
    assert pytest.approx(ase.units.fs, rel=1e-6) == FS
