"""What surrounds the solve: references, variances, progress, interruption, messages."""

import dataclasses
import json
import signal

import jax
import numpy as np
import pytest
from toy_pair import PAIR_ONLY, TABLE, TOY, coefficients, labelled, random_structures, true_params

import jorbit
from jorbit import Frame, Labels, Potential, SpeciesTable, Structure
from jorbit.core.errors import ConfigError, DataError, UnknownSpeciesError
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.design import FitWeights
from jorbit.train.fit import default_potential, fit
from jorbit.train.normal_equations import NormalEquations

ENERGIES = np.array([-3.0, -20.0])
NOISE = 0.05


def atom(number: int, energy: float) -> Frame:
    return Frame(
        structure=Structure(positions=np.zeros((1, 3)), numbers=np.array([number])), labels=Labels(energy=energy)
    )


def noisy(frames: list[Frame], seed: int = 0) -> list[Frame]:
    """Noise such that every weighted row of FitWeights(energy=1) has the same standard deviation."""
    rng = np.random.default_rng(seed)
    result = []
    for f in frames:
        n = f.structure.n_atoms
        labels = dataclasses.replace(
            f.labels,
            energy=f.labels.energy + NOISE * np.sqrt(n) * rng.normal(),
            forces=f.labels.forces + NOISE * rng.normal(size=(n, 3)),
        )
        result.append(dataclasses.replace(f, labels=labels))
    return result


@pytest.fixture(scope="module")
def exact():
    return labelled(random_structures(40, periodic=True, seed=2), TOY, true_params(), ("energy", "forces"))


def test_isolated_atoms_fix_reference_energies_exactly(exact):
    atoms = [atom(1, -3.0), atom(8, -20.0)]
    _, params, report = fit(noisy(exact) + atoms, TOY)
    assert params["reference_energy"]["energies"].tolist() == ENERGIES.tolist()
    assert report.n_frames == 40 and report.n_parameters == 12
    _, params, report = fit(noisy(exact), TOY, reference_energies={"H": -3.0, "O": -20.0})
    assert params["reference_energy"]["energies"].tolist() == ENERGIES.tolist()
    with pytest.raises(ConfigError, match="isolated atom in the data"):
        fit(exact, TOY, reference_energies="isolated")


def test_one_composition_only_fits_and_predicts(exact):
    """Of one molecule's data only the sum of reference energies is determined; the solve must not be singular."""
    one = [f for f in exact if sorted(f.structure.numbers) == [1, 1, 8]]
    assert len(one) >= 5
    _, params, report = fit(one, TOY, prior="ridge", ridge=1e-9)
    assert report.n_parameters == 13
    assert params["reference_energy"]["energies"] @ [2.0, 1.0] == pytest.approx(-26.0, rel=1e-4)
    assert report.training.energy_rmse < 1e-3


def test_noise_is_found_and_variances_of_energies_and_forces_are_calibrated(exact):
    weights = FitWeights(energy=1.0, forces=1.0)
    frames = noisy(exact)
    _, params, report = fit(frames, TOY, weights=weights)
    n_rows = sum(report.n_rows.values())
    # The sample standard deviation of n Gaussian numbers has a relative error of 1 / sqrt(2 n).
    assert report.noise == pytest.approx(NOISE, rel=4 / np.sqrt(2 * n_rows))
    probes = labelled(random_structures(6, periodic=True, seed=77), TOY, true_params(), ("energy", "forces"))
    structures = [p.structure for p in probes]
    z_energy, z_forces = [], []
    for seed in range(8):
        result = fit(noisy(exact, seed), TOY, weights=weights)
        stds = result.report.posterior.predictive_std(structures)
        for probe, seen, std in zip(probes, labelled(structures, TOY, result.params), stds, strict=True):
            z_energy.append((seen.labels.energy - probe.labels.energy) / std.energy)
            z_forces.append((seen.labels.forces - probe.labels.forces) / std.forces)
    # Errors of one fit are correlated: 13 parameters in each of 8 fits, so about 100 independent numbers.
    assert np.mean(np.square(z_energy)) == pytest.approx(1.0, abs=0.8)
    assert np.mean(np.square(np.concatenate(z_forces))) == pytest.approx(1.0, abs=0.5)


def test_predictive_std_equals_the_spread_of_posterior_samples(exact):
    report = fit(noisy(exact), TOY).report
    structure = exact[0].structure
    std = report.posterior.predictive_std([structure])[0]
    with jax.enable_x64(True):
        graph = TOY.graph(structure, dtype=np.float64)
        ensemble = [jorbit.predict(TOY, p, graph) for p in report.posterior.sample(400, seed=0)]
    n = structure.n_atoms
    spread = np.std([np.asarray(p.forces)[:n] for p in ensemble], axis=0)
    np.testing.assert_allclose(spread, std.forces, rtol=5 / np.sqrt(2 * 400))
    assert np.std([float(p.energy[0]) for p in ensemble]) == pytest.approx(std.energy, rel=5 / np.sqrt(800))
    stress = np.std([np.asarray(p.stress)[0] for p in ensemble], axis=0)
    np.testing.assert_allclose(stress, std.stress, rtol=5 / np.sqrt(800))


def test_validation_frames_choose_the_ridge(exact):
    frames = noisy(exact)
    _, _, report = fit(frames[:25], TOY, prior="validation", validation=frames[25:])
    assert report.n_frames == 25 and report.ridge > 0
    with pytest.raises(ConfigError, match="prior='validation' only"):
        fit(frames, TOY, validation=frames)


def test_validation_frames_are_fitted_too_when_asked_to(exact):
    frames = noisy(exact)
    _, params, report = fit(frames[:30], TOY, prior="validation", validation=frames[30:], refit=True)
    _, same, _ = fit(frames, TOY, prior="ridge", ridge=report.ridge)
    _, fewer, _ = fit(frames[:30], TOY, prior="ridge", ridge=report.ridge)
    np.testing.assert_allclose(params["toy_pair"]["c"], same["toy_pair"]["c"], rtol=1e-8)
    assert not np.allclose(params["toy_pair"]["c"], fewer["toy_pair"]["c"], rtol=1e-4)
    assert report.n_frames == 40 and report.n_rows["energy"] == 40
    with pytest.raises(ConfigError, match="there are none"):
        fit(frames, TOY, prior="validation", refit=True)


def test_report_is_json_and_readable(exact):
    stages = []
    report = fit(noisy(exact), TOY, progress=lambda *call: stages.append(call)).report
    written = json.loads(json.dumps(report.provenance()))
    assert written["ridge"] == report.ridge and written["n_rows"]["energy"] == 40
    assert written["training"]["force_mae"] == report.training.force_mae
    assert written["versions"]["jax"] == jax.__version__
    assert "40 frames" in str(report) and "noise" in str(report)
    assert {s for s, *_ in stages} == {"design", "solve", "evaluate"} and ("design", 40, 40) in stages
    assert report.seconds["design"] > 0 and not report.interrupted


def test_ctrl_c_keeps_what_was_gathered_when_asked_to(exact):
    def interrupt(stage, done, total):
        if stage == "design" and done == 15:
            signal.raise_signal(signal.SIGINT)

    partial = fit(exact, TOY, prior="ridge", ridge=1e-12, progress=interrupt, keep_partial=True)
    assert partial.report.interrupted and partial.report.n_frames == 15 and partial.report.training is None
    assert "first 15 of 40" in partial.report.notes[0]
    np.testing.assert_allclose(partial.params["toy_pair"]["c"], coefficients(), rtol=1e-3)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        fit(exact, TOY, progress=interrupt)


def test_nan_labels_are_refused_and_the_frame_is_named(exact):
    broken = dataclasses.replace(exact[3], labels=Labels(energy=float("nan")))
    with pytest.raises(DataError, match=r"labels of frame 3 \(energy\)"):
        fit([*exact[:3], broken], PAIR_ONLY)


def test_mistakes_in_the_call_are_explained(exact):
    with pytest.raises(DataError, match="no frames to fit"):
        fit([], TOY)
    with pytest.raises(DataError, match="got Structure at index 0"):
        fit(iter([exact[0].structure]), TOY)
    with pytest.raises(DataError, match="nothing to fit: no energy"):
        fit([Frame(structure=exact[0].structure)], TOY)
    with pytest.raises(DataError, match="isolated atoms"):
        fit([atom(1, -3.0), atom(8, -20.0)], TOY)
    with pytest.raises(ConfigError, match="'cholesky', 'qr'"):
        fit(exact, TOY, solver="lu")
    with pytest.raises(ConfigError, match="prior must be"):
        fit(exact, TOY, prior="bays")
    with pytest.raises(ConfigError, match="ReferenceEnergy"):
        fit(exact, PAIR_ONLY, reference_energies="fit")
    with pytest.raises(ConfigError, match="not linear are"):
        fit(exact, TOY, fixed_params={"zbl": 1})
    with pytest.raises(ConfigError, match="finite and not negative"):
        FitWeights(energy=-1.0)
    silicon = Potential(terms=(ReferenceEnergy(n_species=1),), species=SpeciesTable.from_numbers([14]))
    with pytest.raises(UnknownSpeciesError, match="model knows Si"):
        fit(exact, silicon)
    wrong = dataclasses.replace(exact[0], labels=Labels(forces=np.zeros((7, 3))))
    with pytest.raises(DataError, match=r"Wanted forces \[3, 3\]"):
        fit([wrong], PAIR_ONLY)


def test_reference_energies_alone_are_a_potential_too(exact):
    potential = Potential(terms=(ReferenceEnergy(n_species=2),), species=TABLE)
    truth = {"reference_energy": {"energies": ENERGIES}}
    frames = labelled([f.structure for f in exact], potential, truth)
    _, params, report = fit(frames, potential)
    np.testing.assert_allclose(params["reference_energy"]["energies"], ENERGIES, rtol=1e-9)
    assert report.effective_parameters == 2


def test_a_problem_larger_than_the_machine_is_refused_before_the_work():
    with pytest.raises(DataError, match="max_degree"):
        NormalEquations(10**7)


def test_the_default_model_stays_affordable_with_many_elements():
    for n in (1, 3, 8):
        numbers = np.arange(1, n + 1)
        frame = Frame(structure=Structure(positions=np.zeros((n, 3)), numbers=numbers))
        assert 0 < default_potential([frame]).terms[1].n_parameters <= 3500
