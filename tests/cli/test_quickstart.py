"""`jorbit quickstart`: small in this process, and once as a stranger runs it."""

import resource
import shlex
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest

import jorbit
from jorbit.cli import quickstart

FILES = ("model.safetensors", "report.html", "trajectory.extxyz")


@pytest.fixture
def small(monkeypatch):
    """The same steps with fewer frames, functions and time steps."""
    for name, value in {
        "N_TRAIN": 20,
        "N_TEST": 40,
        "ACE_DEGREES": (5, 3),
        "PAIR_DEGREES": (5,),
        "N_STEPS": 50,
    }.items():
        monkeypatch.setattr(quickstart, name, value)


@pytest.mark.slow
def test_small_quickstart_writes_its_files_and_its_next_commands_work(small, run, command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("quickstart")
    assert result.exit_code == 0, result.stderr
    assert all((tmp_path / "jorbit-quickstart" / name).stat().st_size > 0 for name in FILES)
    for words in (*quickstart.MODEL_NAMES, "meV/atom/ps", "report.html", "Next:"):
        assert words in result.stdout
    assert (tmp_path / "jorbit-quickstart/report.html").read_text().count("<img") == 4
    frames = ase.io.read(tmp_path / "jorbit-quickstart/trajectory.extxyz", index=":")
    assert len(frames) == 11
    potential, params = jorbit.load(tmp_path / "jorbit-quickstart/model.safetensors")
    again = jorbit.predict(potential, params, jorbit.read(tmp_path / "jorbit-quickstart/trajectory.extxyz"))
    for atoms, prediction in zip(frames, again, strict=True):
        # the simulation ran the model that lies in the file; positions are written with 8 decimals
        assert atoms.get_potential_energy() == pytest.approx(float(prediction.energy[0]), abs=1e-5)
        np.testing.assert_allclose(atoms.get_forces(), prediction.forces, atol=1e-5)

    printed = [line.strip() for line in result.stdout.splitlines() if line.strip().startswith("jorbit ")]
    assert len(printed) == 3
    evaluate, md, train = (line.replace("jorbit ", f"{shlex.join(command())} ") for line in printed)
    for line in (evaluate, md, train.split(" && ")[0]):  # the fit itself takes minutes; its file is checked here
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=300, cwd=tmp_path)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    from jorbit.train.config import load_config

    assert load_config(tmp_path / train.split()[-1]).data.train


def test_commands_name_the_program_that_was_run(monkeypatch, tmp_path):
    program = tmp_path / "my venv" / "jorbit"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setattr(sys, "argv", [str(program)])
    monkeypatch.setattr("shutil.which", lambda name: None)
    line = quickstart.next_commands(Path("out put"))[0][0]
    assert shlex.split(line) == [str(program), "evaluate", "out put/model.safetensors", f"{quickstart.DATA}:test"]
    monkeypatch.setattr("shutil.which", lambda name: str(program))
    assert quickstart.next_commands(Path("a"))[0][0].startswith("jorbit evaluate a/model.safetensors")


def test_frames_to_fit_and_held_out_frames_are_disjoint():
    train, test = quickstart.load_split()
    assert (len(train), len(test)) == (200, 500)
    seen = {frame.structure.positions.tobytes() for frame in train}
    assert not any(frame.structure.positions.tobytes() in seen for frame in test)


@pytest.mark.slow
def test_quickstart_stopped_early_names_what_is_usable(small, run, monkeypatch, tmp_path):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(jorbit.simulate, "run", stopped, raising=False)
    result = run("quickstart", "-o", tmp_path / "out")
    assert result.exit_code == 130
    assert "model.safetensors" in result.stderr and "report.html" not in result.stderr
    assert jorbit.load(tmp_path / "out/model.safetensors")


@pytest.mark.slow
def test_full_quickstart_beats_the_baselines_within_its_time(spawn, tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = spawn("quickstart")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert result.returncode == 0, result.stderr
    # 90 s on two quiet cores; processor time, because the cores here may be shared
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 180
    rows = [line.split("│")[1:-1] for line in result.stdout.splitlines() if line.startswith("│")]
    errors = {row[0].strip(): [float(x) for x in row[1:]] for row in rows}
    mean, pair, ace = (errors[name] for name in quickstart.MODEL_NAMES)
    assert all(a < p < m for a, p, m in zip(ace, pair, mean, strict=True))
    assert ace[2] < 43 and ace[0] < 43 / 9  # meV/Å, meV/atom: 43 meV is 1 kcal/mol
    drift = float(result.stdout.split("total energy:")[1].split()[0])
    uncertainty = float(result.stdout.split("±")[1].split()[0])
    assert abs(drift) < 5 * uncertainty < 1.0  # meV/atom/ps: no drift beyond its own scatter
