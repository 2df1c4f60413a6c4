"""Trajectories in HDF5, as H5MD 1.1 lays them out: read frame by frame, also while a run writes or after it was killed.

References:
    de Buyl, Colberg, Höfling, Comput. Phys. Commun. 185, 1546 (2014).
"""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.datasets.hdf5 import import_h5py


class H5MDFrames(Sequence[Frame]):
    """The frames of a trajectory; each is read when it is asked for.

    `info` holds "step", "time_fs" and "velocities" (Å/fs).

    Args:
        path: written by `jorbit.simulate.run(trajectory="....h5")`.
        chosen: indices of the frames to see, in this order; None for all.

    Raises:
        DataError: no such file, or not such a file.
    """

    def __init__(self, path: str | os.PathLike[str], chosen: np.ndarray | None = None):
        self.path = pathlib.Path(path)
        self._file = open_trajectory(self.path)
        try:
            self._atoms = self._file["particles/atoms"]
            self._energy = self._file["observables/potential_energy/value"]
            n_frames = int(self._file["jorbit"]["n_frames"][0])
        except KeyError as error:
            raise DataError(f"{self.path} was not written by jorbit.simulate.run: {error}.") from error
        self._chosen = np.arange(n_frames) if chosen is None else np.asarray(chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        """One frame; of a slice, or an array of indices, the frames that are read later."""
        if isinstance(index, slice | np.ndarray | list):
            return H5MDFrames(self.path, self._chosen[index])
        k, atoms, own = int(self._chosen[index]), self._atoms, self._file["jorbit"]
        structure = Structure(
            positions=atoms["position/value"][k],
            numbers=atoms["species"][:].astype(np.int64),
            cell=atoms["box/edges/value"][k],
            pbc=own["pbc"][:],
            charge=float(own["charge"][0]),
            orbits=own["orbits"][:].astype(np.int64) if "orbits" in own else None,
        )
        return Frame(
            structure=structure,
            labels=Labels(energy=float(self._energy[k]), forces=atoms["force/value"][k]),
            info={
                "step": int(atoms["position/step"][k]),
                "time_fs": float(atoms["position/time"][k]),
                "velocities": atoms["velocity/value"][k],
            },
        )

    def __iter__(self) -> Iterator[Frame]:
        return (self[k] for k in range(len(self)))


def open_trajectory(path: pathlib.Path) -> Any:
    """The file, for reading, even when whoever wrote it was killed or is still writing.

    Raises:
        DataError: it cannot be read.
    """
    h5py = import_h5py()
    try:
        return h5py.File(path, "r", libver="latest", swmr=True)
    except OSError:
        try:  # a file that this process has open in the ordinary way is not opened in another
            return h5py.File(path, "r")
        except OSError as error:
            raise DataError(f"{path} cannot be read as HDF5: {error}.") from error


def is_h5md(path: str | os.PathLike[str]) -> bool:
    """Whether an HDF5 file is a trajectory."""
    with open_trajectory(pathlib.Path(path)) as file:
        return "h5md" in file
