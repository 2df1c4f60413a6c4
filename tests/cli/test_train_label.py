"""`jorbit train` and `jorbit label`."""

import dataclasses
import json

import pytest
import yaml

import jorbit
from jorbit.core.units import KCAL_MOL
from jorbit.datasets.extxyz import write_extxyz
from jorbit.train.config import load_config


def test_train_writes_a_model_and_its_errors(run, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(
        f"""\
data: {{train: "ethanol_gfn2:train", train_size: 30, test: 10}}
potential:
  - name: reference_energy
  - {{name: linear_ace, cutoff: 3.0, max_degree: [5]}}
output: {tmp_path / "small.safetensors"}
"""
    )
    result = run("train", config)
    assert result.exit_code == 0, result.stderr
    assert "test: 10 frames" in result.stdout and "meV/Å" in result.stdout
    metrics = json.loads((tmp_path / "small.metrics.json").read_text())
    assert metrics["test"]["n_frames"] == 10
    # the model file gives the errors that were printed
    evaluated = json.loads(run("evaluate", tmp_path / "small.safetensors", "ethanol_gfn2:test", "--json").stdout)
    assert evaluated["force_mae"] == pytest.approx(metrics["test"]["force_mae"], rel=0.3)  # other frames, same source


def test_example_is_a_valid_configuration(run):
    result = run("train", "--example")
    assert result.exit_code == 0
    assert load_config(yaml.safe_load(result.stdout)).output.endswith(".safetensors")


def test_schema_describes_the_example(run):
    schema = json.loads(run("train", "--schema").stdout)
    example = yaml.safe_load(run("train", "--example").stdout)
    assert set(example) <= set(schema["properties"])
    names = [term["name"] for term in example["potential"]]
    assert set(names) <= set(schema["$defs"])


def test_label_reproduces_the_shipped_labels_and_resumes(run, data, tmp_path):
    pytest.importorskip("tblite", reason="the extra 'label' is not installed")
    output = tmp_path / "labelled.extxyz"
    assert run("label", data, "-o", output).exit_code == 0
    for old, new in zip(jorbit.read(data), jorbit.read(output), strict=True):
        assert new.labels.energy == pytest.approx(old.labels.energy, abs=1e-5)  # eV; SCF threshold
    again = run("label", data, "-o", output)
    assert again.exit_code == 0 and "0 frames labelled, 6 were there already" in again.stdout


def test_unknown_method_is_refused(run, data, tmp_path):
    result = run("label", data, "--method", "gfn3", "-o", tmp_path / "out.xyz")
    assert result.exit_code == 1 and "gfn2" in result.stderr


def test_train_notices_energies_and_forces_in_different_units(run, tmp_path):
    frames = [
        dataclasses.replace(f, labels=dataclasses.replace(f.labels, energy=f.labels.energy / KCAL_MOL))
        for f in jorbit.read("ethanol_gfn2:train")[:60]
    ]
    write_extxyz(tmp_path / "mixed.xyz", frames)
    config = tmp_path / "train.yaml"
    config.write_text(
        f"data: {{train: {tmp_path / 'mixed.xyz'}}}\noutput: {tmp_path / 'm.safetensors'}\n"
        "potential: [{name: reference_energy}, {name: linear_ace, cutoff: 3.0, max_degree: [5]}]\n"
    )
    result = run("train", config)
    assert result.exit_code == 0 and "kcal/mol" in result.stderr
