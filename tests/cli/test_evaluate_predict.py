"""`jorbit evaluate` and `jorbit predict`: the numbers of the library, unchanged, and nothing else on stdout."""

import json

import ase.io
import numpy as np
import pytest

import jorbit

PROMISED = {
    "n_frames",
    "n_atoms",
    "energy_mae_per_atom",
    "energy_rmse_per_atom",
    "force_mae",
    "force_rmse",
    "stress_mae",
}


def test_json_is_the_only_thing_on_stdout(spawn, model, data):
    result = spawn("evaluate", model, data, "--json")
    assert result.returncode == 0, result.stderr
    numbers = json.loads(result.stdout)  # would fail on anything before or after the object
    assert set(numbers) >= PROMISED
    assert numbers["n_frames"] == 6 and numbers["n_atoms"] == 54 and numbers["stress_mae"] is None


def test_json_agrees_with_errors_computed_by_hand(run, model, data):
    numbers = json.loads(run("evaluate", model, data, "--json").stdout)
    potential, params = jorbit.load(model)
    frames = jorbit.read(data)
    predictions = jorbit.predict(potential, params, frames)  # float64: the command switched it on
    force = np.array([p.forces - f.labels.forces for p, f in zip(predictions, frames, strict=True)])
    energy = np.array([p.energy[0] - f.labels.energy for p, f in zip(predictions, frames, strict=True)]) / 9
    # float64 sums in another order
    assert numbers["force_mae"] == pytest.approx(np.abs(force).mean(), rel=1e-9)
    assert numbers["force_rmse"] == pytest.approx(np.sqrt((force**2).mean()), rel=1e-9)
    assert numbers["energy_mae_per_atom"] == pytest.approx(np.abs(energy).mean(), rel=1e-9)
    assert numbers["energy_rmse_per_atom"] == pytest.approx(np.sqrt((energy**2).mean()), rel=1e-9)


def test_frames_without_labels_give_null(run, model, tmp_path):
    atoms = ase.io.read(str(ethanol(tmp_path)))
    atoms.calc = None
    ase.io.write(tmp_path / "bare.xyz", atoms, format="extxyz")
    numbers = json.loads(run("evaluate", model, tmp_path / "bare.xyz", "--json").stdout)
    assert all(numbers[name] is None for name in PROMISED - {"n_frames", "n_atoms"})


def ethanol(folder):
    from jorbit.datasets.extxyz import write_extxyz

    write_extxyz(folder / "one.xyz", jorbit.read("ethanol_gfn2:test")[:1])
    return folder / "one.xyz"


def test_table_shows_units_and_elements(run, model, data):
    result = run("evaluate", model, data, "--limit", "2")
    assert result.exit_code == 0
    for words in ("2 frames", "meV/atom", "meV/Å", "on C", "on H", "on O"):
        assert words in result.stdout
    assert "stress" not in result.stdout  # there are no stress labels


def test_report_is_written(run, model, data, tmp_path):
    result = run("evaluate", model, data, "--report", tmp_path / "errors.html")
    assert result.exit_code == 0
    page = (tmp_path / "errors.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and page.count("<img") == 3


def test_units_that_contradict_each_other_are_noticed(run, model, tmp_path):
    import dataclasses

    from jorbit.core.units import KCAL_MOL
    from jorbit.datasets.extxyz import write_extxyz

    frames = [
        dataclasses.replace(f, labels=dataclasses.replace(f.labels, energy=f.labels.energy / KCAL_MOL))
        for f in jorbit.read("ethanol_gfn2")[:100]
    ]
    write_extxyz(tmp_path / "mixed.xyz", frames)
    result = run("evaluate", model, tmp_path / "mixed.xyz")
    assert result.exit_code == 0 and "kcal/mol" in result.stderr and "Warning" in result.stderr


def test_predictions_are_those_of_the_library_and_ase_reads_them(run, model, data, tmp_path):
    result = run("predict", model, data, "-o", tmp_path / "out.extxyz")
    assert result.exit_code == 0, result.stderr
    potential, params = jorbit.load(model)
    expected = jorbit.predict(potential, params, jorbit.read(data))
    read_by_ase = ase.io.read(tmp_path / "out.extxyz", index=":")
    assert len(read_by_ase) == 6
    for atoms, prediction in zip(read_by_ase, expected, strict=True):
        assert atoms.get_potential_energy() == float(prediction.energy[0])  # all digits are written
        np.testing.assert_array_equal(atoms.get_forces(), prediction.forces)


def test_predicted_file_has_no_error_against_itself(run, model, data, tmp_path):
    run("predict", model, data, "-o", tmp_path / "out.extxyz")
    numbers = json.loads(run("evaluate", model, tmp_path / "out.extxyz", "--json").stdout)
    assert numbers["force_mae"] < 1e-12 and numbers["energy_mae"] < 1e-10  # float64, batched in another way


def test_predicted_charges_are_written_and_read_again(run, tmp_path):
    from jorbit.core.structure import Frame
    from jorbit.datasets.extxyz import write_extxyz
    from jorbit.terms.charge_equilibration import ChargeEquilibration
    from jorbit.testing import systems

    potential = jorbit.Potential((ChargeEquilibration.tiny(2),), jorbit.SpeciesTable.from_numbers([1, 8]))
    zeros = {"electronegativity_shifts": np.zeros(2), "log_hardness_factors": np.zeros(2)}
    jorbit.save(tmp_path / "charges.safetensors", potential, {"charge_equilibration": zeros})
    write_extxyz(tmp_path / "water.xyz", [Frame(structure=systems.water())])
    result = run("predict", tmp_path / "charges.safetensors", tmp_path / "water.xyz", "-o", tmp_path / "out.xyz")
    assert result.exit_code == 0, result.stderr
    charges = jorbit.read(tmp_path / "out.xyz")[0].labels.charges
    assert charges[0] < -0.1 and abs(charges.sum()) < 1e-9
