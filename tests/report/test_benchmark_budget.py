"""A training within a budget of processor time takes what it was given, whatever start-up and an epoch cost."""

import importlib
import types
from pathlib import Path

import pytest

import jorbit.train
from jorbit.train import GradientConfig

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


class Clock:
    """Processor time that passes only when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def process_time(self) -> float:
        return self.now

    perf_counter = process_time


@pytest.mark.parametrize(
    ("startup", "epoch", "budget", "jitter"),
    [(0.05, 0.01, 0.5, False), (0.0, 0.03, 0.3, False), (0.1, 0.1, 0.05, False), (0.1, 0.02, 60.0, True)],
)
def test_as_many_epochs_are_run_as_the_budget_holds(startup, epoch, budget, jitter, monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module, clock, compiled = importlib.import_module("budget"), Clock(), []
    monkeypatch.setattr(module, "time", clock)

    def trained(potential, train, valid, config):
        waste = 0.1 if len(compiled) == 1 and jitter else 0.0  # the shortest training, at a bad moment
        clock.now += (0.0 if compiled else 0.2) + startup + waste + epoch * config.epochs
        compiled.append(config)
        report = types.SimpleNamespace(n_parameters=7, best_epoch=config.epochs)
        return types.SimpleNamespace(params="found", report=report)

    monkeypatch.setattr(jorbit.train, "train_by_gradient", trained)
    params, about = module.train_within(None, [], [], budget / 60.0, GradientConfig(batch_size=5, seed=3))
    fits = max(3, (budget - startup) / epoch)
    assert params == "found" and abs(about["epochs"] - fits) <= (0.1 * fits if jitter else 1)
    assert about["epochs"] == compiled[-1].epochs and all(c.seed == 3 for c in compiled)
    assert about["compile_cpu_s"] == pytest.approx(0.1 if jitter else 0.2) and about["n_parameters"] == 7
