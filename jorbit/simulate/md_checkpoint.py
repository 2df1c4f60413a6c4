"""Checkpoints of molecular dynamics: the state, the neighbour lists and the sums, bit by bit, in one whole file."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.structure import Structure
from jorbit.graphs.cell_list import SearchPlan
from jorbit.potential.potential import Potential
from jorbit.potential.state_files import UNREADABLE, pack_state, read_state, write_whole
from jorbit.simulate.blocks import Progress
from jorbit.simulate.jax_md import NeighborList

_HEADER = "jorbit_dynamics"


class Checkpoint(NamedTuple):
    """What was read back: `series` and what the watchman saw by name, and the rest of the memory."""

    progress: Progress
    series: dict[str, np.ndarray]
    seen: dict[str, np.ndarray]
    memory: dict[str, Any]


def save_dynamics(
    path: Path,
    progress: Progress,
    series: Mapping[str, np.ndarray],
    memory: Mapping[str, Any],
    identity: Mapping[str, str],
    seen: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Write a checkpoint; the old one stays until the new one is whole.

    Args:
        path: the file.
        progress: everything that changes.
        series: records so far, by name.
        memory: steps done and what else JSON can hold.
        identity: what the run is of; compared when it is taken up again.
        seen: by the watchman, by name.

    Raises:
        DataError: it cannot be written.
    """
    lists = progress.neighbors.lists
    searched = (lists.index, lists.shifts, lists.mask, lists.reference, lists.cell, lists.overflow)
    parts = {"state": progress.state, "sums": progress.sums, "lists": searched}
    arrays = {f"series/{name}": np.asarray(values) for name, values in series.items()}
    arrays |= {f"seen/{name}": np.asarray(values) for name, values in (seen or {}).items()}
    for name, part in parts.items():
        arrays |= {f"{name}/{k:03d}": _plain(leaf) for k, leaf in enumerate(jax.tree.leaves(part))}
    notes = dict(memory) | {"plan": dataclasses.asdict(lists.plan), "identity": dict(identity)}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, pack_state(arrays, notes, _HEADER))
    except OSError as error:
        raise DataError(f"The checkpoint {path} cannot be written: {error.strerror or error}.") from error


def load_dynamics(path: Path, template: Progress, identity: Mapping[str, str]) -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: the file.
        template: the start of the same run.
        identity: what the run is of.

    Raises:
        DataError: the file is damaged or something else.
        ConfigError: it is of another run.
    """
    try:
        arrays, memory = read_state(path, _HEADER)
        before, lists = memory["identity"], _plan(memory["plan"])
    except UNREADABLE as error:
        raise DataError(
            f"{path} is no checkpoint of molecular dynamics, or is damaged ({error}). Remove it, or start anew."
        ) from error
    names = sorted(name for name in {*identity, *before} if identity.get(name) != before.get(name))
    if names:
        different = ", ".join(_difference(name, before.get(name), identity.get(name)) for name in names)
        raise ConfigError(
            f"The checkpoint {path} is of another run: {different} differ. Restore them, write the "
            "checkpoints of this run elsewhere, or start anew."
        )
    found = NeighborList(
        lists=_filled(dataclasses.replace(template.neighbors.lists, plan=lists), arrays, "lists", shapes=False),
        fractional_coordinates=template.neighbors.fractional_coordinates,
    )
    progress = Progress(
        state=_filled(template.state, arrays, "state"), neighbors=found, sums=_filled(template.sums, arrays, "sums")
    )
    series, seen = (
        {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        for prefix in ("series/", "seen/")
    )
    return Checkpoint(progress, series, seen, memory)


def _difference(name: str, there: str | None, here: str | None) -> str:
    """With both values where they say something: not those of digests and lists."""
    if there is None or here is None:
        return f"{name} (in {'this run' if there is None else 'the checkpoint'} only)"
    return name if max(len(there), len(here)) >= 16 else f"{name} ({there} there, {here} here)"


def identity_of(potential: Potential, params: Any, structure: Structure, settings: Mapping[str, Any]) -> dict[str, str]:
    """Short digests of what decides a trajectory."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    start = [np.asarray(structure.numbers, np.int64).tobytes()]
    start += [np.asarray(a, np.float64).tobytes() for a in (structure.positions, structure.cell, structure.pbc)]
    start += [] if structure.orbits is None else [b"orbits", np.asarray(structure.orbits, np.int64).tobytes()]
    start += [] if structure.charge == 0 else [b"charge", np.float64(structure.charge).tobytes()]
    return {
        "potential": hashlib.sha256(repr((potential.terms, potential.species)).encode()).hexdigest()[:16],
        "params": digest.hexdigest()[:16],
        "start": hashlib.sha256(b"".join(start)).hexdigest()[:16],
        **{name: str(value) for name, value in settings.items()},
    }


def _plain(leaf: Any) -> np.ndarray:
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _plan(saved: Mapping[str, Any]) -> SearchPlan:
    def tuples(value: Any) -> Any:
        return tuple(tuples(v) for v in value) if isinstance(value, list) else value

    return SearchPlan(**{name: tuples(value) for name, value in saved.items()})


def _filled(template: Any, arrays: Mapping[str, np.ndarray], name: str, shapes: bool = True) -> Any:
    leaves, tree = jax.tree.flatten(template)
    found = []
    for k, leaf in enumerate(leaves):
        array = arrays.get(f"{name}/{k:03d}")
        like = _plain(leaf)
        if array is None or array.dtype != like.dtype or (shapes and array.shape != like.shape):
            raise ConfigError(f"The checkpoint is of another run: array {k} of its {name} does not fit.")
        value = jnp.asarray(array)
        found.append(jax.random.wrap_key_data(value) if _is_key(leaf) else value)
    return jax.tree.unflatten(tree, found)
