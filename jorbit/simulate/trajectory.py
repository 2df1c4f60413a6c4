"""Trajectories as extended xyz files, whole frames only, so that an interrupted run leaves a readable file."""

import contextlib
import io
import os
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

import ase.io
import numpy as np
from jaxtyping import Float

from jorbit.core.errors import DataError
from jorbit.core.structure import Labels
from jorbit.graphs.ase_atoms import to_ase
from jorbit.simulate.frames import Frames


def open_for_writing(path: str | Path) -> TextIO:
    """An empty text file.

    Raises:
        DataError: the file cannot be written.
    """
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"The trajectory {path} cannot be written: {error.strerror}. Choose a folder that exists and is yours to "
            "write to."
        ) from error


def cannot_go_on(path: str | Path, error: BaseException) -> DataError:
    """What to tell when a block of frames cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return DataError(
        f"The trajectory {path} cannot be written any further: {reason}. Make room on the disk, and go on from the "
        "last checkpoint (resume), which drops what was written by halves."
    )


def writer_for(path: str | Path | None, masses: Float[np.ndarray, " atoms"], keep: int | None) -> Any:
    """A writer for the format that the name of the file asks for: extxyz, or HDF5 (.h5, .hdf5, .h5md)."""
    if path is not None and Path(path).suffix.lower() in (".h5", ".hdf5", ".h5md"):
        from jorbit.simulate.trajectory_hdf5 import HDF5Writer

        return HDF5Writer(path, masses, keep)
    return TrajectoryWriter(path, keep)


class TrajectoryWriter:
    """Appends blocks of frames to an extxyz file; a context manager.

    Args:
        path: the file; an old one is replaced. None writes nothing.
        keep: go on with the old file after so many bytes of it (what `mark` returned), and drop the rest; with none of
            them, or None, the file is begun anew.

    Raises:
        DataError: the file cannot be written, or is shorter than what is to be kept.
    """

    def __init__(self, path: str | Path | None, keep: int | None = None):
        self._file: TextIO | None = None
        if path is not None:
            self._file = _continued(Path(path), keep) if keep else open_for_writing(path)

    def mark(self) -> int:
        """Bytes written so far, all of them on the disk."""
        if self._file is None:
            return 0
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise cannot_go_on(self._file.name, error) from error
        return self._file.tell()

    def append(self, block: Frames) -> None:
        """Write one block of frames.

        Raises:
            DataError: the disk is full, or the file is no longer there.
        """
        if self._file is None or len(block) == 0:
            return
        frames = []
        for k in range(len(block)):
            structure, energy, f = block.at(k), block.potential[k], block.forces[k]
            atoms = to_ase(structure, Labels(energy=float(energy), forces=np.asarray(f, np.float64)))
            atoms.set_momenta(block.momenta[k])  # ASE's unit of momentum is ours
            atoms.info["time_fs"] = round(float(block.times[k]), 9)
            atoms.info["step"] = int(block.steps[k])
            frames.append(atoms)
        text = io.StringIO()
        ase.io.write(text, frames, format="extxyz")
        self.write(text.getvalue())

    def write(self, text: str) -> None:
        """Write whole frames.

        Raises:
            DataError: the disk is full, or the file is no longer there.
        """
        if self._file is None:
            return
        try:
            self._file.write(text)  # one call per block: an interrupt falls between blocks
            self._file.flush()
        except OSError as error:
            raise cannot_go_on(self._file.name, error) from error

    def __enter__(self) -> "TrajectoryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            told = (OSError,) if error is not None else ()  # a disk that was full is still
            with contextlib.suppress(*told):
                self._file.close()


def _continued(path: Path, keep: int) -> TextIO:
    try:
        if path.stat().st_size < keep:
            raise DataError(
                f"The trajectory {path} is shorter than when the checkpoint was written: it was replaced or cut. Put "
                "the old one back, or start without resume."
            )
        file = open(path, "r+", encoding="utf-8")
        file.truncate(keep)
        file.seek(0, os.SEEK_END)
        return file
    except OSError as error:
        raise DataError(
            f"The trajectory {path} cannot be continued: {error.strerror}. Put it back where it was, or start without "
            "resume."
        ) from error
