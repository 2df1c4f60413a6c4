"""Numbers of a training in TensorBoard and Weights & Biases: the same as in log.jsonl."""

import dataclasses
import json
import sys
import types

import pytest
from toy_pair import PAIR_ONLY, TOY, labelled, random_structures, true_params

from jorbit.core.errors import ConfigError
from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig

CONFIG = GradientConfig(epochs=2, batch_size=4, dtype="float64", log_every=1)


@pytest.fixture(scope="module")
def frames():
    return labelled(random_structures(10, periodic=True, seed=3), TOY, true_params())


class Recorded:
    """In place of a package that sends numbers somewhere."""

    def __init__(self):
        self.numbers, self.closed, self.options = [], 0, {}

    def init(self, **options):
        self.options = options
        return types.SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, numbers, step):
        self.numbers += [(name, value, step) for name, value in numbers.items()]

    def finish(self):
        self.closed += 1

    def SummaryWriter(self, folder):  # noqa: N802 (tensorboardX's name)
        self.options = {"folder": folder}
        record = lambda name, value, step: self.numbers.append((name, value, step))  # noqa: E731
        return types.SimpleNamespace(add_scalar=record, close=self.finish)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboardX")])
def test_numbers_of_the_log_arrive(name, package, frames, tmp_path, monkeypatch):
    recorded = Recorded()
    monkeypatch.setitem(sys.modules, package, recorded)  # type: ignore[arg-type]
    config = dataclasses.replace(CONFIG, log_to=(name,))
    train_by_gradient(PAIR_ONLY, frames[:8], frames[8:], config, folder=tmp_path)
    assert recorded.closed == 1 and str(tmp_path) in str(recorded.options.values())
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [
        (n, x["loss"], x["step"]) for x in lines for n in (f"{x['event']}/loss",) if x["event"] in ("step", "epoch")
    ]
    assert [row for row in recorded.numbers if row[0] in ("step/loss", "epoch/loss")] == steps and len(steps) > 4
    epochs = [x["validation"]["forces_rmse"] for x in lines if x["event"] == "epoch"]
    assert [v for n, v, _ in recorded.numbers if n == "epoch/validation/forces_rmse"] == epochs


def test_what_cannot_be_written_to_is_said_before_the_work(frames, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    for names, folder, message in (
        (("wandb",), tmp_path, r"pip install 'jorbit\[log\]'"),
        (("mlflow",), tmp_path, "wanted names in"),
    ):
        with pytest.raises(ConfigError, match=message):
            train_by_gradient(PAIR_ONLY, frames, config=dataclasses.replace(CONFIG, log_to=names), folder=folder)
    monkeypatch.setitem(sys.modules, "tensorboardX", Recorded())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="needs a folder"):
        train_by_gradient(PAIR_ONLY, frames, config=dataclasses.replace(CONFIG, log_to=("tensorboard",)))


def test_event_files_are_written(frames, tmp_path):
    pytest.importorskip("tensorboardX")
    config = dataclasses.replace(CONFIG, log_to=("tensorboard",), epochs=1)
    train_by_gradient(PAIR_ONLY, frames[:8], config=config, folder=tmp_path)
    (file,) = (tmp_path / "tensorboard").iterdir()
    assert b"step/learning_rate" in file.read_bytes()
