"""Batches of equal capacity: nothing is lost, nothing is mixed, and the order is a function of the seed."""

import time

import jax
import numpy as np
import pytest
from toy_pair import TABLE, TOY, labelled, random_structures, true_params

from jorbit import predict
from jorbit.core.protocols import Capacity
from jorbit.train.loader import MAX_BUCKETS, Prefetch, frame_store, merged_buckets


@pytest.fixture(scope="module")
def frames():
    crystals = labelled(random_structures(9, periodic=True, seed=5), TOY, true_params())
    return crystals + labelled(random_structures(8, periodic=False, seed=6), TOY, true_params())


def store(frames, **options):
    with jax.enable_x64(True):
        return frame_store(frames, TABLE, TOY.cutoffs, batch_size=4, dtype=np.float64, **options)


def test_predictions_of_batches_are_the_labels(frames, x64):
    """The labels come from one graph of all structures; the batches must give the same predictions."""
    kept = store(frames, energy_shift=np.full(len(frames), -5.0))
    seen = []
    for batch in kept.order(seed=1):
        graph, labels = kept.load(batch)
        prediction = predict(TOY, true_params(), graph)
        real = np.asarray(graph.structure_mask)
        assert real.sum() == len(batch.rows)
        np.testing.assert_allclose(prediction.energy[real], labels.energy[real] - 5.0, atol=1e-10)
        np.testing.assert_allclose(prediction.forces, labels.forces, atol=1e-10)
        with_stress = np.asarray(labels.stress_weight) > 0
        np.testing.assert_allclose(prediction.stress[with_stress], labels.stress[with_stress], atol=1e-10)
        assert not np.any(np.asarray(labels.energy_weight)[~real])
        seen += kept.frames_of(batch)
    assert sorted(seen) == list(range(len(frames)))
    assert len(kept.order(0)) == kept.n_batches


def test_the_order_depends_on_seed_and_epoch_alone(frames):
    kept = store(frames)

    def order(seed, epoch):
        return [kept.frames_of(b) for b in kept.order(seed, epoch)]

    assert order(3, 7) == order(3, 7)
    assert order(3, 7) != order(3, 8) and order(3, 7) != order(4, 7)


def test_many_sizes_share_few_capacities():
    sizes = [Capacity(n, 1, (4 * (1 + n // 16),)) for n in range(4, 200, 4) for _ in range(3)]
    buckets = merged_buckets(sizes)
    assert len(buckets) <= MAX_BUCKETS
    assert sorted(k for _, members in buckets for k in members) == list(range(len(sizes)))
    for capacity, members in buckets:
        assert all(sizes[k].n_atoms <= capacity.n_atoms and sizes[k].n_slots <= capacity.n_slots for k in members)
    # two sizes that differ much are not put together
    assert len(merged_buckets([Capacity(8, 1, (8,))] * 50 + [Capacity(200, 1, (60,))] * 50)) == 2


def test_the_thread_hands_over_errors_and_counts_waiting(frames):
    kept = store(frames)
    order = kept.order(0)
    with Prefetch(kept, order) as batches:
        for _ in range(600):  # the consumer is slow: batches are ready when it comes
            time.sleep(0.05)
            if batches._queue.qsize():
                break
        first = next(iter(batches))
        assert batches.waited < 0.2 and kept.frames_of(first[0]) == kept.frames_of(order[0])
    broken = [order[0]._replace(rows=np.array([10**6]))]
    with pytest.raises(IndexError), Prefetch(kept, broken) as batches:
        list(batches)
