"""Ensembles trained by one compiled step: each member is the model that would have been trained alone."""

import dataclasses

import jax
import numpy as np
import pytest
from toy_pair import PAIR_ONLY, TOY, RandomStart, coefficients, labelled, random_structures

from jorbit import Potential, load, predict
from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, TrainingError
from jorbit.potential.artefact import load_grades
from jorbit.potential.uncertainty import predict_spread
from jorbit.train import train_by_gradient, train_ensemble
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.loop import Loop

POTENTIAL = Potential((RandomStart(n_species=2),), TOY.species)
CONFIG = GradientConfig(epochs=3, batch_size=4, dtype="float64", members=3, log_every=2)


@pytest.fixture(scope="module")
def frames():
    return labelled(random_structures(10, periodic=False, seed=3), PAIR_ONLY, {"toy_pair": {"c": coefficients()}})


def close(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12), one, other)


@pytest.mark.slow
def test_the_first_member_is_the_model_that_is_trained_alone(frames):
    before = compilations().get("train step", 0)
    members, report = train_ensemble(POTENTIAL, frames[:8], frames[8:], CONFIG)
    assert compilations()["train step"] == before + len(report.buckets)  # one step for all members
    alone, single = train_by_gradient(POTENTIAL, frames[:8], frames[8:], dataclasses.replace(CONFIG, members=1))
    close(members[0], alone)
    assert len(members) == 3 and report.n_parameters == single.n_parameters
    kernels = [next(iter(m.values()))["c"] for m in members]
    assert np.abs(kernels[1] - kernels[0]).max() > 0.1 and np.abs(kernels[2] - kernels[1]).max() > 0.1
    losses = [e["loss"] for e in report.history]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_an_interrupted_ensemble_goes_on_to_the_same_bits(frames, tmp_path, monkeypatch):
    config = dataclasses.replace(CONFIG, members=2, checkpoint_minutes=0.0)
    whole, _ = train_ensemble(POTENTIAL, frames[:8], frames[8:], config)
    asked = iter([False] * 3 + [True] * 100)
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_is_told_to_stop", lambda *_: next(asked))
        _, report = train_ensemble(POTENTIAL, frames[:8], frames[8:], config, folder=tmp_path)
    assert report.interrupted
    again, _ = train_ensemble(POTENTIAL, frames[:8], frames[8:], config, folder=tmp_path, resume=True)
    jax.tree.map(np.testing.assert_array_equal, list(again), list(whole))


@pytest.mark.slow
def test_one_file_for_each_member(frames, tmp_path):
    from jorbit.datasets.extxyz import write_extxyz
    from jorbit.train.run import train

    write_extxyz(tmp_path / "frames.extxyz", frames)
    options = {"n_features": 4, "n_gaussians": 4, "n_interactions": 1, "cutoff": 3.0}
    result = train(
        {
            "data": {"train": str(tmp_path / "frames.extxyz"), "valid": 2},
            "potential": [{"name": "reference_energy"}, {"name": "schnet", **options}],
            "gradient": {"epochs": 1, "members": 2, "reference_energies": "fit"},
            "output": str(tmp_path / "model.safetensors"),
        }
    )
    stored = [load(tmp_path / name)[1] for name in ("model.safetensors", "model.2.safetensors")]
    jax.tree.map(np.testing.assert_array_equal, stored, list(result.members))
    grade = load_grades(tmp_path / "model.safetensors")["deviation"]
    assert grade.n_members == 2 and float(grade.forces_scale) != 1.0
    structure = frames[0].structure
    forces = [predict(result.potential, member, structure).forces for member in result.members]
    spread = predict_spread(grade, [structure])[0].forces
    both = np.std(forces, axis=0, ddof=1) * float(grade.forces_scale)
    np.testing.assert_allclose(spread, both, rtol=1e-3, atol=1e-3 * both.max())


def test_trouble_of_one_member_names_its_own_batch(frames, tmp_path):
    """One member stands still while the others finish the epoch, at whose end somebody looks."""
    config = dataclasses.replace(CONFIG, batch_size=2, log_every=1000, explosion=1.5, epochs=1, ema=None)
    with pytest.raises(
        TrainingError, match=r"more than 1\.5 times its mean.*Frames of the batch: \[\d, \d\]"
    ) as caught:
        train_ensemble(POTENTIAL, frames, config=config, folder=tmp_path)
    (written,) = tmp_path.glob("bad-batch-*.extxyz")
    step = int(written.stem.split("-")[-1])
    assert f"Step {step}:" in str(caught.value) and 1 < step <= 5


def test_members_cannot_start_from_the_same_parameters(frames):
    with pytest.raises(ConfigError, match="train_ensemble"):
        train_by_gradient(POTENTIAL, frames, config=CONFIG)
    with pytest.raises(ConfigError, match="members must be positive"):
        GradientConfig(members=0)
