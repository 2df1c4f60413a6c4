"""Lists are looked at where steps end: what moves too fast for that is noticed, and nothing is ever missed."""

import numpy as np
import pytest
from simulated_systems import argon, argon_crystal

import jorbit
from jorbit.core.structure import Structure
from jorbit.simulate import run


def collision(speed: float) -> tuple[Structure, np.ndarray]:
    """A cluster and an atom that flies into it, Å/fs."""
    cluster = argon_crystal((1, 1, 1), rattle=0.02)[:4].positions
    positions = np.concatenate([cluster, [[12.0, 1.3, 1.4]]])
    velocities = np.zeros((5, 3))
    velocities[4, 0] = -speed
    return Structure(positions=positions, numbers=np.full(5, 18)), velocities


@pytest.fixture(scope="module")
def fast():
    """0.24 Å per step, where two atoms may come nearer by 0.15 Å before a list is out of date."""
    start, velocities = collision(0.06)
    options = dict(n_steps=60, timestep=4.0, velocities=velocities, capacity_multiplier=3.0, progress=False)
    return start, options, run(*argon(), start, skin=0.15, record_every=1, **options)


@pytest.mark.slow
def test_forces_of_fast_atoms_are_those_of_lists_made_anew(fast):
    start, options, kept = fast
    fresh = run(*argon(), start, skin=0.0, record_every=1, **options)
    assert kept.n_reallocations == 1 and kept.n_compilations == 2  # the block was done again, with care
    assert fresh.n_reallocations == 0 and np.ptp(fresh.potential_energies) > 0.01
    np.testing.assert_allclose(kept.potential_energies, fresh.potential_energies, rtol=1e-10)
    np.testing.assert_allclose(kept.structure.positions, fresh.structure.positions, atol=1e-9)


@pytest.mark.slow
def test_recorded_energies_are_those_of_the_frames(fast, tmp_path):
    start, options, kept = fast
    again = run(*argon(), start, skin=0.15, record_every=1, trajectory=tmp_path / "md.extxyz", **options)
    for k, frame in list(enumerate(jorbit.read(tmp_path / "md.extxyz")))[::20]:
        found = jorbit.predict(*argon(), frame.structure)
        assert found.energy == pytest.approx(again.potential_energies[k], abs=1e-7)
        np.testing.assert_allclose(found.forces, frame.labels.forces, atol=1e-6)
    np.testing.assert_array_equal(again.potential_energies, kept.potential_energies)


def test_ordinary_speeds_need_no_care():
    start, velocities = collision(0.005)
    result = run(*argon(), start, n_steps=60, timestep=4.0, velocities=velocities, skin=0.5, progress=False)
    assert result.n_reallocations == 0 and result.n_compilations == 1
