"""train(config): read, split, fit, save, evaluate. What `jorbit train` does, as a function."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.datasets import read
from jorbit.potential.artefact import save
from jorbit.potential.potential import Potential
from jorbit.train.config import DataConfig, TrainConfig, load_config
from jorbit.train.design import FitWeights
from jorbit.train.fingerprint import checksum
from jorbit.train.fit import fit
from jorbit.train.metrics import Metrics, evaluate
from jorbit.train.progress import Progress, reporting
from jorbit.train.report import FitReport
from jorbit.train.split import Split, random_split


class TrainResult(NamedTuple):
    """What a training run left behind.

    Attributes:
        potential, params, report: as from `fit`.
        metrics: of "train", "valid" and "test", where there are frames and time was left to measure.
        path: the model file. Beside it lies <name>.metrics.json.
        interrupted: Ctrl-C ended it early; the files are usable, and say so.
    """

    potential: Potential
    params: Params
    report: FitReport
    metrics: dict[str, Metrics]
    path: Path
    interrupted: bool


def train(config: TrainConfig | str | os.PathLike | Mapping[str, Any], progress: Progress = None) -> TrainResult:
    """Read data, fit, save the model and measure it.

    The model file is written as soon as the fit is done, and again with the errors when they are known. Ctrl-C during
    the fit fits the frames seen so far; a second one gives up.

    Args:
        config: a YAML file, a mapping of the same form, or a checked TrainConfig.
        progress: None, True for a bar, or a function (stage, done, total).

    Raises:
        ConfigError: a mistake in the configuration, or an output that cannot be written (noticed before the work).
        DataError: data that cannot be read or fitted.

    Example:
        >>> result = train({"data": {"train": "ethanol_gfn2", "train_size": 50, "test": 50}})  # doctest: +SKIP
        >>> print(result.metrics["test"])  # doctest: +SKIP
    """
    config = config if isinstance(config, TrainConfig) else load_config(config)
    path = _writable(Path(config.output))
    split = read_split(config.data)
    species = SpeciesTable.from_structures(f.structure for f in split.train)
    potential = config.build_potential(species)
    options = config.fit
    by_validation = options.prior == "validation" and bool(split.valid)

    with reporting(progress) as report:
        result = fit(
            split.train,
            potential,
            prior=options.prior,
            ridge=options.ridge,
            solver=options.solver,
            weights=FitWeights(**options.weights.model_dump()),  # type: ignore[attr-defined]
            reference_energies=options.reference_energies,
            seed=options.seed,
            progress=report,
            validation=split.valid if by_validation else None,
            keep_partial=True,
        )
        provenance = _provenance(config, split, result.report)
        save(path, result.potential, result.params, provenance)
        metrics = {} if result.report.training is None else {"train": result.report.training}
        interrupted = result.report.interrupted
        try:
            for name, part in (("valid", split.valid), ("test", split.test)):
                if part and not interrupted:
                    metrics[name] = evaluate(result.potential, result.params, part, report)
        except KeyboardInterrupt:
            interrupted = True

    summary = {name: m.to_json() for name, m in metrics.items()}
    save(path, result.potential, result.params, provenance | {"metrics": summary, "interrupted": interrupted})
    metrics_path = path.with_name(f"{path.stem}.metrics.json")
    metrics_path.write_text(json.dumps(summary | {"interrupted": interrupted}, indent=2) + "\n", encoding="utf-8")
    return TrainResult(result.potential, result.params, result.report, metrics, path, interrupted)


def read_split(config: DataConfig) -> Split:
    """The frames of a configuration: sources of their own, or parts of the training source."""
    frames = _read_sources(config.train, config.limit)
    parts = {"valid": config.valid, "test": config.test}
    sizes = {name: value for name, value in parts.items() if isinstance(value, int | float)}
    split = random_split(frames, train=config.train_size, seed=config.seed, **sizes)
    if not sizes and config.train_size is None:
        split = Split(frames, [], [])
    others = {name: _read_sources(v, config.limit) for name, v in parts.items() if isinstance(v, str | list)}
    return split._replace(**others)


def _read_sources(sources: str | list[str], limit: int | None) -> list[Frame]:
    sources = [sources] if isinstance(sources, str) else sources
    return [frame for source in sources for frame in read(source)[:limit]]


def _provenance(config: TrainConfig, split: Split, report: FitReport) -> dict[str, Any]:
    data = {
        name: {"n_frames": len(part), "sha256": checksum(part)}
        for name, part in zip(Split._fields, split, strict=True)
        if part
    }
    return {"config": config.model_dump(mode="json"), "data": data, "fit": report.provenance()}


def _writable(path: Path) -> Path:
    """The path, after making sure that a file can be written there."""
    if path.is_dir():
        raise ConfigError(
            f"output: {path} is a folder. Give the name of a file in it, such as {path / 'model.safetensors'}."
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        probe = path.with_name(f".{path.name}.probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise ConfigError(
            f"output: {path} cannot be written: {error.strerror or error}. Choose another place."
        ) from error
    return path
