"""`jorbit list`, `jorbit info`, `jorbit doctor`."""

import json

import jorbit
from jorbit.cli import inspection
from jorbit.core import version_guard
from jorbit.datasets import DATASETS
from jorbit.losses import LOSSES
from jorbit.models import MODELS
from jorbit.terms import TERMS


def test_list_shows_every_registered_component_with_a_line(run):
    result = run("list")
    assert result.exit_code == 0
    rows = {words[0]: words[1:] for words in (line.split() for line in result.stdout.splitlines()) if words}
    for registry in (MODELS, TERMS, LOSSES, DATASETS):
        for name in registry:
            assert len(rows[name]) >= 2, f"{name} has no description"
    assert "cannot be loaded" not in result.stdout and "partial(" not in result.stdout


def test_info_as_json(run, model):
    result = run("info", model, "--json")
    described = json.loads(result.stdout)
    assert described["n_parameters"] > 0 and described["cutoffs"] == [3.0]
    assert [s["symbol"] for s in described["species"]] == ["H", "C", "O"]
    assert described["provenance"]["fit"]["n_frames"] == 40
    assert described["units"]["energy"] == "eV"


def test_info_for_people(run, model):
    result = run("info", model)
    assert result.exit_code == 0
    assert "H, C, O" in result.stdout and "3 Å" in result.stdout and "linear_ace" in result.stdout


def test_doctor_prints_versions_devices_and_float_type(run):
    result = run("doctor")
    assert result.exit_code == 0
    for words in ("jaxlib", "devices", "float64", jorbit.__version__):
        assert words in result.stdout


def test_doctor_fails_on_a_release_with_a_known_bug(run, monkeypatch):
    bad = version_guard.known_bad({"jaxlib": "0.10.2"})
    monkeypatch.setattr(version_guard, "known_bad", lambda: bad)
    result = run("doctor")
    assert result.exit_code == 1
    assert "0.10.2" in result.stderr and "39103" in result.stderr and "pip install" in result.stderr


def test_a_broken_plug_in_does_not_hide_the_others(run, monkeypatch):
    monkeypatch.setitem(MODELS._table, "broken", "no_such_module:Model")
    monkeypatch.setattr(MODELS, "_with_plugins", None)
    result = run("list")
    assert result.exit_code == 0
    assert "broken" in result.stdout and "cannot be loaded" in result.stdout and "linear_ace" in result.stdout
    monkeypatch.undo()
    MODELS._with_plugins = None


def test_versions_name_what_matters():
    assert {"jorbit", "python", "jax", "jaxlib", "jax-md", "numpy"} <= set(inspection.versions())
