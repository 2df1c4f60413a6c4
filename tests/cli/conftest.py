"""A small fitted model, and runners: in this process for most tests, in another where exit codes and signals matter."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import jorbit
from jorbit.cli import app
from jorbit.datasets.extxyz import write_extxyz
from jorbit.models.linear_ace import LinearACE
from jorbit.terms.reference_energy import ReferenceEnergy


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pair potential of ethanol: enough physics to be wrong in an interesting way, and quick to compile."""
    frames = jorbit.read("ethanol_gfn2:train")[:40]
    species = jorbit.SpeciesTable.from_structures(f.structure for f in frames)
    terms = (ReferenceEnergy(n_species=3), LinearACE(n_species=3, cutoff=3.0, max_degree=(5,)))
    potential, params, report = jorbit.fit(frames, jorbit.Potential(terms=terms, species=species))
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    jorbit.save(path, potential, params, {"fit": report.provenance()})
    return path


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six labelled frames of ethanol."""
    path = tmp_path_factory.mktemp("data") / "ethanol.extxyz"
    write_extxyz(path, jorbit.read("ethanol_gfn2:test")[:6])
    return path


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run a command in this process."""
    return lambda *words: CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """A command line for another process, which finds jorbit from any folder."""
    monkeypatch.setenv("PYTHONPATH", str(Path(jorbit.__file__).parents[1]))
    return lambda *words: [sys.executable, "-m", "jorbit.cli", *map(str, words)]


@pytest.fixture
def spawn(command: Callable[..., list[str]], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess]:
    """Run a command in another process, in an empty folder."""
    return lambda *words: subprocess.run(command(*words), capture_output=True, text=True, timeout=300, cwd=tmp_path)
