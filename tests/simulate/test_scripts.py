"""The scripts in notebooks/scripts run as they are, and print numbers that are right."""

import pathlib
import re
import runpy
import warnings

import numpy as np
import pytest

SCRIPTS = pathlib.Path(__file__).parents[2] / "notebooks" / "scripts"


def output(name: str, capsys: pytest.CaptureFixture) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        runpy.run_path(str(SCRIPTS / name), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.slow
def test_nve(capsys):
    spread = float(output("nve.py", capsys).split("spread")[1].split()[0])
    assert spread < 1e-3  # of 1 eV of kinetic energy


@pytest.mark.slow
def test_npt(capsys):
    before, after = map(float, re.findall(r"(\d+) A\^3", output("npt.py", capsys)))
    assert 1.03 < after / before < 1.25


@pytest.mark.slow
def test_relaxation(capsys):
    text = output("relaxation.py", capsys)
    assert float(text.split("force")[1].split()[0]) < 1e-3
    assert "100 of 100" in text


@pytest.mark.slow
def test_replicas(capsys):
    wanted, found = (np.array(line.split()[1:], float) for line in output("replicas.py", capsys).splitlines())
    # Means of 1.4 ps of 93 motions scatter by some 8 %.
    np.testing.assert_allclose(found, wanted, rtol=0.3)
    assert abs(np.mean(found / wanted) - 1) < 0.1


@pytest.mark.slow
def test_fit_rdf(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["fit_rdf.py", "1500", "2"])
    text = output("fit_rdf.py", capsys)
    slope, numerical = (float(x) for x in re.search(r"slope (\S+), finite difference (\S+)", text).groups())
    assert slope == pytest.approx(numerical, rel=1e-4)
    errors = [float(x) for x in re.findall(r"error of g (\S+)", text)]
    assert len(errors) == 2 and errors[1] < errors[0]  # eight rounds of 6000 steps: see the script


@pytest.mark.slow
def test_fit_diffusion(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["fit_diffusion.py", "3", "40", "1"])
    text = output("fit_diffusion.py", capsys)
    slope, numerical = (float(x) for x in re.search(r"slope (\S+), finite difference (\S+)", text).groups())
    assert slope == pytest.approx(numerical, rel=1e-4)
    # Atoms that are a little too small: faster than argon's 2.4e-5 cm^2/s; a few trajectories of 0.4 ps say no more.
    assert 1e-5 < float(re.search(r"round 0: (\S+)", text).group(1)) < 2e-4


def test_every_script_is_run():
    known = {"nve.py", "npt.py", "relaxation.py", "replicas.py", "fit_rdf.py", "fit_diffusion.py"}
    assert {p.name for p in SCRIPTS.glob("*.py")} == known
