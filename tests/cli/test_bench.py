"""`jorbit bench`: every suite can be started, a foreign calculator is measured as it is, results stay apart."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import ase.calculators.lj
import numpy as np
import pytest

import jorbit
from jorbit.cli.bench import _arguments
from jorbit.graphs.ase_atoms import to_ase

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
SUITES = tomllib.loads((BENCHMARKS / "suites.toml").read_text())


def test_every_suite_is_listed_and_is_there(run):
    result = run("bench", "list", "--benchmarks", str(BENCHMARKS))
    assert result.exit_code == 0
    for name, suite in SUITES.items():
        assert name in result.stdout and suite["what"] in result.stdout
        assert (BENCHMARKS / suite["script"]).is_file()
        assert all(file.endswith(".json") for file in suite["results"]) and suite["minutes"] > 0
    peers = tomllib.loads((BENCHMARKS / "peers" / "peers.toml").read_text())
    wanted = {part.partition("}")[0] for s in SUITES.values() for w in s.get("peers", ()) for part in w.split("{")[1:]}
    assert wanted <= set(peers)
    assert all("==" in package for peer in peers.values() for package in peer["packages"])


def test_every_script_of_a_benchmark_belongs_to_a_suite():
    scripts = {path.name for path in BENCHMARKS.glob("bench_*.py")}
    assert scripts <= {suite["script"] for suite in SUITES.values()}


def test_every_script_knows_the_options_it_is_given():
    started = {
        name: subprocess.Popen(
            [sys.executable, str(BENCHMARKS / suite["script"]), "--help"], stdout=subprocess.PIPE, text=True
        )
        for name, suite in SUITES.items()
    }
    for name, process in started.items():
        text, _ = process.communicate()
        given = [word for word in (*SUITES[name].get("quick", ()), *SUITES[name].get("peers", ())) if word[:2] == "--"]
        assert process.returncode == 0 and all(word in text for word in given), name


def test_a_foreign_calculator_is_measured_as_it_is(run, tmp_path, monkeypatch):
    before = sorted((BENCHMARKS / "results").glob("*"))
    words = "--calculator ase.calculators.lj:LennardJones --options '{\"epsilon\": 0.01}' --frames 4 ethanol_gfn2:test"
    result = run(
        "bench", "run", "calculator", "--arguments", words, "-o", str(tmp_path), "--benchmarks", str(BENCHMARKS)
    )
    assert result.exit_code == 0, result.stderr
    row = json.loads((tmp_path / "calculators.json").read_text())["rows"][0]
    frames = jorbit.read("ethanol_gfn2:test")[:4]
    wrong, energies = [], []
    for frame in frames:
        atoms = to_ase(frame.structure)
        atoms.calc = ase.calculators.lj.LennardJones(epsilon=0.01)
        wrong.append(np.abs(atoms.get_forces() - frame.labels.forces).mean())
        energies.append(atoms.get_potential_energy() - frame.labels.energy)
    assert np.isclose(row["force_mae_mev_per_angstrom"], 1e3 * np.mean(wrong), rtol=1e-10)
    left = np.abs(energies - np.mean(energies)).mean() / 9  # one composition: a constant is all that is removed
    assert np.isclose(row["energy_mae_mev_per_atom"], 1e3 * left, rtol=1e-6)
    assert row["us_per_atom"] > 0 and row["environment"]["versions"]["jax"]
    assert sorted((BENCHMARKS / "results").glob("*")) == before


def test_a_report_says_what_it_draws(run, tmp_path):
    rows = [{"model": m, "force_mae": 1 / n, "n_parameters": n} for m, n in (("a", 10), ("b", 20), ("c", 30))]
    environment = {"date": "2026-11-21T12:00:00+00:00", "load_average": [0.5, 0.4, 0.3]}
    (tmp_path / "small.json").write_text(json.dumps({"what": "three", "environment": environment, "rows": rows}))
    page = tmp_path / "page.html"
    result = run("bench", "report", "--results", str(tmp_path), "-o", str(page), "--benchmarks", str(BENCHMARKS))
    assert result.exit_code == 0, result.stderr
    words = result.stdout.split()
    assert {"small", "3", "parameters", "2026-11-21,"} <= set(words) and "(measured 2026-11-21" in page.read_text()


@pytest.mark.slow  # draws some thirty figures
def test_the_page_shows_every_file(run, tmp_path):
    page = tmp_path / "page.html"
    result = run("bench", "report", "-o", str(page), "--benchmarks", str(BENCHMARKS))
    assert result.exit_code == 0, result.stderr
    text = page.read_text()
    assert text.count("<section>") == len(list((BENCHMARKS / "results").glob("*.json")))
    assert 'src="http' not in text and "python-ace" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "nothing"], "There is no benchmark 'nothing'"),
        (["run", "sgdml"], "use --peers"),
        (["run", "sgdml", "--peers", "."], "setup.py"),
        (["run", "neighbours"], "Did you mean 'neighbors'?"),
        (["run", "neighbors", "--arguments=--cells none"], "Not completed: neighbors"),
        (["run", "neighbors", "--arguments=--cells 3", "--quick"], "leave out one of them"),
        (["report", "--results", "."], "There are no results"),
        (["list", "--benchmarks", "."], "They come with the source"),
    ],
)
def test_what_cannot_be_done_is_said(run, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = run("bench", *words, *([] if "--benchmarks" in words else ["--benchmarks", str(BENCHMARKS)]))
    assert result.exit_code == 1 and message in result.stderr


def test_a_damaged_result_is_named(run, tmp_path):
    (tmp_path / "rmd17.json").write_text('{"what": ')
    result = run("bench", "report", "--results", str(tmp_path), "-o", str(tmp_path / "p.html"))
    assert result.exit_code == 1 and "rmd17.json is not JSON" in result.stderr


def test_a_file_that_holds_no_results_is_named(run, tmp_path):
    for content in ("[1, 2]", '{"rows": 3}', '{"rows": [1]}'):
        (tmp_path / "other.json").write_text(content)
        result = run("bench", "report", "--results", str(tmp_path), "-o", str(tmp_path / "p.html"))
        assert result.exit_code == 1 and "other.json is no file of results" in " ".join(result.stderr.split())


def test_arguments_of_ones_own_and_peers_go_together(tmp_path):
    (tmp_path / "status.json").write_text(json.dumps({"sgdml": {"python": "/there/python"}}))
    suite = SUITES["sgdml"]
    assert _arguments("sgdml", suite, False, "--train 50", tmp_path) == [
        "--train",
        "50",
        "--peer-python",
        "/there/python",
    ]
    assert _arguments("sgdml", suite, False, "--peer-python mine", None) == ["--peer-python", "mine"]
    assert _arguments("sgdml", suite, True, None, tmp_path)[-2:] == ["--peer-python", "/there/python"]


def test_a_peer_that_is_not_installed_is_named_and_left_out(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "status.json").write_text(json.dumps({"sgdml": {"failed": "no wheel for this Python"}}))
    result = run("bench", "run", "sgdml", "--peers", str(tmp_path), "--benchmarks", str(BENCHMARKS))
    assert result.exit_code == 1 and "no wheel for this Python" in result.stderr
