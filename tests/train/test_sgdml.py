"""Kernel fits: what they learn, which permutations they sum over, and what they say about input they cannot use."""

import dataclasses
import re

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError, DataError, StructureError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.models.sgdml import predict_geometries
from jorbit.orbits.group import enumerate_group
from jorbit.train.factor import SingularSystemError
from jorbit.train.metrics import evaluate
from jorbit.train.sgdml import SIGMAS, closed_form_bytes, fit_sgdml
from jorbit.train.sgdml_permutations import check_group, choose_permutations
from jorbit.train.sgdml_report import energy_notes

FRAMES = jorbit.read("ethanol_gfn2")
TRAIN, TEST = FRAMES[:800:40], FRAMES[1005:2000:40]
NONE = {"permutations": "none"}


@pytest.fixture(scope="module")
def orbits():
    return jorbit.find_orbits(FRAMES[:150], feasible=True)


@pytest.fixture(scope="module")
def plain():
    return fit_sgdml(TRAIN, sigma=20.0, **NONE)


def with_labels(frame: Frame, **changes) -> Frame:
    return dataclasses.replace(frame, labels=dataclasses.replace(frame.labels, **changes))


def force_mae(result) -> float:
    positions = np.stack([f.structure.positions for f in TEST])
    forces = predict_geometries(result.potential.terms[0], result.params["sgdml"], positions)[1]
    return float(np.abs(forces - np.stack([f.labels.forces for f in TEST])).mean())


def test_training_forces_are_reproduced_and_the_solution_solves_the_system(plain):
    scale = float(plain.params["sgdml"]["scale"])
    positions = np.stack([f.structure.positions for f in TRAIN])
    forces = predict_geometries(plain.potential.terms[0], plain.params["sgdml"], positions)[1]
    residual = np.stack([f.labels.forces for f in TRAIN]) - forces
    # (K + λ) α = F / s: what is left of the forces is λ s α
    np.testing.assert_allclose(residual.ravel(), 1e-10 * scale * plain.report.alphas, atol=1e-6)
    assert plain.report.training.energy_mae < 0.1


@pytest.mark.slow
def test_symmetry_pays_and_the_wrong_one_does_not(plain, orbits):
    feasible = fit_sgdml(TRAIN, sigma=20.0, orbits=orbits)
    assert feasible.report.n_permutations == 6
    wrong = enumerate_group([np.array([0, 1, 2, 3, 4, 8, 6, 7, 5])], 9, 2)  # a CH2 hydrogen and the OH one
    swapped = fit_sgdml(TRAIN, sigma=20.0, permutations=wrong)
    assert force_mae(feasible) < 0.8 * force_mae(plain)
    assert force_mae(swapped) > 0.95 * force_mae(plain)
    by_orbit = evaluate(feasible.potential, feasible.params, TEST[:5], orbits=orbits).force_errors_by_orbit()
    assert sorted(by_orbit) == ["C0", "C1", "H0", "H1", "H2", "O0"]


def test_the_search_finds_the_sigma_with_the_smallest_validation_error():
    valid = FRAMES[1000:1200:10]
    grid = [float(s) for s in SIGMAS[1:9]]
    every = fit_sgdml(TRAIN, validation=valid, sigma=grid, **NONE)
    errors = every.report.sigma_search
    assert sorted(errors) == grid and every.report.sigma == min(errors, key=errors.get)
    found = fit_sgdml(TRAIN, validation=valid, **NONE)
    assert found.report.sigma == every.report.sigma and len(found.report.sigma_search) < len(SIGMAS)
    np.testing.assert_allclose(found.report.alphas, every.report.alphas)
    edge = fit_sgdml(TRAIN, validation=valid, sigma=grid[:2], **NONE)
    assert any("end of the range" in note for note in edge.report.notes)


def test_without_validation_frames_some_are_held_out_and_used_afterwards():
    result = fit_sgdml(TRAIN, sigma=[10.0, 20.0], seed=3, **NONE)
    assert len(result.params["sgdml"]["points"]) == 20 and len(result.report.sigma_search) == 2
    same = fit_sgdml(TRAIN, sigma=result.report.sigma, **NONE)
    np.testing.assert_array_equal(same.report.alphas, result.report.alphas)


def test_energies_of_some_frames_fix_the_constant(plain):
    some = [f if k % 3 == 0 else with_labels(f, energy=None) for k, f in enumerate(TRAIN)]
    ignored = [f if k % 3 == 0 else with_labels(f, energy=7.0, energy_weight=0.0) for k, f in enumerate(TRAIN)]
    params = [fit_sgdml(frames, sigma=20.0, **NONE).params["sgdml"] for frames in (some, ignored)]
    assert float(params[0]["constant"]) == float(params[1]["constant"])
    positions = np.stack([f.structure.positions for f in TRAIN[::3]])
    predicted = predict_geometries(plain.potential.terms[0], params[0], positions)[0]
    assert np.mean(predicted - [f.labels.energy for f in TRAIN[::3]]) == pytest.approx(0.0, abs=1e-7)
    with pytest.raises(DataError, match="needs an energy in every frame"):
        fit_sgdml(some, sigma=20.0, use_energies=True, **NONE)


def test_energies_can_be_labels_too():
    result = fit_sgdml(TRAIN, sigma=20.0, use_energies=True, **NONE)
    forces_only = fit_sgdml(TRAIN, sigma=20.0, **NONE)
    assert result.report.training.energy_mae < 0.3 * forces_only.report.training.energy_mae
    no_energy = [with_labels(f, energy=None) for f in TRAIN[:5]]
    with pytest.raises(DataError, match="needs an energy in every frame"):
        fit_sgdml(no_energy, sigma=20.0, use_energies=True, **NONE)


def test_labels_that_contradict_each_other_are_noticed(plain):
    training = plain.report.training
    assert energy_notes(training) == ()
    reference = training.energy_reference
    mean = reference.mean()
    flipped = dataclasses.replace(training, energy_reference=2 * mean - reference)
    assert "look like gradients" in energy_notes(flipped)[0]
    doubled = dataclasses.replace(training, energy_reference=mean + 2 * (reference - mean))
    slope = float(re.search(r"vary ([0-9.]+) times", energy_notes(doubled)[0])[1])
    assert slope == pytest.approx(2.0, abs=0.2) and "units" in energy_notes(doubled)[0]
    shuffled = dataclasses.replace(training, energy_reference=np.random.default_rng(0).permutation(reference))
    assert "do not belong together" in energy_notes(shuffled)[0]


def test_a_fit_of_gradients_says_so():
    gradients = [with_labels(f, forces=-f.labels.forces) for f in TRAIN]
    assert any("gradients" in note for note in fit_sgdml(gradients, sigma=20.0, **NONE).report.notes)


@pytest.mark.parametrize(
    "rows, words",
    [
        ([[0, 1, 2], [0, 2, 1], [1, 0, 2]], "are no group"),
        ([[0, 2, 1]], "identity is missing"),
        ([[0, 1, 2], [0, 1, 1]], "does not hold every atom"),
        ([[0, 1, 2], [0, 1, 2]], "there twice"),
        ([[0, 1]], r"\[permutations, 3\]"),
    ],
)
def test_what_is_no_group_is_refused(rows, words):
    with pytest.raises(ConfigError, match=words):
        check_group(rows, np.array([1, 1, 1]))


def test_elements_are_not_exchanged():
    with pytest.raises(ConfigError, match="different elements"):
        check_group([[0, 1, 2], [1, 0, 2]], np.array([8, 1, 1]))


@pytest.mark.parametrize("budget, most", [(1, 1), (2, 2), (5, 4), (6, 6), (12, 12)])
def test_a_budget_buys_a_subgroup(orbits, budget, most):
    group, _ = choose_permutations(f"budget:{budget}", [f.structure for f in FRAMES[:60]], orbits=orbits)
    assert 1 <= len(group) <= most and 12 % len(group) == 0
    check_group(group, FRAMES[0].structure.numbers)


def test_translations_of_a_rattled_sheet_are_found():
    cell = np.array([[2.46, 0, 0], [-1.23, 2.1304, 0], [0, 0, 12.0]])
    basis = np.array([[0, 0, 0], [1 / 3, 2 / 3, 0]]) @ cell
    sheet = np.concatenate([basis + np.array([i, j, 0]) @ cell for i in range(3) for j in range(3)])
    rng = np.random.default_rng(0)
    structures = [
        Structure(
            positions=sheet + 0.05 * rng.normal(size=sheet.shape),
            numbers=np.full(18, 6),
            cell=cell * np.array([[3], [3], [1]]),
            pbc=np.ones(3, dtype=bool),
        )
        for _ in range(20)
    ]
    group, _ = choose_permutations("translations", structures)
    assert len(group) == 9
    assert all((p != np.arange(18)).all() for p in group[1:])  # a translation leaves no atom in place
    check_group(group, structures[0].numbers)


def test_molecules_have_no_translations(orbits):
    with pytest.raises(DataError, match="nothing here stays in place"):
        choose_permutations("translations", [f.structure for f in FRAMES[:10]], orbits=orbits)


@pytest.mark.parametrize("choice", ["budget", "budget:0", "budget:x", "all"])
def test_unknown_choices_are_refused(choice):
    with pytest.raises(ConfigError, match="permutations"):
        choose_permutations(choice, [FRAMES[0].structure])


WATER = Structure(positions=np.array([[0, 0, 0.1], [0, 0.76, -0.5], [0, -0.76, -0.5]]), numbers=np.array([8, 1, 1]))


def test_frames_that_no_kernel_model_can_hold_are_refused_by_name():
    one = FRAMES[0]
    water = Frame(structure=WATER, labels=Labels(energy=0.0, forces=np.zeros((3, 3))))
    with pytest.raises(DataError, match="frame 1 holds H2O"):
        fit_sgdml([one, water], sigma=20.0)
    order = np.array([1, 0, *range(2, 9)])
    s = dataclasses.replace(one.structure, numbers=one.structure.numbers[[2, 1, 0, *range(3, 9)]])
    with pytest.raises(DataError, match="frame 1 holds the same atoms in another order"):
        fit_sgdml([one, dataclasses.replace(one, structure=s)], sigma=20.0)
    with pytest.raises(DataError, match="Frame 1 of the training frames has no forces"):
        fit_sgdml([one, with_labels(FRAMES[1], forces=None)], sigma=20.0)
    with pytest.raises(DataError, match="some of weight 0"):
        fit_sgdml([one, with_labels(FRAMES[1], forces_weight=np.arange(9.0))], sigma=20.0)
    bad = one.structure.positions.copy()
    bad[8] = bad[7]
    collision = dataclasses.replace(one, structure=dataclasses.replace(one.structure, positions=bad))
    with pytest.raises(StructureError, match="training frame 1: Atoms 7 and 8 are at one place"):
        fit_sgdml([FRAMES[5], collision], sigma=20.0)
    turned = one.structure.positions[order][:, [1, 2, 0]][order]
    copy = dataclasses.replace(one, structure=dataclasses.replace(one.structure, positions=turned))
    with pytest.raises(DataError, match="frames 1 and 3; turned"):
        fit_sgdml([FRAMES[5], one, FRAMES[9], copy], sigma=20.0, **NONE)
    with pytest.raises(DataError, match="no frames"):
        fit_sgdml([])
    equal = [with_labels(f, forces=np.zeros((9, 3))) for f in FRAMES[:3]]
    with pytest.raises(DataError, match="All forces are equal"):
        fit_sgdml(equal, sigma=20.0, **NONE)


def test_permuted_copies_are_copies(orbits):
    swapped = FRAMES[0].structure.positions[[0, 1, 2, 3, 4, 5, 7, 8, 6]]
    copy = dataclasses.replace(FRAMES[0], structure=dataclasses.replace(FRAMES[0].structure, positions=swapped))
    with pytest.raises(DataError, match="frames 0 and 2"):
        fit_sgdml([FRAMES[0], FRAMES[7], copy], sigma=20.0, orbits=orbits)


def test_frames_of_different_cells_are_refused():
    frames = jorbit.read("bn_gfn1")
    cells = [f.structure.cell for f in frames]
    other = next(k for k, c in enumerate(cells) if np.abs(c - cells[0]).max() > 1e-3)
    with pytest.raises((DataError, StructureError), match="cell"):
        fit_sgdml([frames[0], frames[other]], sigma=20.0, **NONE)


def test_too_little_memory_says_how_much_is_needed_and_what_to_do():
    assert closed_form_bytes(27_000) == pytest.approx(27_000**2 * 8, rel=0.2)
    with pytest.raises(ConfigError, match=r"needs 0\.\d GiB.*iterative.*at most \d+ frames"):
        fit_sgdml(FRAMES[:400:2], sigma=20.0, solver="cholesky", memory=0.1, **NONE)


def test_a_singular_kernel_says_what_to_change():
    with pytest.raises(SingularSystemError, match="smaller sigma"):
        fit_sgdml(TRAIN, sigma=20.0, regularization=1e-30, **NONE)


@pytest.mark.parametrize(
    "options, words",
    [({"sigma": -1.0}, "positive"), ({"solver": "lu"}, "solver"), ({"regularization": 0.0}, "regularization")],
)
def test_options_that_make_no_sense_are_refused(options, words):
    with pytest.raises(ConfigError, match=words):
        fit_sgdml(FRAMES[:3], **({"sigma": 20.0} | options))
