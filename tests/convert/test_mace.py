"""Converted mace-torch models against mace-torch's own energies, forces and stresses (benchmarks/parity/mace.py)."""

import copy
import json
import pathlib

import numpy as np
import pytest

from jorbit import load, predict, save
from jorbit.convert.mace import describe, potential_of
from jorbit.core.errors import ModelFileError
from jorbit.core.structure import Structure

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_mace.json").read_text())


def array(content):
    full = np.zeros(int(np.prod(content["shape"])))
    full[content.get("at", slice(None))] = content["values"]
    return full.reshape(content["shape"])


def content(case):
    arrays = {k: array(v) for k, v in GOLDEN["cases"][case]["arrays"].items()}
    return copy.deepcopy(GOLDEN["cases"][case]["options"]), arrays


def structure(name):
    system = GOLDEN["systems"][name]
    positions, numbers = np.array(system["positions"]), np.array(system["numbers"])
    if system["cell"] is None:
        return Structure(positions=positions, numbers=numbers)
    return Structure(positions=positions, numbers=numbers, cell=np.array(system["cell"]), pbc=np.ones(3, dtype=bool))


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_energy_forces_and_stress_are_those_of_mace_torch(case, tmp_path, x64):
    save(tmp_path / "model.safetensors", *potential_of(*content(case)))
    potential, params = load(tmp_path / "model.safetensors")
    results = GOLDEN["cases"][case]["results"]
    together = predict(potential, params, potential.graph([structure(name) for name in results], dtype=np.float64))
    start = 0
    for k, (name, wanted) in enumerate(results.items()):
        n_atoms = structure(name).n_atoms
        got = {"energy": together.energy[k], "forces": together.forces[start : start + n_atoms]}
        got["stress"], start = together.stress[k], start + n_atoms
        for kind, value in wanted.items():
            np.testing.assert_allclose(got[kind], value, rtol=0, atol=1e-10 * np.abs(value).max())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unknown": ["embeddings of charge, spin or other inputs"]}, "charge, spin"),
        ({"hidden": "2x0e+2x1e"}, "features 2x0e"),
        ({"hidden": "2x0e+4x1o"}, "features 2x0e"),
        ({"correlation": [4, 4]}, "correlations"),
        ({"heads": ["pbe", "r2scan"]}, "pbe, r2scan"),
    ],
)
def test_what_has_no_equal_is_named(change, message):
    options, arrays = content("small")
    with pytest.raises(ModelFileError, match=message):
        potential_of(options | change, arrays)


def test_what_is_not_mace_is_refused():
    with pytest.raises(ModelFileError, match="got a dict"):
        describe({"a": 1})
