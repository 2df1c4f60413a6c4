"""A training within a budget of processor time takes what it was given, whatever start-up and an epoch cost."""

import importlib
import time
import types
from pathlib import Path

import pytest

import jorbit.train
from jorbit.train import GradientConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def spin(seconds: float) -> None:
    begin = time.process_time()
    while time.process_time() - begin < seconds:
        pass


@pytest.mark.parametrize(("startup", "epoch", "budget"), [(0.05, 0.01, 0.5), (0.0, 0.03, 0.3), (0.1, 0.1, 0.05)])
def test_as_many_epochs_are_run_as_the_budget_holds(startup, epoch, budget, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    train_within = importlib.import_module("budget").train_within
    compiled = []

    def trained(potential, train, valid, config):
        spin((0.0 if compiled else 0.2) + startup + epoch * config.epochs)
        compiled.append(config)
        report = types.SimpleNamespace(n_parameters=7, best_epoch=config.epochs)
        return types.SimpleNamespace(params="found", report=report)

    monkeypatch.setattr(jorbit.train, "train_by_gradient", trained)
    params, about = train_within(None, [], [], budget / 60.0, GradientConfig(batch_size=5, seed=3))
    fits = max(3, (budget - startup) / epoch)
    assert params == "found" and abs(about["epochs"] - fits) <= 0.15 * fits + 1
    assert about["epochs"] == compiled[-1].epochs and all(c.seed == 3 for c in compiled)
    assert abs(about["compile_cpu_s"] - 0.2) < 0.05 and about["n_parameters"] == 7
