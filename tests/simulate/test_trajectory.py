"""Trajectory files on a disk that is full, and ones that begin in the middle of a run."""

import errno
import pathlib

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import DataError
from jorbit.core.structure import Structure
from jorbit.simulate.frames import Frames
from jorbit.simulate.trajectory import TrajectoryWriter


def block(n: int = 3) -> Frames:
    pair = Structure(positions=np.array([[0.0, 0, 0], [0, 0, 3.8]]), numbers=np.array([18, 18]))
    still = np.zeros((n, 2, 3))
    return Frames(
        structure=pair,
        steps=np.arange(n),
        times=1.0 * np.arange(n),
        positions=still + pair.positions,
        momenta=still,
        forces=still,
        cells=np.zeros((n, 3, 3)),
        potential=np.zeros(n),
        kinetic=np.zeros(n),
        temperatures=np.zeros(n),
    )


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_says_what_to_do():
    with pytest.raises(DataError, match=r"/dev/full cannot be written any further: No space left.*resume"):
        with TrajectoryWriter("/dev/full") as writer:
            writer.append(block())


def test_a_full_disk_says_what_to_do_in_hdf5_too(tmp_path, monkeypatch):
    pytest.importorskip("h5py")
    from jorbit.simulate import trajectory_hdf5

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with trajectory_hdf5.HDF5Writer(tmp_path / "md.h5", np.full(2, 39.948)) as writer:
        writer.append(block())
        monkeypatch.setattr(trajectory_hdf5, "_extend", full)
        with pytest.raises(DataError, match=r"md\.h5 cannot be written any further: No space left.*resume"):
            writer.append(block())
    assert len(jorbit.read(str(tmp_path / "md.h5"))) == 3


def test_a_run_without_a_trajectory_may_go_on_with_one(tmp_path):
    path = tmp_path / "md.extxyz"
    with TrajectoryWriter(path, keep=0) as writer:
        writer.append(block(2))
        mark = writer.mark()
        writer.append(block(2))
    with TrajectoryWriter(path, keep=mark) as writer:
        writer.append(block(3))
    assert len(jorbit.read(str(path))) == 5
    with pytest.raises(DataError, match="shorter than when the checkpoint"):
        TrajectoryWriter(path, keep=10**9)
