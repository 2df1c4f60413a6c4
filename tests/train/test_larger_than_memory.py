"""Frames in a file and padded frames in a file: the same training as from memory."""

import dataclasses
import gc
import weakref

import jax
import numpy as np
import pytest
from toy_pair import PAIR_ONLY, TOY, labelled, random_structures, true_params

from jorbit.core.structure import Frame
from jorbit.potential.uncertainty import Ensemble
from jorbit.train import calibration
from jorbit.train.calibration import measure_calibration
from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.loader import frame_store
from jorbit.train.metrics import evaluate
from jorbit.train.prepare import prepare, settings_of
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


@pytest.fixture
def alive(monkeypatch):
    """How many frames that were read from a file are still held by somebody."""
    held = weakref.WeakSet()
    read = HDF5Frames.__getitem__

    def remembering(self, index):
        found = read(self, index)
        if isinstance(found, Frame):
            held.add(found)
        return found

    monkeypatch.setattr(HDF5Frames, "__getitem__", remembering)

    def count() -> int:
        gc.collect()
        return len(held)

    return count


def test_errors_of_frames_in_a_file_are_those_from_memory_and_only_a_batch_is_held(frames, tmp_path, alive):
    write_hdf5(tmp_path / "frames.h5", frames)
    most = []
    stored = evaluate(
        TOY, true_params(), HDF5Frames(tmp_path / "frames.h5"), lambda *_: most.append(alive()), batch_atoms=12
    )
    assert len(most) > 3 and 0 < max(most) <= 12 // 3
    wanted = evaluate(TOY, true_params(), frames, batch_atoms=12)
    for field in dataclasses.fields(wanted):
        np.testing.assert_array_equal(getattr(stored, field.name), getattr(wanted, field.name), err_msg=field.name)


def test_a_calibration_on_a_file_reads_some_frames_at_a_time(frames, tmp_path, alive, monkeypatch):
    """The same errors and deviations as from memory."""
    params = true_params()
    other = params | {"toy_pair": {"c": params["toy_pair"]["c"] + 0.1}}
    uncertainty, most = Ensemble.of(TOY, [params, other]), []
    wanted = measure_calibration(uncertainty, params, frames)
    write_hdf5(tmp_path / "frames.h5", frames)
    monkeypatch.setattr(calibration, "_AT_ONCE", 5)
    spread = calibration.predict_spread
    monkeypatch.setattr(calibration, "predict_spread", lambda *a: (most.append(alive()), spread(*a))[1])
    found = measure_calibration(uncertainty, params, HDF5Frames(tmp_path / "frames.h5"))
    assert len(most) == 3 and max(most) <= 10  # the last chunk is dropped when the next one has come
    for kind, numbers in wanted.items():
        np.testing.assert_allclose(found[kind].deviations, numbers.deviations, rtol=1e-12)
        np.testing.assert_array_equal(found[kind].errors, numbers.errors)


def test_weights_by_config_type_leave_frames_in_their_file(frames, tmp_path):
    kinds = ["hot" if k % 3 == 0 else "cold" for k in range(len(frames))]
    frames = [dataclasses.replace(f, info={"config_type": kind}) for f, kind in zip(frames, kinds, strict=True)]
    write_hdf5(tmp_path / "frames.h5", frames)
    stored = HDF5Frames(tmp_path / "frames.h5")
    config = dataclasses.replace(CONFIG, structure_weights={"hot": 0.0})
    cold = [f for f in frames[:11] if f.info["config_type"] == "cold"]
    with settings_of(config):
        problem, [(of_file, _)] = prepare(TOY, stored[:11], stored[11:], config, None)
        _, [(of_memory, _)] = prepare(TOY, frames[:11], frames[11:], config, None)
        _, [(of_cold, _)] = prepare(TOY, cold, [], CONFIG, None)
    assert isinstance(problem.frames, HDF5Frames)
    np.testing.assert_array_equal(of_file["energies"], of_memory["energies"])
    np.testing.assert_array_equal(of_file["energies"], of_cold["energies"])


def test_a_split_of_a_file_stays_in_the_file(frames, tmp_path):
    write_hdf5(tmp_path / "frames.h5", frames)
    split = random_split(HDF5Frames(tmp_path / "frames.h5"), valid=3, seed=1)
    wanted = random_split(frames, valid=3, seed=1)
    assert isinstance(split.train, HDF5Frames) and len(split.train) == 11
    energies = [sorted(f.labels.energy for f in part) for part in (split.valid, wanted.valid)]
    assert energies[0] == energies[1]
