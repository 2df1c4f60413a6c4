"""Float32 forces in float64 dynamics: forces are right to float32, and the energy is kept where float32 loses it."""

import numpy as np
import pytest
from simulated_systems import argon, argon_crystal, structure_of

from jorbit.core.errors import ConfigError
from jorbit.simulate import Calculator, run
from jorbit.simulate.precision import MIXED_DRIFT


@pytest.fixture(scope="module")
def runs():
    start = structure_of(argon_crystal())
    options = dict(n_steps=400, timestep=4.0, temperature=20.0, record_every=20, progress=False)
    return {dtype: run(*argon(), start, dtype=dtype, **options) for dtype in ("float64", "mixed", "float32")}


@pytest.mark.slow
def test_the_drift_that_float32_forces_add_is_below_the_stated_bound(runs):
    # 1.6 ps of 32 atoms: energies that wander by 1e-6 eV make 2e-5 meV/atom/ps, a fiftieth of the bound.
    assert abs(runs["mixed"].drift - runs["float64"].drift) < MIXED_DRIFT


@pytest.mark.slow
def test_the_energy_is_kept_as_in_float64(runs):
    spread = {dtype: np.ptp(r.total_energies - runs["float64"].total_energies) for dtype, r in runs.items()}
    # Forces of 0.1 eV/Å are rounded to 1e-8 eV/Å; atoms move by some 0.1 Å. Energies of -5 eV to 5e-7 eV.
    assert 0 < spread["mixed"] < 4e-7 < spread["float32"]


@pytest.mark.slow
def test_the_path_is_that_of_float64_for_a_while(runs):
    far = {
        dtype: np.abs(r.structure.positions - runs["float64"].structure.positions).max() for dtype, r in runs.items()
    }
    assert 0 < far["mixed"] < 1e-4 and far["mixed"] < far["float32"]
    assert runs["mixed"].n_compilations == 1


def test_only_runs_are_mixed():
    with pytest.raises(ConfigError, match="float64"):
        Calculator(argon(), dtype="mixed")
    with pytest.raises(ConfigError, match="mixed"):
        run(*argon(), structure_of(argon_crystal()), dtype="half", progress=False)
