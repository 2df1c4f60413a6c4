"""Rows of padded frames in an HDF5 file instead of in memory."""

import os
import pathlib
import tempfile
import weakref
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from jorbit.core.errors import ConfigError


class RowsOnDisk:
    """One array [rows, ...] in a file; indexed by rows in any order, as numpy's are.

    Args:
        data: the data set of the file.
    """

    nbytes = 0  # in memory

    def __init__(self, data: Any):
        self._data = data

    def __getitem__(self, rows: Int[np.ndarray, " rows"]) -> np.ndarray:
        wanted, back = np.unique(rows, return_inverse=True)
        return self._data[wanted][back]

    def any(self) -> bool:
        """Whether anything is not zero."""
        return any(bool(self._data[k : k + 4096].any()) for k in range(0, len(self._data), 4096))


def stacked_on_disk(file: Any, name: str, rows: Iterable[Any], count: int) -> Any:
    """Trees of arrays, all of the same shapes, one after the other into a file.

    Args:
        file: open for writing.
        name: of the group.
        rows: a tree for each row.
        count: how many.

    Returns:
        The tree of `RowsOnDisk`.
    """
    data: list[Any] = []
    structure = None
    for k, row in enumerate(rows):
        leaves, structure = jax.tree.flatten(row)
        if not data:
            for n, leaf in enumerate(leaves):
                leaf = np.asarray(leaf)
                data.append(file.create_dataset(f"{name}/{n}", (count, *leaf.shape), leaf.dtype))
        for target, leaf in zip(data, leaves, strict=True):
            target[k] = leaf
    if structure is None:
        raise ConfigError(f"There are no rows for {name}.")
    return jax.tree.unflatten(structure, [RowsOnDisk(d) for d in data])


def open_scratch(folder: pathlib.Path | None, name: str) -> Any:
    """A new HDF5 file that is deleted when nobody uses it any more.

    Args:
        folder: where; None is the folder for temporary files (TMPDIR).
        name: beginning of its name.

    Raises:
        ConfigError: h5py is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise ConfigError("on_disk needs the package h5py: pip install 'jorbit[hdf5]'.") from error
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    handle, path = tempfile.mkstemp(prefix=f".{name}-", suffix=".h5", dir=folder)
    os.close(handle)
    file = h5py.File(path, "w")
    weakref.finalize(file, pathlib.Path(path).unlink, missing_ok=True)
    return file
