"""The pages in docs/ say what is true: components of extending.md and recipes/ run, rooms of architecture.md exist."""

import importlib.metadata
import importlib.util
import json
import pathlib
import re
from collections.abc import Iterator

import numpy as np
import pytest

import jorbit
from jorbit.core.structure import Frame, Labels
from jorbit.datasets import DATASETS
from jorbit.datasets.extxyz import write_extxyz
from jorbit.descriptors import DESCRIPTORS
from jorbit.losses import LOSSES
from jorbit.models import MODELS
from jorbit.terms import TERMS
from jorbit.testing import systems

REGISTRIES = {registry.group: registry for registry in (DATASETS, DESCRIPTORS, LOSSES, MODELS, TERMS)}

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PACKAGE = pathlib.Path(jorbit.__file__).parent


PAGES = ["extending.md", "recipes/descriptor.md", "recipes/loss.md", "recipes/dataset.md"]


@pytest.mark.parametrize("page", [*PAGES, pytest.param("recipes/model.md", marks=pytest.mark.slow)])
def test_a_component_written_as_a_page_says_keeps_its_contract(page, tmp_path, monkeypatch, capsys):
    """Its first block is the component, its second the use; the entry point is what an installed package would give."""
    text = (DOCS / page).read_text()
    component, use = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / re.findall(r"[Ss]ave it\s+as `(\w+\.py)`", text)[0]).write_text(component)
    if page.endswith("dataset.md"):
        water = systems.water()
        frames = [Frame(structure=water, labels=Labels(energy=float(-k), forces=np.zeros((3, 3)))) for k in range(10)]
        write_extxyz(tmp_path / "my_water.extxyz", frames)
    monkeypatch.syspath_prepend(tmp_path)
    group, name, value = re.findall(r'entry-points\."(jorbit\.\w+)"\]\n(\w+) = "(\S+)"', text)[0]
    entry_points = importlib.metadata.entry_points

    def with_mine(*, group, wanted=group):
        mine = [importlib.metadata.EntryPoint(name, value, group)] if group == wanted else []
        return [*entry_points(group=group), *mine]

    registry = REGISTRIES[group]
    monkeypatch.setattr(importlib.metadata, "entry_points", with_mine)
    monkeypatch.setattr(registry, "_with_plugins", None)
    try:
        exec(compile(use, page, "exec"), {"__name__": page})
        assert registry.load(name).__module__ == value.partition(":")[0]
    finally:
        registry._with_plugins = None
    printed = capsys.readouterr().out
    if page == "extending.md":
        assert len(re.findall(r"-?\d\.\d+", printed)) == 9
    if page == "recipes/dataset.md":
        assert "10 frames" in printed and " 2 " in printed


def test_every_file_that_architecture_says_is_there_is_there():
    page = (DOCS / "architecture.md").read_text()
    rooms = page.split("```\njorbit/\n")[1].split("\n```")[0]
    there = re.findall(r"^[├└]── (\w+)(/|\.py)", rooms, flags=re.MULTILINE)
    planned = {"orbits"}
    missing = [name for name, kind in there if name not in planned and not (PACKAGE / (name + kind)).exists()]
    assert len(there) >= 13 and not missing


def test_every_room_is_on_the_plan():
    page = (DOCS / "architecture.md").read_text()
    rooms = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()}
    assert {room for room in rooms if f"── {room}/" not in page} <= {"tests", "docs"}
    for core in (PACKAGE / "core").glob("[a-z]*.py"):
        assert core.name in page, f"core/{core.name} is not on the plan"


@pytest.mark.slow
def test_the_code_of_the_migration_page_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "migration.md").read_text(), flags=re.DOTALL)
    names: dict = {}
    for block in blocks:
        exec(compile(block, "migration.md", "exec"), names)
    energies = [float(x) for x in re.findall(r"-\d+\.\d+", capsys.readouterr().out)]
    assert len(energies) == 2 and np.ptp(energies) < 0.1  # eV: one step apart
    assert names["atoms"].get_forces().shape == (9, 3)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_links_of_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[)#]", (DOCS / page).read_text()):
        assert target.startswith("http") or (DOCS / target).exists(), target


MEASURED = re.compile(r"(?<![\w.-])(\d+(?:\.\d+)?)(?= (?:meV|µs|ms\b|ns/day|kcal|ps/s))")


def numbers_in(data) -> Iterator[float]:
    if isinstance(data, dict):
        data = data.values()
    if isinstance(data, int | float):
        yield float(data)
    elif not isinstance(data, str | None):
        for item in data:
            yield from numbers_in(item)


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md") if path.name != "architecture.md"))
def test_measured_numbers_on_pages_are_in_a_file_of_results(page):
    """Rounded as they are printed; in eV, meV or µeV. The plan, architecture.md, has numbers of prototypes."""
    files = (DOCS.parent / "benchmarks" / "results").glob("*.json")
    known = np.array([x for file in files for x in numbers_in(json.loads(file.read_text()))])
    known = np.concatenate([known, 1e3 * known, 1e6 * known])
    for quoted in MEASURED.findall((DOCS / page).read_text()):
        last_digit = 10.0 ** -len(quoted.partition(".")[2])
        assert np.abs(known - float(quoted)).min() <= 0.501 * last_digit, f"{page}: {quoted}"


def test_the_page_of_public_names_is_what_the_docstrings_say():
    specification = importlib.util.spec_from_file_location("make_api", DOCS / "make_api.py")
    make_api = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(make_api)
    page = make_api.render()
    assert page == (DOCS / "api.md").read_text(), "run python docs/make_api.py"
    assert "|  |\n" not in page, "a public name has no docstring"
    assert all(f"| `{name}` |" in page for name in jorbit.__all__)
