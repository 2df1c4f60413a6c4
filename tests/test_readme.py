"""What the README promises: its example runs, its tables are the measured ones, its commands and links exist."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def load_make_tables(name="make_tables"):
    """A module of benchmarks/, whose scripts import each other by name."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "benchmarks"))


def example() -> str:
    block = README.split("<!-- example: begin")[1].split("<!-- example: end -->")[0]
    return re.search(r"```python\n(.*?)```", block, re.DOTALL).group(1)


def test_example_has_at_most_fifteen_lines():
    assert len([line for line in example().splitlines() if line.strip()]) <= 15


@pytest.mark.slow
def test_example_runs_as_it_stands(tmp_path):
    check = "\nassert forces.shape == (9, 3) and len(result.times) == 21 and abs(report.training.force_mae) < 0.1\n"
    (tmp_path / "example.py").write_text(example() + check)
    done = subprocess.run(
        [sys.executable, "example.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert len(ase.io.read(tmp_path / "ethanol.extxyz", index=":")) == 21
    assert (tmp_path / "ethanol.safetensors").exists()


def test_benchmark_tables_are_what_the_results_say():
    tables = load_make_tables()
    for name, chosen in tables.PAGES.items():
        page = (ROOT / name).read_text(encoding="utf-8")
        assert tables.insert(page, tables.render(tables=chosen)) == page, "run python benchmarks/make_tables.py"


def test_tables_change_when_a_result_changes(tmp_path):
    tables = load_make_tables()
    row = {"tool": "jorbit host", "n_atoms": 1000, "us_per_atom": 3.14159}
    content = {"what": "lists", "date": "2026-01-02T03:04", "versions": {"jax": "0.10.1"}, "threads": 1, "rows": [row]}
    (tmp_path / "neighbors.json").write_text(json.dumps(content))
    first = tables.render(tmp_path)
    assert "3.14" in first and "2026-01-02" in first and "1,000 atoms" in first
    row["us_per_atom"] = 2.71828
    (tmp_path / "neighbors.json").write_text(json.dumps(content))
    assert "2.72" in tables.render(tmp_path) and "3.14" not in tables.render(tmp_path)


def test_numbers_keep_their_meaning_in_a_table():
    number = load_make_tables("result_tables").number
    assert [number(x) for x in (0.04321, 1.2345, 12.345, 1234.5, None)] == ["0.0432", "1.23", "12.3", "1234", "-"]


def test_accuracy_and_timing_stand_between_the_markers_only():
    tables = load_make_tables()
    before, rest = README.split(tables.BEGIN)
    outside = before + rest.split(tables.END)[1]
    assert not re.search(r"\d\s*(meV|µs|ms\b|ns/day|kcal)", outside)


def test_what_a_newcomer_reads_is_short():
    before, _ = README.split("## Benchmarks")
    assert len(before.splitlines()) < 140 and README.index("## Two commands") < 2500
    for wanted in ("**For whom**", "## Fifteen lines", "## What works today", "## Limits", "## Licence and citations"):
        assert wanted in before
