"""Trajectories in HDF5: the layout others read, and what is left when the writer dies."""

import dataclasses
import os
import pathlib
import signal
import subprocess
import sys

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import DataError
from jorbit.core.structure import Structure
from jorbit.core.units import FS
from jorbit.simulate.frames import Frames

h5py = pytest.importorskip("h5py")
from jorbit.datasets.h5md import H5MDFrames  # noqa: E402
from jorbit.simulate.trajectory_hdf5 import HDF5Writer  # noqa: E402

MASSES = np.array([15.999, 1.008, 1.008])


def block(first: int, n: int, stresses: bool = True) -> Frames:
    """Frames whose numbers follow from their steps."""
    steps = 10 * np.arange(first, first + n)
    rng = np.random.default_rng(0)
    base = rng.normal(size=(3, 3))
    water = Structure(
        positions=base, numbers=np.array([8, 1, 1]), cell=np.diag([9.0, 8, 7]), pbc=np.array([1, 1, 0], bool)
    )
    grow = 1.0 + 0.001 * steps[:, None, None]
    return Frames(
        structure=water,
        steps=steps,
        times=0.5 * steps,
        positions=base * grow,
        momenta=MASSES[:, None] * base * grow,
        forces=-base * grow,
        cells=np.diag([9.0, 8, 7]) * grow,
        potential=-1.0 * steps,
        kinetic=2.0 * steps,
        temperatures=3.0 * steps,
        stresses=np.eye(3) * grow if stresses else None,
    )


def test_frames_come_back_and_the_layout_is_h5md(tmp_path):
    path = tmp_path / "md.h5"
    with HDF5Writer(path, MASSES) as writer:
        writer.append(block(0, 3))
        writer.append(block(3, 2))
        assert writer.mark() == 5
        assert len(H5MDFrames(path)) == 5  # read while the writer is at work
    frames = jorbit.read(path)
    assert [f.info["step"] for f in frames] == [0, 10, 20, 30, 40] and frames[3].info["time_fs"] == 15.0
    expected = block(4, 1)
    np.testing.assert_array_equal(frames[4].structure.positions, expected.positions[0])
    np.testing.assert_array_equal(frames[4].structure.cell, expected.cells[0])
    np.testing.assert_array_equal(frames[4].labels.forces, expected.forces[0])
    np.testing.assert_allclose(frames[4].info["velocities"], expected.positions[0] * FS, rtol=1e-12)
    assert frames[4].labels.energy == -40.0 and frames[4].structure.pbc.tolist() == [True, True, False]
    with h5py.File(path) as file:  # what H5MD 1.1 asks for
        assert file["h5md"].attrs["version"].tolist() == [1, 1] and file["h5md/creator"].attrs["name"] == "jorbit"
        atoms = file["particles/atoms"]
        assert atoms["box"].attrs["dimension"] == 3
        assert list(atoms["box"].attrs["boundary"]) == [b"periodic", b"periodic", b"none"]
        for name in ("position", "velocity", "force", "box/edges"):
            assert {"step", "time", "value"} <= set(atoms[name]) and len(atoms[name]["step"]) == 5
        assert atoms["force"]["step"] == atoms["position"]["step"]  # one data set, linked
        assert file["observables/temperature/value"][:].tolist() == [0, 30, 60, 90, 120]
        assert file["observables/stress/value"].shape == (5, 3, 3)


def test_a_killed_writer_leaves_whole_frames_and_is_continued(tmp_path):
    path = tmp_path / "md.h5"
    killed = subprocess.run([sys.executable, __file__, str(path)])
    assert killed.returncode == -signal.SIGKILL
    assert [f.info["step"] for f in jorbit.read(path)] == [10 * k for k in range(7)]
    with HDF5Writer(path, MASSES, keep=4) as writer:  # the checkpoint was after four frames
        assert len(jorbit.read(path)) == 4
        writer.append(block(4, 2))
    whole = tmp_path / "whole.h5"
    with HDF5Writer(whole, MASSES) as writer:
        writer.append(block(0, 6))
    for one, other in zip(jorbit.read(path), jorbit.read(whole), strict=True):
        np.testing.assert_array_equal(one.structure.positions, other.structure.positions)
        assert one.info["step"] == other.info["step"] and one.labels.energy == other.labels.energy
    with h5py.File(path) as file:
        assert file["particles/atoms/force/step"] == file["particles/atoms/position/step"]
    assert not list(tmp_path.glob(".*"))


def test_what_cannot_be_written_or_continued_is_refused(tmp_path):
    path = tmp_path / "md.h5"
    with HDF5Writer(path, MASSES) as writer:
        writer.append(dataclasses.replace(block(0, 2, stresses=False)))
    with pytest.raises(DataError, match="shorter"):
        HDF5Writer(path, MASSES, keep=3)
    with pytest.raises(DataError, match="cannot be written"):
        HDF5Writer(tmp_path / "none" / "md.h5", MASSES)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(DataError, match="not written by"):
        H5MDFrames(tmp_path / "other.h5")


if __name__ == "__main__":  # the process that is killed
    writer = HDF5Writer(pathlib.Path(sys.argv[1]), MASSES)
    writer.append(block(0, 4))
    writer.mark()
    writer.append(block(4, 3))
    os.kill(os.getpid(), signal.SIGKILL)
