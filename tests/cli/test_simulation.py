"""`jorbit md` and `jorbit relax`: files that ASE reads, and minima that are minima."""

import ase.io
import numpy as np
import pytest

import jorbit


def test_md_writes_a_trajectory_with_conserved_energy(run, model, data, tmp_path):
    result = run("md", model, data, "--steps", 100, "--every", 10, "--temperature", 100, "-o", tmp_path / "md.extxyz")
    assert result.exit_code == 0, result.stderr
    assert "meV/atom/ps" in result.stdout and "ns/day" in result.stdout
    frames = ase.io.read(tmp_path / "md.extxyz", index=":")
    assert len(frames) == 11 and [f.info["time_fs"] for f in frames[:2]] == [0.0, 5.0]
    total = np.array([f.get_potential_energy() + f.get_kinetic_energy() for f in frames])
    potential = np.array([f.get_potential_energy() for f in frames])
    # Verlet at 0.5 fs: the sum swings by the fourth of a per cent of what is exchanged, the parts by all of it.
    assert np.ptp(total) < 0.02 * np.ptp(potential)


def test_md_depends_on_start_and_seed_and_on_nothing_else(run, model, data, tmp_path):
    def trajectory(name: str, seed: int) -> list[ase.Atoms]:
        output = tmp_path / f"{name}.extxyz"
        options = ("--ensemble", "nvt_langevin", "--steps", 20, "--seed", seed, "--index", -1, "-o", output)
        result = run("md", model, data, *options, "--report", tmp_path / "md.html")
        assert result.exit_code == 0, result.stderr
        return ase.io.read(output, index=":")

    first, again, other = trajectory("first", 1), trajectory("again", 1), trajectory("other", 2)
    start = jorbit.read(data)[-1].structure.positions
    np.testing.assert_allclose(first[0].positions, start, atol=1e-7)  # the file has 8 decimals
    np.testing.assert_array_equal(first[-1].positions, again[-1].positions)
    assert np.abs(first[-1].positions - other[-1].positions).max() > 1e-4
    assert (tmp_path / "md.html").read_text().count("<img") == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", 5, "--ps", 1.0), "either --steps or --ps"),
        (("--ps", 1e-9), "less than one step"),
        (("--timestep", 0), "above 0 fs"),
        (("--index", 6, "--steps", 1), "0..5"),
    ],
)
def test_impossible_requests_are_refused(run, model, data, tmp_path, options, words):
    result = run("md", model, data, "-o", tmp_path / "md.extxyz", *options)
    assert result.exit_code == 1 and words in " ".join(result.stderr.split())


def test_relaxed_structure_has_lower_energy_and_no_forces(run, model, data, tmp_path):
    output = tmp_path / "relaxed.extxyz"
    result = run("relax", model, data, "--fmax", 0.05, "-o", output, "--trajectory", tmp_path / "steps.extxyz")
    assert result.exit_code == 0, result.output
    potential, params = jorbit.load(model)
    before, after = jorbit.read(data)[0], jorbit.read(output)[0]
    assert after.labels.energy < float(jorbit.predict(potential, params, before).energy[0])
    forces = jorbit.predict(potential, params, after.structure).forces
    assert np.linalg.norm(forces, axis=1).max() <= 0.05
    assert len(ase.io.read(tmp_path / "steps.extxyz", index=":")) > 1


def test_relaxation_that_does_not_converge_says_so_and_writes_what_it_has(run, model, data, tmp_path):
    result = run("relax", model, data, "--fmax", 1e-9, "--steps", 2, "-o", tmp_path / "relaxed.extxyz")
    assert result.exit_code == 1 and "Not converged" in result.stderr
    assert jorbit.read(tmp_path / "relaxed.extxyz")[0].structure.n_atoms == 9


def test_cell_of_a_molecule_cannot_be_relaxed(run, model, data, tmp_path):
    result = run("relax", model, data, "--cell", "-o", tmp_path / "relaxed.extxyz")
    assert result.exit_code == 1 and "repeats in all three directions" in " ".join(result.stderr.split())
