"""`jorbit train` of a network: dry run, training, resuming, report, fine-tuning from the file it wrote."""

import json
import re

import numpy as np
import pytest

import jorbit

CONFIG = """\
data: {{train: "ethanol_gfn2:train", train_size: 12, valid: 4, test: 4}}
potential:
  - name: reference_energy
  - {{name: readout, hidden: [4], descriptor: {{name: ace, cutoff: 2.0, max_degree: [3], l_max: 1}}}}
gradient: {{epochs: {epochs}, batch_size: 4, patience: 50{more}}}
output: {output}
"""


@pytest.fixture
def config(tmp_path):
    def write(name="train.yaml", output="net.safetensors", epochs=4, more=""):
        path = tmp_path / name
        path.write_text(CONFIG.format(output=tmp_path / output, epochs=epochs, more=more))
        return path

    return write


@pytest.mark.slow
def test_from_dry_run_to_fine_tuning(run, config, tmp_path):
    dry = run("train", config(), "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    assert "trained parameters" in dry.stdout and "s per epoch" in dry.stdout
    assert {p.name for p in tmp_path.iterdir()} == {"train.yaml"}  # nothing was written

    result = run("train", config())
    assert result.exit_code == 0, result.stderr
    # the dry run announced as many parameters as the model has
    n_parameters = int(re.search(r"([\d,]+) trained parameters", result.stdout)[1].replace(",", ""))
    assert f"{n_parameters:,} trained parameters" in dry.stdout
    assert "test: 4 frames" in result.stdout
    page = (tmp_path / "net.report.html").read_text()
    assert "Learning curves" in page and "Error by element" in page and "Worst structures" in page
    lines = [json.loads(line) for line in (tmp_path / "net.run" / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["event"] == "epoch"] == [1, 2, 3, 4]

    again = run("train", config())
    assert again.exit_code == 1 and "--resume" in again.stderr
    resumed = run("train", config(), "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    model = tmp_path / "net.safetensors"
    evaluated = json.loads(run("evaluate", model, "ethanol_gfn2:test", "--json").stdout)
    assert evaluated["force_mae"] > 0

    more = f', initial: "{model}", freeze: ["readout/params/hidden*"]'
    tuned = run("train", config("tune.yaml", "tuned.safetensors", 2, more))
    assert tuned.exit_code == 0, tuned.stderr
    before, after = (jorbit.load(tmp_path / name)[1]["readout"] for name in ("net.safetensors", "tuned.safetensors"))
    for name, value in before["constants"].items():
        np.testing.assert_array_equal(value, after["constants"][name])
    moved = {n for n, value in before["params"].items() if not np.array_equal(value, after["params"][n])}
    assert moved and not any(n.startswith("hidden") for n in moved)


def test_what_is_not_for_linear_models_says_so(run, tmp_path):
    path = tmp_path / "linear.yaml"
    path.write_text(f'data: {{train: "ethanol_gfn2:train", limit: 5}}\noutput: {tmp_path / "m.safetensors"}\n')
    for option in ("--dry-run", "--resume"):
        result = run("train", path, option)
        assert result.exit_code == 1 and "closed form" in result.stderr
