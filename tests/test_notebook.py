"""The notebooks run from top to bottom, show what they say, and lie in git without outputs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
MINUTES = 5  # that a notebook may take on two cores, compilation included


@pytest.fixture(params=sorted(path.name for path in FOLDER.glob("*.ipynb")))
def notebook(request: pytest.FixtureRequest) -> nbformat.NotebookNode:
    return nbformat.read(FOLDER / request.param, as_version=4)


def executed(name: str, folder: Path) -> tuple[str, int]:
    """Run a notebook in a folder: everything it printed, and how many figures it drew."""
    notebook = nbformat.read(FOLDER / name, as_version=4)
    before = processor_seconds()
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}).execute()
    assert processor_seconds() - before < MINUTES * 60 * 2, f"{name} takes more than {MINUTES} minutes on two cores"
    outputs = [o for cell in code_cells(notebook) for o in cell.outputs]
    text = "".join(o.get("text", "") for o in outputs)
    return text, sum("image/png" in o.get("data", {}) for o in outputs)


def processor_seconds() -> float:
    """Of processes that have ended: what others do on the machine does not count."""
    used = os.times()  # zeros for the children on Windows
    return used.children_user + used.children_system


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_stripped(notebook):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))


def test_first_cell_installs_what_is_missing(notebook, tmp_path, monkeypatch):
    """From the clone, or from a wheel beside the notebook; never by the name alone: PyPI has another package of it."""
    lines = code_cells(notebook)[0].source.splitlines()
    assert lines[-1].strip().startswith("%pip install")
    cell = "\n".join([*lines[:-1], "    chosen = missing"])
    every = "\n".join(code.source for code in code_cells(notebook))
    labels = ["tblite"] if "jorbit.datasets.label " in every else []
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr("shutil.which", lambda name: None)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")

    def installed() -> list[str]:
        names: dict = {}
        exec(compile(cell, "install", "exec"), names)
        return names.get("chosen", [])

    with pytest.raises(AssertionError, match="Upload a wheel"):
        installed()
    for version in ("0.1.0", "0.2.0"):
        Path(f"jorbit-{version}-py3-none-any.whl").touch()
    wheel = Path("jorbit-0.2.0-py3-none-any.whl").resolve().as_uri()
    assert installed() == [f"jorbit[] @ {wheel}", *labels]
    monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/nvidia-smi")
    assert installed() == [f"jorbit[cuda12] @ {wheel}", *labels]
    Path("../pyproject.toml").touch()
    assert installed() == [f"jorbit[cuda12] @ {tmp_path.resolve().as_uri()}", *labels]
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert installed() == []


def test_no_step_takes_more_than_ten_lines(notebook):
    for cell in code_cells(notebook):
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= 10, cell.source


def test_every_step_is_explained(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown" and kinds.count("markdown") >= kinds.count("code") - 1


def test_every_notebook_is_a_lesson_of_the_course_and_leads_to_the_next():
    assert subprocess.run([sys.executable, str(FOLDER / "make_course.py"), "--check"]).returncode == 0
    names = sorted(path.name for path in FOLDER.glob("*.ipynb"))
    for number, name in enumerate(names, 1):
        title, course, *_, last = nbformat.read(FOLDER / name, as_version=4).cells
        assert title.source.startswith("# ") and "colab-badge.svg" in course.source
        assert f"Notebook {number} of {len(names)}" in course.source and "On a GPU" in course.source
        assert f"]({names[number % len(names)]})" in last.source


def test_notebooks_hold_no_path_of_a_machine(notebook):
    for cell in notebook.cells:
        assert not re.search(r"(?<![\w.:/])/(home|work|tmp|root|Users|mnt|opt)\b|[A-Z]:\\\\", cell.source), cell.source


# jupyter_client and the event loop of asyncio warn about things of their own
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_quickstart_runs(tmp_path):
    text, n_images = executed("01_quickstart.ipynb", tmp_path)
    assert "force MAE" in text and " converged" in text and "not converged" not in text
    assert n_images == 2
    assert (tmp_path / "model.safetensors").exists() and (tmp_path / "nve.extxyz").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_optimal_invariants_runs_and_shows_what_it_says(tmp_path):
    text, n_images = executed("02_optimal_invariants.ipynb", tmp_path)
    assert n_images == 3
    assert abs(float(text.split("energy difference: ")[1].split()[0])) > 1.0  # eV, between equal histograms
    assert "hop13:2,3 separated: False" in text and "hop13:3,3 separated: True" in text
    assert "rank 13 of 13" in text and "hop13 False\nfull20 False\nflex15 True" in text
    several, one = (int(text.split(name)[1].split()[0]) for name in ("hop13: ", "hop14: "))
    assert several > 1 and one == 1
    complete, pruned = (text.split(name)[1].split("]")[0].split() for name in ("all invariants [", "\npruned ["))
    assert all(float(a) < float(b) for a, b in zip(complete, pruned, strict=True))  # a linear readout loses


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_orbits_runs_and_its_text_is_true(tmp_path):
    text, n_images = executed("03_orbits.ipynb", tmp_path)
    assert n_images == 1 and "10 orbits" in text and "9 orbits" in text
    rows = {
        name.strip(): (int(functions), float(mae))
        for name, functions, mae in re.findall(r"^(\D+?)\s+(\d+) functions.*MAE\s+([\d.]+)", text, re.MULTILINE)
    }
    small, large, orbits = rows["elements"], rows["elements, larger"], rows["orbits"]
    assert small[0] == orbits[0] and 2.5 * orbits[0] < large[0]  # "a third of the functions"
    assert orbits[1] < 0.8 * small[1] and orbits[1] < 1.1 * large[1]  # "about as accurate"
    energies = re.findall(r"^\[(-\d+\.\d+)\]$", text, re.MULTILINE)
    assert len(energies) == 2 and abs(float(energies[0]) - float(energies[1])) < 1e-6
    assert "does not fit the orbits of the model" in text


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_kernels_runs_and_symmetry_pays(tmp_path):
    text, n_images = executed("05_kernels.ipynb", tmp_path)
    assert n_images == 2
    assert "permutations: 6 of 12" in text and "relaxed: True" in text
    assert "This sGDML model is for C2H6O" in text
    plain, symmetric = (float(text.split(f"{name}: force MAE ")[1].split()[0]) for name in ("no symmetry", "symmetric"))
    assert symmetric < 0.8 * plain
    inside, outside = re.findall(r"(\d+) meV (?:inside|outside)", text)
    assert int(outside) > 5 * int(inside)  # the band opens where there were no data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_training_a_network_learns_and_runs(tmp_path):
    text, n_images = executed("04_train_a_network.ipynb", tmp_path)
    first, last = (int(re.search(rf"after {n} epochs? (\d+)", text).group(1)) for n in (1, 150))
    assert last < 0.3 * first and n_images == 1
    assert 100 < float(text.split("mean temperature ")[1].split()[0]) < 600
    assert (tmp_path / "ethanol_nvt.extxyz").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_long_range_and_safety_breaks_without_the_watchman_and_stops_with_him(tmp_path):
    text, n_images = executed("06_long_range_and_safety.ipynb", tmp_path)
    assert n_images == 3
    assert abs(float(text.split("Madelung constant: ")[1].split()[0]) - 1.747565) < 1e-6
    local, charged = (int(text.split(f"{name}: largest error ")[1].split()[0]) for name in ("local", "with charges"))
    assert charged < 0.05 * local
    hottest = [int(t) for t in re.findall(r"hottest: (\d+) K", text)]
    blown_up = "has blown up" in text
    assert hottest[-1] < 5000 and (blown_up or hottest[0] > 5000)
    assert "is above 0.3 eV" in text and int(text.split("kept: ")[1].split()[0]) > 0
    before, after = (float(x) for x in re.search(r"forces: error / deviation (\S+) before, (\S+) after", text).groups())
    assert before > 1.5 and abs(after - 1) < 0.25
    start, stop = (int(n) for n in re.findall(r"error of the energy, [a-z ]+: (\d+) meV", text))
    assert stop > 5 * start
    for inside, outside in re.findall(r": (\S+) at 300 K, (\S+) where the run was stopped", text):
        assert float(outside) > 2 * float(inside)
    assert (tmp_path / "safe.safetensors").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_molecular_dynamics_of_a_fitted_model_is_that_of_the_truth(tmp_path):
    text, n_images = executed("07_jax_md.ipynb", tmp_path)
    assert n_images == 2 and (tmp_path / "nvt.checkpoint").exists()
    assert float(text.split("force MAE ")[1].split()[0]) < 1.0  # meV/Å, of forces of some 20
    assert abs(float(text.split("drift ")[1].split()[0])) < 1e-2
    assert abs(float(text.split("temperature ")[1].split()[0]) - 40) < 3
    difference, peak = (float(x) for x in re.search(r"difference (\S+) of a peak of (\S+)", text).groups())
    assert difference < 0.1 * peak
    fitted, true = (float(x) for x in re.findall(r"(?:fitted|true) (\S+) Å³", text))
    assert abs(fitted / true - 1) < 0.015
    ours, direct = (float(x) for x in re.findall(r"(-\d+\.\d+) eV", text)[-2:])
    assert abs(ours - direct) < 1e-3
