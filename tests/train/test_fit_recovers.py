"""Fits of a potential whose answer is known: the labels come from it, so the fit must find its coefficients."""

import dataclasses

import jax
import numpy as np
import pytest
from toy_pair import PAIR_ONLY, TOY, FixedSpring, ToyPair, coefficients, labelled, random_structures, true_params

from jorbit.core.compilation import compilations
from jorbit.core.errors import DataError
from jorbit.core.structure import Frame
from jorbit.potential import Potential, predict
from jorbit.train.design import FitWeights
from jorbit.train.fit import fit
from jorbit.train.loader import frame_store
from jorbit.train.objective import LossWeights

ALMOST_NO_RIDGE = {"prior": "ridge", "ridge": 1e-14}


def changed(frames: list[Frame], **changes) -> list[Frame]:
    return [dataclasses.replace(f, labels=dataclasses.replace(f.labels, **changes)) for f in frames]


def changed_with_noise(frames: list[Frame], sigma: float, seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    noisy = []
    for frame in frames:
        energy, forces = frame.labels.energy, frame.labels.forces
        energy, forces = energy + sigma * rng.normal(), forces + sigma * rng.normal(size=forces.shape)
        noisy += changed([frame], energy=energy, forces=forces)
    return noisy


@pytest.fixture(scope="module")
def molecules():
    return labelled(random_structures(40, periodic=False), TOY, true_params())


@pytest.fixture(scope="module")
def crystals():
    return labelled(random_structures(24, periodic=True, seed=3), TOY, true_params())


@pytest.mark.parametrize("solver", ["cholesky", "qr"])
def test_energies_and_forces_give_back_coefficients_and_reference_energies(molecules, solver):
    before = compilations().get("design", 0)
    potential, params, report = fit(molecules, TOY, solver=solver, **ALMOST_NO_RIDGE)
    np.testing.assert_allclose(params["toy_pair"]["c"], coefficients(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(params["reference_energy"]["energies"], [-3.0, -20.0], rtol=1e-7)
    assert report.reference_energies == pytest.approx({"H": -3.0, "O": -20.0})
    assert report.training.force_rmse < 1e-7 and report.training.energy_rmse < 1e-7
    assert report.n_rows == {"energy": 40, "forces": 3 * report.training.n_atoms, "stress": 0}
    # 3 to 6 atoms round up to two buckets of atoms; nothing else may cost a compilation.
    assert compilations().get("design", 0) - before <= 2


@pytest.mark.parametrize(
    "kept",
    [
        {"forces": None, "stress": None},
        {"energy": None, "stress": None},
        {"energy": None, "forces": None},
    ],
    ids=["energies only", "forces only", "stress only"],
)
def test_any_one_kind_of_label_of_triclinic_crystals_is_enough(crystals, kept):
    frames = changed(crystals, **kept)
    _, params, report = fit(frames, TOY, **ALMOST_NO_RIDGE)
    np.testing.assert_allclose(params["toy_pair"]["c"], coefficients(), rtol=1e-5, atol=1e-6)
    assert sum(n > 0 for n in report.n_rows.values()) == 1


def test_frames_may_miss_some_labels(molecules, crystals):
    mixed = changed(molecules[:10], forces=None) + changed(molecules[10:], energy=None) + changed(crystals, forces=None)
    _, params, report = fit(mixed, TOY, **ALMOST_NO_RIDGE)
    np.testing.assert_allclose(params["toy_pair"]["c"], coefficients(), rtol=1e-6, atol=1e-7)
    assert report.n_rows["energy"] == 10 + 24 and report.n_rows["stress"] == 6 * 24


@pytest.mark.parametrize("kind", ["energy", "forces", "stress"])
def test_weight_zero_equals_absent(crystals, kind):
    nonsense = {"energy": 1e6, "forces": np.full((3, 3), np.nan), "stress": np.full((3, 3), np.nan)}[kind]
    three = [f for f in crystals if f.structure.n_atoms == 3]
    others = [f for f in crystals if f.structure.n_atoms != 3]
    absent = fit(changed(three, **{kind: None}) + others, TOY, prior="ridge", ridge=0.1)
    ignored = fit(changed(three, **{kind: nonsense, f"{kind}_weight": 0.0}) + others, TOY, prior="ridge", ridge=0.1)
    np.testing.assert_array_equal(absent.params["toy_pair"]["c"], ignored.params["toy_pair"]["c"])
    everywhere = fit(crystals, TOY, prior="ridge", ridge=0.1, weights=FitWeights(**{kind: 0.0}))
    nowhere = fit(changed(crystals, **{kind: None}), TOY, prior="ridge", ridge=0.1)
    np.testing.assert_allclose(
        everywhere.params["toy_pair"]["c"], nowhere.params["toy_pair"]["c"], rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("kind", ["energy", "forces", "stress"])
def test_a_weight_of_three_equals_repeating_the_label_three_times(crystals, kind):
    """Weights of labels multiply squared errors."""
    noisy = changed_with_noise(crystals[:12], 0.05)
    others = {name: None for name in ("energy", "forces", "stress") if name != kind}
    heavy = changed(noisy[:3], **{f"{kind}_weight": 3.0})
    by_weight = fit(heavy + noisy[3:], PAIR_ONLY, prior="ridge", ridge=0.1)
    by_repetition = fit(noisy + 2 * changed(noisy[:3], **others), PAIR_ONLY, prior="ridge", ridge=0.1)
    np.testing.assert_allclose(by_weight.params["toy_pair"]["c"], by_repetition.params["toy_pair"]["c"], rtol=1e-7)


def test_weights_of_kinds_multiply_errors_before_the_square(molecules):
    """A weight of two counts as much as the labels four times: it is an inverse standard deviation."""
    noisy = changed_with_noise(molecules[:12], 0.05)
    weights = FitWeights(energy=2.0, forces=1.0)
    by_weight = fit(noisy, PAIR_ONLY, prior="ridge", ridge=0.1, weights=weights)
    repeated = noisy + 3 * changed(noisy, forces=None)
    by_repetition = fit(repeated, PAIR_ONLY, prior="ridge", ridge=0.1, weights=FitWeights(energy=1.0))
    np.testing.assert_allclose(by_weight.params["toy_pair"]["c"], by_repetition.params["toy_pair"]["c"], rtol=1e-7)


@pytest.mark.parametrize("kind", ["energy", "forces"])
def test_weights_of_labels_mean_the_same_to_training_by_gradients(kind, x64):
    """The loss of a network trainer is flat where the closed form has its minimum, with these weights and no others."""
    some = [s for s in random_structures(120, periodic=False, seed=8) if s.n_atoms == 5]  # the same energies per atom
    noisy = changed_with_noise(labelled(some, TOY, true_params()), 0.05)
    weights = np.random.default_rng(2).uniform(0.1, 4.0, len(noisy)).tolist()
    weighed = [changed([f], **{f"{kind}_weight": w})[0] for f, w in zip(noisy, weights, strict=True)]
    kinds = {"energy": 0.0, "forces": 0.0, "stress": 0.0} | {kind: 1.0}
    found = fit(weighed, PAIR_ONLY, weights=FitWeights(**kinds), prior="ridge", ridge=1e-12)
    loss = LossWeights(**kinds).objective()

    def steepness(frames: list[Frame]) -> float:
        store = frame_store(frames, PAIR_ONLY.species, PAIR_ONLY.cutoffs, batch_size=len(frames), dtype=np.float64)
        [batch] = store.order(None)
        graph, labels = store.load(batch)
        slope = jax.grad(lambda params: loss(predict(PAIR_ONLY, params, graph), labels, graph))(found.params)
        return float(np.abs(slope["toy_pair"]["c"]).max())

    assert steepness(weighed) < 1e-6 * steepness(noisy)


@pytest.mark.parametrize("wrong", [{"energy_weight": -1.0}, {"stress_weight": np.nan}, {"forces_weight": -np.ones(3)}])
def test_weights_that_are_none_are_refused(crystals, wrong):
    three = [f for f in crystals if f.structure.n_atoms == 3]
    with pytest.raises(DataError, match="finite and not negative"):
        fit(changed(three, **wrong), TOY)


def test_turning_the_crystals_does_not_change_a_regularised_fit(crystals):
    rng = np.random.default_rng(1)
    noisy = [
        changed([f], stress=f.labels.stress + 0.02 * (n + n.T), energy=None, forces=None)[0]
        for f, n in zip(crystals, rng.normal(size=(24, 3, 3)), strict=True)
    ]
    turned = []
    for frame in noisy:
        q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
        q *= np.sign(np.linalg.det(q))
        s = frame.structure
        structure = dataclasses.replace(s, positions=s.positions @ q, cell=s.cell @ q)
        turned += changed([dataclasses.replace(frame, structure=structure)], stress=q.T @ frame.labels.stress @ q)
    a, b = (fit(f, PAIR_ONLY, prior="ridge", ridge=0.01).params["toy_pair"]["c"] for f in (noisy, turned))
    np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8)


def test_terms_that_are_not_linear_are_subtracted_first():
    terms = (ToyPair(n_species=2), FixedSpring())
    potential = Potential(terms=terms, species=PAIR_ONLY.species)
    truth = true_params(PAIR_ONLY) | {"fixed_spring": {"stiffness": np.array(0.8)}}
    frames = labelled(random_structures(16, periodic=True), potential, truth)
    result = fit(frames, potential, fixed_params={"fixed_spring": {"stiffness": np.array(0.8)}}, **ALMOST_NO_RIDGE)
    np.testing.assert_allclose(result.params["toy_pair"]["c"], coefficients(), rtol=1e-6, atol=1e-7)
    assert result.params["fixed_spring"]["stiffness"] == 0.8
    assert result.report.training.stress_rmse < 1e-8
    with pytest.raises(AssertionError):  # with its default stiffness of 1.3 the answer is another one
        other = fit(frames, potential, **ALMOST_NO_RIDGE)
        np.testing.assert_allclose(other.params["toy_pair"]["c"], coefficients(), rtol=1e-3)


def test_fitted_parameters_predict_in_float32_as_well(molecules):
    potential, params, _ = fit(molecules, TOY)
    prediction = predict(potential, params, molecules[0])
    assert prediction.energy.dtype == np.float32
    assert prediction.energy[0] == pytest.approx(molecules[0].labels.energy, abs=1e-3)


def test_fits_are_reproducible_bit_by_bit(molecules):
    noisy = changed_with_noise(molecules, 0.05)
    a, b = (fit(noisy, TOY, prior="validation", seed=5) for _ in range(2))
    np.testing.assert_array_equal(a.params["toy_pair"]["c"], b.params["toy_pair"]["c"])
    assert a.report.n_rows["energy"] == 40  # the held-out tenth is fitted too, once it has chosen the ridge
