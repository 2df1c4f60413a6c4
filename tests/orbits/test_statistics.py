"""Streamed statistics are those of all distances at once."""

import dataclasses

import numpy as np
import pytest
from orbit_systems import perovskite_slab, rattled, sheet

from jorbit.core.structure import Structure
from jorbit.orbits import statistics as module
from jorbit.orbits.frames import read_trajectory
from jorbit.orbits.statistics import make_groups, pair_statistics


def all_distances(structures: list[Structure]) -> np.ndarray:
    """Nearest of 25 in-plane images, frame by frame."""
    shifts = np.array([(a, b, 0) for a in range(-2, 3) for b in range(-2, 3)]) @ structures[0].cell
    return np.stack(
        [
            np.linalg.norm(s.positions[None, :, None] - s.positions[:, None, None] + shifts, axis=-1).min(axis=-1)
            for s in structures
        ]
    )


def test_mean_spread_error_and_bonds_agree_with_plain_numpy(monkeypatch):
    frames = rattled(sheet(3), 0.12, 45)
    monkeypatch.setattr(module, "MIN_BLOCK", 7)  # blocks of 7 frames, the last one short,
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 7 * 18 * 4)  # and of 4 rows, the last one short
    groups = make_groups(45, 4, 2, seed=1)
    whole, subsets = pair_statistics(read_trajectory(frames, 1000), groups, 1.25)
    distances = all_distances(frames)
    off = ~np.eye(18, dtype=bool)
    np.testing.assert_allclose(whole.mean, distances.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(whole.spread[off], distances.std(axis=0)[off], atol=1e-7)
    blocks = np.stack([b.mean(axis=0) for b in np.array_split(distances, 4)])
    np.testing.assert_allclose(whole.error[off], (blocks.std(axis=0, ddof=1) / 2)[off], atol=1e-9)
    np.testing.assert_allclose(whole.bonded[off], (distances < 1.25 * 1.52).mean(axis=0)[off], atol=1e-12)
    assert len(subsets) == 4  # two halves, two random subsets
    np.testing.assert_allclose(subsets[0].mean, distances[:23].mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(subsets[1].mean, distances[23:].mean(axis=0), atol=1e-9)
    assert [s.n_frames for s in subsets] == [23, 22, 36, 36]


def test_a_breathing_crystal_has_the_distances_of_its_mean_cell():
    """Frames strained and turned, without other motion: after mapping to the mean cell nothing moves."""
    atoms = perovskite_slab(5, "CsI", 1)
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(12):
        strain = np.diag([1.0 + 0.05 * rng.normal(), 1.0, 1.0])
        turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        turn *= np.sign(np.linalg.det(turn))
        cell = atoms.cell.array @ strain @ turn
        frames.append(
            Structure(
                positions=atoms.positions @ strain @ turn,
                numbers=atoms.numbers,
                cell=cell,
                pbc=np.array(atoms.pbc),
            )
        )
    whole, _ = pair_statistics(read_trajectory(frames, 1000), make_groups(12, 4, 0, seed=0), 1.25)
    assert whole.spread.max() < 1e-6


def test_many_frames_are_thinned_evenly_and_few_have_no_groups():
    frames = rattled(sheet(3), 0.1, 30)
    trajectory = read_trajectory(frames, 10)
    assert trajectory.n_frames == 10 and trajectory.n_given == 30
    np.testing.assert_allclose(trajectory.positions[[0, -1]], [frames[0].positions, frames[-1].positions])
    assert make_groups(3, 4, 4, seed=0).weights.shape == (1, 3)


@pytest.mark.parametrize("m", [1, 2])
def test_bonds_to_several_images_are_counted(m):
    """Every atom of graphene has three neighbours, also in cells where they are images of one atom."""
    frames = rattled(sheet(m), 0.02, 5)
    whole, _ = pair_statistics(read_trajectory(frames, 1000), make_groups(5, 4, 0, seed=0), 1.25)
    assert (whole.n_bonds is None) == (m == 2)  # the 2 x 2 cell is longer than two bonds
    counts = whole.bonded if whole.n_bonds is None else whole.n_bonds
    np.testing.assert_allclose(counts.sum(axis=1), 3.0)


def test_memory_does_not_grow_with_the_number_of_frames(monkeypatch):
    """What is in memory at once is one block of frames: its size does not depend on how many there are."""
    largest = []
    original = module._accumulate
    monkeypatch.setattr(module, "MIN_BLOCK", 10)
    monkeypatch.setattr(module, "BLOCK_ELEMENTS", 1)
    monkeypatch.setattr(
        module, "_accumulate", lambda sums, block, *rest: (largest.append(len(block)), original(sums, block, *rest))[1]
    )
    for n_frames in (20, 80):
        trajectory = read_trajectory(rattled(sheet(3), 0.1, n_frames), 1000)
        pair_statistics(trajectory, make_groups(n_frames, 4, 4, seed=0), 1.25)
    assert set(largest) == {10}


def test_positions_need_not_be_wrapped():
    frames = rattled(sheet(3), 0.1, 8)
    rng = np.random.default_rng(5)
    moved = [
        dataclasses.replace(s, positions=s.positions + (rng.integers(-3, 4, size=(18, 3)) * [1, 1, 0]) @ s.cell)
        for s in frames
    ]
    groups = make_groups(8, 2, 0, seed=0)
    a, _ = pair_statistics(read_trajectory(frames, 1000), groups, 1.25)
    b, _ = pair_statistics(read_trajectory(moved, 1000), groups, 1.25)
    np.testing.assert_allclose(a.mean, b.mean, atol=1e-9)
