"""train(config): read, split, fit, save, evaluate. What `jorbit train` does, as a function."""

import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.datasets import HDF5, read
from jorbit.datasets.hdf5 import HDF5Frames
from jorbit.datasets.isolated import is_isolated_atom
from jorbit.models import MODELS
from jorbit.potential.artefact import load, save
from jorbit.potential.potential import Potential, component_registry
from jorbit.potential.species_change import change_species
from jorbit.potential.uncertainty import Ensemble
from jorbit.train.calibration import calibrate
from jorbit.train.config import DataConfig, HeadsConfig, TrainConfig, load_config
from jorbit.train.design import FitWeights, is_linear
from jorbit.train.fingerprint import checksum
from jorbit.train.fit import fit
from jorbit.train.gap import GAPReport
from jorbit.train.gap_config import GAPConfig, kernels_of
from jorbit.train.gradient import train_by_gradient, train_ensemble, train_heads
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.gradient_report import GradientReport
from jorbit.train.heads import HeadData
from jorbit.train.metrics import Metrics, evaluate
from jorbit.train.orbit_config import attach_orbits, with_orbit_weights
from jorbit.train.parallel import writes_files
from jorbit.train.progress import Progress, Report, reporting
from jorbit.train.report import FitReport
from jorbit.train.sgdml_report import SGDMLReport
from jorbit.train.split import Split, random_split
from jorbit.train.uncertainty import fit_uncertainty

_Report = FitReport | GAPReport | GradientReport | SGDMLReport
_HEADS_OF_NETWORKS = (
    "heads are of networks, and this potential is fitted in closed form: leave out 'heads', or take a network "
    "(jorbit list)."
)


class TrainResult(NamedTuple):
    """What a training run left behind.

    Attributes:
        potential, params, report: as from `fit`.
        metrics: of "train", "valid" and "test", where there are frames and time was left to measure.
        path: the model file. Beside it lies <name>.metrics.json.
        interrupted: Ctrl-C ended it early; the files are usable, and say so.
        members: of an ensemble, the parameters of each (`params` are those of the first). The others lie in
            <name>.2.safetensors, <name>.3.safetensors, ..., and the file of the first holds their spread, scaled on the
            validation frames, as the uncertainty that a simulation can watch.
        heads: of a training on several sets of labels, the parameters of each (`params` are those of `heads.name`). All
            are in the one file: `load(path, head="ccsd")`.
    """

    potential: Potential
    params: Params
    report: _Report
    metrics: dict[str, Metrics]
    path: Path
    interrupted: bool
    members: tuple[Params, ...] = ()
    heads: Mapping[str, Params] = MappingProxyType({})


class _Trained(NamedTuple):
    potential: Potential
    params: Params
    report: _Report
    members: tuple[Params, ...] = ()
    heads: Mapping[str, Params] = MappingProxyType({})


def train(
    config: TrainConfig | str | os.PathLike | Mapping[str, Any], progress: Progress = None, *, resume: bool = False
) -> TrainResult:
    """Read data, fit, save the model and measure it.

    Linear models are fitted in closed form, others by gradients. The model file is written as soon as the parameters
    are known, and again with the errors when they are. Ctrl-C during a fit fits the frames seen so far, during training
    by gradients it keeps the best parameters so far; a second one gives up.

    Args:
        config: a YAML file, a mapping of the same form, or a checked TrainConfig.
        progress: None, True for a bar, or a function (stage, done, total).
        resume: go on from the newest checkpoint in `config.folder` (training by gradients only).

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
    others = {} if config.heads is None else {name: read_split(data) for name, data in config.heads.data.items()}
    if config.sgdml is None:
        fitted = _sum_of_terms(config, split, others, resume)
    else:
        fitted = _kernel_model(config, split, path, resume)

    with reporting(progress) as report:
        split, result = fitted(report)
        interrupted = result.report.interrupted
        if not writes_files():  # the first process does the rest
            more = (path, interrupted, result.members, result.heads)
            return TrainResult(result.potential, result.params, result.report, {}, *more)
        provenance = _provenance(config, split, others, result.report)
        save(path, result.potential, result.params, provenance, heads=result.heads)
        for k, member in enumerate(result.members[1:], start=2):
            save(path.with_suffix(f".{k}{path.suffix}"), result.potential, member, provenance | {"member": k})
        metrics = {}
        if isinstance(result.report, FitReport | GAPReport | SGDMLReport) and result.report.training is not None:
            metrics = {"train": result.report.training}
        try:
            for name, params, part in _measured(split, others, result):
                if part and not interrupted:
                    metrics[name] = evaluate(result.potential, params, part, report)
            grades = _grades(result, split.valid) if not interrupted else {}
        except KeyboardInterrupt:
            interrupted, grades = True, {}

    summary = {name: m.to_json() for name, m in metrics.items()}
    more = {"metrics": summary, "interrupted": interrupted}
    save(path, result.potential, result.params, provenance | more, grades, result.heads)
    metrics_path = path.with_name(f"{path.stem}.metrics.json")
    metrics_path.write_text(json.dumps(summary | {"interrupted": interrupted}, indent=2) + "\n", encoding="utf-8")
    more = (path, interrupted, result.members, result.heads)
    return TrainResult(result.potential, result.params, result.report, metrics, *more)


def _measured(
    split: Split, others: Mapping[str, Split], result: _Trained
) -> Iterator[tuple[str, Params, Sequence[Frame]]]:
    """What errors are told of: "valid", "test", and those of other heads, "valid/ccsd"."""
    for k, kind in enumerate(Split._fields[1:], start=1):
        yield kind, result.params, split[k]
        for name, other in others.items():
            yield f"{kind}/{name}", result.heads[name], other[k]


def _sum_of_terms(
    config: TrainConfig, split: Split, others: Mapping[str, Split], resume: bool
) -> Callable[[Report], tuple[Split, _Trained]]:
    """What fits the potential of a configuration, after everything that can be wrong with it was checked."""
    labelled, orbits = attach_orbits(config.orbits, split)
    potential, initial = starting_point(config, together(labelled, others))
    if orbits is not None:
        potential = dataclasses.replace(potential, orbits=orbits)
    by_process = config.gradient is None and (config.gap is not None or bool(kernels_of(potential)))
    by_gradient = not by_process and trains_by_gradient(config, potential)
    if (by_process or by_gradient) and "fit" in config.model_fields_set:
        raise ConfigError(
            "The key 'fit' is about closed-form fits of linear terms, and this potential is "
            + ("a Gaussian process (the key 'gap')." if by_process else "trained by gradients (the key 'gradient').")
        )
    labelled = with_orbit_weights(config.orbits, labelled)
    if by_process:
        if config.heads is not None:
            raise ConfigError(_HEADS_OF_NETWORKS)
        return lambda report: (labelled, _gaussian_process(config, labelled, potential, report, resume))
    if resume and not by_gradient:
        raise ConfigError("There is nothing to resume: this potential is fitted in closed form.")
    if config.heads is not None:
        if not by_gradient:
            raise ConfigError(_HEADS_OF_NETWORKS)
        data = data_of_heads(config.heads, split, others)
        return lambda report: (split, _by_heads(config, data, potential, initial, report, resume))
    if by_gradient:
        return lambda report: (labelled, _by_gradient(config, labelled, potential, initial, report, resume))
    return lambda report: (labelled, _closed_form(config, labelled, potential, report))


def _kernel_model(
    config: TrainConfig, split: Split, path: Path, resume: bool
) -> Callable[[Report], tuple[Split, _Trained]]:
    """What fits the kernel model of a configuration."""
    section = config.sgdml
    if section is None or (resume and section.solver == "cholesky"):
        raise ConfigError("There is nothing to resume: this model is fitted in closed form.")
    orbits = None if config.orbits is None else config.orbits.result(split)
    return lambda report: (
        split,
        _Trained(*section.fit(split.train, split.valid, orbits, path, report, resume=resume)),
    )


def starting_point(config: TrainConfig, split: Split) -> tuple[Potential, Params | None]:
    """The potential, and parameters to start from when the configuration names a model file.

    Raises:
        ConfigError: the file holds other terms or species than the configuration asks for.
    """
    species = SpeciesTable.from_structures(f.structure for f in split.train)
    name = None if config.gradient is None else config.gradient.initial
    if name is None:
        return config.build_potential(species), None
    potential, initial = load(name)
    if config.gradient is not None and (config.gradient.adopt or config.gradient.keep_elements is not None):
        potential, initial = change_species(potential, initial, config.gradient.adopt, config.gradient.keep_elements)
    if "potential" in config.model_fields_set and config.build_potential(potential.species) != potential:
        raise ConfigError(
            f"gradient.initial: {name} holds another potential than the key 'potential' describes. Leave that key out "
            "to train what the file holds."
        )
    return potential, initial


def trains_by_gradient(config: TrainConfig, potential: Potential) -> bool:
    """Whether closed form is out of the question: a learned term that is not linear, or the key gradient."""
    learned = [t for t in potential.terms if component_registry(type(t))[0] is MODELS]
    return config.gradient is not None or not all(is_linear(t) for t in learned)


def _by_gradient(
    config: TrainConfig, split: Split, potential: Potential, initial: Params | None, report: Report, resume: bool
) -> _Trained:
    settings = GradientConfig() if config.gradient is None else config.gradient.build()
    if settings.members > 1:
        if initial is not None:
            raise ConfigError("gradient.members: models that start from one file stay alike: train one, or new ones.")
        members, summary = train_ensemble(
            potential,
            split.train,
            split.valid,
            settings,
            folder=config.folder,
            resume=resume,
            progress=report,
        )
        return _Trained(potential, members[0], summary, members)
    params, summary = train_by_gradient(
        potential,
        split.train,
        split.valid,
        settings,
        initial=initial,
        folder=config.folder,
        resume=resume,
        progress=report,
    )
    return _Trained(potential, params, summary)


def together(split: Split, others: Mapping[str, Split]) -> Split:
    """The frames of all heads."""
    if not others:
        return split
    return Split(*([frame for part in (split, *others.values()) for frame in part[k]] for k in range(len(split))))


def data_of_heads(heads: HeadsConfig, split: Split, others: Mapping[str, Split]) -> dict[str, HeadData]:
    """What each head learns; `split` is that of the head which the key 'data' is for."""
    splits = {heads.name: split, **others}
    return {name: HeadData(s.train, s.valid, heads.reference_energies.get(name)) for name, s in splits.items()}


def _by_heads(
    config: TrainConfig,
    data: Mapping[str, HeadData],
    potential: Potential,
    initial: Params | None,
    report: Report,
    resume: bool,
) -> _Trained:
    heads: Any = config.heads
    settings = GradientConfig() if config.gradient is None else config.gradient.build()
    options: Any = {"initial": initial, "folder": config.folder, "resume": resume, "progress": report}
    found, summary = train_heads(potential, data, settings, own=heads.own, **options)
    return _Trained(potential, found[heads.name], summary, heads=found)


def _closed_form(config: TrainConfig, split: Split, potential: Potential, report: Report) -> _Trained:
    options = config.fit
    by_validation = options.prior == "validation" and bool(split.valid)
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
    return _Trained(result.potential, result.params, result.report)


def _gaussian_process(
    config: TrainConfig, split: Split, potential: Potential, report: Report, resume: bool
) -> _Trained:
    if resume:
        raise ConfigError("There is nothing to resume: kernels are fitted in closed form.")
    if not kernels_of(potential):
        raise ConfigError("The key 'gap' is about kernels, and the potential has none: add gap, or two_body_gap.")
    fitted = (config.gap or GAPConfig()).fit(potential, split.train, report)
    return _Trained(dataclasses.replace(fitted.potential, orbits=potential.orbits), fitted.params, fitted.report)


def _grades(trained: _Trained, validation: Sequence[Frame]) -> dict[str, Any]:
    """The spread of an ensemble, for the file of its first member, or the variance of a Gaussian process.

    Scaled to the errors held out.
    """
    if len(trained.members) > 1:
        deviation = Ensemble.of(trained.potential, trained.members)
    elif isinstance(trained.report, GAPReport):
        deviation = fit_uncertainty(trained.report)
    else:
        return {}
    if len(validation) > 1:
        deviation, _ = calibrate(deviation, trained.params, validation)
    return {"deviation": deviation}


def read_split(config: DataConfig) -> Split:
    """The frames of a configuration: sources of their own, or parts of the training source.

    Isolated atoms are always trained on, beside the frames asked for: reference energies are found in them.
    """
    frames = _read_sources(config.train, config.limit)
    parts = {"valid": config.valid, "test": config.test}
    sizes = {name: value for name, value in parts.items() if isinstance(value, int | float)}
    split = random_split(frames, train=config.train_size, seed=config.seed, **sizes)
    if not sizes and config.train_size is None:
        split = Split(frames, [], [])
    elif not isinstance(frames, HDF5Frames):
        split = _with_isolated_atoms(split, frames)
    others = {name: _read_sources(v, config.limit) for name, v in parts.items() if isinstance(v, str | list)}
    return split._replace(**others)


def _with_isolated_atoms(split: Split, frames: Sequence[Frame]) -> Split:
    """The split with all isolated atoms among the training frames, and nowhere else."""
    alone = [f for f in frames if is_isolated_atom(f) and f.labels.energy is not None]
    if not alone:
        return split
    known = {id(f) for f in alone}
    train, valid, test = ([f for f in part if id(f) not in known] for part in split)
    return Split([*alone, *train], valid, test)


def _read_sources(sources: str | list[str], limit: int | None) -> Sequence[Frame]:
    """All frames; those of a single HDF5 file stay there until they are needed."""
    sources = [sources] if isinstance(sources, str) else sources
    if len(sources) == 1 and Path(sources[0]).suffix.lower() in HDF5:
        return HDF5Frames(sources[0])[:limit]
    return [frame for source in sources for frame in read(source)[:limit]]


def _provenance(config: TrainConfig, split: Split, others: Mapping[str, Split], report: _Report) -> dict[str, Any]:
    parts = dict(zip(Split._fields, split, strict=True))
    for head, other in others.items():
        parts |= {f"{name}/{head}": part for name, part in zip(Split._fields, other, strict=True)}
    data = {name: {"n_frames": len(part), "sha256": checksum(part)} for name, part in parts.items() if part}
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
