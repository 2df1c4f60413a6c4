"""Converted schnetpack models against schnetpack's own results (benchmarks/parity/schnetpack.py)."""

import copy
import json
import pathlib

import numpy as np
import pytest

from jorbit.convert.schnetpack import describe, potential_of
from jorbit.core.errors import ConfigError, ModelFileError

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_schnetpack.json").read_text())
CASES = [pytest.param(c, marks=() if "SchNet" in c else pytest.mark.slow) for c in sorted(GOLDEN["cases"])]


def content(case):
    found = GOLDEN["cases"][case]
    return copy.deepcopy(found["options"]), {k: np.array(v, dtype=np.float64) for k, v in found["arrays"].items()}


@pytest.mark.parametrize("case", CASES)
def test_energy_forces_and_stress_are_those_of_schnetpack(case, check_results, x64):
    converted = potential_of(*content(case), elements="O,H,C")
    potential, _ = check_results(*converted, GOLDEN["systems"], GOLDEN["cases"][case]["results"])
    assert potential.species.names == ("H", "C", "O")


def test_without_elements_every_row_is_kept():
    potential, params = potential_of(*content("SchNet small"))
    assert potential.species.numbers[:3] == (1, 2, 3) and len(potential.species) == 99
    table = content("SchNet small")[1]["network.embedding.weight"]
    np.testing.assert_array_equal(params["schnet"]["params"]["embedding"], table[1:])


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="Xx"):
        potential_of(*content("SchNet small"), elements="H,Xx")
    options, arrays = content("SchNet small")
    with pytest.raises(ModelFileError, match="not spread evenly"):
        potential_of(options | {"centers": [0.0, 1.0, 2.0, 3.0, 3.5]}, arrays)
    with pytest.raises(ModelFileError, match="got a dict"):
        describe({"a": 1})
