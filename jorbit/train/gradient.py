"""train_by_gradient(): labelled frames in, trained parameters out; for every potential that is not linear."""

import contextlib
import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import CalibratedTerm, Params
from jorbit.core.structure import Frame
from jorbit.datasets.checks import unit_suspicion
from jorbit.datasets.hdf5 import HDF5Frames
from jorbit.potential.dimers import secure
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.checkpoint import has_checkpoints
from jorbit.train.fingerprint import checksum, digest_of, weights_checksum
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.gradient_report import GradientReport
from jorbit.train.labelled import labelled_for
from jorbit.train.loader import FrameStore, frame_store
from jorbit.train.log_sinks import check_sinks
from jorbit.train.loop import Loop, Problem
from jorbit.train.objective import check_charge_labels, reweighted, species_factors
from jorbit.train.parallel import Devices
from jorbit.train.progress import Progress, interrupts, reporting
from jorbit.train.statistics import compositions
from jorbit.train.statistics import reference_energies as find_reference_energies
from jorbit.train.step import join_params, split_params, start_ensemble, start_state

_CALIBRATION_BATCHES = 200


class GradientResult(NamedTuple):
    """What `train_by_gradient` returns.

    Attributes:
        params: of the whole potential: the best on the validation frames (the last without any).
        report: what happened.
    """

    params: Params
    report: GradientReport


class EnsembleResult(NamedTuple):
    """What `train_ensemble` returns.

    Attributes:
        members: parameters of the whole potential, of each member.
        report: what happened; losses and errors are means over the members.
    """

    members: tuple[Params, ...]
    report: GradientReport


def train_by_gradient(
    potential: Potential,
    frames: Iterable[Frame],
    validation: Iterable[Frame] | None = None,
    config: GradientConfig = GradientConfig(),  # noqa: B008 (frozen)
    *,
    initial: Params | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress = None,
) -> GradientResult:
    """Minimise the errors of energies, forces and stresses by stochastic gradients.

    Reference energies are found first and subtracted from the labels in float64, and terms that have constants to find
    in the data (means of features) find them; then batches of equal capacity run through one compiled step per bucket.

    Args:
        potential: sum of terms; those without parameters to train just add their energy.
        frames: labelled structures; missing kinds of labels are fine.
        validation: frames that are measured after every epoch; the parameters that are best there are returned.
        config: see `GradientConfig`.
        initial: parameters to start from (fine-tuning); new ones from the seed when not given.
        folder: where log.jsonl, checkpoints and a batch that failed go; nothing is written without one.
        resume: go on from the newest checkpoint in `folder`. With the same data and settings the result is the same,
            bit for bit, as that of a run which was never interrupted.
        progress: None, True for a bar, or a function (stage, done, total).

    Returns:
        (params, report). On Ctrl-C the best so far; the report says so. A second Ctrl-C raises.

    Raises:
        TrainingError: the loss is no longer finite or exploded; names the frames of the batch.
        DataError: no frames, no labels, labels with NaN.
        ConfigError: settings that contradict each other, or a folder with checkpoints of another run.

    Example:
        >>> from jorbit import SpeciesTable
        >>> from jorbit.datasets import load_dataset
        >>> from jorbit.descriptors.ace import ACE
        >>> from jorbit.models.readout import Readout
        >>> model = Readout(descriptor=ACE(n_species=3, cutoff=2.0, max_degree=(2,)), n_species=3, hidden=(4,))
        >>> potential = Potential((ReferenceEnergy(n_species=3), model), SpeciesTable.from_numbers([1, 6, 8]))
        >>> frames = list(load_dataset("ethanol_gfn2"))[:6]
        >>> params, report = train_by_gradient(potential, frames, config=GradientConfig(epochs=2))
        >>> sorted(params), len(report.history)
        (['readout', 'reference_energy'], 2)
    """
    if config.members > 1:
        raise ConfigError(f"members={config.members}: `train_ensemble` returns several models, this function one.")
    members, report = _train(potential, frames, validation, config, initial, folder, resume, progress)
    return GradientResult(members[0], report)


def train_ensemble(
    potential: Potential,
    frames: Iterable[Frame],
    validation: Iterable[Frame] | None = None,
    config: GradientConfig = GradientConfig(members=4),  # noqa: B008 (frozen)
    *,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress = None,
) -> EnsembleResult:
    """Train `config.members` models of one potential together: one compiled step, mapped over their parameters.

    All see the same batches in the same order and differ in their initial parameters; the first is the model that
    `train_by_gradient` would have trained. The epoch that is kept is the best of their mean loss.

    Args:
        potential, frames, validation, config, folder, resume, progress: as in `train_by_gradient`.

    Returns:
        (members, report).

    Raises:
        TrainingError, DataError, ConfigError: as `train_by_gradient`.
    """
    return EnsembleResult(*_train(potential, frames, validation, config, None, folder, resume, progress))


def _train(
    potential: Potential,
    frames: Iterable[Frame],
    validation: Iterable[Frame] | None,
    config: GradientConfig,
    initial: Params | None,
    folder: str | Path | None,
    resume: bool,
    progress: Progress,
) -> tuple[tuple[Params, ...], GradientReport]:
    frames, held_out = _checked(frames), [] if validation is None else _kept(validation)
    place = None if folder is None else Path(folder)
    check_sinks(config.log_to, place)
    if resume and place is None:
        raise ConfigError("resume=True needs the folder of the run that is to go on.")
    if place is not None and has_checkpoints(place) and not resume:
        raise ConfigError(
            f"{place} holds checkpoints of an earlier run. Go on with it (resume=True, --resume), choose another "
            "folder, or delete it."
        )
    before = compilations()
    with reporting(progress) as report, settings_of(config):
        started = time.perf_counter()
        problem, references = prepare(potential, frames, held_out, config, initial, report)
        loop = Loop(problem, place, report)
        loop.seconds["prepare"] = time.perf_counter() - started
        if place is not None:
            loop.open_folder(resume, _fingerprint(potential, frames, held_out, problem))
        try:
            with interrupts(True) as stopped:
                loop.run(stopped)
        finally:
            loop.log.close()
        found = loop.result()
        members = [found]
        if problem.n_members > 1:
            members = [jax.tree.map(lambda leaf, k=k: leaf[k], found) for k in range(problem.n_members)]
        members = [jax.tree.map(np.asarray, join_params(member, problem.fixed)) for member in members]
    after = compilations()
    compiled = {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}
    energies, name = references
    pairs = list(_pairs(potential, problem.potential))
    members = [{n: energies if n == name else member[alone] for n, alone in pairs} for member in members]
    members = [secure(potential, member) for member in members]
    named = None
    if energies is not None:
        named = dict(zip(potential.species.names, map(float, energies["energies"]), strict=True))
    suspicion = unit_suspicion(frames)
    summary = _summary(loop, len(held_out), named, compiled, [suspicion] if suspicion else [])
    return tuple(members), summary


def _pairs(potential: Potential, trained: Potential) -> Iterator[tuple[str, str]]:
    """Name of each term in the whole potential, and among the trained terms ("" for reference energies)."""
    left = iter(trained.names)
    for name, term in zip(potential.names, potential.terms, strict=True):
        yield name, "" if isinstance(term, ReferenceEnergy) else next(left)


def settings_of(config: GradientConfig) -> contextlib.AbstractContextManager[Any]:
    """JAX's settings that a training in this float type needs."""
    return jax.enable_x64(True) if config.dtype == "float64" else contextlib.nullcontext()


def prepare(
    potential: Potential,
    frames: Sequence[Frame],
    validation: Sequence[Frame],
    config: GradientConfig,
    initial: Params | None,
    report: Any = lambda *_: None,
) -> tuple[Problem, tuple[Params | None, str | None]]:
    """Everything that happens before the first step.

    Returns:
        The problem; and the parameters of the ReferenceEnergy term with its name, or (None, None).
    """
    frames, validation = labelled_for(potential, frames), labelled_for(potential, validation)
    if config.structure_weights:
        frames = reweighted(frames, config.structure_weights)
    if config.loss.charges:
        check_charge_labels(frames)
    references = _references(potential, frames, config, initial)
    models = tuple(t for t in potential.terms if not isinstance(t, ReferenceEnergy))
    trained = dataclasses.replace(potential, terms=models)
    if not trained.terms:
        raise ConfigError("The potential has nothing but reference energies: add a model to train.")
    factors = species_factors(potential.species, config.species_weights) if config.species_weights else None
    devices = Devices.choose(config.devices)

    def store(some: Sequence[Frame]) -> FrameStore:
        shift = None
        if references[0] is not None:
            counts = compositions((f.structure for f in some), potential.species)
            shift = counts @ np.asarray(references[0]["energies"], dtype=np.float64)
        return frame_store(
            some,
            potential.species,
            potential.cutoffs,
            batch_size=config.batch_size,
            dtype=config.float_type,
            multiple_of=devices.n,
            energy_shift=shift,
            species_weights=factors,
            on_disk=config.on_disk,
            report=report,
        )

    train = store(frames)
    names = {whole: alone for whole, alone in _pairs(potential, trained) if alone}
    params = _initial_params(trained, train, config, initial, names)
    patterns = [*config.freeze]
    for name, term in zip(trained.names, trained.terms, strict=True):
        patterns += [f"{name}/{p}" for p in getattr(term, "fixed_parameters", ())]
    free, fixed = split_params(params, patterns)
    starts = [free, *_other_starts(trained, train, config, initial, patterns)]
    optimizer = config.optimizer()
    problem = Problem(
        potential=trained,
        fixed=jax.tree.map(jnp.asarray, fixed),
        objective=config.loss.objective(),
        optimizer=optimizer,
        config=config,
        train=train,
        valid=store(validation) if validation else None,
        frames=frames,
        start=start_ensemble(optimizer, starts, config.float_type)
        if len(starts) > 1
        else start_state(optimizer, free, config.float_type),
        devices=devices,
        n_members=len(starts),
    )
    return problem, references


def _kept(frames: Iterable[Any]) -> Sequence[Any]:
    """A sequence that may be asked again: frames in a file stay there."""
    return frames if isinstance(frames, HDF5Frames) else list(frames)


def _checked(frames: Iterable[Frame]) -> Sequence[Frame]:
    frames = _kept(frames)
    if not frames:
        raise DataError("There are no frames to train on. Is the data file empty, or the limit 0?")
    for k, frame in enumerate(frames):
        if not isinstance(frame, Frame):
            raise DataError(f"Wanted Frames (jorbit.read gives them), got {type(frame).__name__} at index {k}.")
    return frames


def _references(
    potential: Potential, frames: Sequence[Frame], config: GradientConfig, initial: Params | None
) -> tuple[Params | None, str | None]:
    names = [n for n, t in zip(potential.names, potential.terms, strict=True) if isinstance(t, ReferenceEnergy)]
    given = config.reference_energies
    if len(names) > 1 or (not names and given is not None):
        raise ConfigError(
            f"reference_energies={given!r} belong to one ReferenceEnergy term, but the potential has {len(names)}. "
            "Put ReferenceEnergy(n_species=...) into its terms once."
        )
    if not names:
        return None, None
    if given == "keep" or (given is None and initial is not None):
        if initial is None:
            raise ConfigError("reference_energies='keep' needs initial parameters to keep them of.")
        return {"energies": np.asarray(initial[names[0]]["energies"], dtype=np.float64)}, names[0]
    found = find_reference_energies(frames, potential.species, given, use_compositions=config.loss.energy > 0)
    return {"energies": found.energies}, names[0]


def _initial_params(
    trained: Potential, train: FrameStore, config: GradientConfig, initial: Params | None, names: dict[str, str]
) -> Params:
    order = train.order(config.seed)
    if initial is None:
        # Compiled, so that what parameters do not depend on is left out.
        params = jax.jit(trained.init)(jax.random.key(config.seed), train.load(order[0])[0])
    else:
        missing = sorted(set(names) - set(initial))
        if missing:
            raise ConfigError(f"The initial parameters hold {sorted(initial)}; {missing} of the potential are missing.")
        params = {new: initial[old] for old, new in names.items()}
    calibrate = initial is None if config.calibrate is None else config.calibrate
    if calibrate:
        for name, term in zip(trained.names, trained.terms, strict=True):
            if isinstance(term, CalibratedTerm):
                batches = (train.load(b) for b in order[:_CALIBRATION_BATCHES])
                params[name] = term.calibrate(params[name], batches)
    return jax.tree.map(
        lambda leaf: (
            jnp.asarray(leaf, config.float_type) if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating) else leaf
        ),
        params,
    )


def _other_starts(
    trained: Potential, train: FrameStore, config: GradientConfig, initial: Params | None, patterns: Sequence[str]
) -> list[Any]:
    """What the other members of an ensemble start from; constants and frozen parameters are those of the first."""
    if config.members > 1 and initial is not None:
        raise ConfigError(
            "Members of an ensemble that start from the same parameters stay the same: train one model from "
            "'initial', or leave that out."
        )
    graph = train.load(train.order(config.seed)[0])[0] if config.members > 1 else None
    init, key = jax.jit(trained.init), jax.random.key(config.seed)
    fresh = [init(jax.random.fold_in(key, k), graph) for k in range(1, config.members)]
    return [split_params(params, patterns)[0] for params in fresh]


def _fingerprint(potential: Potential, frames: Sequence[Frame], validation: Sequence[Frame], problem: Problem) -> str:
    settings = problem.config.to_json()
    for name in ("max_minutes", "checkpoint_minutes", "log_every", "log_to", "devices", "on_disk"):
        del settings[name]  # changes nothing about the parameters
    return digest_of([repr(potential), settings, checksum(frames), checksum(validation), weights_checksum(frames)])


def _summary(
    loop: Loop, held_out: int, references: dict[str, float] | None, compiled: dict[str, int], notes: Sequence[str]
) -> GradientReport:
    problem, memory = loop.problem, loop.memory

    def size(tree: Any) -> int:
        return int(sum(np.size(leaf) for leaf in jax.tree.leaves(tree)))

    best = memory.best_epoch if problem.valid is not None else 0
    return GradientReport(
        n_frames=problem.train.n_frames,
        n_validation=held_out,
        n_parameters=size(problem.start.params) // problem.n_members,
        n_fixed=size(problem.fixed),
        n_steps=int(np.max(loop.state.step)),
        best_epoch=best,
        history=memory.epochs,
        validation=memory.epochs[best - 1]["validation"] if best else None,
        reference_energies=references,
        seconds=loop.seconds,
        compilations=compiled,
        buckets=[
            {"n_atoms": b.capacity.n_atoms, "n_slots": list(b.capacity.n_slots), "n_frames": len(b.members)}
            for b in problem.train.buckets
        ],
        interrupted=loop.interrupted,
        early=loop.early,
        notes=(*memory.notes, *loop.notes, *notes),
        config=problem.config,
    )
