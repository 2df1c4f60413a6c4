"""The pages in docs/ say what is true: the example of extending.md runs, and the rooms of architecture.md exist."""

import importlib.metadata
import pathlib
import re

import jorbit
from jorbit.terms import TERMS

DOCS = pathlib.Path(__file__).parents[1] / "docs"
PACKAGE = pathlib.Path(jorbit.__file__).parent


def test_the_example_of_a_new_term_keeps_its_contract(tmp_path, monkeypatch, capsys):
    term, use = re.findall(r"```python\n(.*?)```", (DOCS / "extending.md").read_text(), flags=re.DOTALL)
    (tmp_path / "my_terms.py").write_text(term)
    monkeypatch.syspath_prepend(tmp_path)
    entry_points = importlib.metadata.entry_points

    def with_morse(*, group):
        mine = [importlib.metadata.EntryPoint("morse", "my_terms:Morse", group)] if group == "jorbit.terms" else []
        return [*entry_points(group=group), *mine]

    monkeypatch.setattr(importlib.metadata, "entry_points", with_morse)
    monkeypatch.setattr(TERMS, "_with_plugins", None)
    try:
        exec(compile(use, "extending.md", "exec"), {})
    finally:
        TERMS._with_plugins = None
    assert len(re.findall(r"-?\d\.\d+", capsys.readouterr().out)) == 9


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
