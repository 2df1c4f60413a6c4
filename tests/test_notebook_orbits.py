"""The notebook about orbits runs from top to bottom, says what it shows, and lies in git without outputs."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parent.parent / "notebooks" / "03_orbits.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_stripped_and_steps_short(notebook):
    for cell in code_cells(notebook):
        assert cell.outputs == [] and cell.execution_count is None
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= 10, cell.source
    assert "%pip install" in code_cells(notebook)[0].source


@pytest.mark.slow
# jupyter_client and the event loop of asyncio warn about things of their own
@pytest.mark.filterwarnings("ignore")
def test_notebook_runs_and_its_text_is_true(notebook, tmp_path):
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    text = "".join(o.get("text", "") for cell in code_cells(notebook) for o in cell.outputs)
    images = [o for cell in code_cells(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert len(images) == 1 and "10 orbits" in text and "9 orbits" in text
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
