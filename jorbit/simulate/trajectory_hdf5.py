"""Trajectories in HDF5 (H5MD 1.1): a tenth of the size of text, read frame by frame, and safe from kill -9."""

import contextlib
import os
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float

from jorbit import __version__
from jorbit.core.errors import DataError
from jorbit.core.units import FS
from jorbit.datasets.h5md import open_trajectory
from jorbit.datasets.hdf5 import import_h5py
from jorbit.simulate.frames import Frames
from jorbit.simulate.trajectory import cannot_go_on, open_for_writing

_COPIED_AT_ONCE = 256
_UNITS = {
    "position": "Angstrom",
    "velocity": "Angstrom fs-1",
    "force": "eV Angstrom-1",
    "potential_energy": "eV",
    "kinetic_energy": "eV",
    "temperature": "K",
    "stress": "eV Angstrom-3",
}


class HDF5Writer:
    """Appends blocks of frames to an H5MD file; a context manager.

    The file is written in HDF5's mode for one writer and many readers: what has been appended stays readable whenever
    the writer dies (`jorbit.read`, or h5py with swmr=True). A run that is taken up again copies the frames to keep
    into a new file, which then takes the old one's place.

    Args:
        path: the file; an old one is replaced.
        masses: amu, for velocities.
        keep: go on with the old file after so many frames (what `mark` returned), and drop the rest.

    Raises:
        DataError: h5py is missing, the file cannot be written, or holds fewer frames than are to be kept.
    """

    def __init__(self, path: str | Path, masses: Float[np.ndarray, " atoms"], keep: int | None = None):
        self._h5py = import_h5py()
        self._path, self._masses, self._file = Path(path), masses, None
        self._length = 0
        if keep:
            self._continue(keep)
        else:
            open_for_writing(path).close()  # fails now rather than after the first block

    def mark(self) -> int:
        """Frames written so far, all of them on the disk."""
        if self._file is not None:
            self._file.flush()
            with open(self._path, "rb+") as file:
                os.fsync(file.fileno())
        return self._length

    def append(self, block: Frames) -> None:
        """Write one block of frames.

        Raises:
            DataError: the disk is full, or the file is no longer there.
        """
        if len(block) == 0:
            return
        try:
            self._append(block)
        except (OSError, RuntimeError) as error:  # HDF5 has both for a disk that is full
            raise cannot_go_on(self._path, error) from error

    def _append(self, block: Frames) -> None:
        if self._file is None:
            self._file = self._h5py.File(self._path, "w", libver="latest")
            _lay_out(self._file, block, self._masses)
            self._file.swmr_mode = True
        for name, values in _columns(block, self._masses).items():
            _extend(self._file[name], values)
        self._length += len(block)
        self._file.flush()
        # Readers go by this number: a kill between two columns leaves no half frame.
        self._file["jorbit/n_frames"][0] = self._length
        self._file.flush()

    def _continue(self, keep: int) -> None:
        part = self._path.with_name(f".{self._path.name}.part")
        try:
            with open_trajectory(self._path) as old, self._h5py.File(part, "w", libver="latest") as new:
                if "jorbit" not in old or old["jorbit/n_frames"][0] < keep:
                    raise DataError(
                        f"The trajectory {self._path} is shorter than when the checkpoint was written: it was replaced "
                        "or cut. Put the old one back, or start without resume."
                    )
                _copy(old, new, keep)
            part.replace(self._path)
            self._file = self._h5py.File(self._path, "r+", libver="latest")
            self._file.swmr_mode = True
        except OSError as error:
            raise DataError(f"The trajectory {self._path} cannot be continued: {error}.") from error
        finally:
            part.unlink(missing_ok=True)
        self._length = keep

    def __enter__(self) -> "HDF5Writer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            told = (OSError, RuntimeError) if error is not None else ()  # a disk that was full is still
            with contextlib.suppress(*told):
                self._file.close()


def _columns(block: Frames, masses: Float[np.ndarray, " atoms"]) -> dict[str, Any]:
    """What grows with the frames."""
    found = {
        "particles/atoms/position/step": block.steps,
        "particles/atoms/position/time": block.times,
        "particles/atoms/position/value": block.positions,
        "particles/atoms/velocity/value": np.asarray(block.momenta) / masses[None, :, None] * FS,
        "particles/atoms/force/value": block.forces,
        "particles/atoms/box/edges/value": block.cells,
        "observables/potential_energy/value": block.potential,
        "observables/kinetic_energy/value": block.kinetic,
        "observables/temperature/value": block.temperatures,
    }
    return found if block.stresses is None else found | {"observables/stress/value": block.stresses}


def _lay_out(file: Any, block: Frames, masses: Float[np.ndarray, " atoms"]) -> None:
    root, s = file.create_group("h5md"), block.structure
    root.attrs["version"] = np.array([1, 1])
    root.create_group("author").attrs["name"] = "unknown"
    creator = root.create_group("creator")
    creator.attrs["name"], creator.attrs["version"] = "jorbit", __version__
    root.create_group("modules").create_group("units").attrs["version"] = np.array([1, 0])
    for name, values in _columns(block, masses).items():
        rows = np.asarray(values)
        kind = np.int64 if name.endswith("/step") else np.float64
        chunks = (max(1, min(1024, 2**18 // max(rows[0].nbytes, 1))), *rows.shape[1:])
        data = file.create_dataset(name, (0, *rows.shape[1:]), kind, maxshape=(None, *rows.shape[1:]), chunks=chunks)
        unit = _UNITS.get(name.split("/")[-2])
        if name.endswith("/value") and unit is not None:
            data.attrs["unit"] = unit
    file["particles/atoms/position/time"].attrs["unit"] = "fs"
    file["particles/atoms/box/edges/value"].attrs["unit"] = "Angstrom"
    box = file["particles/atoms/box"]
    box.attrs["dimension"] = 3
    box.attrs["boundary"] = np.array([b"periodic" if p else b"none" for p in s.pbc])
    file["particles/atoms"]["species"] = np.asarray(s.numbers, np.int32)
    file["particles/atoms"]["mass"] = np.asarray(masses, np.float64)
    _link_times(file)
    own = file.create_group("jorbit")
    own["pbc"], own["charge"] = np.asarray(s.pbc, bool), np.array([s.charge], np.float64)
    own["n_frames"] = np.zeros(1, np.int64)
    if s.orbits is not None:
        own["orbits"] = np.asarray(s.orbits, np.int32)


def _link_times(file: Any) -> None:
    """Every quantity has the steps and times of the positions: the same data, not copies."""
    first = file["particles/atoms/position"]
    for group in (*file["particles/atoms"].values(), file["particles/atoms/box/edges"], *file["observables"].values()):
        if hasattr(group, "keys") and "value" in group and "step" not in group:
            group["step"], group["time"] = first["step"], first["time"]


def _extend(data: Any, values: Any) -> None:
    data.resize(len(data) + len(values), axis=0)
    data[-len(values) :] = values


def _copy(old: Any, new: Any, keep: int) -> None:
    """The first `keep` frames."""

    def visit(group: Any, target: Any) -> None:
        for key, value in group.attrs.items():
            target.attrs[key] = value
        for name, item in group.items():
            if hasattr(item, "keys"):
                visit(item, target.create_group(name))
                continue
            if name in ("step", "time") and not target.name.endswith("/position"):
                continue  # a link, made again below
            growing = item.maxshape[:1] == (None,)
            shape = (0, *item.shape[1:]) if growing else item.shape
            made = target.create_dataset(name, shape, item.dtype, maxshape=item.maxshape, chunks=item.chunks)
            for key, value in item.attrs.items():
                made.attrs[key] = value
            if not growing:
                made[...] = item[...]
            for start in range(0, keep if growing else 0, _COPIED_AT_ONCE):
                _extend(made, item[start : min(start + _COPIED_AT_ONCE, keep)])

    visit(old, new)
    _link_times(new)
    new["jorbit/n_frames"][0] = keep
