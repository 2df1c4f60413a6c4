"""Weights of forces by orbit: so that rare atoms, or atoms with small forces, count as much as the others."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.structure import Frame
from jorbit.datasets.isolated import is_isolated_atom

SMALLEST_SPREAD = 1e-3  # of the spread of all forces; an orbit whose forces never vary must not take all the weight


def weigh_orbits(frames: Sequence[Frame], kind: str = "equal") -> list[Frame]:
    """The frames with a force weight for each atom that depends on its orbit; the mean weight stays what it was.

    "equal": w = (N / number of orbits) / members, so that the squared errors of all orbits count alike, however many
    atoms belong to them. "variance": w proportional to 1 / mean square force of the orbit, so that relative errors
    count. Members and mean squares are those of all frames together; isolated atoms stay as they are. As all weights of
    labels, w multiplies squared errors, however the model is fitted. Errors in `evaluate` stay unweighted.

    Args:
        frames: structures with orbits, and forces.
        kind: "equal" or "variance".

    Raises:
        DataError: a structure without orbits, or no forces.
        ConfigError: an unknown kind.

    Example:
        >>> from jorbit.core.structure import Labels, Structure
        >>> s = Structure(positions=np.eye(3), numbers=np.array([1, 1, 1]), orbits=np.array([0, 0, 1]))
        >>> weigh_orbits([Frame(structure=s, labels=Labels(forces=np.ones((3, 3))))])[0].labels.forces_weight.tolist()
        [0.75, 0.75, 1.5]
    """
    if kind not in ("equal", "variance"):
        raise ConfigError(f"Weights by orbit are 'equal' or 'variance', got {kind!r}.")
    with_forces = [f for f in frames if _is_weighed(f)]
    if not with_forces:
        raise DataError("Weights by orbit are weights of forces, and none of the frames has forces.")
    keys = [_keys(f) for f in with_forces]
    rows, index = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    index = index.reshape(-1)
    count = np.bincount(index, minlength=len(rows))
    if kind == "equal":
        weight = 1.0 / count
    else:
        squares = np.concatenate(
            [np.square(np.asarray(f.labels.forces, dtype=float)).mean(axis=1) for f in with_forces]
        )
        mean_square = np.bincount(index, weights=squares, minlength=len(rows)) / count
        weight = 1.0 / np.maximum(mean_square, SMALLEST_SPREAD**2 * max(float(squares.mean()), 1e-300))
    weight = weight * count.sum() / (weight * count).sum()  # mean 1 over atoms
    lookup = {tuple(row): float(w) for row, w in zip(rows.tolist(), weight, strict=True)}
    return [_weighed(frame, lookup) for frame in frames]


def _is_weighed(frame: Frame) -> bool:
    return frame.labels.forces is not None and not is_isolated_atom(frame)


def _keys(frame: Frame) -> np.ndarray:
    structure = frame.structure
    if structure.orbits is None:
        raise DataError(
            "Weights by orbit need structures that carry orbits: pass orbits=jorbit.find_orbits(frames) to fit, or "
            "read a file with an 'orbit' column."
        )
    return np.stack([np.asarray(structure.numbers), np.asarray(structure.orbits)], axis=1)


def _weighed(frame: Frame, lookup: dict[tuple[int, int], float]) -> Frame:
    if not _is_weighed(frame):
        return frame
    own = np.array([lookup[tuple(key)] for key in _keys(frame).tolist()])
    return dataclasses.replace(
        frame, labels=dataclasses.replace(frame.labels, forces_weight=own * frame.labels.forces_weight)
    )
