"""`jorbit uncertainty`, `jorbit md --stop-above` and `jorbit active`: from a model file to a run that stops in time."""

import json

import jax
import pytest

import jorbit
from jorbit.datasets.extxyz import write_extxyz
from jorbit.potential.artefact import info, load_grades, load_heads


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("frames")
    write_extxyz(folder / "train.xyz", jorbit.read("ethanol_gfn2:train")[:40])
    write_extxyz(folder / "held.xyz", jorbit.read("ethanol_gfn2:test")[:8])
    return folder


@pytest.fixture(scope="module")
def safe(model, files, tmp_path_factory):
    """The model of the other tests, with a calibrated deviation."""
    from typer.testing import CliRunner

    from jorbit.cli import app

    path = tmp_path_factory.mktemp("safe") / "safe.safetensors"
    options = ["--held-out", files / "held.xyz", "-o", path, "--report", path.with_suffix(".html")]
    result = CliRunner().invoke(app, ["uncertainty", str(model), str(files / "train.xyz"), *map(str, options)])
    assert result.exit_code == 0, result.output
    assert "rank" in result.stdout and "forces" in result.stdout
    return path


def test_uncertainty_is_added_to_a_model_that_stays_the_same(safe, model):
    grade = load_grades(safe)["deviation"]
    assert float(grade.forces_scale) != 1.0 and info(safe)["provenance"]["calibration"]["forces"]["n"] == 4 * 27
    before, after = jorbit.load(model)[1], jorbit.load(safe)[1]
    assert before["linear_ace"]["coefficients"].tobytes() == after["linear_ace"]["coefficients"].tobytes()
    assert safe.with_suffix(".html").read_text().count("<img") == 2


def test_another_grade_leaves_the_record_of_the_calibration(run, safe, files, tmp_path):
    both = tmp_path / "both.safetensors"
    result = run("uncertainty", safe, files / "train.xyz", "--kind", "distance", "-o", both)
    assert result.exit_code == 0, result.output
    assert set(load_grades(both)) == {"deviation", "distance"}
    assert info(both)["provenance"] == info(safe)["provenance"]


def test_the_heads_of_a_file_are_kept(run, model, files, tmp_path):
    potential, params = jorbit.load(model)
    heads = {"dft": params, "xtb": jax.tree.map(lambda x: 1.5 * x, params)}
    several, alone = tmp_path / "several.safetensors", tmp_path / "alone.safetensors"
    jorbit.save(several, potential, params, heads=heads)
    words = ("uncertainty", several, files / "train.xyz", "--kind", "distance")
    assert run(*words).exit_code == 0
    assert set(load_grades(several)) == {"distance"}
    kept = load_heads(several)
    assert list(kept) == ["dft", "xtb"]
    assert jax.tree.all(jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), kept, heads))
    one = (words[0], f"{several}#xtb", *words[2:])
    result = run(*one)
    assert result.exit_code == 1 and "with -o" in " ".join(result.stderr.split())
    assert run(*one, "-o", alone).exit_code == 0
    assert load_heads(alone) == {} and set(load_grades(alone)) == {"distance"}
    assert jax.tree.all(jax.tree.map(lambda a, b: a.tobytes() == b.tobytes(), jorbit.load(alone)[1], heads["xtb"]))


def test_md_stops_where_the_deviation_is_too_large(run, safe, data, tmp_path):
    keep = tmp_path / "kept.extxyz"
    options = ["--ensemble", "nvt_langevin", "--temperature", 3000, "--steps", 400, "-o", tmp_path / "md.extxyz"]
    limits = ["--stop-above", 1e-4, "--record-above", 1e-5, "--record-to", keep]
    result = run("md", safe, data, *options, *limits)
    assert result.exit_code == 0, result.output
    assert "is above 0.0001 eV at 0 fs" in " ".join(result.stderr.split())
    assert len(jorbit.read(keep)) == 1 and len(jorbit.read(tmp_path / "md.extxyz")) == 1


def test_what_is_missing_is_said(run, model, safe, data, files, tmp_path):
    result = run("md", model, data, "--steps", 2, "--stop-above", 1.0, "-o", tmp_path / "md.extxyz")
    assert result.exit_code == 1 and "holds no uncertainty to watch" in " ".join(result.stderr.split())
    result = run(
        "md", safe, data, "--steps", 2, "--stop-above", 1.0, "--watch", "distance", "-o", tmp_path / "m.extxyz"
    )
    assert result.exit_code == 1 and "--kind distance" in " ".join(result.stderr.split())
    wrong = run("uncertainty", model, files / "held.xyz", "-o", tmp_path / "x.safetensors")
    assert wrong.exit_code == 1 and "the very frames that the model was fitted to" in " ".join(wrong.stderr.split())


@pytest.mark.slow
def test_active_waits_for_labels_by_hand_and_goes_on(run, files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "active.yaml").write_text(
        f"data: {{train: {files}/train.xyz, train_size: 10, test: {files}/held.xyz}}\n"
        "potential: [{name: reference_energy}, {name: linear_ace, cutoff: 3.0, max_degree: [5]}]\n"
        f"explore: {{pool: {files}/train.xyz}}\n"
        "select: {per_round: 4}\nlabel: {method: file}\nrounds: 1\n"
    )
    first = run("active", "active.yaml")
    assert first.exit_code == 0 and "Waiting for labels" in first.stdout, first.output
    here = tmp_path / "active" / "round_000"
    known = {round(f.structure.positions[0, 0], 5): f for f in jorbit.read(files / "train.xyz")}
    asked = jorbit.read(here / "selected.xyz")
    assert len(asked) == 4 and all(f.labels.energy is None for f in asked)
    write_extxyz(here / "labelled.xyz", [known[round(f.structure.positions[0, 0], 5)] for f in asked])
    second = run("active", "active.yaml")
    assert second.exit_code == 0, second.output
    assert [json.loads((tmp_path / f"active/round_00{k}/metrics.json").read_text())["n_labels"] for k in (0, 1)] == [
        10,
        14,
    ]
    assert "14 labels" in (tmp_path / "active/report.txt").read_text()
    assert (tmp_path / "active/report.html").read_text().count("<img") == 1
    assert "deviation" in load_grades(tmp_path / "active/model.safetensors")
