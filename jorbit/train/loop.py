"""The loop of gradient training: steps, looks at the loss, validation, checkpoints, and help when all goes wrong."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, DataError, TrainingError
from jorbit.core.structure import Frame
from jorbit.datasets.extxyz import write_extxyz
from jorbit.potential.potential import Potential
from jorbit.train.checkpoint import forget_after, load_checkpoint, save_checkpoint
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.gradient_report import Memory, RunLog
from jorbit.train.heads import fixed_of_heads
from jorbit.train.loader import Batch, FrameStore, Prefetch
from jorbit.train.log_sinks import Sink, open_sinks
from jorbit.train.objective import Objective
from jorbit.train.optimizer import Optimizer, plateau
from jorbit.train.parallel import Devices
from jorbit.train.progress import Report
from jorbit.train.step import N_SUMS, TrainState, measure, summary, train_step

_IN_FLIGHT = 2  # steps that wait on the device
_MAX_ROLLBACKS = 3
_RESIDENT = 2**28  # bytes of validation batches that stay on the device


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """What stays the same during a training.

    Attributes:
        potential: the terms that are trained; reference energies are subtracted from the labels instead.
        fixed: parameters that stay as they are.
        objective, optimizer, config: what is minimised and how.
        train, valid: the data; valid is None without validation frames.
        frames: training frames, to write out a bad batch.
        start: the state before the first step.
        devices: where it runs.
        n_members: of an ensemble; 1 is an ordinary training.
        n_heads: that the batches belong to, as the groups of their frames; 1 is an ordinary training.
    """

    potential: Potential
    fixed: Any
    objective: Objective
    optimizer: Optimizer
    config: GradientConfig
    train: FrameStore
    valid: FrameStore | None
    frames: Sequence[Frame]
    start: TrainState
    devices: Devices
    n_members: int = 1
    n_heads: int = 1


class Loop:
    """The running training: a state on the device, a memory on the host, and a place for files."""

    def __init__(self, problem: Problem, folder: Path | None, report: Report):
        self.problem, self.folder, self.report = problem, folder, report
        self.state = problem.devices.everywhere(problem.start)
        self.fixed = [problem.devices.everywhere(tree) for tree in fixed_of_heads(problem.fixed, problem.n_heads)]
        self.memory = Memory()
        self.best = self.state.params
        self.anchor = (self.state, Memory())  # the last good end of an epoch
        self.schedule = problem.config.build_schedule(problem.train.n_batches)
        names = ("prepare", "compile", "train", "validate", "wait")
        self.seconds: dict[str, float] = dict.fromkeys(names, 0.0)
        self.log = RunLog(None)
        self.saved = self.started = time.perf_counter()
        self.fingerprint = ""
        self.interrupted = self.early = False
        self.notes: list[str] = []
        self._resident: list[Any] | None = None

    @property
    def epoch(self) -> int:
        """Finished epochs."""
        return len(self.memory.epochs)

    @property
    def _files(self) -> Path | None:
        """Where this process writes."""
        return self.folder if self.problem.devices.writes else None

    def _sinks(self) -> tuple[Sink, ...]:
        config = self.problem.config
        if self._files is None:
            return ()
        return open_sinks(config.log_to, self._files, config.to_json(), f"{self._files.name}-{self.fingerprint[:12]}")

    def open_folder(self, resume: bool, fingerprint: str) -> None:
        """Go on from the newest checkpoint, or start a log."""
        self.fingerprint = fingerprint
        found = load_checkpoint(self.folder, self._tree()) if resume and self.folder else None
        if found is None:
            self.log = RunLog(self._files, sinks=self._sinks())
            if resume:
                self.notes.append("There was no checkpoint to go on from: started from the beginning.")
            self.log.write("start", step=0, config=self.problem.config.to_json(), fingerprint=fingerprint)
            return
        if found.memory["fingerprint"] != fingerprint:
            raise ConfigError(
                f"The checkpoints in {self.folder} belong to a run with other data, another potential or other "
                "settings. Restore those, or train in another folder."
            )
        tree = self.problem.devices.everywhere(found.tree)
        self.state, self.best = tree["state"], tree["best"]
        self.anchor = (tree["anchor"], Memory.from_json(found.memory["anchor"]))
        self.memory = Memory.from_json(found.memory["memory"])
        self.early = self._is_patience_over(self.memory)
        self.notes += found.notes
        step = _whole(self.state.step)
        self.log = RunLog(self._files, step, self._sinks())
        self.log.write("resume", step=step, checkpoint=found.path.name, notes=list(found.notes))

    def run(self, stopped: Callable[[], bool]) -> None:
        """Epoch after epoch, until there is a reason to stop."""
        config = self.problem.config
        while self.epoch < config.epochs and not (self.interrupted or self.early):
            done = self._run_epoch(stopped)
            if done:
                self._end_of_epoch()
                self._checkpoint()
        self._checkpoint(always=True)

    def _run_epoch(self, stopped: Callable[[], bool]) -> bool:
        """The rest of an epoch; False when it was left before its end."""
        problem, config = self.problem, self.problem.config
        step, started = _whole(self.state.step), time.perf_counter()
        order = problem.train.order(config.seed, self.epoch)
        first = step - self.epoch * len(order)
        flying: list[TrainState] = []
        batches = Prefetch(problem.train, order[first:])
        try:
            with batches:
                for batch, graph, labels in batches:
                    rate = jnp.asarray(self.memory.scale * self.schedule(step), config.float_type)
                    flying.append(self._step(batch, graph, labels, rate))
                    if len(flying) > _IN_FLIGHT:
                        flying.pop(0).loss.block_until_ready()
                    step += 1
                    at_end = step == (self.epoch + 1) * len(order)
                    looks = step % config.log_every == 0 or at_end
                    if looks:
                        if _whole(self.state.trouble):
                            self._handle_trouble(order)
                            return False
                        self._log_step(step, float(rate))
                    self.report("train", step, config.epochs * len(order))
                    if self._is_told_to_stop(stopped, looks):
                        self.interrupted = True
                    if self.interrupted and not at_end:
                        return False
                    self._checkpoint()
        finally:
            self.seconds["wait"] += batches.waited
            self.seconds["train"] += time.perf_counter() - started
        return True

    def _step(self, batch: Batch, graph: Any, labels: Any, rate: jax.Array) -> TrainState:
        problem = self.problem
        head, share = problem.train.group_of(batch), problem.train.share_of(batch)
        counts = () if share is None else (problem.devices.everywhere(jnp.asarray(share, problem.config.float_type)),)
        static = (problem.potential, problem.objective, problem.optimizer, problem.config.explosion, problem.devices.n)
        graph, labels = problem.devices.share_out((graph, labels))
        rate = problem.devices.everywhere(rate)
        compiled, started = compilations().get("train step", 0), time.perf_counter()
        self.state = train_step(*static, self.state, self.fixed[head], graph, labels, rate, *counts)
        if compilations()["train step"] > compiled:
            self.state.loss.block_until_ready()
            self.seconds["compile"] += time.perf_counter() - started
            self.seconds["train"] -= time.perf_counter() - started
        return self.state

    def _is_told_to_stop(self, stopped: Callable[[], bool], looks: bool) -> bool:
        """Time or Ctrl-C; several processes ask the first one, and not at every step."""
        devices = self.problem.devices
        if devices.together and not looks:
            return False
        return devices.agree(self._time_is_up() or stopped())

    def _time_is_up(self) -> bool:
        limit = self.problem.config.max_minutes
        return limit is not None and self.memory.seconds + time.perf_counter() - self.started > 60 * limit

    def _log_step(self, step: int, rate: float) -> None:
        self.log.write(
            "step",
            step=step,
            loss=_mean(self.state.loss),
            gradient_norm=_mean(self.state.gradient_norm),
            learning_rate=rate,
        )

    def result(self) -> Any:
        """Parameters to keep: the best on validation frames, the last without any."""
        return self.best if self.problem.valid is not None and self.memory.best_epoch else self._current()

    def _current(self) -> Any:
        final, state = self.problem.optimizer.final, self.state
        if self.problem.n_members > 1:
            return jax.vmap(final)(state.params, state.optimizer, state.average)
        return final(state.params, state.optimizer, state.average)

    def _end_of_epoch(self) -> None:
        config, memory, n_batches = self.problem.config, self.memory, self.problem.train.n_batches
        step = _whole(self.state.step)
        entry: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": step,
            "loss": _mean(self.state.epoch_loss) / n_batches,
            "learning_rate": memory.scale * self.schedule(step - 1),
        }
        judged = entry["loss"]
        changes: dict[str, Any] = {}
        current = self._current()
        if self.problem.valid is not None:
            started = time.perf_counter()
            entry["validation"] = self._validate(current)
            self.seconds["validate"] += time.perf_counter() - started
            judged = entry["validation"]["loss"]
        if judged < memory.best_loss:
            self.best = current
            changes |= {"best_loss": judged, "best_epoch": self.epoch + 1}
        if config.schedule == "plateau":
            old = (memory.scale, memory.plateau_best, memory.plateau_waited)
            scale, best, waited = plateau(
                old, judged, patience=config.plateau_patience, factor=config.plateau_factor, floor=config.final_rate
            )
            changes |= {"scale": scale, "plateau_best": best, "plateau_waited": waited}
        entry["seconds"] = memory.seconds + time.perf_counter() - self.started
        self.memory = dataclasses.replace(memory, epochs=(*memory.epochs, entry), **changes)
        self.early = self._is_patience_over(self.memory)
        self.state = dataclasses.replace(self.state, epoch_loss=jnp.zeros_like(self.state.epoch_loss))
        self.anchor = (self.state, self.memory)
        self.log.write("epoch", **entry)

    def _is_patience_over(self, memory: Memory) -> bool:
        patience = self.problem.config.patience
        return patience is not None and len(memory.epochs) - memory.best_epoch >= patience

    def _validate(self, params: Any) -> dict[str, float]:
        problem = self.problem
        valid = problem.valid
        if valid is None:
            raise DataError("There are no validation frames.")
        totals = np.zeros(N_SUMS)
        small = sum(b.n_bytes for b in valid.buckets) < _RESIDENT
        order = valid.order(None)
        loaded = ((valid.group_of(b), *problem.devices.share_out(valid.load(b))) for b in order)
        if small and self._resident is None:
            self._resident = list(loaded)
        static = (problem.potential, problem.objective, problem.devices.n)
        n = problem.n_members
        sums = [measure(*static, params, self.fixed[head], g, x, n) for head, g, x in self._resident or loaded]
        for batch, some in zip(order, sums, strict=True):
            shared = np.array(some, dtype=np.float64)
            shared[:2] *= 1.0 if (share := valid.share_of(batch)) is None else share  # losses, and what they are out of
            totals += shared
        return summary(totals)

    def _handle_trouble(self, order: Sequence[Batch]) -> None:
        """The state stands still before the step that failed: say which frames, then stop or go back."""
        config, state = self.problem.config, self.state
        trouble, steps = np.atleast_1d(state.trouble), np.atleast_1d(state.step)
        # Of an ensemble: the member that stands still for longest. The others have gone on.
        k = int(np.argmin(np.where(trouble > 0, steps, np.iinfo(np.int32).max)))
        step = int(steps[k])
        members = self.problem.train.frames_of(order[step - self.epoch * len(order)])
        what = "is not finite" if trouble[k] == 1 else f"is more than {config.explosion:g} times its mean"
        loss, norm, mean = (float(np.atleast_1d(x)[k]) for x in (state.loss, state.gradient_norm, state.typical))
        message = (
            f"Step {step + 1}: the loss {loss:.4g} {what} (length of the gradient {norm:.3g}, mean of the loss before "
            f"{mean:.3g}). Frames of the batch: {members}."
        )
        path = self._write_batch(step + 1, members)
        if path is not None:
            message += f" They are in {path}."
        self.log.write("trouble", step=step, message=message, frames=members)
        again = self.memory.rollbacks < _MAX_ROLLBACKS
        if config.on_failure == "rollback" and again:
            self.state, remembered = self.anchor
            scale = 0.5 * min(self.memory.scale, remembered.scale)
            notes = (
                *self.memory.notes,
                f"{message} Went back to epoch {len(remembered.epochs)}, half the learning rate.",
            )
            self.memory = dataclasses.replace(
                remembered, scale=scale, rollbacks=self.memory.rollbacks + 1, notes=notes, seconds=self.memory.seconds
            )
            self.log.write("rollback", step=_whole(self.state.step), scale=scale)
            if self._files is not None:
                forget_after(self._files, _whole(self.state.step))
            self._checkpoint(always=True)
            return
        raise TrainingError(
            f"{message} Look at these frames and their units; lower learning_rate (now {config.learning_rate:g}) or "
            "clip, or use on_failure='rollback'. The last good checkpoint, where there is a folder, is untouched."
        )

    def _write_batch(self, step: int, members: Sequence[int]) -> Path | None:
        if self._files is None:
            return None
        path = self._files / f"bad-batch-{step}.extxyz"
        try:
            write_extxyz(path, [self.problem.frames[k] for k in members])
        except OSError as error:
            self.notes.append(f"{path} could not be written: {error.strerror or error}.")
            return None
        return path

    def _tree(self) -> dict[str, Any]:
        return {"state": self.state, "best": self.best, "anchor": self.anchor[0]}

    def _checkpoint(self, always: bool = False) -> None:
        """Save when it is time. A disk that is full costs this checkpoint, and the notes say so."""
        now = time.perf_counter()
        if self._files is None or not (always or now - self.saved >= 60 * self.problem.config.checkpoint_minutes):
            return
        if _whole(self.state.trouble):
            return  # a state that stands still is looked at by the loop
        self.saved = now
        memory = dataclasses.replace(self.memory, seconds=self.memory.seconds + now - self.started)
        content = {
            "fingerprint": self.fingerprint,
            "memory": memory.to_json(),
            "anchor": self.anchor[1].to_json(),
        }
        step = _whole(self.state.step)
        try:
            path = save_checkpoint(self._files, step, self._tree(), content)
        except OSError as error:
            note = (
                f"The checkpoint of step {step} could not be written: {error.strerror or error}. The training went on; "
                "the checkpoint before it stays."
            )
            self.notes.append(note)
            self.log.write("checkpoint failed", step=step, message=note)
            return
        self.log.write("checkpoint", step=step, file=path.name)


def _mean(values: Any) -> float:
    """Of an ensemble; the value itself of one training."""
    return float(np.asarray(values).mean())


def _whole(values: Any) -> int:
    """Steps are the same for all members of an ensemble without trouble; trouble of one is trouble of all."""
    return int(np.asarray(values).max())
