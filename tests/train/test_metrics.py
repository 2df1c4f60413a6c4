"""Errors computed by hand for small labelled sets of the toy potential."""

import dataclasses
import json

import numpy as np
import pytest
from toy_pair import TOY, labelled, random_structures, true_params

from jorbit.core.compilation import compilations
from jorbit.core.errors import DataError
from jorbit.core.structure import Frame, Labels
from jorbit.train.buckets import batches
from jorbit.train.metrics import evaluate


def shifted(frame: Frame, energy=0.0, forces=0.0, stress=0.0) -> Frame:
    x = frame.labels
    labels = Labels(
        energy=x.energy + energy, forces=x.forces + forces, stress=None if x.stress is None else x.stress + stress
    )
    return dataclasses.replace(frame, labels=labels)


@pytest.fixture(scope="module")
def exact():
    structures = random_structures(9, periodic=False) + random_structures(6, periodic=True)
    return labelled(structures, TOY, true_params())


def test_a_perfect_model_has_no_errors(exact):
    metrics = evaluate(TOY, true_params(), exact, batch_atoms=16)
    assert metrics.energy_mae < 1e-10 and metrics.force_rmse < 1e-10 and metrics.stress_rmse < 1e-10
    assert metrics.n_frames == 15 and metrics.n_atoms == sum(f.structure.n_atoms for f in exact)


def test_known_errors_come_out_and_stand_at_the_right_frames(exact):
    offsets = np.linspace(-0.2, 0.3, 15)
    frames = [shifted(f, energy=e, forces=2 * e, stress=3 * e) for f, e in zip(exact, offsets, strict=True)]
    metrics = evaluate(TOY, true_params(), frames)
    n = np.array([f.structure.n_atoms for f in frames])
    assert metrics.energy_mae == pytest.approx(np.abs(offsets).mean())
    assert metrics.energy_rmse == pytest.approx(np.sqrt((offsets**2).mean()))
    assert metrics.energy_mae_per_atom == pytest.approx((np.abs(offsets) / n).mean())
    assert metrics.energy_rmse_per_atom == pytest.approx(np.sqrt(((offsets / n) ** 2).mean()))
    assert metrics.force_mae == pytest.approx((2 * np.abs(offsets) * n).sum() / n.sum())
    assert metrics.force_rmse == pytest.approx(np.sqrt((4 * offsets**2 * n).sum() / n.sum()))
    assert metrics.stress_mae == pytest.approx(3 * np.abs(offsets[9:]).mean())
    assert metrics.stress_frames.tolist() == list(range(9, 15))
    np.testing.assert_allclose(metrics.energy_predicted, [f.labels.energy for f in exact], atol=1e-10)
    np.testing.assert_allclose(metrics.force_predicted, np.concatenate([f.labels.forces for f in exact]), atol=1e-10)


def test_errors_by_element(exact):
    """1 eV/Å on every hydrogen, 3 eV/Å on every oxygen."""
    frames = [shifted(f, forces=np.where(f.structure.numbers == 8, 3.0, 1.0)[:, None] * np.ones((1, 3))) for f in exact]
    by_element = evaluate(TOY, true_params(), frames).force_errors_by_element()
    assert by_element["H"]["force_mae"] == pytest.approx(1.0) and by_element["O"]["force_rmse"] == pytest.approx(3.0)
    assert by_element["O"]["n_atoms"] == sum((f.structure.numbers == 8).sum() for f in frames)


def test_missing_and_zero_weight_labels_count_nowhere(exact):
    frames = [
        dataclasses.replace(f, labels=dataclasses.replace(f.labels, energy_weight=0.0, energy=1e9, stress=None))
        for f in exact
    ]
    metrics = evaluate(TOY, true_params(), frames)
    assert metrics.energy_mae is None and metrics.stress_mae is None and metrics.force_mae < 1e-10
    written = json.loads(json.dumps(metrics.to_json()))
    assert written["energy_mae_per_atom"] is None and written["n_frames"] == 15
    promised = "n_frames n_atoms energy_mae_per_atom energy_rmse_per_atom force_mae force_rmse stress_mae"
    assert set(promised.split()) <= set(written)


def test_one_compilation_per_bucket_however_many_frames(exact):
    more = labelled(random_structures(40, periodic=False, seed=9), TOY, true_params())
    before = compilations()["predict"]
    evaluate(TOY, true_params(), more, batch_atoms=24)
    capacities = {capacity for _, capacity in batches([f.structure for f in more], TOY.cutoffs, 24)}
    assert len(capacities) == 2  # 3 and 4 atoms, 5 and 6 atoms
    assert compilations()["predict"] - before <= 2


def test_progress_reaches_the_total_and_no_frames_are_refused(exact):
    calls = []
    evaluate(TOY, true_params(), exact, lambda *call: calls.append(call))
    assert calls[-1] == ("evaluate", 15, 15)
    with pytest.raises(DataError, match="no frames"):
        evaluate(TOY, true_params(), [])
