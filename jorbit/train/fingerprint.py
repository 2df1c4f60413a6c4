"""Digests that say whether two runs had the same data and settings."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jorbit.core.protocols import Params
from jorbit.core.structure import Frame


def checksum(frames: Sequence[Frame]) -> str:
    """sha256 of structures and labels: equal data give equal digests, whatever file they were in."""
    digest = hashlib.sha256()
    for frame in frames:
        s, labels = frame.structure, frame.labels
        for array in (s.numbers, s.positions, s.cell, s.pbc, labels.energy, labels.forces, labels.stress):
            content = b"none" if array is None else np.ascontiguousarray(array, dtype=np.float64).tobytes()
            digest.update(content)
        # What most frames do not have leaves the digests of these as they are.
        extra = {"charges": labels.charges, "orbits": s.orbits, "charge": s.charge or None}
        for name, array in extra.items():
            if array is not None:
                digest.update(b"" if name == "charges" else name.encode())
                digest.update(np.ascontiguousarray(array, dtype=np.float64).tobytes())
    return digest.hexdigest()


def weights_checksum(frames: Sequence[Frame]) -> str:
    """sha256 of the weights of all labels."""
    digest = hashlib.sha256()
    for frame in frames:
        x = frame.labels
        digest.update(np.hstack([x.energy_weight, x.forces_weight, x.stress_weight]).astype(np.float64).tobytes())
    return digest.hexdigest()


def params_checksum(params: Params) -> str:
    """sha256 of names and values of parameters.

    Example:
        >>> params_checksum({"a": np.ones(2)}) == params_checksum({"b": np.ones(2)})
        False
    """
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(jax.tree_util.keystr(path).encode() + np.asarray(leaf).tobytes())
    return digest.hexdigest()


def digest_of(settings: Any) -> str:
    """sha256 of anything JSON can hold.

    Example:
        >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
        True
    """
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()
