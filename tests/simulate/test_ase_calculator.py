"""The ASE calculator: ASE's own numerical checks, the skin, compilations, and bad input."""

import ase
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from simulated_systems import SYSTEMS, argon, argon_crystal, random_ace, structure_of, triclinic_argon

import jorbit
from jorbit.core.compilation import compilations
from jorbit.core.errors import (
    ConfigError,
    DataError,
    JorbitError,
    SimulationError,
    StructureError,
    UnknownSpeciesError,
)
from jorbit.simulate import relax


@pytest.mark.parametrize("system", SYSTEMS)
def test_forces_and_stress_pass_ases_numerical_checks(system: str):
    make_potential, make_atoms = SYSTEMS[system]
    atoms = make_atoms()[:8]
    atoms.calc = jorbit.Calculator(make_potential())
    some = [0, 5]
    forces = calculate_numerical_forces(atoms, eps=1e-4, iatoms=some)
    # Central differences: the error is the third derivative times eps^2 / 6.
    np.testing.assert_allclose(atoms.get_forces()[some], forces, atol=1e-6)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-5), atol=1e-8)
    assert np.abs(atoms.get_stress()).max() > 1e-4
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy(), abs=1e-10)
    assert atoms.calc.get_property("free_energy", atoms) == atoms.get_potential_energy()


@pytest.mark.parametrize("system", SYSTEMS)
def test_the_skin_saves_searches_and_changes_no_number(system: str):
    make_potential, make_atoms = SYSTEMS[system]
    atoms = make_atoms()
    rng = np.random.default_rng(0)
    with_skin, without = jorbit.Calculator(make_potential(), skin=0.8), jorbit.Calculator(make_potential(), skin=0.0)
    for _ in range(5):
        atoms.positions += 0.03 * rng.normal(size=atoms.positions.shape)
        for calculator in (with_skin, without):
            calculator.calculate(atoms)
        for name in ("energy", "forces", "stress"):
            np.testing.assert_allclose(with_skin.results[name], without.results[name], atol=1e-11)
    assert with_skin.n_rebuilds == 1
    assert without.n_rebuilds == 5
    atoms.set_cell(1.01 * atoms.cell.array, scale_atoms=False)
    for calculator in (with_skin, without):
        calculator.calculate(atoms)
    assert with_skin.n_rebuilds == 2
    assert with_skin.results["energy"] == pytest.approx(without.results["energy"], abs=1e-11)


def test_nothing_is_compiled_again_while_the_atom_count_stays_in_its_bucket():
    calculator = jorbit.Calculator(argon())
    crystal = argon_crystal()
    calculator.calculate(crystal[:32])
    before = compilations()["ase_calculator"]
    for n_atoms in (31, 30, 29):  # 29 to 32 share a bucket
        calculator.calculate(crystal[:n_atoms])
    assert compilations()["ase_calculator"] == before


def test_the_calculator_keeps_its_own_copy_of_the_atoms():
    atoms = triclinic_argon()
    atoms.calc = jorbit.Calculator(argon())
    first = atoms.get_potential_energy()
    assert atoms.calc.atoms is not atoms
    atoms.positions[0] += 0.2
    assert atoms.get_potential_energy() != first
    atoms.positions[0] -= 0.2
    assert atoms.get_potential_energy() == pytest.approx(first, abs=1e-12)


def test_another_total_charge_is_another_system():
    atoms = triclinic_argon()
    atoms.calc = calculator = jorbit.Calculator(argon())
    atoms.get_potential_energy()
    assert calculator.check_state(atoms) == []
    atoms.info["charge"] = 1.0
    assert calculator.check_state(atoms) == ["charge"]
    atoms.get_potential_energy()
    assert calculator.check_state(atoms) == [] and calculator.atoms.info["charge"] == 1.0
    atoms.set_array("orbit", np.zeros(len(atoms), int))
    assert calculator.check_state(atoms) == ["orbit"]


def test_a_molecule_has_no_stress():
    water = molecule("H2O")
    water.numbers[:] = 18
    water.calc = jorbit.Calculator(argon())
    assert np.isfinite(water.get_potential_energy())
    with pytest.raises(PropertyNotImplementedError):
        water.get_stress()


@pytest.mark.parametrize("system", SYSTEMS)
def test_float32_after_float64_in_one_process_agrees_to_its_precision(system: str):
    # JAX 0.10 remembers an int64 index array by identity, and fails when it meets it again without 64-bit types.
    make_potential, make_atoms = SYSTEMS[system]
    atoms = make_atoms()
    double, single = jorbit.Calculator(make_potential()), jorbit.Calculator(make_potential(), dtype="float32")
    double.calculate(atoms)
    single.calculate(atoms)
    np.testing.assert_allclose(single.results["forces"], double.results["forces"], atol=1e-5)
    assert single.results["energy"] != double.results["energy"]


def test_bad_input_gives_an_error_that_names_it(tmp_path):
    with pytest.raises(JorbitError, match="nowhere"):
        jorbit.Calculator(tmp_path / "nowhere.safetensors")
    with pytest.raises(ConfigError, match="potential, params"):
        jorbit.Calculator(argon()[0])
    with pytest.raises(ConfigError, match="skin"):
        jorbit.Calculator(argon(), skin=-0.1)
    with pytest.raises(ConfigError, match="float16"):
        jorbit.Calculator(argon(), dtype="float16")
    calculator = jorbit.Calculator(argon())
    with pytest.raises(UnknownSpeciesError, match="Xe"):
        ase.Atoms("Xe", calculator=calculator).get_potential_energy()
    with pytest.raises(StructureError, match="no atoms"):
        ase.Atoms(calculator=calculator).get_potential_energy()
    atoms = triclinic_argon()
    atoms.calc = calculator
    atoms.get_potential_energy()
    atoms.positions[2, 1] = np.nan
    with pytest.raises(StructureError, match="NaN"):
        atoms.get_potential_energy()
    atoms.positions[2] = atoms.positions[3]
    with pytest.raises(JorbitError, match=r"one place|0 Å"):
        atoms.get_potential_energy()
    flat = triclinic_argon()
    flat.cell[2] = flat.cell[1]
    flat.calc = calculator
    with pytest.raises(StructureError, match="singular"):
        flat.get_potential_energy()


def test_one_atom_alone_has_its_reference_energy():
    potential, params = argon()
    atoms = ase.Atoms("Ar", calculator=jorbit.Calculator((potential, params)))
    assert atoms.get_potential_energy() == pytest.approx(-0.1, abs=1e-12)
    assert np.abs(atoms.get_forces()).max() == 0.0


@pytest.mark.parametrize("optimizer", ["bfgs", "fire"])
def test_relaxation_ends_at_a_minimum_with_whole_frames_on_disk(optimizer: str, tmp_path):
    potential, params = argon()
    atoms = argon_crystal((1, 1, 1))
    path = tmp_path / "relaxed.extxyz"
    steps = []
    result = relax(
        potential,
        params,
        structure_of(atoms),
        max_force=1e-3,
        optimizer=optimizer,
        relax_cell=optimizer == "bfgs",
        trajectory=path,
        on_step=lambda n, energy, force: steps.append((n, energy, force)),
    )
    assert result.converged
    assert result.max_force < 1e-3
    assert result.energies[-1] < result.energies[0]
    if optimizer == "bfgs":
        # The generalised force on the cell is stress times volume, in units of the number of atoms' forces.
        assert np.abs(result.stress).max() * result.structure.volume < 4e-3
    frames = jorbit.read(path)
    assert len(frames) == len(result.energies) == len(steps) == result.n_steps + 1
    assert frames[-1].labels.energy == pytest.approx(result.energies[-1], abs=1e-7)


def test_relaxation_refuses_what_it_cannot_do(tmp_path):
    potential, params = random_ace()
    molecule_of_mgo = structure_of(ase.Atoms("MgO", [[0, 0, 0], [0, 0, 1.9]]))
    with pytest.raises(ConfigError, match="repeats"):
        relax(potential, params, molecule_of_mgo, relax_cell=True)
    with pytest.raises(ConfigError, match="bfgs"):
        relax(potential, params, molecule_of_mgo, optimizer="sgd")
    with pytest.raises(DataError, match="folder"):
        relax(potential, params, molecule_of_mgo, trajectory=tmp_path / "no" / "x.extxyz")


def test_two_atoms_at_one_place_are_named_even_by_a_potential_that_diverges():
    calculator = jorbit.Calculator(argon())
    pair = ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 0]], calculator=calculator)
    with pytest.raises((SimulationError, StructureError)):
        pair.get_potential_energy()
