"""What happens before the first step of gradient training: reference energies, padded frames, initial parameters."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import CalibratedTerm, Params
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Frame
from jorbit.datasets.hdf5 import HDF5Frames
from jorbit.datasets.isolated import is_isolated_atom
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.heads import HeadData, HeadedPotential, Heads, gathered
from jorbit.train.labelled import labelled_for
from jorbit.train.loader import FrameStore, frame_store
from jorbit.train.loop import Problem
from jorbit.train.objective import check_charge_labels, species_factors, structure_factors
from jorbit.train.parallel import Devices
from jorbit.train.statistics import compositions
from jorbit.train.statistics import reference_energies as find_reference_energies
from jorbit.train.step import split_params, start_ensemble, start_state

_CALIBRATION_BATCHES = 200


@dataclasses.dataclass(frozen=True, eq=False)
class HeadPlan:
    """Which frames belong to which head, and where each head's reference energies come from.

    Attributes:
        heads: names, and what each has for itself.
        train, valid: head of each frame.
        reference_energies: of each head, as in `GradientConfig`; None is what the configuration says.
    """

    heads: Heads
    train: Int[np.ndarray, " frames"]
    valid: Int[np.ndarray, " held_out"]
    reference_energies: tuple[Any, ...]


References = list[tuple[Params | None, str | None]]


def plan_of_heads(data: Mapping[str, HeadData], own: Sequence[str]) -> tuple[list[Frame], list[Frame], HeadPlan]:
    """Training and validation frames of all heads together, and which belongs to which.

    Args:
        data, own: as in `jorbit.train.gradient.train_heads`.
    """
    heads = Heads(tuple(data), tuple(own))
    frames, validation, of_frame, of_held_out = gathered(data)
    references = tuple(d.reference_energies for d in data.values())
    return frames, validation, HeadPlan(heads, of_frame, of_held_out, references)


def unknown_elements(potential: Potential, frames: Sequence[Frame], plan: HeadPlan) -> list[str]:
    """A note for each head that has no frames with some element which other heads have."""
    notes = []
    for k, name in enumerate(plan.heads.names):
        some = (frame.structure for frame, head in zip(frames, plan.train, strict=True) if head == k)
        known = {int(z) for structure in some for z in np.unique(structure.numbers)}
        absent = [SYMBOLS[z] for z in dict.fromkeys(potential.species.numbers) if z not in known]
        if absent:
            notes.append(
                f"The head {name!r} has no frames with {', '.join(absent)}: do not ask it for structures with these, "
                "whose energies it has never seen."
            )
    return notes


def term_pairs(potential: Potential, trained: Potential) -> Iterator[tuple[str, str]]:
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
    plan: HeadPlan | None = None,
) -> tuple[Problem, References]:
    """Everything that happens before the first step.

    Args:
        potential, frames, validation, config, initial: as in `train_by_gradient`; frames of all heads together.
        report: report(stage, done, total).
        plan: the heads, when there are several.

    Returns:
        The problem; and for each head the parameters of the ReferenceEnergy term with its name, or (None, None).
    """
    if plan is not None and config.members > 1:
        raise ConfigError(
            f"members={config.members}: an ensemble of networks with several heads is not trained at once. Leave out "
            "members, and train one after the other with another seed."
        )
    frames, validation = labelled_for(potential, frames), labelled_for(potential, validation)
    of_train = of_valid = None
    if config.structure_weights:
        of_train = structure_factors(frames, config.structure_weights)
        of_valid = structure_factors(validation, config.structure_weights, all_there=False)
    if config.loss.charges:
        check_charge_labels(frames, of_train)
    references = _references_of_heads(potential, frames, of_train, config, initial, plan)
    models = tuple(t for t in potential.terms if not isinstance(t, ReferenceEnergy))
    trained = dataclasses.replace(potential, terms=models)
    if not trained.terms:
        raise ConfigError("The potential has nothing but reference energies: add a model to train.")
    of_species = species_factors(potential.species, config.species_weights) if config.species_weights else None
    devices = Devices.choose(config.devices)

    def store(
        some: Sequence[Frame], weights: Float[np.ndarray, " frames"] | None, groups: Int[np.ndarray, " frames"] | None
    ) -> FrameStore:
        shift, energies = None, [of_head["energies"] for of_head, _ in references if of_head is not None]
        if energies:
            counts = compositions((f.structure for f in some), potential.species)
            of_frame = np.asarray(energies, dtype=np.float64)[0 if groups is None else groups]
            shift = np.sum(counts * of_frame, axis=1)
        return frame_store(
            some,
            potential.species,
            potential.cutoffs,
            batch_size=config.batch_size,
            dtype=config.float_type,
            multiple_of=devices.n,
            energy_shift=shift,
            species_weights=of_species,
            structure_weights=weights,
            groups=groups,
            on_disk=config.on_disk,
            report=report,
        )

    train = store(frames, of_train, None if plan is None else plan.train)
    valid = store(validation, of_valid, None if plan is None else plan.valid) if validation else None
    names = {whole: alone for whole, alone in term_pairs(potential, trained) if alone}
    params = _initial_params(trained, train, config, initial, names)
    optimizer = config.optimizer()
    if plan is not None:
        params, own = plan.heads.stacked(params)
        optimizer = dataclasses.replace(optimizer, stacked=own)
        trained = HeadedPotential(terms=trained.terms, species=trained.species, orbits=trained.orbits, own=own)
    patterns = [*config.freeze]
    for name, term in zip(trained.names, trained.terms, strict=True):
        patterns += [f"{name}/{p}" for p in getattr(term, "fixed_parameters", ())]
    free, fixed = split_params(params, patterns)
    starts = [free, *_other_starts(trained, train, config, initial, patterns)]
    problem = Problem(
        potential=trained,
        fixed=jax.tree.map(jnp.asarray, fixed),
        objective=config.loss.objective(),
        optimizer=optimizer,
        config=config,
        train=train,
        valid=valid,
        frames=frames,
        start=start_ensemble(optimizer, starts, config.float_type)
        if len(starts) > 1
        else start_state(optimizer, free, config.float_type),
        devices=devices,
        n_members=len(starts),
        n_heads=1 if plan is None else len(plan.heads.names),
    )
    return problem, references


def _references_of_heads(
    potential: Potential,
    frames: Sequence[Frame],
    weights: Float[np.ndarray, " frames"] | None,
    config: GradientConfig,
    initial: Params | None,
    plan: HeadPlan | None,
) -> References:
    """Of each head from its own frames; fine-tuned heads find new ones, since levels of theory differ in them."""
    if plan is None:
        return [_references(potential, _weighing(frames, weights), config, initial)]
    found = []
    for k, given in enumerate(plan.reference_energies):
        some = [frame for frame, head in zip(frames, plan.train, strict=True) if head == k]
        some = _weighing(some, None if weights is None else weights[plan.train == k])
        wanted = config.reference_energies if given is None else given
        start = initial if wanted == "keep" else None
        found.append(_references(potential, some, dataclasses.replace(config, reference_energies=wanted), start))
    return found


def _weighing(frames: Sequence[Frame], weights: Float[np.ndarray, " frames"] | None) -> Sequence[Frame]:
    """The frames that count, and isolated atoms, whose energies are known however much they count."""
    if weights is None or weights.all():
        return frames
    chosen = [k for k, frame in enumerate(frames) if weights[k] or is_isolated_atom(frame)]
    return frames[chosen] if isinstance(frames, HDF5Frames) else [frames[k] for k in chosen]


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
                wanted = order if getattr(term, "calibrated_on_all", False) else order[:_CALIBRATION_BATCHES]
                batches = (train.load(b) for b in wanted)
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
