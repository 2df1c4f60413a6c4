"""Sparse points of a kernel from the training frames."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import DataError
from jorbit.core.protocols import KernelTerm
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.graphs.batching import build_graph
from jorbit.potential.potential import Potential
from jorbit.train.buckets import frame_capacities
from jorbit.train.sparse_points import sparse_points

_MOST_ATOMS = 20000  # among which sparse points are chosen
_MOST_CANDIDATES = 50000  # pairs or triplets of one kind
_candidates = counted_jit(lambda model, graph: model.candidates(graph), "candidates of GAP", static_argnums=0)


def with_points(
    model: KernelTerm, frames: Sequence[Frame], species: SpeciesTable, method: str | None, seed: int
) -> tuple[Any, dict[str, Any]]:
    """The model with sparse points from the frames, and its parameters.

    Args:
        model: knows how many points it wants.
        frames: some thousand atoms of them are looked at.
        species: table of the potential.
        method: of `jorbit.train.sparse_points.sparse_points`; None: the usual one of the model.
        seed: of the choice.

    Raises:
        DataError: no frame has what the kernel is about.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(frames))
    n_atoms = np.cumsum([frames[k].structure.n_atoms for k in order])
    used = [frames[k].structure for k in order[: max(1, int(np.searchsorted(n_atoms, _MOST_ATOMS)))]]
    alone = Potential(terms=(model,), species=species)
    features, kinds = [], []
    for structure, capacity in zip(used, frame_capacities(used, alone.cutoffs), strict=True):
        graph = build_graph(structure, species, alone.cutoffs, capacity=capacity, dtype=jnp.float64)
        x, kind, present = (np.asarray(a) for a in _candidates(model, graph))
        x, kind = x[present], kind.reshape(len(kind), -1)[present]
        keep = _different(x, kind, model.resolution)
        features.append(x[keep])
        kinds.append(kind[keep])
    x, kind = np.concatenate(features), np.concatenate(kinds)
    if not len(x):
        raise DataError(
            f"No frame holds what {type(model).__name__} is about: all atoms are further apart than its cutoff, "
            f"{model.needs.cutoff} Å. Leave it out, or raise the cutoff."
        )
    keep = _different(x, kind, model.resolution)
    x, kind = x[keep], kind[keep]
    taken = []
    rows, which = np.unique(kind, axis=0, return_inverse=True)
    for k in range(len(rows)):
        mine = np.flatnonzero(which.ravel() == k)
        share = max(1, round(model.n_points * len(mine) / len(x)))
        if model.resolution is not None and len(mine) > _MOST_CANDIDATES:
            mine = np.sort(rng.choice(mine, _MOST_CANDIDATES, replace=False))
        taken.append(mine[sparse_points(x[mine], share, method or model.sampling, seed)])
    index = np.concatenate(taken)
    chosen = kind[index].astype(np.int32)
    return model.with_points(x[index], chosen[:, 0] if chosen.shape[1] == 1 else chosen)


def _different(x: np.ndarray, kind: np.ndarray, resolution: float | None) -> np.ndarray:
    """Rows to keep: of those that are one within the resolution, the first."""
    if resolution is None:
        return np.arange(len(x))
    cells = np.concatenate([np.round(x / resolution).astype(np.int64), kind], axis=1)
    return np.sort(np.unique(cells, axis=0, return_index=True)[1])
