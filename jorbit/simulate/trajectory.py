"""Trajectories as extended xyz files, whole frames only, so that an interrupted run leaves a readable file."""

import io
from pathlib import Path
from types import TracebackType
from typing import TextIO

import ase.io
import numpy as np

from jorbit.core.errors import DataError
from jorbit.core.structure import Labels, Structure
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


class TrajectoryWriter:
    """Appends blocks of frames to an extxyz file; a context manager.

    Args:
        path: the file; an old one is replaced. None writes nothing.
        structure: numbers, cell and periodicity of every frame.

    Raises:
        DataError: the file cannot be written.
    """

    def __init__(self, path: str | Path | None, structure: Structure):
        self.structure = structure
        self.n_frames = 0
        self._file = None if path is None else open_for_writing(path)

    def append(self, block: Frames) -> None:
        """Write one block of frames."""
        if self._file is None or len(block) == 0:
            return
        frames = []
        for k in range(len(block)):
            structure, energy, f = block.at(k), block.potential[k], block.forces[k]
            atoms = to_ase(structure, Labels(energy=float(energy), forces=np.asarray(f, np.float64)))
            atoms.set_momenta(block.momenta[k])  # ASE's unit of momentum is ours
            atoms.info["time_fs"] = round(float(block.times[k]), 9)
            frames.append(atoms)
        text = io.StringIO()
        ase.io.write(text, frames, format="extxyz")
        self._file.write(text.getvalue())  # one call per block: an interrupt falls between blocks
        self._file.flush()
        self.n_frames += len(frames)

    def __enter__(self) -> "TrajectoryWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
