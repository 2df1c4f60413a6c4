"""Converted mace-torch models against mace-torch's own energies, forces and stresses (benchmarks/parity/mace.py)."""

import copy
import json
import pathlib

import numpy as np
import pytest

from jorbit.convert.mace import describe, potential_of
from jorbit.core.errors import ModelFileError

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_mace.json").read_text())


def array(content):
    full = np.zeros(int(np.prod(content["shape"])))
    full[content.get("at", slice(None))] = content["values"]
    return full.reshape(content["shape"])


def content(case):
    arrays = {k: array(v) for k, v in GOLDEN["cases"][case]["arrays"].items()}
    return copy.deepcopy(GOLDEN["cases"][case]["options"]), arrays


@pytest.mark.parametrize("case", sorted(GOLDEN["cases"]))
def test_energy_forces_and_stress_are_those_of_mace_torch(case, check_results, x64):
    check_results(*potential_of(*content(case)), GOLDEN["systems"], GOLDEN["cases"][case]["results"])


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
