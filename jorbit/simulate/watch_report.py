"""The host's side of a watch: what was seen, which structures were kept, and when a run has to stop."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.datasets.extxyz import format_frame, iter_extxyz
from jorbit.simulate.frames import Frames
from jorbit.simulate.trajectory import TrajectoryWriter
from jorbit.simulate.watchman import Watch, WatchedState, WatchState


@dataclasses.dataclass(frozen=True, eq=False)
class WatchReport:
    """What the watchman saw, before a resume as well.

    Attributes:
        times: of the worst look of each block of steps, fs. values: of the quantity there.
        unit: of the values.
        n_frames: how many structures were above `record_above`.
        record_to: the file that holds them; None when they are in memory.
        kept: the structures, when there is no file.
        stop_time: fs; None when the run was not stopped by the watchman.
    """

    times: Float[np.ndarray, " blocks"]
    values: Float[np.ndarray, " blocks"]
    unit: str
    n_frames: int
    record_to: Path | None
    kept: tuple[Frame, ...]
    stop_time: float | None

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The structures above `record_above`; the value is in `info["grade"]`, the time in `info["time_fs"]`.

        Read from the file, where there is one, whenever somebody asks.
        """
        if self.record_to is None or self.n_frames == 0:
            return self.kept
        return tuple(iter_extxyz(self.record_to))


class Watchman:
    """Looks at the state after every block, keeps structures, and says when to stop; a context manager.

    Args:
        watch: what to look at.
        structure: elements, periodicity and charge of every frame.
        timestep: fs.
        before: what `memory` returned when the checkpoint was written that a run goes on from; None at a start.
        arrays: what `arrays` returned then.

    Raises:
        ConfigError: structures seen before are in a file that is no longer asked for.
        DataError: the file cannot be written, or is shorter than it was.
    """

    def __init__(
        self,
        watch: Watch,
        structure: Structure,
        timestep: float,
        before: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ):
        self.watch, self.structure, self.timestep = watch, structure, timestep
        self.record_to = None if watch.record_to is None else Path(watch.record_to)
        self.times: list[float] = []
        self.values: list[float] = []
        self.kept: list[Frame] = []
        self.n_frames, keep, file = 0, 0, None
        self.stop_time: float | None = None
        if before is not None and arrays is not None:
            self.times, self.values = arrays["times"].tolist(), arrays["values"].tolist()
            self.n_frames, keep, file = before["n_frames"], before["bytes"], before["file"]
            of_frames = (arrays[f"kept_{name}"] for name in ("positions", "cells", "grades", "times"))
            self.kept = [self._frame(r, c, float(v), float(t)) for r, c, v, t in zip(*of_frames, strict=True)]
        if keep and self.record_to is None:
            raise ConfigError(
                f"The run goes on from a checkpoint that has {self.n_frames} structures in the file {file}; "
                "got no record_to. Give the same file again."
            )
        self._file = TrajectoryWriter(self.record_to, keep)
        if self.record_to is not None and self.kept:  # a file is asked for that was not before
            self._file.write("".join(map(format_frame, self.kept)))
            self.kept = []

    def look(self, state: WatchedState, frames: Frames) -> tuple[WatchedState, Frames, str]:
        """The state for the next block, the frames up to a stop, and the reason for it ("" to go on)."""
        seen: WatchState = jax.device_get(state.watch)
        value, time = float(seen.peak), float(seen.peak_step) * self.timestep
        if value >= 0 or np.isnan(value):  # else nobody looked in this block
            self.times.append(time)
            self.values.append(value)
            if not value <= self.watch.record_above:
                self._keep(seen, value, time)
        # What was reported is forgotten at a stop as well: it must not be reported again when the run goes on.
        state = dataclasses.replace(
            state, watch=dataclasses.replace(state.watch, peak=jnp.full_like(state.watch.peak, -1.0))
        )
        reason = self.reason(state)
        return state, frames.until(int(seen.step), self.timestep) if reason else frames, reason

    def reason(self, state: WatchedState) -> str:
        """Why the run stands still; "" when it does not, or when the threshold has been raised since it stopped."""
        seen: WatchState = jax.device_get(state.watch)
        self.stop_time = None
        if not bool(seen.stopped) or float(seen.value) <= self.watch.stop_above:
            return ""
        self.stop_time = float(seen.step) * self.timestep
        unit = f" {self.watch.unit}".rstrip()
        return (
            f"{self.watch.watched}: {float(seen.value):.4g}{unit} is above {self.watch.stop_above:g}{unit} at "
            f"{self.stop_time:g} fs. From here on the potential is guessing: label this structure and refit, or "
            "raise the threshold."
        )

    def memory(self) -> dict[str, Any]:
        """What a checkpoint keeps as JSON; everything written until now is on the disk."""
        file = None if self.record_to is None else str(self.record_to)
        return dict(n_frames=self.n_frames, bytes=self._file.mark(), file=file)

    def arrays(self) -> dict[str, np.ndarray]:
        """What a checkpoint keeps as arrays."""
        n = self.structure.n_atoms
        return {
            "times": np.array(self.times, np.float64),
            "values": np.array(self.values, np.float64),
            "kept_positions": np.array([f.structure.positions for f in self.kept], np.float64).reshape(-1, n, 3),
            "kept_cells": np.array([f.structure.cell for f in self.kept], np.float64).reshape(-1, 3, 3),
            "kept_grades": np.array([f.info["grade"] for f in self.kept], np.float64),
            "kept_times": np.array([f.info["time_fs"] for f in self.kept], np.float64),
        }

    def report(self) -> WatchReport:
        """What was seen."""
        return WatchReport(
            times=np.array(self.times),
            values=np.array(self.values),
            unit=self.watch.unit,
            n_frames=self.n_frames,
            record_to=self.record_to,
            kept=tuple(self.kept),
            stop_time=self.stop_time,
        )

    def __enter__(self) -> "Watchman":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def _keep(self, seen: WatchState, value: float, time: float) -> None:
        frame = self._frame(seen.peak_positions, seen.peak_cell, value, time)
        if not np.isfinite(frame.structure.positions).all():
            return
        self.n_frames += 1
        if self.record_to is None:
            self.kept.append(frame)
        else:
            self._file.write(format_frame(frame))

    def _frame(self, positions: Any, cell: Any, value: float, time: float) -> Frame:
        structure = dataclasses.replace(
            self.structure, positions=np.asarray(positions, np.float64), cell=np.asarray(cell, np.float64)
        )
        return Frame(structure=structure, labels=Labels(), info={"grade": value, "time_fs": time})
