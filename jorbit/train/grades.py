"""Extrapolation grades from training frames: `SelectionGrade` for linear models, `DistanceGrade` for any descriptor."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import Descriptor
from jorbit.core.structure import Frame
from jorbit.graphs.batching import build_graph
from jorbit.potential.extrapolation import DistanceGrade, SelectionGrade, farthest_points, maximal_volume
from jorbit.potential.feature_rows import SpeciesRows
from jorbit.potential.potential import Potential
from jorbit.train.buckets import frame_capacities

_PRIOR = 1e-3  # of the typical size of a feature: rows that stand for directions without training atoms
_FLOOR = 1e-3  # a feature that hardly varies on one species is divided by this part of its spread on all, at least

_features = counted_jit(lambda descriptor, graph: descriptor(graph), "features", static_argnums=0)
_rows = counted_jit(
    lambda rows, potential, graph: rows.atoms(potential, {}, graph), "feature rows", static_argnums=(0, 1)
)


def selection_grade(
    potential: Potential, frames: Sequence[Frame], *, most_atoms: int = 5000, seed: int = 0
) -> SelectionGrade:
    """D-optimal extrapolation grade of the linear terms of a potential.

    Args:
        potential: with a linear term, such as LinearACE.
        frames: the training frames; labels are not needed.
        most_atoms: of each species among which the active set is chosen.
        seed: of the choice of those.

    Raises:
        ConfigError: no linear term.
        DataError: no frames.

    Example:
        >>> grade = selection_grade(potential, frames)  # doctest: +SKIP
        >>> jorbit.simulate.run(potential, params, start, watch=Watch(grade, stop_above=10.0))  # doctest: +SKIP
    """
    rows = SpeciesRows.of(potential, np.zeros((len(potential.species), 0)))
    if not rows.shape:
        raise ConfigError(
            f"None of the terms {', '.join(potential.names)} is linear: no D-optimal grade. distance_grade is for all."
        )
    features, species = _of_atoms(potential, frames, lambda graph: _rows(rows, potential, graph))
    rng, inverses = np.random.default_rng(seed), []
    for z in range(len(potential.species)):
        x = features[species == z]
        x = x[np.sort(rng.permutation(len(x))[:most_atoms])]
        size = np.sqrt(np.mean(x**2, axis=0)) if len(x) else np.zeros(features.shape[1])
        prior = _PRIOR * np.maximum(size, 1e-6 * max(size.max(initial=0.0), 1e-6))
        stacked = np.concatenate([x, np.diag(prior)])
        chosen, _ = maximal_volume(stacked)
        inverses.append(np.linalg.inv(stacked[chosen]))
    return SelectionGrade(potential=potential, rows=rows, inverses=np.stack(inverses))


def distance_grade(
    potential: Potential,
    frames: Sequence[Frame],
    descriptor: Descriptor | None = None,
    *,
    most_references: int = 1000,
) -> DistanceGrade:
    """Distance to the training set in the metric of a descriptor, for any potential that has its cutoff.

    Args:
        potential: whose species and cutoffs are used.
        frames: the training frames; labels are not needed.
        descriptor: whose features; that of the first term that has one when not given.
        most_references: training atoms that are kept, shared out over species, the farthest from each other.

    Raises:
        ConfigError: no descriptor, or one with a cutoff that the potential does not have.
        DataError: no frames.
    """
    if descriptor is None:
        descriptor = next((t.descriptor for t in potential.terms if hasattr(t, "descriptor")), None)  # type: ignore[attr-defined]
    if descriptor is None:
        raise ConfigError(
            f"None of the terms {', '.join(potential.names)} has a descriptor: say which one measures the distance, "
            f"such as SOAP(n_species={len(potential.species)}) with one of the cutoffs {potential.cutoffs} Å."
        )
    if descriptor.needs.cutoff not in potential.cutoffs:
        raise ConfigError(
            f"The descriptor needs neighbours within {descriptor.needs.cutoff} Å, but the potential has lists for "
            f"{potential.cutoffs} Å: give the descriptor one of these cutoffs."
        )
    chosen: Any = descriptor
    features, species = _of_atoms(potential, frames, lambda graph: _features(chosen, graph))
    n_species, kept, owner = len(potential.species), [], []
    scales, units = np.ones((n_species, features.shape[1])), np.ones(n_species)
    overall = features.std(axis=0)
    for z in range(n_species):
        mine = features[species == z]
        if not len(mine):
            continue
        scales[z] = np.maximum(mine.std(axis=0), _FLOOR * overall)
        scales[z] = np.where(scales[z] > 0, scales[z], 1.0)
        x = mine / scales[z]
        share = max(2, round(most_references * len(mine) / len(species)))
        taken = farthest_points(x, share)
        kept.append(x[taken])
        owner.append(np.full(len(taken), z, np.int32))
        units[z] = _typical_distance(x, taken)
    return DistanceGrade(
        descriptor=descriptor,
        references=np.concatenate(kept),
        species=np.concatenate(owner),
        scales=scales,
        units=units,
    )


def _typical_distance(x: Float[np.ndarray, "atoms features"], taken: Int[np.ndarray, " points"]) -> float:
    """99th percentile of the distances of atoms to the nearest kept one that is not themselves."""
    nearest = np.full(len(x), np.inf)
    for start in range(0, len(taken), 256):
        some = taken[start : start + 256]
        squares = (x**2).sum(axis=1)[:, None] + (x[some] ** 2).sum(axis=1)[None, :] - 2.0 * x @ x[some].T
        squares[some, np.arange(len(some))] = np.inf
        nearest = np.minimum(nearest, squares.min(axis=1))
    finite = np.sqrt(np.maximum(nearest[np.isfinite(nearest)], 0.0))
    return max(float(np.quantile(finite, 0.99)), 1e-12) if len(finite) else 1.0


def _of_atoms(
    potential: Potential, frames: Sequence[Frame], function: Any
) -> tuple[Float[np.ndarray, "atoms features"], Int[np.ndarray, " atoms"]]:
    """Features and species of all atoms of the frames, in float64."""
    frames = list(frames)
    if not frames:
        raise DataError("An extrapolation grade needs the training frames, and there are none.")
    structures = potential.labelled([f.structure for f in frames])
    features, species = [], []
    with jax.enable_x64(True):
        for s, capacity in zip(structures, frame_capacities(structures, potential.cutoffs), strict=True):
            graph = build_graph(s, potential.species, potential.cutoffs, capacity=capacity, dtype=jnp.float64)
            features.append(np.asarray(function(graph))[: s.n_atoms])
            species.append(np.asarray(graph.species)[: s.n_atoms])
    return np.concatenate(features), np.concatenate(species)
