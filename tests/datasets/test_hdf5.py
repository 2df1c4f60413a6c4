"""Frames in an HDF5 file: what goes in comes out, frame by frame."""

import numpy as np
import pytest

from jorbit import Labels, Structure, read
from jorbit.core.errors import DataError
from jorbit.core.structure import Frame
from jorbit.testing import systems

pytest.importorskip("h5py")
from jorbit.datasets.hdf5 import HDF5Frames, write_hdf5


def frames():
    rng = np.random.default_rng(0)
    water, crystal = systems.water(), systems.triclinic_crystal()
    orbits = Structure(positions=water.positions, numbers=water.numbers, orbits=np.array([0, 0, 1]), charge=-1.0)
    weights = rng.uniform(size=crystal.n_atoms)
    full = Labels(
        energy=-3.5,
        forces=rng.normal(size=(crystal.n_atoms, 3)),
        stress=rng.normal(size=(3, 3)),
        energy_weight=0.5,
        forces_weight=weights,
        stress_weight=2.0,
    )
    return [
        Frame(structure=water, labels=Labels()),
        Frame(structure=crystal, labels=full, info={"config_type": "bulk", "step": 3}),
        Frame(structure=orbits, labels=Labels(energy=1.25)),
    ]


def same(one, other):
    for name in ("positions", "numbers", "cell", "pbc", "orbits"):
        np.testing.assert_array_equal(getattr(one.structure, name), getattr(other.structure, name))
    assert one.structure.charge == other.structure.charge and dict(one.info) == dict(other.info)
    for name in ("energy", "forces", "stress"):
        a, b = getattr(one.labels, name), getattr(other.labels, name)
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_array_equal(a, b)
    for name in ("energy_weight", "forces_weight", "stress_weight"):
        both = (getattr(f.labels, name) * np.ones(f.structure.n_atoms) for f in (one, other))
        np.testing.assert_array_equal(*both)


def test_frames_come_back_as_they_were(tmp_path):
    path = tmp_path / "frames.h5"
    write_hdf5(path, iter(frames()))
    stored = HDF5Frames(path)
    assert len(stored) == 3
    for wanted, got, listed in zip(frames(), stored, read(path), strict=True):
        got.structure.check()
        for name in ("energy", "forces", "stress"):
            assert (getattr(got.labels, name) is None) == (getattr(wanted.labels, name) is None)
        np.testing.assert_array_equal(got.structure.positions, wanted.structure.positions)
        same(got, listed)
    same(stored[1], frames()[1])
    same(stored[2], frames()[2])
    some = stored[np.array([2, 0])]
    assert isinstance(some, HDF5Frames) and some[0].structure.charge == -1.0 and len(stored[1:]) == 2
    same(some[-1], stored[0])


def test_arrays_beside_a_frame_keep_all_their_numbers(tmp_path):
    velocities = np.random.default_rng(0).normal(size=(600, 3))
    frame = Frame(structure=systems.water(), info={"velocities": velocities, "run": np.int64(7)})
    write_hdf5(tmp_path / "frames.h5", [frame])
    info = HDF5Frames(tmp_path / "frames.h5")[0].info
    np.testing.assert_array_equal(info["velocities"], velocities)
    assert info["run"] == 7


def test_settings_of_other_formats_are_refused(tmp_path):
    write_hdf5(tmp_path / "frames.h5", frames())
    with pytest.raises(DataError, match="got 'energy_unit'"):
        read(tmp_path / "frames.h5", energy_unit="hartree")


def test_files_that_hold_no_frames_are_refused(tmp_path):
    with pytest.raises(DataError, match="no frames"):
        write_hdf5(tmp_path / "none.h5", [])
    assert not list(tmp_path.iterdir())
    (tmp_path / "text.h5").write_text("nothing")
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        HDF5Frames(tmp_path / "text.h5")
