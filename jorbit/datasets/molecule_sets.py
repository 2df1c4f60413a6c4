"""Large public sets of molecules from files that the user has: QM9 (archive or npz) and COMP6 / ANI-1 (HDF5).

Random methane in full is an extxyz file: `jorbit.read(path, energy_unit="hartree")`.
"""

import os
import pathlib
import tarfile
from collections.abc import Collection, Iterator
from typing import Any, Literal

import numpy as np

from jorbit.core.errors import DataError, StructureError
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.core.units import ENERGY_UNITS, HARTREE
from jorbit.datasets.hdf5 import import_h5py
from jorbit.datasets.labels_from_atoms import unit_factor
from jorbit.datasets.npz import load_arrays

# The numbers of the second line of a file of QM9, after the word "gdb" and the index; energies are in Hartree.
_QM9_PROPERTIES = ("A", "B", "C", "mu", "alpha", "homo", "lumo", "gap", "r2", "zpve", "U0", "U", "H", "G", "Cv")
_QM9_ENERGIES = ("U0", "U", "H", "G")
_NUMBERS = {symbol: number for number, symbol in enumerate(SYMBOLS) if number > 0}


def iter_qm9(path: str | os.PathLike[str], *, energy: str = "U0", leave_out: Collection[int] = ()) -> Iterator[Frame]:
    """Molecules of QM9 one by one, from the files as they were published.

    Args:
        path: the archive (dsgdb9nsd.xyz.tar.bz2, or unpacked to .tar), a folder of its files, or one file.
        energy: "U0", "U", "H" or "G": what becomes the energy, eV; totals, not atomization energies.
        leave_out: indices to leave out, such as those of the list of uncharacterized molecules.

    Yields:
        Frames without forces, with `info["index"]`, in the order of the archive or of the names of the files.

    Raises:
        DataError: no such file, none of QM9's form, or another name of an energy.

    Reference:
        Ramakrishnan et al., Sci. Data 1, 140022 (2014).

    Example:
        >>> frames = iter_qm9("dsgdb9nsd.xyz.tar.bz2", leave_out={21, 22})  # doctest: +SKIP
    """
    if energy not in _QM9_ENERGIES:
        raise DataError(f"QM9 has the energies {', '.join(_QM9_ENERGIES)}, got {energy!r}.")
    skip = frozenset(leave_out)
    for name, text in _texts(pathlib.Path(path)):
        frame = _qm9_frame(text, energy, name)
        if frame.info["index"] not in skip:
            yield frame


def _texts(path: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Name and contents of each xyz file."""
    if not path.exists():
        raise DataError(f"There is no {path}: wanted the archive of QM9, or a folder of its xyz files.")
    if path.suffix == ".xyz":
        yield path.name, path.read_text(encoding="utf-8")
        return
    found = False
    if path.is_dir():
        for file in sorted(path.glob("*.xyz")):
            found = True
            yield file.name, file.read_text(encoding="utf-8")
    else:
        try:
            with tarfile.open(path, "r|*") as archive:  # a stream: read once, from front to back
                for member in archive:
                    opened = archive.extractfile(member) if member.name.endswith(".xyz") else None
                    if opened is not None:
                        found = True
                        yield member.name, opened.read().decode("utf-8")
        except (tarfile.TarError, EOFError, OSError) as error:
            raise DataError(f"{path} cannot be read as an archive ({error}). Copy it again.") from error
    if not found:
        raise DataError(f"{path} holds no .xyz files: wanted dsgdb9nsd_000001.xyz and so on.")


def _qm9_frame(text: str, energy: str, where: str) -> Frame:
    lines = text.splitlines()
    try:
        words, n_atoms = lines[1].split(), int(lines[0])
        if words[0] != "gdb" or len(words) < 2 + len(_QM9_PROPERTIES):
            raise ValueError("the second line is not 'gdb', an index and 15 numbers")
        atoms = [line.split() for line in lines[2 : 2 + n_atoms]]
        # 2.1997*^-6 is how one program writes 2.1997e-6
        positions = np.array([[float(x.replace("*^", "e")) for x in atom[1:4]] for atom in atoms], dtype=np.float64)
        structure = Structure(positions=positions, numbers=np.array([_NUMBERS[atom[0]] for atom in atoms])).check()
        if structure.n_atoms != n_atoms:
            raise ValueError(f"{structure.n_atoms} atoms instead of {n_atoms}")
        value = float(words[2 + _QM9_PROPERTIES.index(energy)].replace("*^", "e")) * HARTREE
        return Frame(structure=structure, labels=Labels(energy=value), info={"index": int(words[1])})
    except (ValueError, IndexError, KeyError, StructureError) as error:
        raise DataError(f"{where} is no file of QM9 ({type(error).__name__}: {error}).") from error


def read_qm9_npz(path: str | os.PathLike[str], *, energy: str = "U0", energy_unit: str) -> list[Frame]:
    """Molecules of QM9 from an npz file, in either of its usual forms.

    Numbers and positions are [molecules, most atoms] with zeros behind smaller molecules, or the atoms of all
    molecules one after the other, with the array `N` (`num_atoms`) of how many each has.

    Args:
        path: the file, with Z (charges, numbers) and R (positions).
        energy: the array that becomes the energy.
        energy_unit: its unit; such files come in eV, Hartree and kcal/mol, and do not say which.

    Returns:
        Frames without forces, energies in eV.

    Raises:
        DataError: an array is missing, or their lengths do not fit.

    Example:
        >>> read_qm9_npz("qm9.npz", energy_unit="eV")  # doctest: +SKIP
    """
    arrays, factor = load_arrays(path), unit_factor(energy_unit, ENERGY_UNITS, "energy_unit")
    names = {"numbers": ("Z", "z", "numbers", "charges"), "positions": ("R", "positions"), "energy": (energy,)}
    missing = [wanted for wanted, keys in names.items() if not any(key in arrays for key in keys)]
    if missing:
        raise DataError(f"{path}: no array of {', '.join(missing)} among {', '.join(sorted(arrays))}.")
    numbers, positions, energies = (next(arrays[k] for k in keys if k in arrays) for keys in names.values())
    counts = next((arrays[k] for k in ("N", "num_atoms") if k in arrays), None)
    if numbers.ndim == 2:
        rows = [(z[z > 0], r[z > 0]) for z, r in zip(numbers, positions, strict=True)]
    elif counts is not None and counts.sum() == len(numbers) == len(positions):
        ends = np.cumsum(counts)[:-1]
        rows = list(zip(np.split(numbers, ends), np.split(positions, ends), strict=True))
    else:
        raise DataError(f"{path}: wanted numbers [molecules, atoms], or [all atoms] with their counts in 'N'.")
    if len(energies) != len(rows):
        raise DataError(f"{path}: {len(rows)} molecules, but {len(energies)} values of {energy!r}.")
    frames = []
    for index, ((z, r), value) in enumerate(zip(rows, np.asarray(energies, np.float64).reshape(-1), strict=True)):
        structure = Structure(positions=np.array(r, np.float64), numbers=np.array(z, np.int64))
        frames.append(_checked(structure, Labels(energy=float(value) * factor), {"index": index}, f"{path}, {index}"))
    return frames


def iter_ani_hdf5(
    path: str | os.PathLike[str], *, forces: Literal["gradient", "force", "none"] = "gradient"
) -> Iterator[Frame]:
    """Frames of an HDF5 file of COMP6 or ANI-1: groups with `coordinates`, `species`, `energies` and perhaps `forces`.

    Args:
        path: a file in Å and Hartree, or a folder of such files (.h5).
        forces: what the array `forces` holds. In COMP6 it is the gradient: forces with their sign turned, which the
            dimers of S66x8 show (dE/dr along a curve). "none" reads energies alone.

    Yields:
        Frames in eV and eV/Å, with `info["molecule"]` (name of the group) and `info["step"]` (place in the group).

    Raises:
        DataError: not such a file, shapes that do not fit, or h5py is not installed.

    Reference:
        Smith et al., J. Chem. Phys. 148, 241733 (2018).

    Example:
        >>> frames = iter_ani_hdf5("s66x8_wb97x6-31gd.h5")  # doctest: +SKIP
    """
    h5py, path = import_h5py(), pathlib.Path(path)
    sign = {"gradient": -HARTREE, "force": HARTREE, "none": None}
    if forces not in sign:
        raise DataError(f"forces: wanted {', '.join(map(repr, sign))}, got {forces!r}.")
    files = sorted(path.glob("*.h5")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"The folder {path} holds no .h5 files.")
    for file in files:
        try:
            opened = h5py.File(file, "r")
        except OSError as error:
            raise DataError(f"{file} cannot be read as HDF5: {error}.") from error
        with opened:
            groups: list[str] = []
            opened.visititems(lambda name, item, to=groups: to.append(name) if "coordinates" in _keys(item) else None)
            if not groups:
                raise DataError(f"{file} has no group with 'coordinates': wanted the layout of COMP6 or ANI-1.")
            for name in groups:
                yield from _group(opened[name], f"{file.stem}/{name}" if path.is_dir() else name, sign[forces])


def _keys(item: Any) -> Collection[str]:
    return item.keys() if hasattr(item, "keys") else ()


def _group(group: Any, name: str, sign: float | None) -> Iterator[Frame]:
    try:
        symbols = [s.decode() if isinstance(s, bytes) else str(s) for s in group["species"][:]]
        numbers = np.array([_NUMBERS[symbol] for symbol in symbols])
        positions = np.asarray(group["coordinates"], np.float64).reshape(-1, len(numbers), 3)
        energies = np.asarray(group["energies"], np.float64).reshape(-1)
        found = np.asarray(group["forces"], np.float64) if sign is not None and "forces" in group else None
        found = None if found is None else found.reshape(positions.shape)
    except (KeyError, ValueError) as error:
        raise DataError(
            f"Group {name}: {type(error).__name__}: {error}. Wanted species, coordinates, energies."
        ) from error
    if len(energies) != len(positions):
        raise DataError(f"Group {name}: {len(positions)} geometries, but {len(energies)} energies.")
    for step, (where, energy) in enumerate(zip(positions, energies, strict=True)):
        labels = Labels(
            energy=float(energy) * HARTREE, forces=None if found is None or sign is None else found[step] * sign
        )
        structure = Structure(positions=where, numbers=numbers)
        yield _checked(structure, labels, {"molecule": name, "step": step}, f"group {name}, {step}")


def _checked(structure: Structure, labels: Labels, info: dict[str, Any], where: str) -> Frame:
    for name, value in (("energy", labels.energy), ("forces", labels.forces)):
        if value is not None and not np.isfinite(value).all():
            raise DataError(f"{where}: {name} holds NaN or infinite numbers. Take the calculation out of the file.")
    try:
        return Frame(structure=structure.check(), labels=labels, info=info)
    except StructureError as error:
        raise DataError(f"{where}: {error}") from error
