"""Configurations of `jorbit train`: what is refused and how, and runs from a file to a model on disk."""

import json
import signal

import numpy as np
import pytest
import yaml
from toy_pair import TABLE, TOY, ToyPair, coefficients, labelled, random_structures, true_params

import jorbit
from jorbit import Frame, Labels, Structure
from jorbit.core.errors import ConfigError
from jorbit.datasets.extxyz import write_extxyz
from jorbit.descriptors.ace import ACE
from jorbit.models import MODELS
from jorbit.models.linear_ace import LinearACE
from jorbit.models.readout import Readout
from jorbit.potential.artefact import info
from jorbit.terms import TERMS
from jorbit.train.config import EXAMPLE, json_schema, load_config
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.objective import LossWeights
from jorbit.train.run import checksum, read_split, train

DATA = {"train": "ethanol_gfn2"}


def test_the_example_is_valid_and_builds_the_potential_it_describes():
    config = load_config(yaml.safe_load(EXAMPLE))
    potential = config.build_potential(TABLE)
    assert potential.names == ("reference_energy", "linear_ace") and potential.cutoffs == (5.0,)
    assert potential.terms[1] == LinearACE(n_species=2, max_degree=(10, 6, 4))


def test_yaml_values_take_the_types_of_the_component(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "data: {train: ethanol_gfn2}\n"
        "potential:\n  - {name: linear_ace, cutoff: 4, max_degree: [6, 4], smoothness: 1e1}\n"
        "fit: {prior: ridge, ridge: 1e-6, reference_energies: {H: -13, 8: -2000.5}}\n"
    )
    config = load_config(path)
    (term,) = config.build_potential(TABLE).terms
    assert term == LinearACE(n_species=2, cutoff=4.0, max_degree=(6, 4), smoothness=10.0)
    assert config.fit.ridge == 1e-6 and config.fit.reference_energies == {"H": -13.0, 8: -2000.5}


def test_a_network_names_its_descriptor_and_how_it_is_trained():
    readout = {"name": "readout", "hidden": [8], "descriptor": {"name": "ace", "max_degree": [4, 2], "cutoff": 4}}
    gradient = {"epochs": 7, "warmup": 100, "loss": {"forces": 2, "huber_forces": 0.1}, "freeze": ["readout/*"]}
    config = load_config({"data": DATA, "potential": [readout], "gradient": gradient, "output": "a/net.safetensors"})
    (term,) = config.build_potential(TABLE).terms
    assert term == Readout(descriptor=ACE(n_species=2, cutoff=4.0, max_degree=(4, 2)), n_species=2, hidden=(8,))
    settings = config.gradient.build()
    loss = LossWeights(forces=2.0, huber_forces=0.1)
    assert settings == GradientConfig(epochs=7, warmup=100.0, loss=loss, freeze=("readout/*",))
    assert str(config.folder) == "a/net.run"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"data": {"trian": "x"}}, "unknown key 'data.trian'. Did you mean 'train'"),
        ({"data": {}}, "the key 'data.train' is missing"),
        ({"data": DATA, "potental": []}, "unknown key 'potental'. Did you mean 'potential'"),
        ({"data": DATA, "fit": {"weights": {"enrgy": 3}}}, "unknown key 'fit.weights.enrgy'. Did you mean 'energy'"),
        ({"data": DATA, "fit": {"prior": "bays"}}, "'fit.prior'.*'bayes', 'ridge' or 'validation', got 'bays'"),
        ({"data": DATA, "fit": {"ridge": -1}}, "'fit.ridge'.*greater than or equal to 0"),
        ({"data": DATA, "potential": []}, "'potential'.*at least 1"),
        ({"data": DATA, "potential": [{"cutoff": 5}]}, r"potential\[0\] needs a name"),
        (
            {"data": DATA, "potential": [{"name": "linear_ac"}]},
            r"potential\[0\]: .*'linear_ac'. Did you mean 'linear_ace'",
        ),
        (
            {"data": DATA, "potential": [{"name": "reference_energy"}, {"name": "linear_ace", "cutof": 3}]},
            r"unknown key 'potential\[1\].cutof'. Did you mean 'cutoff'",
        ),
        ({"data": DATA, "potential": [{"name": "linear_ace", "cutoff": "far"}]}, r"'potential\[0\].cutoff'.*got 'far'"),
        ({"data": DATA, "potential": [{"name": "linear_ace", "n_species": 3}]}, "n_species is found from the data"),
        ({"data": DATA, "gradient": {}, "gap": {}}, "'gap' and 'gradient' are two ways"),
        ({"data": DATA, "sgdml": {}, "orbits": {"weights": "equal"}}, "no weights"),
        ({"data": DATA, "gradient": {"epoch": 3}}, "unknown key 'gradient.epoch'. Did you mean 'epochs'"),
        ({"data": DATA, "gradient": {"loss": {"force": 3}}}, "'gradient.loss.force'. Did you mean 'forces'"),
        ({"data": DATA, "gradient": {"ema": 2}}, "gradient: Wanted 0 <= ema < 1, got 2"),
        (
            {"data": DATA, "potential": [{"name": "readout", "descriptor": {"name": "ac"}}]},
            r"potential\[0\].descriptor: there is no descriptor called 'ac'. Did you mean 'ace'",
        ),
        (
            {"data": DATA, "potential": [{"name": "readout", "descriptor": {"name": "ace", "cutof": 3}}]},
            r"'potential\[0\].descriptor.cutof'. Did you mean 'cutoff'",
        ),
    ],
)
def test_mistakes_name_the_key_and_the_cure(content, message):
    with pytest.raises(ConfigError, match=message):
        load_config(content)


def test_unreadable_files_are_explained(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("data: [1, 2\n")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_config(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match="keys and values"):
        load_config(tmp_path / "list.yaml")


def test_json_schema_lists_every_component_with_its_options():
    schema = json.loads(json.dumps(json_schema()))
    assert {"data", "potential", "fit", "gradient", "output"} <= set(schema["properties"])
    choices = {c["$ref"].rpartition("/")[2] for c in schema["properties"]["potential"]["items"]["oneOf"]}
    assert choices == {*MODELS, *TERMS}
    ace = schema["$defs"]["linear_ace"]
    assert ace["additionalProperties"] is False and ace["properties"]["cutoff"]["default"] == 5.0
    assert "n_species" not in ace["properties"] and ace["properties"]["name"] == {"const": "linear_ace"}


@pytest.fixture
def files(tmp_path):
    frames = labelled(random_structures(24, periodic=True, seed=2), TOY, true_params())
    write_extxyz(tmp_path / "all.extxyz", frames)
    write_extxyz(tmp_path / "test.extxyz", frames[:5])
    return tmp_path


def config_for(files, **changes):
    content = {
        "data": {"train": str(files / "all.extxyz"), "valid": 4, "test": str(files / "test.extxyz"), "seed": 1},
        "potential": [{"name": "reference_energy"}, {"name": "toy_pair", "cutoff": 3.0}],
        "fit": {"prior": "ridge", "ridge": 1e-12},
        "output": str(files / "out" / "model.safetensors"),
    }
    return content | changes


def test_a_run_leaves_a_model_that_loads_and_says_where_it_came_from(files):
    result = train(config_for(files))
    assert {k: m.n_frames for k, m in result.metrics.items()} == {"train": 20, "valid": 4, "test": 5}
    potential, params = jorbit.load(result.path)
    assert potential.terms[1] == ToyPair(n_species=2)
    np.testing.assert_allclose(params["toy_pair"]["c"], coefficients(), rtol=1e-5, atol=1e-6)
    provenance = info(result.path)["provenance"]
    assert provenance["fit"]["ridge"] == 1e-12 and provenance["fit"]["seed"] == 0
    assert provenance["data"]["train"]["n_frames"] == 20 and len(provenance["data"]["test"]["sha256"]) == 64
    assert provenance["config"]["data"]["seed"] == 1 and "jorbit" in provenance["fit"]["versions"]
    assert provenance["metrics"]["test"]["force_mae"] == pytest.approx(result.metrics["test"].force_mae)
    written = json.loads((result.path.parent / "model.metrics.json").read_text())
    assert written["test"]["force_mae"] < 1e-6 and written["interrupted"] is False


def test_ctrl_c_leaves_usable_files(files):
    def interrupt(stage, done, total):
        if stage == "design" and done == 12:
            signal.raise_signal(signal.SIGINT)

    result = train(config_for(files), progress=interrupt)
    assert result.interrupted and result.metrics == {}
    np.testing.assert_allclose(jorbit.load(result.path)[1]["toy_pair"]["c"], coefficients(), rtol=1e-3)
    assert json.loads((files / "out" / "model.metrics.json").read_text()) == {"interrupted": True}
    assert info(result.path)["provenance"]["interrupted"] is True


def test_ctrl_c_while_measuring_keeps_the_fitted_model(files):
    seen = []

    def interrupt(stage, done, total):
        seen.append(stage)
        if stage == "evaluate" and total == 4:
            raise KeyboardInterrupt

    result = train(config_for(files), progress=interrupt)
    assert result.interrupted and set(result.metrics) == {"train"}
    assert jorbit.load(result.path)[0] == result.potential


def test_isolated_atoms_are_always_trained_on(files):
    frames = labelled(random_structures(12, periodic=True, seed=2), TOY, true_params())
    atoms = [
        Frame(structure=Structure(positions=np.zeros((1, 3)), numbers=np.array([z])), labels=Labels(energy=e))
        for z, e in ((1, -3.0), (8, -20.0))
    ]
    write_extxyz(files / "mixed.extxyz", [*atoms, *frames])
    for seed in range(4):
        data = {"train": str(files / "mixed.extxyz"), "train_size": 4, "valid": 0.5, "seed": seed}
        split = read_split(load_config(config_for(files, data=data)).data)
        found = [[f.labels.energy for f in part if f.structure.n_atoms == 1] for part in split]
        assert found == [[-3.0, -20.0], [], []]


def test_options_that_would_do_nothing_are_refused(files):
    with pytest.raises(ConfigError, match="'fit' is about closed-form fits.*trained by gradients"):
        train(config_for(files, gradient={"epochs": 1}), progress=lambda *_: pytest.fail("work began"))


@pytest.mark.parametrize("output", ["out", "blocked/model.safetensors"])
def test_an_output_that_cannot_be_written_is_noticed_before_the_work(files, output):
    (files / "out").mkdir()
    (files / "blocked").write_text("a file where a folder should be")
    with pytest.raises(ConfigError, match="output:"):
        train(config_for(files, output=str(files / output)), progress=lambda *_: pytest.fail("work began"))


def test_sources_may_be_lists_parts_and_limits(files):
    config = load_config({"data": {"train": [str(files / "all.extxyz"), str(files / "test.extxyz")], "limit": 6}})
    split = read_split(config.data)
    assert [len(p) for p in split] == [11, 0, 0]
    everything = jorbit.read(files / "all.extxyz")
    assert checksum(split.train[:5]) == checksum(everything[:5]) != checksum(everything[1:6])
