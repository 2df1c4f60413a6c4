"""The settings of gradient training, checked when they are made."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jorbit.core.errors import ConfigError
from jorbit.train.objective import LossWeights
from jorbit.train.optimizer import Optimizer, Schedule


@dataclasses.dataclass(frozen=True)
class GradientConfig:
    """How a potential is trained by gradients; see `jorbit.train.gradient.train_by_gradient`.

    Attributes:
        epochs: passes over the training frames.
        batch_size: structures per step.
        loss: weights of energies, forces and stresses, and where the loss turns linear.
        structure_weights: config_type -> factor on the weights of all its labels, charges included, in training and
            in the validation loss; 0 leaves it out. It multiplies squared errors, as all weights of labels do.
        species_weights: element, or element with orbit ("Br1") -> factor on the weight of its forces; there, too.
        learning_rate: the highest.
        schedule: "cosine", "constant", "plateau" (times `plateau_factor` when the validation loss has not fallen for
            `plateau_patience` epochs) or "schedule_free".
        warmup: steps over which the learning rate grows; below 1: a fraction of all steps.
        final_rate: lowest learning rate over the highest (cosine, plateau).
        weight_decay: of kernels, per unit of learning rate.
        clip: longest gradient; None for no limit.
        ema: decay of the average of parameters which is validated and kept; None for none.
        patience: stop when the validation loss has not fallen for so many epochs; None never.
        max_minutes: stop after this time and keep the best; None never.
        dtype: "float32" or "float64".
        devices: over how many devices the structures of a batch are shared out; None: all there are (of all hosts). The
            result is that of one device, but for the rounding of sums in another order.
        seed: of initial parameters and of the order of batches.
        members: how many models to train together, on the same batches from different initial parameters; their spread
            tells how certain they are. 1: one model.
        on_disk: keep the padded frames and their neighbours in a temporary HDF5 file instead of in memory. For data
            sets larger than the memory, which come from HDF5 files themselves (`jorbit.datasets.hdf5`).
        freeze: patterns of parameters that stay as they are ("readout/params/hidden_0*").
        reference_energies: None (isolated atoms in the data, else a fit to compositions), "isolated", "fit", "keep"
            (those of the initial parameters), or a dictionary {symbol or atomic number: eV}.
        calibrate: find the constants of the terms (shift and scale of features) from the training data; None does so
            unless training starts from given parameters.
        log_every: steps between looks at the loss: a NaN or an explosion is noticed at the next one.
        log_to: "tensorboard", "wandb": where the numbers go besides log.jsonl.
        explosion: a loss so many times its running mean is an explosion.
        on_failure: "stop" raises an error; "rollback" goes back to the end of the last good epoch with half the
            learning rate, three times at most.
        checkpoint_minutes: time between checkpoints, which are also written at the end of epochs when it has passed.

    Example:
        >>> GradientConfig(epochs=10, warmup=0.1).build_schedule(steps_per_epoch=20).warmup
        20
    """

    epochs: int = 100
    batch_size: int = 8
    loss: LossWeights = LossWeights()
    structure_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    species_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    learning_rate: float = 5e-3
    schedule: Literal["cosine", "constant", "plateau", "schedule_free"] = "cosine"
    warmup: float = 0.03
    final_rate: float = 0.01
    plateau_patience: int = 10
    plateau_factor: float = 0.5
    weight_decay: float = 0.0
    clip: float | None = 10.0
    ema: float | None = 0.99
    patience: int | None = None
    max_minutes: float | None = None
    dtype: Literal["float32", "float64"] = "float32"
    devices: int | None = None
    seed: int = 0
    members: int = 1
    on_disk: bool = False
    freeze: tuple[str, ...] = ()
    reference_energies: str | Mapping[str | int, float] | None = None
    calibrate: bool | None = None
    log_every: int = 50
    log_to: tuple[str, ...] = ()
    explosion: float = 1e4
    on_failure: Literal["stop", "rollback"] = "stop"
    checkpoint_minutes: float = 5.0

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "plateau_patience", "log_every", "explosion", "members")
        for name in positive:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be positive, got {getattr(self, name)!r}.")
        for name in ("structure_weights", "species_weights"):
            if not all(math.isfinite(w) and w >= 0 for w in getattr(self, name).values()):
                raise ConfigError(f"{name} must be finite and not negative, got {dict(getattr(self, name))}.")
        if self.devices is not None and self.devices < 1:
            raise ConfigError(f"devices must be a positive number, or None for all, got {self.devices}.")
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype must be 'float32' or 'float64', got {self.dtype!r}.")
        if self.on_failure not in ("stop", "rollback"):
            raise ConfigError(f"on_failure must be 'stop' or 'rollback', got {self.on_failure!r}.")
        if not 0 < self.plateau_factor < 1:
            raise ConfigError(f"plateau_factor must lie between 0 and 1, got {self.plateau_factor}.")
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience must be a positive number of epochs, or None for never, got {self.patience}.")
        if self.checkpoint_minutes < 0:
            raise ConfigError(f"checkpoint_minutes must not be negative, got {self.checkpoint_minutes}.")
        self.build_schedule(1)
        self.optimizer()

    def build_schedule(self, steps_per_epoch: int) -> Schedule:
        """Learning rate of each step."""
        total = self.epochs * steps_per_epoch
        warmup = round(self.warmup * total) if self.warmup < 1 else int(self.warmup)
        return Schedule(self.schedule, self.learning_rate, warmup, total, self.final_rate)

    def optimizer(self) -> Optimizer:
        """What turns gradients into updates."""
        return Optimizer(
            weight_decay=self.weight_decay,
            clip=self.clip,
            ema=self.ema,
            schedule_free=self.schedule == "schedule_free",
        )

    @property
    def float_type(self) -> Any:
        """numpy dtype of parameters and batches."""
        return np.dtype(self.dtype)

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON can hold it."""
        content = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        content["loss"] = dataclasses.asdict(self.loss)
        return {
            k: dict(v) if isinstance(v, Mapping) else list(v) if isinstance(v, tuple) else v for k, v in content.items()
        }
