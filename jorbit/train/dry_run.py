"""What a gradient training will cost, found by doing its first steps."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.protocols import Params
from jorbit.core.structure import Frame
from jorbit.potential.potential import Potential
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.heads import fixed_of_heads
from jorbit.train.loader import Batch
from jorbit.train.loop import Problem
from jorbit.train.prepare import HeadPlan, prepare, settings_of
from jorbit.train.step import path_name, train_step

_STEPS = 3  # timed per bucket, the fastest counts


@dataclasses.dataclass(frozen=True, kw_only=True)
class DryRun:
    """Sizes, memory and time of a training that has not begun.

    Attributes:
        parameters: path -> shape of what is trained.
        n_parameters, n_fixed: numbers of them.
        buckets: per padded shape: n_frames, structures, n_atoms, n_slots (of a batch), batches (per epoch), compile_s,
            step_s, temporary_bytes (of the compiled step, or None where the compiler does not say).
        data_bytes: of the padded frames, in memory all the time.
        state_bytes: parameters, moments and averages.
        seconds_per_epoch: of steps alone, without validation.
        epochs: asked for.
    """

    parameters: Mapping[str, tuple[int, ...]]
    n_parameters: int
    n_fixed: int
    buckets: Sequence[Mapping[str, Any]]
    data_bytes: int
    state_bytes: int
    seconds_per_epoch: float
    epochs: int


def dry_run(
    potential: Potential,
    frames: Sequence[Frame],
    validation: Sequence[Frame],
    config: GradientConfig,
    initial: Params | None = None,
    report: Any = lambda *_: None,
    plan: HeadPlan | None = None,
) -> DryRun:
    """Prepare everything, compile each bucket and time its first steps; no parameters are kept and nothing is written.

    Args:
        potential, frames, validation, config, initial: as in `train_by_gradient`.
        report: report(stage, done, total).
        plan: the heads, when there are several; `jorbit.train.prepare.plan_of_heads` gives it with all frames.
    """
    with settings_of(config):
        problem, _ = prepare(potential, frames, validation, config, initial, report, plan)
        buckets = []
        for k in range(len(problem.train.buckets)):
            buckets.append(_bucket(problem, k))
            report("first steps", k + 1, len(problem.train.buckets))
        leaves = jax.tree_util.tree_leaves_with_path(problem.start.params)
        stores = [problem.train, *([problem.valid] if problem.valid else [])]
        return DryRun(
            parameters={path_name(path): tuple(np.shape(leaf)) for path, leaf in leaves},
            n_parameters=sum(int(np.size(leaf)) for _, leaf in leaves) // problem.n_members,
            n_fixed=sum(int(np.size(leaf)) for leaf in jax.tree.leaves(problem.fixed)),
            buckets=buckets,
            data_bytes=sum(b.n_bytes for store in stores for b in store.buckets),
            state_bytes=sum(int(leaf.nbytes) for leaf in jax.tree.leaves(problem.start)),
            seconds_per_epoch=sum(b["batches"] * b["step_s"] for b in buckets),
            epochs=config.epochs,
        )


def _bucket(problem: Problem, k: int) -> dict[str, Any]:
    store, config = problem.train, problem.config
    bucket = store.buckets[k]
    size = store.size_of(bucket)
    devices = problem.devices
    batch = Batch(k, np.arange(size))
    graph, labels = devices.share_out(store.load(batch))
    fixed = fixed_of_heads(problem.fixed, problem.n_heads)[store.group_of(batch)]
    static = (problem.potential, problem.objective, problem.optimizer, config.explosion, devices.n)
    rate = jnp.asarray(config.learning_rate, config.float_type)
    arguments = (*devices.everywhere((problem.start, fixed)), graph, labels, devices.everywhere(rate))
    times = []
    for _ in range(1 + _STEPS):
        started = time.perf_counter()
        train_step(*static, *arguments).loss.block_until_ready()
        times.append(time.perf_counter() - started)
    step = min(times[1:])
    return {
        "n_frames": len(bucket.members),
        "structures": size,
        "n_atoms": graph.n_atoms,
        "n_slots": list(bucket.capacity.n_slots),
        "batches": -(-len(bucket.members) // size),
        "compile_s": times[0] - step,
        "step_s": step,
        "temporary_bytes": _temporary_bytes(static, arguments),
    }


def _temporary_bytes(static: tuple[Any, ...], arguments: tuple[Any, ...]) -> int | None:
    """What the compiler says the step needs besides its inputs and outputs."""
    compiled: Any = train_step
    analysis = compiled.lower(*static, *arguments).compile().memory_analysis()
    size = getattr(analysis, "temp_size_in_bytes", None)
    return None if size is None else int(size)
