"""`jorbit md` and `jorbit relax`: files that ASE reads, and minima that are minima."""

import ase.build
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
        (("--ps", "inf"), "that has an end"),
        (("--ps", "nan"), "that has an end"),
        (("--results", "numbers.dat"), "ends in .npz"),
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


@pytest.mark.slow
def test_a_run_is_resumed_and_made_longer_by_the_same_command(run, model, data, tmp_path):
    words = ("md", model, data, "--ensemble", "temp_csvr", "--seed", 3, "--measure", "msd", "--checkpoint-every", 0)
    whole = run(*words, "--steps", 40, "-o", tmp_path / "whole.extxyz")
    first = run(*words, "--steps", 20, "-o", tmp_path / "parts.extxyz")
    assert whole.exit_code == first.exit_code == 0, whole.stderr + first.stderr
    assert (tmp_path / "parts.checkpoint").exists()
    second = run(*words, "--steps", 40, "-o", tmp_path / "parts.extxyz", "--resume")
    assert second.exit_code == 0, second.stderr
    ends = [ase.io.read(tmp_path / f"{name}.extxyz", index=":") for name in ("whole", "parts")]
    assert [f.info["step"] for f in ends[1]] == [0, 10, 20, 30, 40]
    np.testing.assert_allclose(ends[0][-1].positions, ends[1][-1].positions, atol=1e-7)
    with np.load(tmp_path / "parts.npz") as results:
        assert len(results["times"]) == 5 and results["msd/values/all"][0] == 0.0
        assert results["msd/values/H"][1] > 0.0
    other = run(*words[:-2], "--friction", 0.5, "--steps", 50, "-o", tmp_path / "parts.extxyz", "--resume")
    assert other.exit_code == 1 and "friction" in other.stderr


def test_constant_pressure_of_a_molecule_is_refused(run, model, data, tmp_path):
    result = run("md", model, data, "--ensemble", "npt_langevin", "--steps", 5, "-o", tmp_path / "md.extxyz")
    assert result.exit_code == 1 and "repeats in all three directions" in " ".join(result.stderr.split())


@pytest.fixture
def argon(tmp_path):
    """A Lennard-Jones model file and a crystal."""
    from jorbit.terms.lennard_jones import LennardJones

    potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))
    jorbit.save(tmp_path / "argon.safetensors", potential, {"lennard_jones": {}})
    ase.io.write(tmp_path / "fcc.extxyz", ase.build.bulk("Ar", "fcc", a=5.3))
    return tmp_path / "argon.safetensors", tmp_path / "fcc.extxyz"


def test_what_cannot_be_drawn_or_saved_is_refused_before_the_work(run, argon, tmp_path):
    for name in ("phonons", "elastic", "eos"):
        result = run(name, *argon, "-o", tmp_path / "figure.txt")
        assert result.exit_code == 1 and "ends in .png or .pdf or .svg" in " ".join(result.stderr.split())
        result = run(name, *argon, "-o", tmp_path / "figure.png", "--data", tmp_path / "numbers")
        assert result.exit_code == 1 and "ends in .npz" in " ".join(result.stderr.split())


def test_a_path_that_the_lattice_does_not_have_is_refused(run, argon, tmp_path):
    result = run("phonons", *argon, "--no-relax", "--supercell", 1, "--path", "GQ", "-o", tmp_path / "bands.png")
    assert result.exit_code == 1 and "no path 'GQ'" in " ".join(result.stderr.split()), result.output


@pytest.mark.slow
def test_properties_of_a_crystal_are_printed_drawn_and_saved(run, argon, tmp_path):
    eos = run("eos", *argon, "-o", tmp_path / "eos.png", "--data", tmp_path / "eos.npz")
    elastic = run("elastic", *argon, "-o", tmp_path / "elastic.png", "--data", tmp_path / "elastic.npz")
    phonons = run("phonons", *argon, "--supercell", 2, "--mesh", 3, "--points", 8, "-o", tmp_path / "bands.png")
    for result in (eos, elastic, phonons):
        assert result.exit_code == 0, result.stderr
    modulus = [float(r.stdout.split("bulk modulus")[1].split()[0]) for r in (eos, elastic)]
    assert modulus[0] == pytest.approx(modulus[1], rel=0.02)
    with np.load(tmp_path / "elastic.npz") as arrays:
        np.testing.assert_allclose(arrays["constants"], arrays["clamped"], rtol=1e-6)  # one atom: nothing to relax
    for name in ("eos.png", "bands.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "THz" in phonons.stdout
