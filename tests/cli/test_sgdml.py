"""Kernel models on the command line: trained from YAML, evaluated, written for sgdml and read back."""

import json

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.train.config import load_config


def test_train_evaluate_and_convert_there_and_back(run, tmp_path):
    config, model = tmp_path / "train.yaml", tmp_path / "ethanol.safetensors"
    config.write_text(
        f"""\
data: {{train: "ethanol_gfn2:train", train_size: 20, test: 10}}
sgdml: {{sigma: 20, permutations: none}}
output: {model}
"""
    )
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    assert "20 frames (540 rows), 1 permutations" in result.stdout and "test: 10 frames" in result.stdout
    metrics = json.loads((tmp_path / "ethanol.metrics.json").read_text())
    assert metrics["train"]["force_mae"] < metrics["test"]["force_mae"]
    out = run("convert", model, "--to", "sgdml", "-o", tmp_path / "model.npz")
    assert out.exit_code == 0 and "model of sgdml" in out.stdout
    back = run("convert", tmp_path / "model.npz", "-o", tmp_path / "again.safetensors")
    assert back.exit_code == 0, back.stderr
    frame = jorbit.read("ethanol_gfn2:test")[0].structure
    one, two = (jorbit.predict(*jorbit.load(tmp_path / f), frame) for f in ("ethanol.safetensors", "again.safetensors"))
    np.testing.assert_allclose(one.forces, two.forces, atol=1e-8)
    np.testing.assert_allclose(one.energy, two.energy, atol=1e-8)


def test_frames_become_a_data_set_of_sgdml(run, data, tmp_path):
    result = run("convert", data, "--to", "sgdml", "-o", tmp_path / "data.npz")
    assert result.exit_code == 0 and "6 frames" in result.stdout
    forces = [f.labels.forces for f in jorbit.read(tmp_path / "data.npz")]
    np.testing.assert_allclose(forces, [f.labels.forces for f in jorbit.read(data)], atol=1e-12)
    assert run("convert", data, "--to", "lammps", "-o", tmp_path / "data.npz").exit_code != 0


@pytest.mark.parametrize(
    "section, words",
    [
        ({"sgdml": {"sigm": 3}}, "Did you mean 'sigma'"),
        ({"sgdml": {}, "fit": {"prior": "ridge"}}, "stands alone: leave out fit"),
        ({"potential": [{"name": "sgdml"}]}, "write the key 'sgdml'"),
        ({"sgdml": {"regularization": -1}}, "regularization"),
    ],
)
def test_mistakes_in_the_section_are_named(section, words):
    with pytest.raises(ConfigError, match=words):
        load_config({"data": {"train": "ethanol_gfn2"}} | section)
