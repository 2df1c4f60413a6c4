"""Active learning: selection against brute force, and rounds that end alike however often they were killed."""

import dataclasses
import json

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.datasets.extxyz import write_extxyz
from jorbit.datasets.label_calculator import label_with, make_calculator
from jorbit.models.linear_ace import LinearACE
from jorbit.potential.potential import Potential
from jorbit.potential.uncertainty import predict_spread
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.active import ActivePlan, Model, Waiting, run_active
from jorbit.train.active_config import load_active_config
from jorbit.train.grades import distance_grade
from jorbit.train.selection import _most_informative, _most_reducing, select
from jorbit.train.uncertainty import fit_uncertainty

POTENTIAL = Potential(
    (ReferenceEnergy(n_species=3), LinearACE(n_species=3, cutoff=3.0, max_degree=(5, 2))),
    SpeciesTable.from_numbers([1, 6, 8]),
)


@pytest.fixture(scope="module")
def frames():
    return jorbit.read("ethanol_gfn2")[:40]


def fitted(frames) -> Model:
    potential, params, report = jorbit.fit(frames, POTENTIAL)
    return Model(potential, params, fit_uncertainty(report))


def test_information_is_the_growth_of_a_determinant():
    """Greedy by brute force: log det(1 + sum of Y^T Y / noise^2) over the whole set, computed anew each time."""
    rng, noise = np.random.default_rng(0), 0.3
    rows = [rng.normal(size=(2, 5)) * rng.lognormal() for _ in range(12)]
    rows[7] = rows[3].copy()  # a twin tells nothing new

    def information(taken):
        return np.linalg.slogdet(np.eye(5) + sum(rows[k].T @ rows[k] for k in taken) / noise**2)[1]

    expected: list[int] = []
    for _ in range(6):
        expected.append(max((k for k in range(12) if k not in expected), key=lambda k: information([*expected, k])))
    assert _most_informative(rows, 6, noise) == expected
    assert not {3, 7} <= set(expected[:4])


def test_reduction_is_what_labels_take_from_the_mean_variance():
    """By brute force: the posterior covariance after labels with noise, and the mean variance of all rows under it."""
    rng, noise = np.random.default_rng(1), 0.4
    rows = [rng.normal(size=(2, 5)) * rng.lognormal() for _ in range(10)]
    every = np.concatenate(rows)

    def variance(taken):
        covariance = np.linalg.inv(np.eye(5) + sum(rows[k].T @ rows[k] for k in taken) / noise**2)
        return np.einsum("rp,pq,rq->", every, covariance, every)

    first = min(range(10), key=lambda k: variance([k]))
    found = _most_reducing(rows, 4, noise)
    assert found[0] == first and len(set(found)) == 4
    assert variance(found) < np.median([variance(list(rng.permutation(10)[:4])) for _ in range(200)])


@pytest.mark.slow
def test_the_uncertain_are_chosen_and_twins_are_not(frames):
    model = fitted(frames[:10])
    structures = [f.structure for f in frames[10:22]]
    doubled = [s for s in structures for _ in range(2)]
    chosen = select(model.grade, POTENTIAL, doubled, 5, "information")
    assert len({k // 2 for k in chosen}) == 5
    spread = [np.mean(s.forces**2) for s in predict_spread(model.grade, structures)]
    assert np.mean([spread[k // 2] for k in chosen[:2]]) > np.mean(spread)
    distance = distance_grade(POTENTIAL, frames[:10])
    far = select(distance, POTENTIAL, doubled, 5, "farthest")
    assert len({k // 2 for k in far}) == 5
    assert sorted(select(distance, POTENTIAL, structures, 99, "random")) == list(range(12))
    with pytest.raises(ConfigError, match="select by 'uncertain' or 'farthest'"):
        select(distance, POTENTIAL, structures, 3)


class Killed(Exception):
    pass


def active(folder, frames, die_at=None, plan=None):
    """Two rounds over a pool; `die_at` counts the calls of fit, explore and label."""
    calls: list[str] = []
    known = {f.structure.positions.tobytes(): f for f in frames}

    def counted(name):
        calls.append(name)
        if len(calls) == die_at:
            raise Killed

    def fit(some):
        counted("fit")
        return fitted(some)

    def explore(model, starts, k):
        counted("explore")
        taken = {np.round(s.positions, 6).tobytes() for s in starts}
        return [f.structure for f in known.values() if np.round(f.structure.positions, 6).tobytes() not in taken]

    def label(source, output):
        counted("label")
        asked = [np.round(f.structure.positions, 6) for f in jorbit.read(str(source))]
        found = [next(f for f in frames if np.allclose(f.structure.positions, r, atol=1e-5)) for r in asked]
        write_extxyz(output, iter(found))

    plan = plan or ActivePlan(rounds=2, per_round=3)
    return run_active(folder, frames[:8], plan, fit=fit, explore=explore, label=label, test=frames[30:]), calls


@pytest.mark.slow
def test_a_run_killed_at_every_stage_ends_as_one_that_was_not(tmp_path, frames):
    whole, calls = active(tmp_path / "whole", frames)
    assert calls == ["fit", "explore", "label", "fit", "explore", "label", "fit"]
    assert [m["n_labels"] for m in whole] == [8, 11, 14]
    assert whole[1]["force_scale"] != 1.0  # scaled by the labels of round 0 before they were learned
    folder = tmp_path / "killed"
    for _ in calls[:-1]:
        with pytest.raises(Killed):
            active(folder, frames, die_at=2)  # one call more each time
    again, last = active(folder, frames)
    assert again == whole and last == ["fit"]
    for name in ("train.xyz", "model.safetensors"):
        assert (folder / "round_002" / name).read_bytes() == (tmp_path / "whole" / "round_002" / name).read_bytes()
    assert active(folder, frames)[1] == []
    with pytest.raises(DataError, match="another run: it differs in per_round"):
        active(folder, frames, plan=ActivePlan(rounds=2, per_round=4))


def test_it_stops_when_the_error_is_small_enough(tmp_path, frames):
    plan = ActivePlan(rounds=2, per_round=3, force_mae=10.0)
    history, calls = active(tmp_path, frames, plan=plan)
    assert len(history) == 1 and calls == ["fit"]
    assert json.loads((tmp_path / "round_000" / "metrics.json").read_text()) == history[0]


def test_an_error_to_reach_needs_frames_to_measure_it(tmp_path, frames):
    nothing = {"fit": fitted, "explore": lambda *_: [], "label": lambda *_: None}
    with pytest.raises(ConfigError, match="error on test frames"):
        run_active(tmp_path / "a", frames[:8], ActivePlan(force_mae=0.01), **nothing)
    bare = [dataclasses.replace(f, labels=jorbit.Labels(energy=f.labels.energy)) for f in frames[30:]]
    with pytest.raises(DataError, match="need energies and forces"):
        run_active(tmp_path / "b", frames[:8], ActivePlan(), test=bare, **nothing)


def test_structures_that_no_reference_should_see_are_not_labelled(tmp_path, frames):
    crushed = frames[8].structure.positions * 0.2

    def explore(model, starts, k):
        return [jorbit.Structure(positions=crushed, numbers=frames[8].structure.numbers)]

    def label(source, output):
        raise Waiting("never")

    with pytest.raises(DataError, match="far enough apart"):
        run_active(tmp_path, frames[:8], ActivePlan(rounds=1), fit=fitted, explore=explore, label=label)


def test_labels_of_a_calculator_are_its_own_and_resumed(tmp_path):
    rng = np.random.default_rng(0)
    where = [rng.normal(size=(2, 3)) * 2 for _ in range(3)]
    copper = [Frame(structure=jorbit.Structure(positions=r, numbers=np.array([29, 29]))) for r in where]
    write_extxyz(tmp_path / "in.xyz", iter(copper))
    make = make_calculator(
        "ase.calculators.lj:LennardJones", {"epsilon": 0.1, "sigma": 2.0, "rc": 9.0, "smooth": False}
    )
    assert label_with(tmp_path / "in.xyz", tmp_path / "out.xyz", make) == 3
    whole = (tmp_path / "out.xyz").read_bytes()
    (tmp_path / "out.xyz").write_bytes(whole[: len(whole) // 2])
    assert label_with(tmp_path / "in.xyz", tmp_path / "out.xyz", make) == 2
    assert (tmp_path / "out.xyz").read_bytes() == whole
    r = np.linalg.norm(np.diff(copper[0].structure.positions, axis=0))
    shift = 4 * 0.1 * ((2 / 9) ** 12 - (2 / 9) ** 6)
    energy = jorbit.read(str(tmp_path / "out.xyz"))[0].labels.energy
    assert energy == pytest.approx(4 * 0.1 * ((2 / r) ** 12 - (2 / r) ** 6) - shift, rel=1e-4)
    with pytest.raises(ConfigError, match="wanted 'module:Class'"):
        make_calculator("ase.calculators.lj:Lennard", {})


def test_the_configuration_names_mistakes():
    good = {"data": {"train": "ethanol_gfn2", "train_size": 20}}
    assert load_active_config(good).plan.method == "reduction"
    for wrong, text in (
        ({"explore": {"step": 3}}, "explore.step"),
        ({"label": {}}, "either a method"),
        ({"potential": [{"name": "linear_acf"}]}, "Did you mean"),
        ({"select": {"method": "best"}}, "select.method"),
    ):
        with pytest.raises(ConfigError, match=text):
            load_active_config(good | wrong)
