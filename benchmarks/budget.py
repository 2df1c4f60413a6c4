"""Training by gradients within a budget of processor time: as many epochs as fit, timed after compilation."""

import dataclasses
import math
import time
from typing import Any

from common import Stopwatch


def train_within(potential: Any, train: list, valid: list, minutes: float, config: Any) -> tuple[Any, dict[str, Any]]:
    """Parameters, and what the training was: epochs, seconds of an epoch, seconds of all, of compilation.

    The learning rate comes down over the epochs that the budget holds, so their number must be known before: it is
    found from the difference of trainings of several epochs and one, both after a first that compiles; several are
    three, and more until they take three seconds or a tenth of the budget, since start-up is not the same each time.
    At least three epochs are run, whatever the budget. Where something else than the processor computes, all this is
    wall time.

    Args:
        potential: sum of terms.
        train, valid: frames.
        minutes: processor time of the training, without compilation.
        config: `jorbit.train.GradientConfig`; its number of epochs is not read.
    """
    import jax

    from jorbit.train import train_by_gradient

    clock = time.process_time if jax.default_backend() == "cpu" else time.perf_counter

    def seconds_of(epochs: int) -> float:
        begin = clock()
        train_by_gradient(potential, train, valid, dataclasses.replace(config, epochs=epochs))
        return clock() - begin

    first, one = seconds_of(1), seconds_of(1)
    several, spent, enough = 3, seconds_of(3) - one, min(3.0, 6.0 * minutes)
    while spent < enough and several < 300:
        several *= 4
        spent = seconds_of(several) - one
    epoch = max(spent / (several - 1), 1e-3)
    epochs = max(3, math.floor((60.0 * minutes - max(one - epoch, 0.0)) / epoch))
    watch = Stopwatch()
    result = train_by_gradient(potential, train, valid, dataclasses.replace(config, epochs=epochs))
    about = {
        "n_parameters": result.report.n_parameters,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate,
        "epochs": epochs,
        "best_epoch": result.report.best_epoch,
        "epoch_cpu_s": epoch,
        "compile_cpu_s": max(first - one, 0.0),
        "fit_seconds": watch.read(),
    }
    return result.params, about
