"""What a gradient training tells about itself: a log line by line, and a summary at the end."""

import contextlib
import dataclasses
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jorbit.potential.state_files import write_whole
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.log_sinks import Sink, numbers_of


@dataclasses.dataclass(frozen=True)
class Memory:
    """What the loop remembers between epochs, beside the state of the device.

    Attributes:
        epochs: one entry per finished epoch: loss, learning_rate, seconds and the errors on the validation frames.
        best_loss, best_epoch: of the kept parameters; the epoch counts from 1.
        scale: factor on the learning rate (plateau, rollbacks).
        plateau_best, plateau_waited: see `jorbit.train.optimizer.plateau`.
        rollbacks: how often the training went back.
        seconds: spent before this process took over.
        notes: what the user should know.
    """

    epochs: tuple[dict[str, Any], ...] = ()
    best_loss: float = float("inf")
    best_epoch: int = 0
    scale: float = 1.0
    plateau_best: float = float("inf")
    plateau_waited: int = 0
    rollbacks: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Memory":
        """The inverse of `to_json`, after a trip through JSON."""
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in content.items()}
        return cls(**values)


class RunLog:
    """Events of a run as lines of JSON, appended to a file as they happen; no file without a folder.

    Args:
        folder: where log.jsonl goes, or None.
        step: of the checkpoint that the run goes on from: lines of later steps are dropped. None starts a new file.
        sinks: get the numbers, too, see `jorbit.train.log_sinks`.
    """

    def __init__(self, folder: Path | None, step: int | None = None, sinks: Sequence[Sink] = ()):
        self._sinks = sinks
        self.path = None if folder is None else folder / "log.jsonl"
        if self.path is None:
            return
        kept = [] if step is None else [line for line in self._lines() if json.loads(line).get("step", 0) <= step]
        with contextlib.suppress(OSError):  # a full disk costs lines, not the training
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self.path, "".join(f"{line}\n" for line in kept).encode())

    def _lines(self) -> list[str]:
        if self.path is None or not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").splitlines()
        return [line for line in lines if _is_json(line)]  # the last one may have been cut off

    def write(self, event: str, **content: Any) -> None:
        """Append one line. A full disk costs the line, not the training."""
        numbers = numbers_of(event, content) if self._sinks else {}
        for sink in self._sinks if numbers else ():
            sink.write(content["step"], numbers)
        if self.path is None:
            return
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"event": event} | content) + os.linesep)
        except OSError:
            return

    def close(self) -> None:
        """No more lines."""
        for sink in self._sinks:
            sink.close()


def _is_json(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GradientReport:
    """Everything worth knowing about a gradient training.

    Attributes:
        n_frames: training frames. n_validation: frames that chose the kept parameters.
        n_parameters: trained; n_fixed: left as they were.
        n_steps: updates. best_epoch: of the kept parameters (from 1; 0 when there is no validation).
        history: one entry per epoch: epoch, step, loss (mean over the steps), learning_rate, seconds, and with
            validation frames "validation": loss, energy_mae, energy_rmse (eV/atom), forces_... (eV/Å), stress_...
        validation: that entry for the kept parameters, or None.
        reference_energies: element (or orbit) -> eV, or None without such a term.
        seconds: "prepare" (neighbours, calibration), "compile", "train", "validate", "wait" (part of train during which
            no batch was ready).
        compilations: how many programs this training compiled, by name.
        buckets: of the training frames: n_atoms, n_slots, n_frames of each padded shape.
        interrupted: Ctrl-C or max_minutes ended it. early: it stopped because validation no longer got better.
        notes: what the user should know.
        config: as asked for.
    """

    n_frames: int
    n_validation: int
    n_parameters: int
    n_fixed: int
    n_steps: int
    best_epoch: int
    history: tuple[dict[str, Any], ...]
    validation: dict[str, float] | None
    reference_energies: dict[str, float] | None
    seconds: dict[str, float]
    compilations: dict[str, int]
    buckets: list[dict[str, Any]]
    interrupted: bool
    early: bool
    notes: tuple[str, ...]
    config: GradientConfig

    @property
    def waiting_share(self) -> float:
        """Part of the training time during which the device waited for data."""
        return self.seconds["wait"] / self.seconds["train"] if self.seconds["train"] else 0.0

    def provenance(self) -> dict[str, Any]:
        """A JSON-able summary for the model file: how the parameters came about."""
        import jorbit

        result = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("config", "history")
        }
        return result | {
            "notes": list(self.notes),
            "history": list(self.history),
            "waiting_share": self.waiting_share,
            "config": self.config.to_json(),
            "versions": {"jorbit": jorbit.__version__, "jax": jax.__version__},
        }

    def __repr__(self) -> str:
        lines = [
            f"{self.n_frames} frames, {self.n_parameters} trained parameters, {self.n_steps} steps in "
            f"{len(self.history)} epochs" + (f", best after epoch {self.best_epoch}" if self.best_epoch else "")
        ]
        if self.validation is not None:
            parts = [f"loss {self.validation['loss']:.4g}"]
            for kind, unit in (("energy", "meV/atom"), ("forces", "meV/Å"), ("stress", "meV/Å^3")):
                if f"{kind}_rmse" in self.validation:
                    parts.append(f"{kind} RMSE {1e3 * self.validation[f'{kind}_rmse']:.3g} {unit}")
            lines.append("validation: " + ", ".join(parts))
        lines.append(
            ", ".join(f"{stage} {value:.1f} s" for stage, value in self.seconds.items())
            + f" ({100 * self.waiting_share:.0f} % of the training time waiting for data)"
        )
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])
