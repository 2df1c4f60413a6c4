"""Converted hippynn models against hippynn's own energies, forces and stresses (benchmarks/parity/hippynn.py)."""

import json
import pathlib

import jax
import numpy as np
import pytest

from jorbit.convert.hippynn import describe, potential_of
from jorbit.core.errors import ModelFileError

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_hippynn.json").read_text())


def converted(case, **more):
    content = GOLDEN["cases"][case]
    arrays = {k: np.array(v, dtype=np.float64) for k, v in content["arrays"].items()}
    return potential_of(content["options"], arrays, **more), content["results"]


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_energy_forces_and_stress_are_those_of_hippynn(case, check_results, x64):
    (potential, params), results = converted(case)
    check_results(potential, params, GOLDEN["systems"], results)


def test_energies_come_in_electronvolt(x64):
    """Every part of the energy is multiplied."""
    (_, one), _ = converted("hipnn small")
    (_, other), _ = converted("hipnn small", energy_unit=0.0433641)
    np.testing.assert_allclose(other["reference_energy"]["energies"], 0.0433641 * one["reference_energy"]["energies"])
    assert other["hipnn"]["constants"]["readout"]["energy_scale"] == 0.0433641
    jax.tree.map(np.testing.assert_array_equal, other["hipnn"]["params"], one["hipnn"]["params"])


def test_what_is_not_a_hippynn_model_is_refused():
    with pytest.raises(ModelFileError, match="GraphModule with one network"):
        describe({"a": 1})
