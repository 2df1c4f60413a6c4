"""Learning rates over time, and the optimiser: clipping, Adam, weight decay, schedule-free averaging."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Collection, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jorbit.core.errors import ConfigError

SCHEDULES = ("cosine", "constant", "plateau", "schedule_free")


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The learning rate of a step.

    It grows linearly over the first `warmup` steps, to `peak`. Then "cosine" falls to `final * peak` at step `total`;
    "constant" and "schedule_free" stay; "plateau" stays too, and the caller multiplies it by a factor when the
    validation loss no longer falls.

    Attributes:
        kind: one of "cosine", "constant", "plateau", "schedule_free".
        peak: highest learning rate.
        warmup, total: steps.
        final: last learning rate over the highest.

    Example:
        >>> rate = Schedule("cosine", peak=0.01, warmup=10, total=110, final=0.1)
        >>> [round(rate(step), 6) for step in (0, 9, 10, 60, 110)]
        [0.001, 0.01, 0.01, 0.0055, 0.001]

    References:
        Loshchilov and Hutter, ICLR (2017), arXiv:1608.03983, for the cosine.
    """

    kind: str
    peak: float
    warmup: int
    total: int
    final: float = 0.01

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ConfigError(f"schedule must be one of {', '.join(SCHEDULES)}, got {self.kind!r}.")
        if not (self.peak > 0 and 0 <= self.final <= 1 and self.warmup >= 0):
            raise ConfigError(f"Wanted learning_rate > 0, 0 <= final_rate <= 1 and warmup >= 0, got {self}.")

    def __call__(self, step: int) -> float:
        """The learning rate of the update after `step` updates."""
        if step < self.warmup:
            return self.peak * (step + 1) / self.warmup
        if self.kind != "cosine":
            return self.peak
        done = min(1.0, (step - self.warmup) / max(1, self.total - self.warmup))
        return self.peak * (self.final + (1.0 - self.final) * 0.5 * (1.0 + math.cos(math.pi * done)))


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """Adam with decoupled weight decay on clipped gradients; with Polyak averages, or schedule-free.

    Attributes:
        weight_decay: per unit of learning rate; on matrices only (biases, scales and vectors are left alone).
        clip: gradients longer than this, all parameters together, are shortened to it; None for no limit.
        b1, b2: decay of Adam's averages of gradients and squares.
        ema: decay of the average of the parameters that is validated and kept; None keeps the parameters themselves.
        schedule_free: average as Defazio et al. do, in place of a schedule; `ema` is not used then.
        stacked: paths of parameters that are there several times, one behind the other: this first axis makes no
            matrix of a vector.

    References:
        Kingma and Ba, ICLR (2015), arXiv:1412.6980; Loshchilov and Hutter, ICLR (2019), arXiv:1711.05101;
        Defazio et al., NeurIPS (2024), arXiv:2405.15682.
    """

    weight_decay: float = 0.0
    clip: float | None = 10.0
    b1: float = 0.9
    b2: float = 0.999
    ema: float | None = 0.99
    schedule_free: bool = False
    stacked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.weight_decay < 0 or (self.clip is not None and self.clip <= 0):
            raise ConfigError(f"Wanted weight_decay >= 0 and clip > 0 (or none), got {self}.")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise ConfigError(f"Wanted 0 <= ema < 1, got {self.ema}. It is the decay of an average, such as 0.99.")

    @property
    def averages(self) -> bool:
        """Whether an exponential average of the parameters is kept."""
        return self.ema is not None and not self.schedule_free

    def transformation(self, learning_rate: Any) -> Any:
        """The optax transformation for one learning rate, which may be traced."""
        steps = [] if self.clip is None else [optax.clip_by_global_norm(self.clip)]
        # Schedule-free replaces Adam's average of gradients by its own average of parameters.
        steps.append(optax.scale_by_adam(b1=0.0 if self.schedule_free else self.b1, b2=self.b2))
        if self.weight_decay:
            steps.append(
                optax.add_decayed_weights(self.weight_decay, mask=functools.partial(decayed, stacked=self.stacked))
            )
        base = optax.chain(*steps, optax.scale_by_learning_rate(learning_rate))
        if not self.schedule_free:
            return base
        return optax.contrib.schedule_free(base, learning_rate=learning_rate, b1=self.b1)

    def init(self, params: Any) -> Any:
        """The optimiser's own state."""
        with _promoting():
            return self.transformation(0.0).init(params)

    def update(self, gradient: Any, state: Any, params: Any, learning_rate: Array) -> tuple[Any, Any]:
        """New parameters and state."""
        with _promoting():
            updates, state = self.transformation(learning_rate).update(gradient, state, params)
            return optax.apply_updates(params, updates), state

    def averaged(self, average: Any, params: Any, step: Array) -> Any:
        """The exponential average with new parameters in it; young averages forget faster, so the start is not kept."""
        if not self.averages:
            return average
        count = step.astype(jnp.float32)
        decay = jnp.minimum(jnp.float32(self.ema), (1.0 + count) / (10.0 + count))

        def mix(old: Array, new: Array) -> Array:
            d = decay.astype(new.dtype)
            return d * old + (1.0 - d) * new

        return jax.tree.map(mix, average, params)

    def final(self, params: Any, state: Any, average: Any) -> Any:
        """The parameters to validate and keep."""
        if self.schedule_free:
            with _promoting():
                return optax.contrib.schedule_free_eval_params(state, params)
        return average if self.averages else params


@contextlib.contextmanager
def _promoting() -> Iterator[None]:
    """optax mixes whole and floating numbers, which strict settings of the caller would refuse."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def plateau(
    state: tuple[float, float, int], loss: float, *, patience: int, factor: float, floor: float
) -> tuple[float, float, int]:
    """What a schedule "plateau" makes of a validation loss.

    Args:
        state: scale of the learning rate, best loss so far, epochs since then.
        loss: of the epoch that has ended.
        patience: epochs without a better loss that are put up with.
        factor: multiplies the scale after one more.
        floor: lowest scale.

    Returns:
        The new state.

    Example:
        >>> [plateau((1.0, 2.0, 1), loss, patience=1, factor=0.5, floor=0.01) for loss in (3.0, 1.0)]
        [(0.5, 2.0, 0), (1.0, 1.0, 0)]
    """
    scale, best, waited = state
    if loss < best:
        return scale, loss, 0
    if waited < patience:
        return scale, best, waited + 1
    return max(floor, factor * scale), best, 0


def decayed(params: Any, stacked: Collection[str] = ()) -> Any:
    """Which parameters decay: products of features (kernels), not what is added to them or scales them.

    Args:
        params: trained parameters.
        stacked: see `Optimizer`.
    """

    def is_kernel(path: Any, leaf: Any) -> bool:
        whole = jax.tree_util.keystr(path, simple=True, separator="/")
        name, axes = whole.rsplit("/", 1)[-1], jnp.ndim(leaf) - (whole in stacked)
        return "kernel" in name or (axes >= 2 and "bias" not in name and "embedding" not in name)

    return jax.tree_util.tree_map_with_path(is_kernel, params)
