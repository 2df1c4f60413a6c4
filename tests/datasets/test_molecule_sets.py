"""Files of QM9 and COMP6 as they were published, written here by hand."""

import bz2
import io
import tarfile

import numpy as np
import pytest

from jorbit.core.errors import DataError
from jorbit.core.units import HARTREE
from jorbit.datasets.molecule_sets import iter_ani_hdf5, iter_qm9, read_qm9_npz

PROPERTIES = "1. 2. 3. 0. 6. -0.3 0.1 0.4 19. 0.02 {u0} -76.4 -76.3 -76.5 6.0"
WATER = (
    "3\ngdb {index}\t"
    + PROPERTIES
    + "\nO\t0.0\t0.0\t0.12\t-0.6\nH\t0.0\t0.757\t-4.8*^-1\t0.3\nH\t0.0\t-0.757\t-0.48\t0.3\n"
    "1000.\t2000.\t3000.\nO\tO\nInChI=1S/H2O/h1H2\tInChI=1S/H2O/h1H2\n"
)


def archive(path, texts):
    with tarfile.open(path, "w:bz2") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))


def test_a_molecule_of_qm9_is_read_from_the_archive_from_a_folder_and_alone(tmp_path):
    texts = {f"dsgdb9nsd_{k:06d}.xyz": WATER.format(index=k, u0=-76.0 - k) for k in (1, 2, 3)}
    archive(tmp_path / "all.tar.bz2", texts)
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text)
    (tmp_path / "all.tar").write_bytes(bz2.decompress((tmp_path / "all.tar.bz2").read_bytes()))
    for source in ("all.tar.bz2", "all.tar", "folder"):
        frames = list(iter_qm9(tmp_path / source, leave_out=[2]))
        assert [f.info["index"] for f in frames] == [1, 3]
        np.testing.assert_allclose([f.labels.energy for f in frames], [-77.0 * HARTREE, -79.0 * HARTREE], rtol=1e-14)
        np.testing.assert_array_equal(frames[0].structure.numbers, [8, 1, 1])
        np.testing.assert_allclose(frames[0].structure.positions[1], [0.0, 0.757, -0.48], rtol=1e-14)
        assert frames[0].labels.forces is None
    (one,) = iter_qm9(folder / "dsgdb9nsd_000002.xyz", energy="G")
    assert np.isclose(one.labels.energy, -76.5 * HARTREE, rtol=1e-14)


def test_what_is_not_qm9_is_named(tmp_path):
    archive(tmp_path / "empty.tar.bz2", {"readme.txt": "nothing"})
    with pytest.raises(DataError, match="holds no .xyz"):
        list(iter_qm9(tmp_path / "empty.tar.bz2"))
    text = WATER.format(index=1, u0=-76.0)
    for name, wrong in {"other": text.replace("gdb", "abc"), "short": "\n".join(text.split("\n")[:4])}.items():
        (tmp_path / f"{name}.xyz").write_text(wrong)
        with pytest.raises(DataError, match=f"{name}.xyz is no file of QM9"):
            list(iter_qm9(tmp_path / f"{name}.xyz"))
    (tmp_path / "cut.tar.bz2").write_bytes((tmp_path / "empty.tar.bz2").read_bytes()[:40])
    for path, energy, message in (("cut.tar.bz2", "U0", "cannot be read"), ("no", "U0", "no "), ("no", "E", "U0, U")):
        with pytest.raises(DataError, match=message):
            list(iter_qm9(tmp_path / path, energy=energy))


def test_both_forms_of_npz_give_the_same_molecules(tmp_path):
    rng = np.random.default_rng(0)
    counts, z = np.array([3, 2]), np.array([8, 1, 1, 9, 1])
    r, energies = rng.normal(size=(5, 3)), np.array([-10.0, -20.0])
    padded_z, padded_r = np.array([[8, 1, 1], [9, 1, 0]]), np.zeros((2, 3, 3))
    padded_r[0], padded_r[1, :2] = r[:3], r[3:]
    np.savez(tmp_path / "flat.npz", N=counts, Z=z, R=r, U0=energies)
    np.savez(tmp_path / "padded.npz", charges=padded_z, positions=padded_r, U0=energies[:, None])
    for name in ("flat", "padded"):
        frames = read_qm9_npz(tmp_path / f"{name}.npz", energy_unit="hartree")
        np.testing.assert_allclose([f.labels.energy for f in frames], energies * HARTREE, rtol=1e-14)
        assert [f.structure.numbers.tolist() for f in frames] == [[8, 1, 1], [9, 1]]
        np.testing.assert_array_equal(np.concatenate([f.structure.positions for f in frames]), r)
    with pytest.raises(DataError, match="no array of energy"):
        read_qm9_npz(tmp_path / "flat.npz", energy="H", energy_unit="eV")
    np.savez(tmp_path / "wrong.npz", N=counts[:1], Z=z, R=r, U0=energies)
    with pytest.raises(DataError, match="counts in 'N'"):
        read_qm9_npz(tmp_path / "wrong.npz", energy_unit="eV")


def test_forces_of_comp6_are_the_gradient_with_its_sign_turned(tmp_path):
    h5py = pytest.importorskip("h5py")
    rng = np.random.default_rng(1)
    r, gradient, energies = rng.normal(size=(2, 2, 3)), rng.normal(size=(2, 2, 3)), np.array([-100.0, -100.5])
    path = tmp_path / "part.h5"
    with h5py.File(path, "w") as file:
        for name in ("mol00", "mol01"):
            group = file.create_group(f"set/{name}")
            group["species"], group["coordinates"], group["energies"] = np.array([b"C", b"O"]), r, energies
            group["forces"] = gradient
    for source, first in ((path, "set/mol00"), (tmp_path, "part/set/mol00")):
        frames = list(iter_ani_hdf5(source))
        assert [(f.info["molecule"][-5:], f.info["step"]) for f in frames] == [
            ("mol00", 0),
            ("mol00", 1),
            ("mol01", 0),
            ("mol01", 1),
        ]
        assert frames[0].info["molecule"] == first
    np.testing.assert_array_equal(frames[1].structure.numbers, [6, 8])
    np.testing.assert_array_equal(frames[1].structure.positions, r[1])
    np.testing.assert_allclose(frames[1].labels.forces, -gradient[1] * HARTREE, rtol=1e-14)
    assert np.isclose(frames[1].labels.energy, energies[1] * HARTREE, rtol=1e-14)
    np.testing.assert_allclose(
        next(iter_ani_hdf5(path, forces="force")).labels.forces, gradient[0] * HARTREE, rtol=1e-14
    )
    assert next(iter_ani_hdf5(path, forces="none")).labels.forces is None
    with h5py.File(tmp_path / "wrong.h5", "w") as file:
        file["set/mol/coordinates"] = r
    for wrong, message in (("wrong.h5", "Wanted species"), ("no.h5", "cannot be read")):
        with pytest.raises(DataError, match=message):
            list(iter_ani_hdf5(tmp_path / wrong))


def test_labels_that_are_no_numbers_are_named(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "failed.h5", "w") as file:
        group = file.create_group("mol")
        group["species"], group["coordinates"] = np.array([b"C", b"O"]), np.array([[[0.0, 0, 0], [0, 0, 1.1]]] * 2)
        group["energies"] = np.array([-100.0, np.nan])
    with pytest.raises(DataError, match="group mol, 1: energy holds NaN"):
        list(iter_ani_hdf5(tmp_path / "failed.h5"))
    np.savez(tmp_path / "failed.npz", Z=np.array([[6, 8]]), R=np.array([[[0.0, 0, 0], [0, 0, 1.1]]]), U0=[np.inf])
    with pytest.raises(DataError, match="energy holds NaN or infinite"):
        read_qm9_npz(tmp_path / "failed.npz", energy_unit="eV")
