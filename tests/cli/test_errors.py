"""When something goes wrong: one readable message on stderr, the right exit code, and no traceback unless asked for."""

import os
import signal
import subprocess
import time
from pathlib import Path

import ase
import ase.io
import pytest

import jorbit
from jorbit.cli import console

CONFIG = "data:\n  train: ethanol_gfn2\n  train_size: 5\noutput: {output}\n"


def message(result) -> str:
    """The message of a failed command; checks that it is one, on stderr, with exit code 1."""
    text = " ".join(result.stderr.split())
    assert result.exit_code == 1, result.output
    assert text.startswith("Error: ") and "Traceback" not in result.output and result.stdout == ""
    return text


@pytest.fixture
def helium(tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "helium.xyz", ase.Atoms("He2", positions=[[0, 0, 0], [0, 0, 3.0]]), format="extxyz")
    return tmp_path / "helium.xyz"


def test_missing_model(run, data, tmp_path):
    assert "missing.safetensors" in message(run("evaluate", tmp_path / "missing.safetensors", data))


def test_missing_data_and_the_closest_data_set(run, model):
    assert "Did you mean the data set 'ethanol_gfn2'?" in message(run("evaluate", model, "ethanol_gfn"))


def test_malformed_extxyz_names_file_and_line(run, model, tmp_path):
    broken = tmp_path / "broken.xyz"
    broken.write_text("2\nProperties=species:S:1:pos:R:3 energy=1.0\nH 0 0 0\nH 0 0 oops\n")
    text = message(run("evaluate", model, broken))
    assert "broken.xyz" in text and "frame 0" in text


def test_unknown_element_is_named_and_no_file_is_left(run, model, helium, tmp_path):
    text = message(run("predict", model, helium, "-o", tmp_path / "out.xyz"))
    assert "H, C, O" in text and "holds He" in text
    assert [path.name for path in tmp_path.iterdir()] == ["helium.xyz"]


@pytest.mark.parametrize("name", ["md", "relax"])
def test_unknown_element_in_a_simulation(run, model, helium, tmp_path, name):
    assert "holds He" in message(run(name, model, helium, "-o", tmp_path / "out.xyz"))


def test_corrupt_model(run, model, data, tmp_path):
    content = bytearray(model.read_bytes())
    content[-3] ^= 1
    (tmp_path / "bad.safetensors").write_bytes(content)
    assert "sha256" in message(run("evaluate", tmp_path / "bad.safetensors", data))
    (tmp_path / "short.safetensors").write_bytes(model.read_bytes()[:100])
    assert "truncated" in message(run("info", tmp_path / "short.safetensors"))


def test_unknown_config_key_gets_a_suggestion(run, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(CONFIG.format(output="m.safetensors") + "potential:\n  - name: linear_ace\n    cutof: 4.0\n")
    assert "Did you mean 'cutoff'?" in message(run("train", config))
    config.write_text(CONFIG.format(output="m.safetensors") + "fit: {pryor: bayes}\n")
    assert "Did you mean 'prior'?" in message(run("train", config))
    config.write_text(CONFIG.format(output="m.safetensors") + "potential:\n  - name: linear_ase\n")
    assert "Did you mean 'linear_ace'?" in message(run("train", config))


def test_missing_config(run, tmp_path):
    assert "nothing.yaml" in message(run("train", tmp_path / "nothing.yaml"))


def test_unwritable_output_is_noticed_before_the_work(run, model, data, tmp_path):
    nowhere = tmp_path / "no" / "such" / "out.xyz"
    for words in (("predict", model, data), ("md", model, data), ("relax", model, data), ("label", data)):
        started = time.process_time()
        assert "no directory" in message(run(*words, "-o", nowhere))
        assert time.process_time() - started < 2.0  # nothing was compiled
    assert "folder" in message(run("predict", model, data, "-o", tmp_path)) or tmp_path.is_dir()
    (tmp_path / "file").write_text("")
    assert "file" in message(run("quickstart", "-o", tmp_path / "file"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device /dev/full of Linux")
def test_full_disk(run, model, data):
    assert "No space left on device" in message(run("md", model, data, "--steps", 1, "-o", "/dev/full"))


def test_usage_errors_exit_with_2(run):
    assert run("evaluate").exit_code == 2
    assert run("no-such-command").exit_code == 2
    result = run("md", "m", "s", "--ensemble", "nvx")
    assert result.exit_code == 2 and "nvt_langevin" in result.stderr


def test_unexpected_errors_are_one_message_too(run, model, data, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(jorbit, "load", broken, raising=False)
    text = message(run("evaluate", model, data))
    assert "ZeroDivisionError: a bug" in text and "--debug" in text


def test_debug_shows_the_traceback_and_no_debug_does_not(spawn):
    quiet, loud = spawn("info", "missing"), spawn("--debug", "info", "missing")
    assert quiet.returncode == loud.returncode == 1 and quiet.stdout == loud.stdout == ""
    assert "Traceback" not in quiet.stderr and quiet.stderr.startswith("Error: ")
    assert "Traceback" in loud.stderr and "ModelFileError" in loud.stderr


def test_reading_end_of_a_pipe_may_close(command):
    line = " ".join(command("list")) + " | head -1"
    result = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=120)
    assert result.stdout == "models\n" and "Traceback" not in result.stderr


@pytest.mark.slow
def test_ctrl_c_leaves_a_usable_trajectory(command, model, data, tmp_path):
    output = tmp_path / "md.extxyz"
    process = subprocess.Popen(
        command("md", model, data, "--ps", 10000, "-o", output),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 200
    while (not output.exists() or output.stat().st_size == 0) and process.poll() is None:
        assert time.monotonic() < deadline, "no trajectory"
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped." in stderr and str(output) in stderr.replace("\n", "") and "Traceback" not in stderr
    frames = ase.io.read(output, index=":")
    assert len(frames) >= 10 and all(len(f) == 9 for f in frames)


def test_ctrl_c_during_predict_keeps_the_finished_frames(run, model, data, tmp_path, monkeypatch):
    real, calls = jorbit.predict, []

    def third_time_stopped(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(jorbit, "predict", third_time_stopped, raising=False)
    result = run("predict", model, data, "-o", tmp_path / "out.extxyz")
    assert result.exit_code == 130 and "first 2 of 6 frames" in " ".join(result.stderr.split())
    assert len(ase.io.read(tmp_path / "out.extxyz", index=":")) == 2


def test_ctrl_c_before_the_first_prediction_leaves_an_old_file_alone(run, model, data, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    (tmp_path / "out.extxyz").write_text("old")
    monkeypatch.setattr(jorbit, "predict", stopped, raising=False)
    result = run("predict", model, data, "-o", tmp_path / "out.extxyz")
    assert result.exit_code == 130 and "Stopped." in result.stderr
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("out.extxyz", "old")]


def test_only_files_written_in_this_run_are_called_usable(tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("")
    os.utime(old, (1, 1))
    with pytest.raises(console.Interrupted, match="new") as stop, console.leaving(old, new):
        new.write_text("")
        raise KeyboardInterrupt
    assert "old" not in str(stop.value)
