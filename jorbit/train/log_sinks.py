"""Where numbers of a training can go besides log.jsonl: TensorBoard and Weights & Biases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from jorbit.core.errors import ConfigError

SINKS = {"tensorboard": "tensorboardX", "wandb": "wandb"}  # name -> package


@runtime_checkable
class Sink(Protocol):
    """Takes numbers as they come."""

    def write(self, step: int, numbers: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


class _TensorBoard:
    def __init__(self, folder: Path, config: Mapping[str, Any], name: str):
        self._writer = _package("tensorboard").SummaryWriter(str(folder / "tensorboard"))

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WandB:
    def __init__(self, folder: Path, config: Mapping[str, Any], name: str):
        folder.mkdir(parents=True, exist_ok=True)
        # The same name goes on with the same run after a resume.
        self._run = _package("wandb").init(
            project="jorbit", id=name, name=folder.name, dir=str(folder), config=dict(config), resume="allow"
        )

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


def check_sinks(names: Sequence[str], folder: Path | None) -> None:
    """Refuse, before any work, what cannot be written to.

    Raises:
        ConfigError: an unknown name, a package that is not installed, or no folder.
    """
    for name in names:
        if name not in SINKS:
            raise ConfigError(f"log_to: wanted names in {sorted(SINKS)}, got {name!r}. log.jsonl is always written.")
        _package(name)
    if names and folder is None:
        raise ConfigError(f"log_to={list(names)} needs a folder for the run.")


def open_sinks(names: Sequence[str], folder: Path, config: Mapping[str, Any], run: str) -> tuple[Sink, ...]:
    """The sinks of a run.

    Args:
        names: "tensorboard" (event files in <folder>/tensorboard), "wandb" (project "jorbit"; WANDB_MODE and the other
            variables of wandb are obeyed).
        folder: of the run.
        config: settings to show.
        run: a name that a resumed run keeps.
    """
    kinds: dict[str, Any] = {"tensorboard": _TensorBoard, "wandb": _WandB}
    return tuple(kinds[name](folder, config, run) for name in names)


def numbers_of(event: str, content: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of the log, by names with slashes; those of steps and epochs only.

    Example:
        >>> numbers_of("epoch", {"step": 8, "loss": 0.5, "validation": {"loss": 0.25}, "file": "a"})
        {'epoch/loss': 0.5, 'epoch/validation/loss': 0.25}
    """
    if event not in ("step", "epoch"):
        return {}
    found: dict[str, float] = {}
    for name, value in content.items():
        if isinstance(value, Mapping):
            found |= {f"{event}/{name}/{k}": float(v) for k, v in value.items() if isinstance(v, int | float)}
        elif isinstance(value, int | float) and name != "step":
            found[f"{event}/{name}"] = float(value)
    return found


def _package(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(SINKS[name])
    except ImportError as error:
        raise ConfigError(
            f"log_to: {name} needs the package {SINKS[name]}: pip install 'jorbit[log]', or leave it out."
        ) from error
