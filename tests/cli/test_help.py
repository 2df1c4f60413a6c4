"""Help that teaches, and that comes at once."""

import re
import subprocess
import sys

import pytest

import jorbit
from jorbit.cli import app

COMMANDS = [c.name or c.callback.__name__ for c in app.registered_commands]


def test_the_promised_commands_are_there():
    fits_and_runs = {"quickstart", "train", "evaluate", "predict", "md", "relax", "label"}
    properties = {"phonons", "elastic", "eos"}
    promised = fits_and_runs | properties | {"convert", "orbits", "rank", "list", "info", "doctor"}
    promised |= {"uncertainty", "active", "export", "lammps", "ipi"}
    assert set(COMMANDS) == promised


def plain(text: str) -> str:
    return " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯─]", " ", text).split())


def test_overview_names_every_command_units_and_where_to_start(run):
    result = run("--help")
    assert result.exit_code == 0
    text = plain(result.stdout)
    assert "jorbit quickstart" in text and "positive under tension" in text
    assert all(name in text for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_sentence_and_an_example(run, name):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"Example: jorbit {name}" in plain(result.stdout)
    assert "[bold]" not in result.stdout  # markup is rendered, not shown


def test_brackets_that_are_no_markup_survive(run):
    assert "pip install 'jorbit[label]'" in plain(run("label", "--help").stdout)


def test_without_arguments_help_is_shown_and_the_exit_code_is_that_of_a_usage_error(run):
    result = run()
    assert result.exit_code == 2 and "quickstart" in result.output


def test_version(run):
    result = run("--version")
    assert result.exit_code == 0 and result.stdout.strip() == f"jorbit {jorbit.__version__}"


def test_help_does_not_wait_for_jax():
    heavy = ("jax", "numpy", "ase", "matplotlib", "jax_md", "pydantic")
    code = f"import sys, jorbit.cli; print([m for m in {heavy} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr
