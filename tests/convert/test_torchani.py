"""Converted torchani models against torchani's own energies, forces and stresses (benchmarks/parity/torchani.py)."""

import copy
import json
import pathlib
import types

import numpy as np
import pytest

from jorbit.convert.torchani import describe, potential_of
from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.units import HARTREE

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_torchani.json").read_text())


def content(case):
    found = GOLDEN["cases"][case]
    return copy.deepcopy(found["options"]), {k: np.array(v, dtype=np.float64) for k, v in found["arrays"].items()}


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_energy_forces_and_stress_are_those_of_torchani(case, check_results, x64):
    check_results(*potential_of(*content(case)), GOLDEN["systems"], GOLDEN["cases"][case]["results"])


def test_energies_are_hartree_unless_told_otherwise():
    (_, one), (_, other) = potential_of(*content("small")), potential_of(*content("small"), energy_unit=1.0)
    assert np.ptp(one["ani"]["constants"]["energy_scale"]) == 0
    assert one["ani"]["constants"]["energy_scale"][0] == HARTREE
    np.testing.assert_allclose(
        one["reference_energy"]["energies"], HARTREE * other["reference_energy"]["energies"], rtol=1e-15
    )


def test_uneven_shifts_are_refused():
    options, arrays = content("small")
    with pytest.raises(ModelFileError, match="not evenly spaced"):
        potential_of(options | {"shifts": [0.9, 1.0, 3.0]}, arrays)


def test_what_is_not_torchani_is_refused_and_a_member_of_an_ensemble_is_asked_for():
    with pytest.raises(ModelFileError, match="got a dict"):
        describe({"a": 1})
    part = types.SimpleNamespace(aev_computer=None, neural_networks=types.SimpleNamespace(members=[1, 2]))
    model = types.SimpleNamespace(potentials={"nnp": part}, energy_shifter=None)
    with pytest.raises(ConfigError, match="member=0 to 1"):
        describe(model)
