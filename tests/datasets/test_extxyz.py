"""Extended xyz: nothing is lost on the way out and in, other names and units are understood, flaws are named."""

import dataclasses
import gzip
import lzma

import ase
import ase.io
import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.core.units import BOHR, HARTREE
from jorbit.datasets import read
from jorbit.datasets.extxyz import read_extxyz, write_extxyz
from jorbit.datasets.isolated import is_isolated_atom, split_isolated
from jorbit.graphs.ase_atoms import to_ase


def crystal(seed: int = 0) -> Frame:
    """Two atoms in a triclinic cell that repeats in two directions, with every label."""
    rng = np.random.default_rng(seed)
    stress = rng.normal(size=(3, 3))
    return Frame(
        structure=Structure(
            positions=rng.normal(size=(2, 3)),
            numbers=np.array([14, 8]),
            cell=np.eye(3) * 5 + rng.normal(size=(3, 3)) * 0.1,
            pbc=np.array([True, True, False]),
            charge=-1.0,
            orbits=np.array([2, 0]),
        ),
        labels=Labels(energy=rng.normal(), forces=rng.normal(size=(2, 3)), stress=stress + stress.T, forces_weight=0.5),
        info={"config_type": "bulk", "temperature": 300.5, "tags": np.array([1, 2, 3])},
    )


HEADER = (
    'Lattice="4.0 0.0 0.0 0.0 5.0 0.0 0.0 0.0 6.0" Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.5 pbc="T T T"'
)
ROWS = ["Si 0.0 0.0 0.0 0.1 0.2 0.3", "O 1.0 1.5 2.0 -0.1 -0.2 -0.3"]


def text(header: str = HEADER, rows: list[str] = ROWS, count: int | str = 2) -> str:
    return "\n".join([str(count), header, *rows]) + "\n"


def write(tmp_path, contents: str, name: str = "frames.xyz"):
    path = tmp_path / name
    path.write_text(contents)
    return path


@pytest.mark.parametrize("suffix", [".xyz", ".extxyz", ".extxyz.xz", ".xyz.gz"])
def test_every_bit_of_a_frame_survives_writing_and_reading(tmp_path, suffix):
    frames = [crystal(seed) for seed in range(3)]
    path = tmp_path / f"frames{suffix}"
    assert write_extxyz(path, frames) == 3
    for old, new in zip(frames, read(path), strict=True):
        for field in ("positions", "numbers", "cell", "pbc", "orbits"):
            np.testing.assert_array_equal(getattr(new.structure, field), getattr(old.structure, field))
        assert new.structure.charge == old.structure.charge
        assert new.labels.energy == old.labels.energy
        assert new.labels.forces_weight == 0.5 and new.labels.energy_weight == 1.0
        np.testing.assert_array_equal(new.labels.forces, old.labels.forces)
        np.testing.assert_array_equal(new.labels.stress, old.labels.stress)
        assert new.info["config_type"] == "bulk" and new.info["temperature"] == 300.5
        np.testing.assert_array_equal(new.info["tags"], [1, 2, 3])


def test_ase_reads_what_we_write_with_the_same_stress_sign(tmp_path):
    frame = crystal()
    write_extxyz(tmp_path / "one.xyz", [frame])
    atoms = ase.io.read(tmp_path / "one.xyz")
    np.testing.assert_allclose(atoms.calc.results["energy"], frame.labels.energy, rtol=0)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), frame.labels.stress, rtol=1e-15)
    np.testing.assert_array_equal(atoms.cell.array, frame.structure.cell)


def test_what_ase_writes_is_read(tmp_path):
    rng = np.random.default_rng(1)
    atoms = ase.Atoms("SiO", positions=rng.normal(size=(2, 3)), cell=np.diag([4.0, 5.0, 6.0]), pbc=True)
    voigt, forces = rng.normal(size=6), rng.normal(size=(2, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=-3.25, forces=forces, stress=voigt)
    ase.io.write(tmp_path / "ase.xyz", [atoms, atoms])
    labels = read(tmp_path / "ase.xyz")[1].labels
    assert labels.energy == -3.25
    np.testing.assert_allclose(labels.forces, forces, atol=1e-8)  # ASE writes 8 decimals
    np.testing.assert_allclose(labels.stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], voigt, rtol=1e-14)


@pytest.mark.parametrize("name", ["REF_energy", "dft_energy", "total_energy"])
def test_energies_under_other_common_names_are_found(tmp_path, name):
    frame = read(write(tmp_path, text(HEADER.replace("energy=", f"{name}="))))[0]
    assert frame.labels.energy == -1.5
    assert name not in frame.info


@pytest.mark.parametrize("name", ["force", "REF_forces", "dft_forces"])
def test_forces_under_other_common_names_are_found(tmp_path, name):
    frame = read(write(tmp_path, text(HEADER.replace("forces", name))))[0]
    np.testing.assert_allclose(frame.labels.forces[1], [-0.1, -0.2, -0.3])


def test_a_virial_becomes_minus_itself_over_the_volume(tmp_path):
    virial = 'virial="1.0 0.1 0.2 0.1 2.0 0.3 0.2 0.3 3.0"'
    frame = read(write(tmp_path, text(HEADER + " " + virial)))[0]
    expected = -np.array([[1.0, 0.1, 0.2], [0.1, 2.0, 0.3], [0.2, 0.3, 3.0]]) / 120.0
    np.testing.assert_allclose(frame.labels.stress, expected, rtol=1e-14)
    chosen = read_extxyz(tmp_path / "frames.xyz", stress_key="virial")[0]
    np.testing.assert_allclose(chosen.labels.stress, expected, rtol=1e-14)


def test_other_units_are_converted(tmp_path):
    path = write(tmp_path, text(HEADER + ' stress="1 0 0 0 2 0 0 0 3"'))
    frame = read_extxyz(path, energy_unit="hartree", length_unit="bohr")[0]
    assert frame.labels.energy == pytest.approx(-1.5 * HARTREE, rel=1e-14)
    np.testing.assert_allclose(frame.labels.forces[0], np.array([0.1, 0.2, 0.3]) * HARTREE / BOHR)
    np.testing.assert_allclose(np.diag(frame.labels.stress), np.array([1, 2, 3]) * HARTREE / BOHR**3)
    np.testing.assert_allclose(np.diag(frame.structure.cell), np.array([4, 5, 6]) * BOHR)


def test_frames_without_labels_have_none(tmp_path):
    plain = "2\n\nH 0 0 0\nH 0 0 0.74\n"
    frame = read(write(tmp_path, plain))[0]
    assert frame.labels.energy is None and frame.labels.forces is None and frame.labels.stress is None
    assert not frame.structure.pbc.any()


def test_isolated_atoms_are_recognised_and_set_apart(tmp_path):
    lines = "1\nProperties=species:S:1:pos:R:3 energy=-5.0 config_type={}\n{} 0 0 0\n"
    contents = lines.format("IsolatedAtom", "O") + lines.format("anything", "H") + text()
    rest, energies = split_isolated(read(write(tmp_path, contents)))
    assert len(rest) == 1 and energies == {8: -5.0, 1: -5.0}
    assert not is_isolated_atom(rest[0])


def test_two_energies_for_one_isolated_atom_are_refused(tmp_path):
    lines = "1\nProperties=species:S:1:pos:R:3 energy={} config_type=IsolatedAtom\nO 0 0 0\n"
    with pytest.raises(DataError, match="Two energies for the isolated atom"):
        split_isolated(read(write(tmp_path, lines.format(-5.0) + lines.format(-6.0))))


@pytest.mark.parametrize(
    "header",
    [
        HEADER.replace("Properties", "properties").replace("Lattice", "lattice"),
        HEADER.replace("pbc", "PBC").replace('"T T T"', '"T F T"'),
        HEADER.replace("Lattice=", "LATTICE = ").replace("Properties=", "PROPERTIES = "),
        "\ufeff" + HEADER,
    ],
)
def test_what_a_header_means_does_not_depend_on_how_its_keys_are_spelt(tmp_path, header):
    mark = header.startswith("\ufeff")  # of some editors, in front of UTF-8
    contents = ("\ufeff" if mark else "") + text(header.lstrip("\ufeff"))
    frame = read(write(tmp_path, contents))[0]
    np.testing.assert_array_equal(np.diag(frame.structure.cell), [4.0, 5.0, 6.0])
    assert frame.structure.pbc.tolist() == [True, "PBC" not in header, True]
    np.testing.assert_allclose(frame.labels.forces[1], [-0.1, -0.2, -0.3])


@pytest.mark.parametrize(
    "words",
    [
        "two\nlines",
        r"C:\new\data",
        "12",
        "1, 2, 3",
        "T",
        "",
        " ends ",
        'say "so"',
        "it's",
        "a=b",
        "tab\there",
        "_JSON x",
    ],
)
def test_any_text_survives_writing_and_reading(tmp_path, words):
    frame = dataclasses.replace(crystal(), info={"note": words, "list": [words, "plain"]})
    write_extxyz(tmp_path / "one.xyz", [frame, frame])
    for again in read(tmp_path / "one.xyz"):
        assert again.info["note"] == words
        assert list(again.info["list"]) == [words, "plain"]


def test_what_a_header_says_about_the_whole_structure_is_kept(tmp_path):
    frame = read(write(tmp_path, text(HEADER + ' dipole="0.1 0.2 0.3" magmom=2.0')))[0]
    np.testing.assert_array_equal(frame.info["dipole"], [0.1, 0.2, 0.3])
    assert frame.info["magmom"] == 2.0
    write_extxyz(tmp_path / "again.xyz", [frame])
    np.testing.assert_array_equal(read(tmp_path / "again.xyz")[0].info["dipole"], [0.1, 0.2, 0.3])


def test_stress_of_a_slab_with_a_full_cell_reaches_ase():
    frame = crystal()  # repeats in two directions
    np.testing.assert_allclose(
        to_ase(frame.structure, frame.labels).get_stress(voigt=False), frame.labels.stress, rtol=1e-15
    )
    molecule = dataclasses.replace(frame.structure, cell=np.zeros((3, 3)), pbc=np.zeros(3, dtype=bool))
    assert "stress" not in to_ase(molecule, frame.labels).calc.results


MALFORMED = {
    "truncated": (text() + text(rows=ROWS[:1]), "frame 1.*ends after 1 of 2 atoms"),
    "missing column": (text(rows=[ROWS[0], "O 1.0 1.5 2.0 -0.1 -0.2"]), "line 4.*wanted 7 columns for atom 1, got 6"),
    "extra column": (text(rows=[ROWS[0], ROWS[1] + " 9"]), "wanted 7 columns for atom 1, got 8"),
    "count too small": (text(count=1), "frame 1, line 4: wanted the number of atoms"),
    "count no number": (text(count="two"), "frame 0, line 1: wanted the number of atoms"),
    "no atoms": (text(count=0, rows=[]), "at least one atom"),
    "word for a number": (text(rows=[ROWS[0], "O 1.0 x 2.0 -0.1 -0.2 -0.3"]), "frame 0.*cannot be understood"),
    "unknown element": (text(rows=[ROWS[0], "Qq 1.0 1.5 2.0 -0.1 -0.2 -0.3"]), "frame 0.*cannot be understood"),
    "NaN energy": (text(HEADER.replace("-1.5", "nan")), "frame 0.*energy holds NaN"),
    "NaN force": (text(rows=[ROWS[0], "O 1.0 1.5 2.0 nan -0.2 -0.3"]), "frame 0.*forces holds NaN"),
    "NaN position": (text(rows=[ROWS[0], "O nan 1.5 2.0 0.1 -0.2 -0.3"]), "frame 0.*NaN or infinite"),
    "energy is a word": (text(HEADER.replace("-1.5", "high")), "frame 0.*wanted numbers for energy"),
    "broken properties": (text(HEADER.replace("pos:R:3", "pos:R")), "wanted Properties"),
    "two energies": (text(HEADER + " REF_energy=-2.0"), "hold different numbers.*energy_key"),
    "skew virial": (text(HEADER + ' virial="1 5 0 0 2 0 0 0 3"'), "frame 0.*symmetric virial"),
    "stress against virial": (text(HEADER + ' stress="1 0 0 0 1 0 0 0 1" virial="120 0 0 0 120 0 0 0 120"'), "differ"),
    "no frames": ("\n\n", "holds no frames"),
}


@pytest.mark.parametrize("flaw", MALFORMED)
def test_a_malformed_file_is_refused_by_file_frame_and_reason(tmp_path, flaw):
    contents, message = MALFORMED[flaw]
    path = write(tmp_path, contents)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_a_truncated_compressed_file_is_refused(tmp_path):
    path = tmp_path / "cut.xyz.xz"
    path.write_bytes(lzma.compress((text() * 500).encode())[:-40])
    with pytest.raises(DataError, match="truncated"):
        read(path)
    path = tmp_path / "cut.xyz.gz"
    path.write_bytes(gzip.compress((text() * 500).encode())[:-40])
    with pytest.raises(DataError, match="truncated"):
        read(path)


def test_a_key_that_no_frame_has_is_refused(tmp_path):
    with pytest.raises(DataError, match="none of its 1 frames has a usable forces under 'gradients'"):
        read_extxyz(write(tmp_path, text()), forces_key="gradients")


def test_unknown_units_are_refused(tmp_path):
    with pytest.raises(DataError, match="Unknown energy_unit 'foot-pound'"):
        read_extxyz(write(tmp_path, text()), energy_unit="foot-pound")


def test_info_may_not_shadow_a_label(tmp_path):
    with pytest.raises(DataError, match="may not hold 'energy'"):
        write_extxyz(tmp_path / "x.xyz", [dataclasses.replace(crystal(), info={"energy": 1.0})])
    with pytest.raises(DataError, match="may not hold 'REF_energy'"):  # it would contradict the energy when read
        write_extxyz(tmp_path / "x.xyz", [dataclasses.replace(crystal(), info={"REF_energy": 1.0})])


def test_read_says_what_is_wrong_with_a_path(tmp_path):
    with pytest.raises(DataError, match="no file.*Did you mean the data set 'ethanol_gfn2'"):
        read("ethanol_gfn")
    with pytest.raises(DataError, match="is a folder"):
        read(tmp_path)
    with pytest.raises(DataError, match="is empty"):
        read(write(tmp_path, ""))
    with pytest.raises(DataError, match="unknown format '.qqq'"):
        read(write(tmp_path, "something", "file.qqq"))
    with pytest.raises(DataError, match="read with energy_key.*got 'colour'"):
        read(write(tmp_path, text()), colour="red")
    ase.io.write(tmp_path / "one.traj", ase.Atoms("H"))
    with pytest.raises(DataError, match="read with no settings, got 'energy_unit'"):
        read(tmp_path / "one.traj", energy_unit="hartree")
    with pytest.raises(DataError, match="knows its own keys and units"):
        read("ethanol_gfn2", energy_unit="eV")


def test_other_formats_go_through_ase(tmp_path):
    atoms = ase.Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.74]])
    atoms.calc = SinglePointCalculator(atoms, energy=-31.0, forces=np.zeros((2, 3)))
    ase.io.write(tmp_path / "two.traj", [atoms, atoms])
    frames = read(tmp_path / "two.traj")
    assert len(frames) == 2 and frames[1].labels.energy == -31.0
