"""Converted torchani models against torchani's own energies, forces and stresses (benchmarks/parity/torchani.py)."""

import copy
import json
import pathlib
import types

import numpy as np
import pytest

from jorbit import load, predict, save
from jorbit.convert.torchani import describe, potential_of
from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.structure import Structure
from jorbit.core.units import HARTREE

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_torchani.json").read_text())


def content(case):
    found = GOLDEN["cases"][case]
    return copy.deepcopy(found["options"]), {k: np.array(v, dtype=np.float64) for k, v in found["arrays"].items()}


def structure(name):
    system = GOLDEN["systems"][name]
    positions, numbers = np.array(system["positions"]), np.array(system["numbers"])
    if system["cell"] is None:
        return Structure(positions=positions, numbers=numbers)
    return Structure(positions=positions, numbers=numbers, cell=np.array(system["cell"]), pbc=np.ones(3, dtype=bool))


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_energy_forces_and_stress_are_those_of_torchani(case, tmp_path, x64):
    save(tmp_path / "model.safetensors", *potential_of(*content(case)))
    potential, params = load(tmp_path / "model.safetensors")
    results = GOLDEN["cases"][case]["results"]
    both = predict(potential, params, potential.graph([structure(name) for name in results]))
    start = 0
    for k, (name, wanted) in enumerate(results.items()):
        here = slice(start, start := start + structure(name).n_atoms)
        assert both.energy[k] == pytest.approx(wanted["energy"], rel=1e-10)
        for value, reference in ((both.forces[here], wanted["forces"]), (both.stress[k], wanted["stress"])):
            np.testing.assert_allclose(value, reference, rtol=0, atol=1e-10 * np.abs(reference).max())


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
