"""Many structures relaxed at once end where each ends alone."""

import dataclasses

import numpy as np
import pytest
from simulated_systems import argon, argon_crystal, structure_of, triclinic_argon

import jorbit
from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, JorbitError
from jorbit.core.structure import Structure
from jorbit.simulate import relax, relax_many


def rattled(k: int) -> Structure:
    atoms = [triclinic_argon(), argon_crystal((1, 1, 1)), argon_crystal((2, 1, 1))][k % 3]
    atoms.rattle(0.2, seed=k)
    return structure_of(atoms)


@pytest.fixture(scope="module")
def batch():
    structures = [rattled(k) for k in range(12)]
    before = compilations().get("relax_many", 0)
    results = relax_many(*argon(), structures, max_force=1e-3)
    return structures, results, compilations()["relax_many"] - before


def test_structures_of_all_sizes_reach_their_minima_in_one_compilation(batch):
    structures, results, n_compilations = batch
    assert n_compilations <= 2  # neighbours may grow once
    for start, result in zip(structures, results, strict=True):
        assert result.converged and result.max_force <= 1e-3
        assert result.structure.n_atoms == start.n_atoms
        prediction = jorbit.predict(*argon(), result.structure)
        assert np.linalg.norm(prediction.forces, axis=1).max() < 2e-3  # float32 here
        assert result.energies[0] > result.energies[-1]
        np.testing.assert_allclose(result.stress, prediction.stress[0], atol=1e-5)


@pytest.mark.parametrize("k", [0, 1])
def test_the_minimum_is_that_of_ases_optimiser(batch, k):
    structures, results, _ = batch
    alone = relax(*argon(), structures[k], max_force=1e-3)
    assert results[k].energies[-1] == pytest.approx(alone.energies[-1], abs=1e-4)
    assert results[k].n_steps < 2 * alone.n_steps  # L-BFGS here, BFGS there
    assert results[k].energies[0] == pytest.approx(alone.energies[0], abs=1e-8)


def test_what_else_is_in_the_batch_changes_nothing(batch):
    structures, results, _ = batch
    few = relax_many(*argon(), structures[1:3], max_force=1e-3)
    for a, b in zip(few, results[1:3], strict=True):
        assert a.n_steps == b.n_steps
        np.testing.assert_allclose(a.structure.positions, b.structure.positions, atol=1e-9)


def test_steps_that_are_not_enough_and_starts_without_a_number(batch):
    structures, _, _ = batch
    (result,) = relax_many(*argon(), structures[1:2], max_steps=2)
    assert not result.converged and result.n_steps == 2
    assert relax_many(*argon(), []) == []
    with pytest.raises(ConfigError, match="max_move"):
        relax_many(*argon(), structures, max_move=0.0)
    both = dataclasses.replace(structures[1], positions=np.zeros((4, 3)))
    with pytest.raises(JorbitError):
        relax_many(*argon(), [both])
