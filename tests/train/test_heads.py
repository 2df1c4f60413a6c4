"""Several heads: each learns its own labels, all share the rest, one file holds them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_pair import TABLE, TOY, ToyPair, coefficients, labelled, random_structures

import jorbit
from jorbit import Potential
from jorbit.cli.training_report import plan_of
from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.datasets.extxyz import write_extxyz
from jorbit.potential.artefact import info, load_grades
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.config import load_config
from jorbit.train.gradient import train_heads
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.heads import HeadData, gathered
from jorbit.train.loader import frame_store
from jorbit.train.metrics import evaluate
from jorbit.train.prepare import plan_of_heads, prepare, unknown_elements
from jorbit.train.run import read_split, train

BOTH = Potential((ReferenceEnergy(n_species=2), ToyPair(n_species=2), ToyPair(n_species=2)), TABLE)
CONFIG = GradientConfig(epochs=40, batch_size=4, learning_rate=0.2, dtype="float64", ema=None)
OFFSETS = {"cheap": 0.0, "dear": 0.5}
ISOLATED = {"cheap": {"H": -3.0, "O": -20.0}, "dear": {"H": -3.5, "O": -21.0}}


def truth(name):
    return {
        "reference_energy": {"energies": np.array(list(ISOLATED[name].values()))},
        "toy_pair": {"c": coefficients() + OFFSETS[name] * np.cos(np.arange(12))},
    }


@pytest.fixture(scope="module")
def data():
    found = {}
    for k, name in enumerate(OFFSETS):
        frames = labelled(random_structures(12 - 4 * k, periodic=True, seed=k), TOY, truth(name))
        found[name] = HeadData(frames[:-2], frames[-2:], ISOLATED[name])
    return found


@pytest.fixture(scope="module")
def trained(data):
    return train_heads(BOTH, data, CONFIG, own=["toy_pair_2/*"])


def test_every_head_learns_its_labels_and_the_rest_is_shared(data, trained):
    """Labels are those of the model itself at two known sets of coefficients."""
    heads, report = trained
    assert list(heads) == ["cheap", "dear"]
    one, other = heads.values()
    assert one["toy_pair"]["c"].tobytes() == other["toy_pair"]["c"].tobytes()
    for name, params in heads.items():
        np.testing.assert_array_equal(params["reference_energy"]["energies"], list(ISOLATED[name].values()))
    # each learned its own labels and not those of the other, on frames that none has seen
    errors = {
        (name, labels): evaluate(BOTH, params, list(data[labels].validation)).force_rmse
        for name, params in heads.items()
        for labels in heads
    }
    assert errors["cheap", "cheap"] < 0.2 * errors["dear", "cheap"]
    assert errors["dear", "dear"] < 0.2 * errors["cheap", "dear"]
    # the error that was watched is that of each head's held-out frames
    n = {name: 3 * sum(f.structure.n_atoms for f in part.validation) for name, part in data.items()}
    squares = sum(n[name] * errors[name, name] ** 2 for name in heads)
    assert report.n_validation == 4
    assert report.validation["forces_rmse"] == pytest.approx(np.sqrt(squares / sum(n.values())), rel=1e-6)


def test_one_file_holds_all_heads_and_any_of_them_can_be_asked_for(tmp_path, trained):
    heads, path = trained.heads, tmp_path / "model.safetensors"
    jorbit.save(path, BOTH, heads["dear"], heads=heads)
    for asked, name in ((None, "dear"), ("dear", "dear"), ("cheap", "cheap")):
        potential, params = jorbit.load(path, head=asked)
        assert potential == BOTH
        for term, wanted in heads[name].items():
            for key, values in wanted.items():
                assert params[term][key].tobytes() == np.asarray(values).tobytes()
    by_path = jorbit.load(f"{path}#cheap")[1]
    np.testing.assert_array_equal(by_path["toy_pair_2"]["c"], heads["cheap"]["toy_pair_2"]["c"])
    found = info(path)
    assert found["heads"] == ["dear", "cheap"] and found["n_parameters"] == 2 + 12 + 12
    assert not any(n.startswith("heads") and n.endswith("toy_pair/c") for n in found["tensors"])  # written once
    assert load_grades(f"{path}#cheap") == {}
    for ask in (jorbit.load, info):
        with pytest.raises(ModelFileError, match="no head 'ccsd': the file holds the heads dear, cheap"):
            ask(f"{path}#ccsd")
    jorbit.save(path, BOTH, heads["dear"])
    with pytest.raises(ModelFileError, match="one model, and no heads"):
        jorbit.load(path, head="cheap")


@pytest.mark.slow
def test_heads_go_on_after_a_stop_as_if_there_had_been_none(tmp_path, data):
    short = dataclasses.replace(CONFIG, epochs=2, ema=0.9)
    at_once = train_heads(BOTH, data, short, own=["toy_pair_2/*"])
    stopped = dataclasses.replace(short, max_minutes=1e-9)
    assert train_heads(BOTH, data, stopped, own=["toy_pair_2/*"], folder=tmp_path).report.interrupted
    resumed = train_heads(BOTH, data, short, own=["toy_pair_2/*"], folder=tmp_path, resume=True)
    for name, params in at_once.heads.items():
        for term in ("toy_pair", "toy_pair_2"):
            assert params[term]["c"].tobytes() == resumed.heads[name][term]["c"].tobytes()


def test_mistakes_say_what_is_wanted(data, trained):
    with pytest.raises(ConfigError, match="two heads or more"):
        train_heads(BOTH, {"one": data["cheap"]}, CONFIG, own=["toy_pair_2/*"])
    with pytest.raises(ConfigError, match=r"'\*nothing\*', which each head is to have"):
        train_heads(BOTH, data, CONFIG, own=["*nothing*"])
    with pytest.raises(ConfigError, match="share nothing"):
        train_heads(BOTH, data, CONFIG, own=["*"])
    with pytest.raises(ConfigError, match="'dear' has no frames"):
        train_heads(BOTH, {**data, "dear": HeadData([])}, CONFIG, own=["toy_pair_2/*"])
    with pytest.raises(ConfigError, match="ensemble"):
        train_heads(BOTH, data, dataclasses.replace(CONFIG, members=2), own=["toy_pair_2/*"])
    with pytest.raises(ModelFileError, match="one of the heads"):
        jorbit.save("never.safetensors", BOTH, dict(trained.heads["dear"]), heads=trained.heads)


@pytest.mark.slow
def test_a_configuration_trains_heads_into_one_file(tmp_path, data):
    for name, part in data.items():
        write_extxyz(tmp_path / f"{name}.extxyz", [*part.frames, *part.validation])
    content = {
        "data": {"train": str(tmp_path / "cheap.extxyz"), "valid": 2},
        "heads": {
            "name": "cheap",
            "data": {"dear": {"train": str(tmp_path / "dear.extxyz"), "valid": 2}},
            "own": ["toy_pair_2/*"],
            "reference_energies": ISOLATED,
        },
        "potential": [{"name": "reference_energy"}, {"name": "toy_pair"}, {"name": "toy_pair"}],
        "gradient": {"epochs": 2, "batch_size": 4},
        "output": str(tmp_path / "model.safetensors"),
    }
    result = train(content)
    assert set(result.metrics) == {"valid", "valid/dear"}
    potential, params = jorbit.load(f"{result.path}#dear")
    assert params["toy_pair_2"]["c"].tobytes() == result.heads["dear"]["toy_pair_2"]["c"].tobytes()
    again = evaluate(potential, params, read_split(load_config(content).heads.data["dear"]).valid)
    assert again.force_rmse == pytest.approx(result.metrics["valid/dear"].force_rmse, rel=1e-6)
    assert set(info(result.path)["provenance"]["data"]) == {"train", "valid", "train/dear", "valid/dear"}
    for change, message in (
        ({"name": "dear"}, "give heads.name another name"),
        ({"reference_energies": {"best": "fit"}}, r"names \['best'\]"),
        ({"data": {}}, "heads.data"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config({**content, "heads": {**content["heads"], **change}})
    with pytest.raises(ConfigError, match="leave out 'orbits'"):
        load_config({**content, "orbits": {}})


def test_vectors_of_heads_do_not_decay_as_matrices_would(data):
    """`c` is a vector of 12 numbers: without a gradient it stays what it is, as it does in a training of one model."""
    frames, validation, plan = plan_of_heads(data, ["toy_pair_2/*"])
    config = dataclasses.replace(CONFIG, weight_decay=0.5)
    with jax.enable_x64(True):
        problem, _ = prepare(BOTH, frames, validation, config, None, plan=plan)
        params = jax.tree.map(lambda leaf: leaf + 1.0, problem.start.params)
        still = jax.tree.map(np.zeros_like, params)
        after, _ = problem.optimizer.update(still, problem.start.optimizer, params, jnp.asarray(0.1))
    assert params["toy_pair_2"]["c"].shape == (2, 12)
    np.testing.assert_array_equal(after["toy_pair_2"]["c"], params["toy_pair_2"]["c"])


def test_a_dry_run_of_heads_has_their_batches_and_parameters(tmp_path, data):
    for name, part in data.items():
        write_extxyz(tmp_path / f"{name}.extxyz", [*part.frames, *part.validation])
    heads = {"name": "cheap", "data": {"dear": {"train": str(tmp_path / "dear.extxyz"), "valid": 1}}}
    content = {
        "data": {"train": str(tmp_path / "cheap.extxyz"), "valid": 1},
        "heads": {**heads, "own": ["toy_pair_2/*"], "reference_energies": ISOLATED},
        "potential": [{"name": "reference_energy"}, {"name": "toy_pair"}, {"name": "toy_pair"}],
        "gradient": {"epochs": 2, "batch_size": 4},
    }
    plan = plan_of(load_config(content), lambda *_: None)
    assert plan.parameters["toy_pair_2/c"] == (2, 12) and plan.n_parameters == 3 * 12
    # 11 frames of one head and 7 of the other make 3 + 2 batches of 4; together they would be 5, too, in one bucket
    assert sorted(b["n_frames"] for b in plan.buckets) == [7, 11] and [b["batches"] for b in plan.buckets] == [3, 2]
    with pytest.raises(ConfigError, match="no parameter matches 'readout'"):
        plan_of(load_config({**content, "heads": {**content["heads"], "own": ["readout"]}}), lambda *_: None)
    closed = {**content, "potential": [{"name": "reference_energy"}, {"name": "two_body_gap"}]}
    del closed["gradient"]
    with pytest.raises(ConfigError, match="leave out 'heads'"):
        train({**closed, "output": str(tmp_path / "model.safetensors")})


def test_a_head_that_has_never_seen_an_element_is_told_of(data):
    bare = Frame(structure=Structure(positions=np.zeros((1, 3)), numbers=np.array([1])), labels=Labels())
    frames, _, plan = plan_of_heads({**data, "dear": HeadData([bare])}, ["toy_pair_2/*"])
    [note] = unknown_elements(BOTH, frames, plan)
    assert "'dear' has no frames with O:" in note


def test_frames_of_two_heads_never_share_a_batch(data):
    frames, _, groups, _ = gathered(data)
    store = frame_store(frames, TABLE, (3.0,), batch_size=4, groups=groups)
    seen = []
    for batch in store.order(0):
        members = store.frames_of(batch)
        assert set(groups[members]) == {store.group_of(batch)}
        seen += members
    assert sorted(seen) == list(range(len(frames)))
