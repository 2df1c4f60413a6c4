"""Killed at any moment, a training goes on to the same parameters, bit for bit."""

import dataclasses
import errno
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
import resumable

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.train import checkpoint, gradient_report
from jorbit.train.fingerprint import checksum
from jorbit.train.gradient import train_by_gradient

HERE = pathlib.Path(__file__).parent


@pytest.fixture(scope="module")
def uninterrupted(toy_terms):
    return resumable.run(None)


def bits(params) -> list[bytes]:
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(params)]


def logged(folder: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def start_and_kill(folder: pathlib.Path, after_step: int) -> int:
    """SIGKILL as soon as the step is logged; the step of the newest checkpoint."""
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(jorbit.__file__).parents[1])}
    words = [sys.executable, str(HERE / "resumable.py"), str(folder)]
    child = subprocess.Popen(words, env=environment)
    try:
        deadline = time.monotonic() + 240
        while child.poll() is None and time.monotonic() < deadline:
            log = folder / "log.jsonl"
            steps = [line for line in log.read_text().splitlines() if '"step"' in line] if log.exists() else []
            if any(json.loads(line).get("step", 0) >= after_step for line in steps if line.endswith("}")):
                break
            time.sleep(0.002)
        assert child.poll() is None, "the training ended before it could be killed"
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    return max(int(p.stem.split("-")[1]) for p in folder.glob("checkpoint-*.safetensors"))


@pytest.mark.slow
def test_killed_and_resumed_gives_the_same_bits(tmp_path, uninterrupted):
    step = start_and_kill(tmp_path, 17)
    assert 0 < step < 120
    result = resumable.run(tmp_path, resume=True)
    assert bits(result.params) == bits(uninterrupted.params)
    assert result.report.n_steps == 120 and not result.report.notes
    # the log holds every epoch once, with the same losses
    epochs = [line for line in logged(tmp_path) if line["event"] == "epoch"]
    assert [e["epoch"] for e in epochs] == list(range(1, 41))
    assert [e["loss"] for e in epochs] == [e["loss"] for e in uninterrupted.report.history]
    again = resumable.run(tmp_path, resume=True)  # nothing is left to do
    assert bits(again.params) == bits(uninterrupted.params) and again.report.seconds["train"] == 0


def damage(path: pathlib.Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("harm", [damage, lambda path: os.truncate(path, 100), lambda path: os.truncate(path, 0)])
def test_a_damaged_checkpoint_costs_one_interval_and_is_named(tmp_path, uninterrupted, harm):
    resumable.run(tmp_path, max_minutes=0.0)
    resumable.run(tmp_path, resume=True, max_minutes=0.0)
    assert not (old := resumable.run(tmp_path, resume=True, max_minutes=0.0)).report.notes
    newest = max(tmp_path.glob("checkpoint-*.safetensors"))
    harm(newest)
    result = resumable.run(tmp_path, resume=True)
    assert bits(result.params) == bits(uninterrupted.params) and old.report.n_steps < 120
    assert newest.name in result.report.notes[0] and "damaged" in result.report.notes[0]


def test_a_full_disk_costs_the_checkpoint_and_not_the_training(tmp_path, uninterrupted, monkeypatch):
    real, calls = checkpoint.write_whole, []

    def fails_at_first(path, content):
        calls.append(path)
        if len(calls) in (3, 4):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, content)

    monkeypatch.setattr(checkpoint, "write_whole", fails_at_first)
    result = resumable.run(tmp_path, checkpoint_minutes=0.0)
    assert bits(result.params) == bits(uninterrupted.params)
    assert len(result.report.notes) == 2 and "No space left on device" in result.report.notes[0]
    assert any(line["event"] == "checkpoint failed" for line in logged(tmp_path))


def test_a_full_disk_leaves_the_log_as_it_was(tmp_path, monkeypatch):
    log = gradient_report.RunLog(tmp_path)
    for step in (1, 2, 3):
        log.write("step", step=step)
    before = (tmp_path / "log.jsonl").read_bytes()

    def full(path, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(gradient_report, "write_whole", full)
        gradient_report.RunLog(tmp_path, step=2)
    assert (tmp_path / "log.jsonl").read_bytes() == before
    gradient_report.RunLog(tmp_path, step=2)
    assert [line["step"] for line in logged(tmp_path)] == [1, 2]


def test_charges_and_orbits_belong_to_the_data():
    frame = resumable.labelled(resumable.random_structures(1, periodic=True), resumable.TOY, resumable.true_params())[0]
    s = frame.structure
    others = [dataclasses.replace(s, charge=1.0), dataclasses.replace(s, orbits=np.zeros(s.n_atoms, int))]
    digests = {checksum([dataclasses.replace(frame, structure=x)]) for x in (s, *others)}
    assert len(digests) == 3


def test_other_runs_are_not_mixed(tmp_path):
    resumable.run(tmp_path, max_minutes=0.0)
    with pytest.raises(ConfigError, match="holds checkpoints of an earlier run"):
        resumable.run(tmp_path)
    with pytest.raises(ConfigError, match="other data, another potential or other settings"):
        resumable.run(tmp_path, resume=True, learning_rate=0.1)
    crystals = resumable.random_structures(12, periodic=True, seed=3)
    frames = resumable.labelled(crystals, resumable.TOY, resumable.true_params())
    options = {"config": dataclasses.replace(resumable.CONFIG, max_minutes=0.0), "folder": tmp_path / "tuned"}
    first, second = ({"toy_pair": {"c": np.full(12, c)}} for c in (0.1, 0.2))
    train_by_gradient(resumable.PAIR_ONLY, frames, initial=first, **options)
    with pytest.raises(ConfigError, match="other data, another potential or other settings"):
        train_by_gradient(resumable.PAIR_ONLY, frames, initial=second, resume=True, **options)


def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    options = {"learning_rate": 5.0, "warmup": 0.0, "patience": 2}
    result = resumable.run(tmp_path, **options)
    assert result.report.early and result.report.n_steps < 120
    again = resumable.run(tmp_path, resume=True, **options)
    assert again.report.early and again.report.n_steps == result.report.n_steps
    assert bits(again.params) == bits(result.params)


def test_a_rollback_leaves_no_checkpoint_from_the_time_before_it(tmp_path):
    tree = {"a": np.ones(2, np.float32)}
    for step in (10, 20):
        checkpoint.save_checkpoint(tmp_path, step, tree, {"step": step})
    checkpoint.forget_after(tmp_path, 15)
    checkpoint.save_checkpoint(tmp_path, 15, tree, {"step": 15})
    assert checkpoint.load_checkpoint(tmp_path, tree).memory == {"step": 15}


def test_a_run_with_nothing_to_resume_says_so(tmp_path):
    result = resumable.run(tmp_path, resume=True, max_minutes=0.0)
    assert "no checkpoint" in result.report.notes[0]
    with pytest.raises(ConfigError, match="needs the folder"):
        resumable.run(None, resume=True)
