"""Checkpoints of a training: one .safetensors per checkpoint, complete or not there at all.

Own files instead of a checkpoint library: a state is a few megabytes, one file that is renamed into place cannot be
half there, its sha256 shows damage, and nothing is unpickled.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.errors import ModelFileError
from jorbit.potential.state_files import UNREADABLE, pack_state, read_state, write_whole
from jorbit.train.step import path_name

KEPT = 2  # the newest, and one to fall back on
_HEADER = "jorbit_checkpoint"


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        tree: arrays, in the form of the template.
        memory: the rest, as JSON.
        path: the file.
        notes: what was wrong with newer files.
    """

    tree: Any
    memory: dict[str, Any]
    path: Path
    notes: tuple[str, ...]


def _names(folder: Path) -> list[Path]:
    return sorted(folder.glob("checkpoint-*.safetensors"))


def has_checkpoints(folder: Path) -> bool:
    """Whether a folder holds checkpoints, good or bad."""
    return bool(_names(folder))


def forget_after(folder: Path, step: int) -> None:
    """Delete the checkpoints of later steps: the run went back to `step` and will not come by them again."""
    for path in _names(folder):
        if int(path.stem.split("-")[1]) > step:
            path.unlink(missing_ok=True)


def save_checkpoint(folder: Path, step: int, tree: Any, memory: Mapping[str, Any]) -> Path:
    """Write a checkpoint and delete all but the newest ones.

    Args:
        folder: where to; made if it is not there.
        step: number in the file name.
        tree: arrays of any nesting.
        memory: anything JSON can hold.

    Raises:
        OSError: the disk is full, or the folder cannot be written. Older checkpoints stay whole.
    """
    arrays = {path_name(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"checkpoint-{step:010d}.safetensors"
    write_whole(path, pack_state(arrays, memory, _HEADER))
    for old in _names(folder)[:-KEPT]:
        with contextlib.suppress(OSError):
            old.unlink()
    return path


def load_checkpoint(folder: Path, template: Any) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones are set aside as <name>.damaged and named in the notes.

    Args:
        folder: where checkpoints are.
        template: a tree of the same form, shapes and dtypes.

    Returns:
        None when there is none.

    Raises:
        ModelFileError: a whole checkpoint of another model.
    """
    notes: list[str] = []
    for path in reversed(_names(folder)):
        try:
            arrays, memory = read_state(path, _HEADER)
        except UNREADABLE as error:
            with contextlib.suppress(OSError):
                path.replace(path.with_name(f"{path.name}.damaged"))
            notes.append(
                f"The checkpoint {path.name} is damaged ({error}) and was left out: the steps since the one before it "
                "are done again."
            )
            continue
        return Checkpoint(_fill(template, arrays, path), memory, path, tuple(notes))
    return None


def _fill(template: Any, arrays: Mapping[str, np.ndarray], path: Path) -> Any:
    wanted = jax.tree_util.tree_leaves_with_path(template)
    names = {path_name(p): (np.shape(leaf), jnp.asarray(leaf).dtype) for p, leaf in wanted}
    have = {name: (a.shape, a.dtype) for name, a in arrays.items()}
    if names != have:
        different = sorted(set(names.items()) ^ set(have.items()), key=str)
        raise ModelFileError(
            f"{path} holds another model or optimiser: {different[0][0]} differs. Train in another folder, or restore "
            "the settings of this one."
        )
    return jax.tree_util.tree_map_with_path(lambda p, _: jnp.asarray(arrays[path_name(p)]), template)
