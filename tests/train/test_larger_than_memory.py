"""Frames in a file and padded frames in a file: the same training as from memory."""

import dataclasses

import jax
import numpy as np
import pytest
from toy_pair import PAIR_ONLY, TOY, labelled, random_structures, true_params

from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.loader import frame_store
from jorbit.train.rows_on_disk import RowsOnDisk
from jorbit.train.split import random_split

pytest.importorskip("h5py")
from jorbit.datasets.hdf5 import HDF5Frames, write_hdf5

CONFIG = GradientConfig(epochs=2, batch_size=4, dtype="float64", log_every=2)


@pytest.fixture(scope="module")
def frames():
    return labelled(random_structures(14, periodic=True, seed=3), TOY, true_params())


def test_batches_from_a_file_are_those_from_memory(frames, tmp_path):
    stores = [
        frame_store(frames, TOY.species, TOY.cutoffs, batch_size=3, on_disk=on_disk, scratch=tmp_path)
        for on_disk in (False, True)
    ]
    assert all(isinstance(leaf, RowsOnDisk) for b in stores[1].buckets for leaf in jax.tree.leaves(b.arrays))
    assert sum(b.n_bytes for b in stores[1].buckets) == 0 < sum(b.n_bytes for b in stores[0].buckets)
    for one, other in zip(stores[0].order(5), stores[1].order(5), strict=True):
        jax.tree.map(np.testing.assert_array_equal, stores[0].load(one), stores[1].load(other))


def test_a_training_from_files_gives_the_same_bits(frames, tmp_path):
    write_hdf5(tmp_path / "frames.h5", frames)
    stored = HDF5Frames(tmp_path / "frames.h5")
    one = train_by_gradient(PAIR_ONLY, frames[:11], frames[11:], CONFIG)
    other = train_by_gradient(PAIR_ONLY, stored[:11], stored[11:], dataclasses.replace(CONFIG, on_disk=True))
    jax.tree.map(np.testing.assert_array_equal, one.params, other.params)
    assert [e["validation"] for e in one.report.history] == [e["validation"] for e in other.report.history]


def test_a_split_of_a_file_stays_in_the_file(frames, tmp_path):
    write_hdf5(tmp_path / "frames.h5", frames)
    split = random_split(HDF5Frames(tmp_path / "frames.h5"), valid=3, seed=1)
    wanted = random_split(frames, valid=3, seed=1)
    assert isinstance(split.train, HDF5Frames) and len(split.train) == 11
    energies = [sorted(f.labels.energy for f in part) for part in (split.valid, wanted.valid)]
    assert energies[0] == energies[1]
