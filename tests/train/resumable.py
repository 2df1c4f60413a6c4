"""A training in a process of its own, which is killed while it runs: python resumable.py folder."""

import dataclasses
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from toy_pair import PAIR_ONLY, TOY, labelled, random_structures, true_params  # noqa: E402

from jorbit.models import MODELS  # noqa: E402
from jorbit.train.gradient import GradientResult, train_by_gradient  # noqa: E402
from jorbit.train.gradient_config import GradientConfig  # noqa: E402

CONFIG = GradientConfig(epochs=40, batch_size=4, log_every=5, schedule="plateau", seed=4)


def run(folder: str | pathlib.Path | None, *, resume: bool = False, **changes) -> GradientResult:
    frames = labelled(random_structures(12, periodic=True, seed=3), TOY, true_params())
    config = dataclasses.replace(CONFIG, **changes)
    return train_by_gradient(PAIR_ONLY, frames[:9], frames[9:], config, folder=folder, resume=resume)


if __name__ == "__main__":
    MODELS._all().update({"toy_pair": "toy_pair:ToyPair"})
    # A checkpoint after every step, so that most of the time is spent writing one.
    run(sys.argv[1], checkpoint_minutes=0.0)
