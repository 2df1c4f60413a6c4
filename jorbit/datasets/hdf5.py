"""Frames in one HDF5 file, read one at a time: for data sets that are larger than the memory."""

import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame, Labels, Structure

_PER_ATOM = {"positions": (3,), "numbers": (), "orbits": (), "forces": (3,), "forces_weight": (), "charges": ()}
_PER_FRAME = {
    "cell": (3, 3),
    "pbc": (3,),
    "charge": (),
    "energy": (),
    "stress": (3, 3),
    "energy_weight": (),
    "stress_weight": (),
}
_TYPES = {"numbers": np.int16, "orbits": np.int32, "pbc": np.bool_}
_AT_ONCE = 1000  # frames held while a file is written


def write_hdf5(path: str | os.PathLike[str], frames: Iterable[Frame]) -> None:
    """Frames as an HDF5 file in eV and Å: flat arrays of all atoms, and where each frame begins.

    Args:
        path: the file (.h5); one of that name is replaced when the new one is complete.
        frames: any number; only some are held at a time.

    Raises:
        DataError: there are none, or h5py is not installed.
    """
    h5py = import_h5py()
    target = pathlib.Path(path)
    part = target.with_name(f".{target.name}.part")
    try:
        with h5py.File(part, "w") as file:
            file.attrs["format"] = "jorbit-frames-1"
            for name, shape in (_PER_ATOM | _PER_FRAME).items():
                dtype = _TYPES.get(name, np.float64)
                file.create_dataset(name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(1024, *shape))
            file.create_dataset("info", (0,), h5py.string_dtype(), maxshape=(None,), chunks=(1024,))
            first, some = [0], []
            for frame in frames:
                some.append(frame)
                first.append(first[-1] + frame.structure.n_atoms)
                if len(some) == _AT_ONCE:
                    _append(file, some)
                    some = []
            if some:
                _append(file, some)
            if len(first) == 1:
                raise DataError(f"There are no frames to write to {target}.")
            file.create_dataset("first", data=np.array(first, np.int64))
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def _append(file: Any, frames: list[Frame]) -> None:
    rows: dict[str, list[Any]] = {name: [] for name in (*_PER_ATOM, *_PER_FRAME, "info")}
    for frame in frames:
        s, labels, nothing = frame.structure, frame.labels, np.full((3, 3), np.nan)
        rows["positions"].append(s.positions)
        rows["numbers"].append(s.numbers)
        rows["orbits"].append(np.full(s.n_atoms, -1) if s.orbits is None else s.orbits)
        rows["forces"].append(np.full((s.n_atoms, 3), np.nan) if labels.forces is None else labels.forces)
        rows["forces_weight"].append(np.broadcast_to(labels.forces_weight, s.n_atoms))
        rows["charges"].append(np.full(s.n_atoms, np.nan) if labels.charges is None else labels.charges)
        energy = np.nan if labels.energy is None else labels.energy
        stress = nothing if labels.stress is None else labels.stress
        values = (s.cell, s.pbc, s.charge, energy, stress, labels.energy_weight, labels.stress_weight)
        for name, value in zip(_PER_FRAME, values, strict=True):
            rows[name].append(value)
        rows["info"].append(json.dumps(dict(frame.info), default=_plain))
    for name, parts in rows.items():
        content = np.concatenate(parts) if name in _PER_ATOM else parts
        data = file[name]
        data.resize(len(data) + len(content), axis=0)
        data[-len(content) :] = content


def _plain(value: Any) -> Any:
    """What JSON has no form for: arrays as lists, with all their numbers; other things as text."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


class HDF5Frames(Sequence[Frame]):
    """The frames of a file, or some of them; each is read when it is asked for.

    Args:
        path: written by `write_hdf5`.
        chosen: indices of the frames to see, in this order; None for all.

    Raises:
        DataError: no such file, or not a file of frames.
    """

    def __init__(self, path: str | os.PathLike[str], chosen: np.ndarray | None = None):
        self.path = pathlib.Path(path)
        try:
            self._file = import_h5py().File(self.path, "r")
        except OSError as error:
            raise DataError(f"{self.path} cannot be read as HDF5: {error}.") from error
        if self._file.attrs.get("format") != "jorbit-frames-1":
            raise DataError(f"{self.path} was not written by jorbit.datasets.hdf5.write_hdf5.")
        self._first = self._file["first"][:]
        self._chosen = np.arange(len(self._first) - 1) if chosen is None else np.asarray(chosen)

    def __len__(self) -> int:
        return len(self._chosen)

    def __getitem__(self, index: Any) -> Any:
        """One frame; of a slice, or an array of indices, the frames that are read later."""
        if isinstance(index, slice | np.ndarray | list):
            return HDF5Frames(self.path, self._chosen[index])
        k = int(self._chosen[index])
        atoms = slice(int(self._first[k]), int(self._first[k + 1]))
        found = {name: self._file[name][atoms] for name in _PER_ATOM if name in self._file}
        found |= {name: self._file[name][k] for name in _PER_FRAME}

        def label(name: str) -> Any:
            value = found.get(name, np.nan)  # older files have no charges
            return None if np.isnan(value).all() else value

        energy = label("energy")
        structure = Structure(
            positions=found["positions"],
            numbers=found["numbers"].astype(np.int64),
            cell=found["cell"],
            pbc=found["pbc"],
            charge=float(found["charge"]),
            orbits=None if (found["orbits"] < 0).all() else found["orbits"].astype(np.int64),
        )
        labels = Labels(
            energy=None if energy is None else float(energy),
            forces=label("forces"),
            stress=label("stress"),
            charges=label("charges"),
            energy_weight=float(found["energy_weight"]),
            forces_weight=found["forces_weight"],
            stress_weight=float(found["stress_weight"]),
        )
        return Frame(structure=structure, labels=labels, info=json.loads(self._file["info"].asstr()[k]))

    def __iter__(self) -> Iterator[Frame]:
        return (self[k] for k in range(len(self)))


def import_h5py() -> Any:
    """The package.

    Raises:
        DataError: it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise DataError("HDF5 files need the package h5py: pip install 'jorbit[hdf5]'.") from error
    return h5py
