"""Training by gradients: it learns, starts from files, and says what it did."""

import dataclasses
import json
import signal

import numpy as np
import pytest
from toy_pair import PAIR_ONLY, TOY, coefficients, labelled, random_structures, true_params

import jorbit
from jorbit import Labels, Potential, SpeciesTable
from jorbit.core.errors import ConfigError, DataError, TrainingError
from jorbit.descriptors.ace import ACE
from jorbit.models.readout import Readout
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.loop import Loop
from jorbit.train.metrics import evaluate
from jorbit.train.objective import LossWeights
from jorbit.train.optimizer import Schedule
from jorbit.train.statistics import mean_energy_baseline

SHORT = GradientConfig(epochs=3, batch_size=4, dtype="float64", log_every=4)


@pytest.fixture(scope="module")
def frames():
    return labelled(random_structures(22, periodic=True, seed=3), TOY, true_params())


def broken(frames, k, size):
    """Forces of one frame far off."""
    f = frames[k]
    labels = dataclasses.replace(f.labels, forces=f.labels.forces + size)
    return [*frames[:k], dataclasses.replace(f, labels=labels), *frames[k + 1 :]]


def test_known_coefficients_are_found_again(frames):
    """The labels come from the model itself, so the minimum is exact and known."""
    energies = {"H": -3.0, "O": -20.0}
    config = dataclasses.replace(SHORT, epochs=100, learning_rate=0.2, reference_energies=energies)
    params, report = train_by_gradient(TOY, frames[:16], frames[16:], config)
    np.testing.assert_allclose(params["toy_pair"]["c"], coefficients(), atol=0.02)
    assert params["reference_energy"]["energies"].tolist() == [-3.0, -20.0]
    assert report.validation["forces_rmse"] < 0.01
    # the errors in the report are those that an independent evaluation in float64 finds
    measured = evaluate(TOY, params, frames[16:])
    assert measured.force_rmse == pytest.approx(report.validation["forces_rmse"], rel=1e-6)
    assert measured.energy_rmse_per_atom == pytest.approx(report.validation["energy_rmse"], rel=1e-6)
    assert report.compilations["train step"] == len(report.buckets)


@pytest.mark.slow
def test_a_network_on_ace_beats_the_mean_energy():
    """100 frames and a minute of one core: forces better than a fifth of their size, energies than a third."""
    ethanol = jorbit.read("ethanol_gfn2:train")[:160]
    model = Readout(descriptor=ACE(n_species=3, cutoff=3.0, max_degree=(6, 3), l_max=2), n_species=3, hidden=(16,))
    potential = Potential((ReferenceEnergy(n_species=3), model), SpeciesTable.from_numbers([1, 6, 8]))
    config = GradientConfig(epochs=40, batch_size=5, learning_rate=0.01)
    params, report = train_by_gradient(potential, ethanol[:100], ethanol[100:130], config)
    network = evaluate(potential, params, ethanol[130:])
    baseline = evaluate(*mean_energy_baseline(ethanol[:100]), ethanol[130:])
    assert network.force_rmse < 0.2 * baseline.force_rmse
    assert network.energy_rmse < 0.34 * baseline.energy_rmse
    # features are centred on the training atoms of each element
    assert np.abs(np.asarray(params["readout"]["constants"]["shift"])).max() > 0
    assert report.n_fixed == 2 * 3 * model.descriptor.n_features + 1
    # best kept: the errors reported are the lowest of the history
    losses = [e["validation"]["loss"] for e in report.history]
    assert report.best_epoch == 1 + int(np.argmin(losses)) and report.validation["loss"] == min(losses)


def test_fine_tuning_starts_from_given_parameters_and_leaves_frozen_ones_alone(frames):
    start = {"toy_pair": {"c": coefficients() + 0.1}}
    with pytest.raises(ConfigError, match="nothing is left to train"):
        train_by_gradient(PAIR_ONLY, frames, config=dataclasses.replace(SHORT, freeze=("toy_pair/c",)), initial=start)
    with pytest.raises(ConfigError, match="No parameter matches 'toy_pair/d'"):
        train_by_gradient(PAIR_ONLY, frames, config=dataclasses.replace(SHORT, freeze=("toy_pair/d",)), initial=start)
    both = Potential((*TOY.terms, TOY.terms[1]), species=TOY.species)
    initial = {
        "reference_energy": {"energies": np.array([-3.0, -20.0])},
        "toy_pair": {"c": coefficients()},
        "toy_pair_2": {"c": np.full(12, 0.1)},
    }
    config = dataclasses.replace(SHORT, freeze=("toy_pair/*",))
    params, report = train_by_gradient(both, frames, config=config, initial=initial)
    assert params["toy_pair"]["c"].tobytes() == coefficients().tobytes()
    assert params["reference_energy"]["energies"].tolist() == [-3.0, -20.0]
    assert np.abs(params["toy_pair_2"]["c"]).max() != 0.1 and report.n_fixed == 12


def test_a_loss_that_is_not_finite_stops_the_training_and_names_the_batch(frames, tmp_path):
    bad = broken(frames, 5, 1e200)
    with pytest.raises(TrainingError, match="is not finite") as caught:
        train_by_gradient(PAIR_ONLY, bad, config=SHORT, folder=tmp_path)
    written = jorbit.read(next(tmp_path.glob("bad-batch-*.extxyz")))
    assert any(np.abs(f.labels.forces).max() > 1e100 for f in written)
    assert "5" in str(caught.value).split("Frames of the batch: ")[1]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    trouble = next(line for line in lines if line["event"] == "trouble")
    failed = trouble["step"]
    assert 5 in trouble["frames"]
    # noticed within the logging interval: no later step was logged, and the state stood still
    assert all(line["step"] <= failed for line in lines)


def test_an_explosion_is_noticed_and_rolled_back(frames, tmp_path):
    bad = broken(frames, 5, 1e5)
    config = dataclasses.replace(SHORT, on_failure="rollback")
    with pytest.raises(TrainingError, match="more than 10000 times its mean"):
        train_by_gradient(PAIR_ONLY, bad, config=config, folder=tmp_path)
    scales = [
        json.loads(line)["scale"]
        for line in (tmp_path / "log.jsonl").read_text().splitlines()
        if json.loads(line)["event"] == "rollback"
    ]
    assert scales == [0.5, 0.25, 0.125]


def test_batches_without_labels_say_nothing_about_the_size_of_a_loss(frames):
    bare = [dataclasses.replace(f, labels=Labels()) for f in frames[:9]]
    for seed in range(3):  # the first batch has no label for most seeds
        config = dataclasses.replace(SHORT, batch_size=1, epochs=1, seed=seed)
        _, report = train_by_gradient(PAIR_ONLY, [*bare, *frames[9:12]], config=config)
        assert report.n_steps == 12


def test_a_validation_loss_that_is_no_number_is_told(frames, monkeypatch):
    losses = iter([2.0, np.nan, 1.0])
    monkeypatch.setattr(Loop, "_validate", lambda *_: {"loss": next(losses)})
    _, report = train_by_gradient(PAIR_ONLY, frames[:16], frames[16:], SHORT)
    assert report.best_epoch == 3 and any(
        "not finite after 1 of 3 epochs, first after epoch 2" in n for n in report.notes
    )


def test_early_stop_and_plateau_follow_the_validation_loss(frames):
    """A learning rate far too large never gets better after the start."""
    config = dataclasses.replace(
        SHORT, epochs=30, learning_rate=5.0, warmup=0.0, patience=3, schedule="plateau", plateau_patience=1
    )
    _, report = train_by_gradient(PAIR_ONLY, frames[:16], frames[16:], config)
    assert report.early and len(report.history) == report.best_epoch + 3
    losses = [e["validation"]["loss"] for e in report.history]
    scale, best, waited = 1.0, np.inf, 0
    for entry, loss in zip(report.history, losses, strict=True):
        assert entry["learning_rate"] == pytest.approx(5.0 * scale)
        waited = 0 if loss < best else waited + 1
        best = min(best, loss)
        if waited == 2:
            scale, waited = 0.5 * scale, 0


def test_missing_labels_and_float32(frames):
    some = [dataclasses.replace(f, labels=Labels(forces=f.labels.forces)) for f in frames[:8]]
    params, report = train_by_gradient(PAIR_ONLY, some, some, dataclasses.replace(SHORT, dtype="float32"))
    assert params["toy_pair"]["c"].dtype == np.float32
    assert "energy_mae" not in report.validation and report.validation["forces_mae"] > 0
    with pytest.raises(DataError, match="nothing to learn from"):
        train_by_gradient(PAIR_ONLY, [dataclasses.replace(f, labels=Labels()) for f in frames], config=SHORT)
    with pytest.raises(DataError, match="NaN or"):
        nan = dataclasses.replace(frames[0], labels=Labels(energy=float("nan")))
        train_by_gradient(PAIR_ONLY, [nan], config=SHORT)


def test_mistakes_in_the_call_are_explained(frames):
    with pytest.raises(ConfigError, match="schedule must be one of"):
        Schedule("linear", peak=0.1, warmup=0, total=10)
    with pytest.raises(ConfigError, match="ema"):
        GradientConfig(ema=1.5)
    with pytest.raises(ConfigError, match="patience"):
        GradientConfig(patience=0)
    with pytest.raises(ConfigError, match="positive finite weight"):
        train_by_gradient(TOY, frames, config=GradientConfig(loss=LossWeights(0.0, 0.0, 0.0)))
    with pytest.raises(ConfigError, match="species_weights names"):
        train_by_gradient(TOY, frames, config=GradientConfig(species_weights={"N": 2.0}))
    with pytest.raises(DataError, match="got Structure at index 0"):
        train_by_gradient(TOY, iter([frames[0].structure]))  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="nothing but reference energies"):
        train_by_gradient(Potential((TOY.terms[0],), TOY.species), frames)


@pytest.mark.parametrize("batch_size", [1, 3, 22])
def test_weights_by_config_type_count_in_training_and_in_validation_however_frames_are_batched(frames, batch_size):
    """Against errors of single frames: the loss is their mean by weight. The steps are too short to change anything."""
    some = [f for f in frames if f.structure.n_atoms == 4]
    kinds = ["hot" if k % 3 == 0 else "cold" for k in range(len(some))]
    some = [dataclasses.replace(f, info={"config_type": kind}) for f, kind in zip(some, kinds, strict=True)]
    start = {"toy_pair": {"c": coefficients() + 0.1}}
    config = dataclasses.replace(
        SHORT,
        epochs=1,
        batch_size=batch_size,
        learning_rate=1e-12,
        loss=LossWeights(energy=0.0, forces=2.0, stress=0.0),
        structure_weights={"hot": 0.1},
    )
    [entry] = train_by_gradient(PAIR_ONLY, some, some, config, initial=start).report.history
    errors = [evaluate(PAIR_ONLY, start, [f]).force_rmse ** 2 for f in some]
    wanted = np.average(errors, weights=[0.1 if kind == "hot" else 1.0 for kind in kinds])
    assert entry["validation"]["loss"] == pytest.approx(2.0 * wanted, rel=1e-6)
    assert entry["validation"]["forces_rmse"] == pytest.approx(np.sqrt(wanted), rel=1e-6)
    if batch_size != 3:  # a last batch that is not full counts as much as the others in an epoch
        assert entry["loss"] == pytest.approx(2.0 * wanted, rel=1e-6)


def test_ctrl_c_keeps_the_best_so_far(frames):
    def interrupt(stage, done, total):
        if stage == "train" and done == 7:
            signal.raise_signal(signal.SIGINT)

    result = train_by_gradient(PAIR_ONLY, frames[:16], frames[16:], SHORT, progress=interrupt)
    assert result.report.interrupted and result.report.n_steps == 7 and result.report.best_epoch == 1
    first = train_by_gradient(PAIR_ONLY, frames[:16], frames[16:], SHORT)  # a seed says everything: the same epoch
    assert first.report.history[0]["validation"] == result.report.history[0]["validation"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
