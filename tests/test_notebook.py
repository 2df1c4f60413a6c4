"""The notebook runs from top to bottom, and lies in git without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parent.parent / "notebooks" / "01_quickstart.ipynb"


@pytest.fixture
def notebook() -> nbformat.NotebookNode:
    return nbformat.read(PATH, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_outputs_are_stripped(notebook):
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))


def test_first_cell_installs_what_is_missing(notebook):
    assert "%pip install" in code_cells(notebook)[0].source


def test_no_step_takes_more_than_ten_lines(notebook):
    for cell in code_cells(notebook):
        assert len([line for line in cell.source.splitlines() if line.strip()]) <= 10, cell.source


def test_every_step_is_explained(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert kinds[0] == "markdown" and kinds.count("markdown") >= kinds.count("code") - 1


@pytest.mark.slow
# jupyter_client and the event loop of asyncio warn about things of their own
@pytest.mark.filterwarnings("ignore")
def test_notebook_runs(notebook, tmp_path):
    client = NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    client.execute()
    text = "".join(o.get("text", "") for cell in code_cells(notebook) for o in cell.outputs)
    images = [o for cell in code_cells(notebook) for o in cell.outputs if "image/png" in o.get("data", {})]
    assert "force MAE" in text and " converged" in text and "not converged" not in text
    assert len(images) == 2
    assert (tmp_path / "model.safetensors").exists() and (tmp_path / "nve.extxyz").exists()
