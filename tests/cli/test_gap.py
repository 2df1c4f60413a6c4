"""Kernels on the command line: a sum of them trained from YAML, with error bars in the model file."""

import json
from typing import Any

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.potential.artefact import load_grades
from jorbit.train.config import load_config
from jorbit.train.run import train

KERNELS = [
    {"name": "reference_energy"},
    {"name": "two_body_gap", "cutoff": 3.0, "n_points": 30, "length": 0.6},
    {
        "name": "gap",
        "descriptor": {"name": "soap", "cutoff": 2.5, "n_radial": 2, "l_max": 1},
        "n_points": 20,
        "zeta": 2,
    },
]


@pytest.mark.slow  # compiles fit, prediction and variance
def test_a_sum_of_kernels_is_trained_and_keeps_its_error_bars(run, tmp_path):
    config, model = tmp_path / "train.yaml", tmp_path / "ethanol.safetensors"
    config.write_text(
        json.dumps(
            {
                "data": {"train": "ethanol_gfn2:train", "train_size": 10, "valid": 4, "test": 4},
                "potential": KERNELS,
                "gap": {"delta": [1.0, 0.3], "optimize": False, "points": ["fps", "cur"]},
                "output": str(model),
            }
        )
    )
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    metrics = json.loads((tmp_path / "ethanol.metrics.json").read_text())
    assert metrics["train"]["force_mae"] < metrics["test"]["force_mae"] < 1.0
    potential, params = jorbit.load(model)
    assert potential.names == ("reference_energy", "two_body_gap", "gap")
    assert abs(params["two_body_gap"]["coefficients"]).max() > 0
    deviation: Any = load_grades(model)["deviation"]
    frame = jorbit.read("ethanol_gfn2:test")[0].structure
    stretched = jorbit.Structure(positions=1.4 * frame.positions, numbers=frame.numbers)
    near, far = (
        float(np.sqrt(deviation.energy_variance(potential.graph([s], dtype=np.float64)))) for s in (frame, stretched)
    )
    assert 0 < near < far


@pytest.mark.parametrize(
    "section, words",
    [
        ({"gap": {"delt": 3.0}}, "Did you mean 'delta'"),
        ({"gap": {"points": "best"}}, "points"),
        ({"gap": {"sigma_forces": 0.0}}, "sigma_forces"),
        ({"sgdml": {}, "gap": {}}, "stands alone: leave out gap"),
    ],
)
def test_mistakes_in_the_section_are_named(section, words):
    with pytest.raises(ConfigError, match=words):
        load_config({"data": {"train": "ethanol_gfn2"}} | section)


@pytest.mark.parametrize(
    "terms, gap, words",
    [
        ([*KERNELS, {"name": "lennard_jones"}], {}, "leave out lennard_jones"),
        (KERNELS, {"delta": [1.0]}, "one scale for each of 2 kernels"),
        (KERNELS[:1], {}, "the potential has none"),
    ],
)
def test_what_cannot_be_fitted_is_named(terms, gap, words, tmp_path):
    config = {"data": {"train": "ethanol_gfn2", "limit": 4}, "potential": terms, "gap": gap}
    with pytest.raises(ConfigError, match=words):
        train(config | {"output": str(tmp_path / "m.safetensors")})
