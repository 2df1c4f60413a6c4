"""train_by_gradient(): labelled frames in, trained parameters out; for every potential that is not linear."""

import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import Params
from jorbit.core.structure import Frame
from jorbit.datasets.checks import unit_suspicion
from jorbit.datasets.hdf5 import HDF5Frames
from jorbit.potential.dimers import secure
from jorbit.potential.potential import Potential
from jorbit.train.checkpoint import has_checkpoints
from jorbit.train.fingerprint import checksum, digest_of, params_checksum, weights_checksum
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.gradient_report import GradientReport
from jorbit.train.heads import OWN, HeadData, HeadedPotential, HeadsResult, picked
from jorbit.train.log_sinks import check_sinks
from jorbit.train.loop import Loop, Problem
from jorbit.train.prepare import HeadPlan, plan_of_heads, prepare, settings_of, term_pairs, unknown_elements
from jorbit.train.progress import Progress, interrupts, reporting
from jorbit.train.step import join_params


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
        >>> from jorbit.terms.reference_energy import ReferenceEnergy
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


def train_heads(
    potential: Potential,
    data: Mapping[str, HeadData],
    config: GradientConfig = GradientConfig(),  # noqa: B008 (frozen)
    *,
    own: Sequence[str] = OWN,
    initial: Params | None = None,
    folder: str | Path | None = None,
    resume: bool = False,
    progress: Progress = None,
) -> HeadsResult:
    """Train one network on several sets of labels: what the heads share learns from all, the rest from its own frames.

    A batch holds frames of one head. Every head has reference energies of its own, found in its own frames unless told
    otherwise. With `initial` all heads start as that model: fine-tuning a network to a new level of theory while frames
    of the old one keep it from forgetting.

    Args:
        potential: as in `train_by_gradient`.
        data: name of each head -> what it learns.
        config: see `GradientConfig`.
        own: patterns of the paths of parameters that each head has for itself ("hiphop/params/readout*").
        initial: parameters of one model that all heads start from.
        folder, resume, progress: as in `train_by_gradient`.

    Returns:
        (heads, report). `jorbit.save(path, potential, heads[name], heads=heads)` writes all of them into one file.

    Raises:
        TrainingError, DataError: as `train_by_gradient`.
        ConfigError: fewer than two heads, a head without frames, or patterns that match nothing or everything.

    Example:
        >>> from jorbit import SpeciesTable
        >>> from jorbit.datasets import load_dataset
        >>> from jorbit.models.readout import Readout
        >>> from jorbit.descriptors.ace import ACE
        >>> model = Readout(descriptor=ACE(n_species=3, cutoff=2.0, max_degree=(2,)), n_species=3, hidden=(4,))
        >>> potential = Potential((model,), SpeciesTable.from_numbers([1, 6, 8]))
        >>> frames = list(load_dataset("ethanol_gfn2"))[:6]
        >>> data = {"one": HeadData(frames[:3]), "other": HeadData(frames[3:])}
        >>> heads, _ = train_heads(potential, data, GradientConfig(epochs=1), own=["*/output_*"])
        >>> sorted(heads)
        ['one', 'other']
    """
    frames, validation, plan = plan_of_heads(data, own)
    found, report = _train(potential, frames, validation, config, initial, folder, resume, progress, plan)
    return HeadsResult(dict(zip(data, found, strict=True)), report)


def _train(
    potential: Potential,
    frames: Iterable[Frame],
    validation: Iterable[Frame] | None,
    config: GradientConfig,
    initial: Params | None,
    folder: str | Path | None,
    resume: bool,
    progress: Progress,
    plan: HeadPlan | None = None,
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
        problem, references = prepare(potential, frames, held_out, config, initial, report, plan)
        loop = Loop(problem, place, report)
        loop.seconds["prepare"] = time.perf_counter() - started
        if place is not None:
            loop.open_folder(resume, _fingerprint(potential, frames, held_out, problem, plan, initial))
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
        if isinstance(problem.potential, HeadedPotential):
            members = [picked(members[0], problem.potential.own, k) for k in range(problem.n_heads)]
    after = compilations()
    compiled = {name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)}
    pairs, whole = list(term_pairs(potential, problem.potential)), []
    for k, member in enumerate(members):
        energies, name = references[k if plan is not None else 0]
        whole.append(secure(potential, {n: energies if n == name else member[alone] for n, alone in pairs}))
    named, energies = None, references[0][0]
    if energies is not None:
        named = dict(zip(potential.species.names, map(float, energies["energies"]), strict=True))
    suspicion = unit_suspicion(frames)
    notes = ([suspicion] if suspicion else []) + ([] if plan is None else unknown_elements(potential, frames, plan))
    summary = _summary(loop, len(held_out), named, compiled, notes)
    return tuple(whole), summary


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


def _fingerprint(
    potential: Potential,
    frames: Sequence[Frame],
    validation: Sequence[Frame],
    problem: Problem,
    plan: HeadPlan | None,
    initial: Params | None,
) -> str:
    settings = problem.config.to_json()
    for name in ("max_minutes", "checkpoint_minutes", "log_every", "log_to", "devices", "on_disk"):
        del settings[name]  # changes nothing about the parameters
    content = [repr(potential), settings, checksum(frames), checksum(validation), weights_checksum(problem.frames)]
    if initial is not None:  # frozen parameters are taken from them again
        content.append(params_checksum(initial))
    if plan is not None:
        content.append([repr(plan.heads), plan.train.tolist(), repr(plan.reference_energies)])
    return digest_of(content)


def _summary(
    loop: Loop, held_out: int, references: dict[str, float] | None, compiled: dict[str, int], notes: Sequence[str]
) -> GradientReport:
    problem, memory = loop.problem, loop.memory

    def size(tree: Any) -> int:
        return int(sum(np.size(leaf) for leaf in jax.tree.leaves(tree)))

    best = memory.best_epoch if problem.valid is not None else 0
    blind = [e["epoch"] for e in memory.epochs if not np.isfinite(e.get("validation", e)["loss"])]
    if blind:
        notes = (
            *notes,
            f"The validation loss is not finite after {len(blind)} of {len(memory.epochs)} epochs, first after epoch "
            f"{blind[0]}: these cannot be chosen. The model makes no sense for a frame there: look for it with "
            "jorbit.train.evaluate.",
        )
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
