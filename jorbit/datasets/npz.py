"""npz files with the keys of rMD17 and sGDML. Never runs code from a file: pickled arrays are refused."""

import os
import zipfile
from pathlib import Path

import numpy as np

from jorbit.core.errors import DataError, StructureError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.core.units import ENERGY_UNITS, LENGTH_UNITS
from jorbit.datasets.labels_from_atoms import unit_factor

KEYS = {
    "numbers": ("nuclear_charges", "z", "numbers", "atomic_numbers", "charges_nuclear"),
    "positions": ("coords", "R", "positions", "coordinates"),
    "energies": ("energies", "E", "energy"),
    "forces": ("forces", "F"),
    "cells": ("cells", "cell"),
    "stresses": ("stresses", "stress"),
    "temperatures": ("temperatures",),
}


def load_arrays(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """All arrays of an npz file.

    Raises:
        DataError: not an npz file, damaged, or holding pickled objects.
    """
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except (ValueError, OSError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read as an npz file of plain arrays ({type(error).__name__}: {error}). Copy it again; "
            "pickled objects are refused because reading them runs code."
        ) from error


def read_npz(path: str | os.PathLike, *, energy_unit: str | None = None, length_unit: str | None = None) -> list[Frame]:
    """Frames of an npz file with keys as in rMD17 (nuclear_charges, coords, ...) or sGDML (z, R, E, F).

    Cells, where there are any, have lattice vectors as rows, and their crystal repeats in all three directions.

    Args:
        path: the file.
        energy_unit: "eV", "kcal/mol", ...; None takes the file's own `e_unit`.
        length_unit: "angstrom", "bohr", ...; None takes the file's own `r_unit`, or Å where it is silent.

    Returns:
        Frames in eV, Å, eV/Å and eV/Å^3.

    Raises:
        DataError: no energy unit given and none in the file, missing arrays, shapes that do not fit, NaN.

    Example:
        >>> read_npz("rmd17_ethanol.npz", energy_unit="kcal/mol")  # doctest: +SKIP
    """
    path, arrays = Path(path), load_arrays(path)
    if energy_unit is None:
        if "e_unit" not in arrays:
            raise DataError(
                f"{path} does not say its unit of energy. Pass energy_unit='kcal/mol' (rMD17), 'eV', 'hartree', ..."
            )
        energy_unit = _word(arrays["e_unit"])
    if length_unit is None:
        length_unit = _word(arrays["r_unit"]) if "r_unit" in arrays else "angstrom"
    return frames_from_arrays(arrays, energy_unit=energy_unit, length_unit=length_unit, where=str(path))


def frames_from_arrays(arrays: dict[str, np.ndarray], *, energy_unit: str, length_unit: str, where: str) -> list[Frame]:
    """The same from arrays in memory. Numbers are [atoms], or [frames, atoms] with zeros behind smaller molecules."""
    energy_factor = unit_factor(energy_unit, ENERGY_UNITS, "energy_unit")
    length_factor = unit_factor(length_unit, LENGTH_UNITS, "length_unit")
    found = {name: _find(arrays, keys) for name, keys in KEYS.items()}
    numbers, positions = found["numbers"], found["positions"]
    if numbers is None or positions is None:
        raise DataError(
            f"{where}: wanted atomic numbers ({' or '.join(KEYS['numbers'][:2])}) and positions "
            f"({' or '.join(KEYS['positions'][:2])}), got {', '.join(sorted(arrays))}."
        )
    is_sgdml = "type" in arrays and _word(arrays["type"]) == "d"
    if "lattice" in arrays and found["cells"] is None and is_sgdml:  # columns
        found["cells"] = np.asarray(arrays["lattice"]).T
    elif "lattice" in arrays and found["cells"] is None:
        raise DataError(f"{where}: the key 'lattice' has rows or columns by program. Store 'cells' with rows instead.")
    if positions.ndim == 2:  # one frame
        positions = positions[None]
        found["forces"] = None if found["forces"] is None else np.asarray(found["forces"])[None]
    if positions.ndim != 3:
        raise DataError(f"{where}: wanted positions [frames, atoms, 3], got {list(positions.shape)}.")
    if found["stresses"] is not None and found["cells"] is None:
        raise DataError(f"{where}: stresses need cells to divide by. Store 'cells' too, or leave the stresses out.")
    n_frames, n_atoms = len(positions), positions.shape[1]
    wanted = {
        "positions": (n_frames, n_atoms, 3),
        "energies": (n_frames,),
        "forces": (n_frames, n_atoms, 3),
        "cells": (n_frames, 3, 3),
        "stresses": (n_frames, 3, 3),
        "temperatures": (n_frames,),
    }
    found["positions"] = positions
    columns = {name: _column(found[name], shape, where, name) for name, shape in wanted.items()}
    numbers = np.asarray(numbers, dtype=np.int64)
    if numbers.shape not in ((n_atoms,), (n_frames, n_atoms)):
        raise DataError(f"{where}: wanted atomic numbers [{n_atoms}] or [{n_frames}, {n_atoms}], got {numbers.shape}.")
    numbers = np.broadcast_to(numbers, (n_frames, n_atoms))
    frames = []
    for index in range(n_frames):
        real = numbers[index] > 0
        row = {name: None if column is None else column[index] for name, column in columns.items()}
        cell = row["cells"]
        structure = Structure(
            positions=np.asarray(positions[index], dtype=np.float64)[real] * length_factor,
            numbers=numbers[index][real],
            cell=np.zeros((3, 3)) if cell is None else cell * length_factor,
            pbc=np.full(3, cell is not None),
        )
        try:
            structure.check()
        except StructureError as error:
            raise DataError(f"{where}, frame {index}: {error}") from error
        labels = Labels(
            energy=None if row["energies"] is None else float(row["energies"]) * energy_factor,
            forces=None if row["forces"] is None else row["forces"][real] * (energy_factor / length_factor),
            stress=None if row["stresses"] is None else row["stresses"] * (energy_factor / length_factor**3),
        )
        info = {} if row["temperatures"] is None else {"temperature": float(row["temperatures"])}
        frames.append(Frame(structure=structure, labels=labels, info=info))
    return frames


def _word(array: np.ndarray) -> str:
    """A word that is stored as text, or as bytes (older programs)."""
    return str(np.asarray(array).astype(str))


def _find(arrays: dict[str, np.ndarray], keys: tuple[str, ...]) -> np.ndarray | None:
    return next((arrays[key] for key in keys if key in arrays), None)


def _column(array: np.ndarray | None, shape: tuple[int, ...], where: str, name: str) -> np.ndarray | None:
    if array is None:
        return None
    array = np.asarray(array, dtype=np.float64)
    if len(shape) == 1 and array.shape in ((shape[0], 1), ()):
        array = array.reshape(-1)
    if name == "cells" and array.shape == (3, 3):
        array = np.broadcast_to(array, shape)
    if array.shape != shape:
        raise DataError(f"{where}: wanted {name} of shape {list(shape)}, got {list(array.shape)}.")
    bad = np.flatnonzero(~np.isfinite(array.reshape(len(array), -1)).all(axis=1))
    if len(bad):
        raise DataError(f"{where}: {name} of {len(bad)} frames hold NaN or infinite numbers, first frame {bad[0]}.")
    return array
