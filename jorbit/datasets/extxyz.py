"""Extended xyz files, plain or compressed: read with ASE's parser, written without loss of digits."""

import io
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import ase
import numpy as np
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict, read_xyz

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame
from jorbit.datasets.labels_from_atoms import LABEL_NAMES, WEIGHTS, LabelKeys, frame_from_atoms
from jorbit.datasets.xyz_text import FrameText, open_text, split_frames

_RESERVED = {"Lattice", "Properties", "pbc"} | LABEL_NAMES


def read_extxyz(
    path: str | os.PathLike,
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    energy_unit: str = "eV",
    length_unit: str = "angstrom",
) -> list[Frame]:
    """Frames of an extxyz file, in the order of the file.

    Labels are found under `energy`, `forces`, `stress` and the usual other names (`REF_energy`, `dft_forces`,
    `force`, ...); a `virial` becomes stress = -virial / V. Frames without labels get None. What else the header says
    (`config_type`, temperatures, ...) goes into `Frame.info`.

    Args:
        path: .xyz or .extxyz, also with .xz, .gz or .bz2 behind it.
        energy_key, forces_key, stress_key: names to take instead of the usual ones; a frame that lacks one gets None,
            but at least one frame must have it.
        energy_unit: "eV", "meV", "hartree", "rydberg", "kcal/mol" or "kJ/mol".
        length_unit: "angstrom", "bohr" or "nm"; holds for positions, cell, forces and stress.

    Returns:
        Frames in eV, Å, eV/Å and eV/Å^3.

    Raises:
        DataError: names the file, the frame and the line or label that is wrong.

    Example:
        >>> frames = read_extxyz("train.extxyz.xz", energy_key="dft_energy")  # doctest: +SKIP
    """
    keys = LabelKeys(
        energy=energy_key, forces=forces_key, stress=stress_key, energy_unit=energy_unit, length_unit=length_unit
    )
    frames = list(iter_extxyz(path, keys=keys))
    for label in ("energy", "forces", "stress"):
        key = getattr(keys, label)
        if key is not None and all(getattr(frame.labels, label) is None for frame in frames):
            raise DataError(
                f"{path}: none of its {len(frames)} frames has a usable {label} under {key!r}. The first header "
                f"keeps, besides the usual labels: {', '.join(sorted(frames[0].info)) or 'nothing'}."
            )
    return frames


def iter_extxyz(path: str | os.PathLike, *, keys: LabelKeys | None = None) -> Iterator[Frame]:
    """The same one by one, for files larger than memory.

    Raises:
        DataError: as `read_extxyz`; also when the file holds no frame at all.
    """
    path, found = Path(path), False
    for text in split_frames(path):
        found = True
        where = f"{path}, frame {text.index} (line {text.line})"
        yield frame_from_atoms(_parse(text, where), keys or LabelKeys(), where)
    if not found:
        raise DataError(f"{path} holds no frames: wanted at least one (count line, header, one row per atom).")


def _parse(text: FrameText, where: str) -> ase.Atoms:
    try:
        return next(iter(read_xyz(io.StringIO("".join(text.lines)), 0)))
    except Exception as error:  # ASE raises KeyError, ValueError, XYZError, ... depending on the flaw
        raise DataError(f"{where}: cannot be understood ({type(error).__name__}: {error}).") from error


def format_frame(frame: Frame) -> str:
    """The text of one frame: every number with all its digits, so that reading gives back the same bits.

    Raises:
        DataError: an info entry that uses a name with a meaning of its own.
    """
    structure, labels = frame.structure, frame.labels
    clash = sorted(_RESERVED & set(frame.info))
    if clash:
        raise DataError(
            f"Frame.info may not hold {clash[0]!r}: it would be read as a field of Structure or Labels. Rename it."
        )
    header: dict = {}
    if np.any(structure.cell):
        header["Lattice"] = " ".join(repr(float(x)) for x in structure.cell.ravel())
    columns, blocks = "species:S:1:pos:R:3", [structure.positions]
    if labels.forces is not None:
        columns += ":forces:R:3"
        blocks.append(labels.forces)
    if labels.charges is not None:
        columns += ":charges:R:1"
        blocks.append(np.asarray(labels.charges)[:, None])
    if np.ndim(labels.forces_weight) == 1:
        columns += ":forces_weight:R:1"
        blocks.append(np.asarray(labels.forces_weight)[:, None])
    if structure.orbits is not None:
        columns += ":orbit:I:1"
    header["Properties"] = columns
    if labels.energy is not None:
        header["energy"] = repr(float(labels.energy))
    if labels.stress is not None:
        header["stress"] = " ".join(repr(float(x)) for x in labels.stress.ravel())
    if structure.charge:
        header["charge"] = repr(float(structure.charge))
    single = {key: getattr(labels, key) for key in WEIGHTS if np.ndim(getattr(labels, key)) == 0}
    header |= {key: repr(float(value)) for key, value in single.items() if value != 1.0}
    header |= {key: _header_value(value) for key, value in frame.info.items()}
    header["pbc"] = " ".join("T" if periodic else "F" for periodic in structure.pbc)
    numbers = np.concatenate([np.asarray(block, dtype=np.float64) for block in blocks], axis=1)
    rows = [str(structure.n_atoms), key_val_dict_to_str(header)]
    for atom, (number, values) in enumerate(zip(structure.numbers, numbers.tolist(), strict=True)):
        row = [f"{chemical_symbols[number]:2s}", *(repr(value) for value in values)]
        if structure.orbits is not None:
            row.append(str(int(structure.orbits[atom])))
        rows.append(" ".join(row))
    return "\n".join(rows) + "\n"


def _header_value(value: Any) -> Any:
    """Text in the form that is read as the same text: as JSON where it looks like numbers, or has line breaks."""
    if not isinstance(value, str | list | tuple | dict):
        return value
    if isinstance(value, str) and (plain := _plain_text(value)) is not None:
        return plain
    try:
        return "_JSON " + _protected(json.dumps(value))
    except TypeError:
        return value  # ASE warns, and leaves it out


def _protected(text: str) -> str:
    """A backslash protects what follows it: one that is meant is written twice."""
    return text.replace("\\", "\\\\")


def _plain_text(value: str) -> str | None:
    """The text as it can stand in a header, or None where it would be read as something else."""
    if len(value.splitlines()) != 1:
        return None
    plain = _protected(value)
    try:
        read_back = key_val_str_to_dict(key_val_dict_to_str({"text": plain}))["text"]
    except ValueError:  # the beginning of JSON, and no JSON after it
        return None
    return plain if isinstance(read_back, str) and read_back == value else None


def write_extxyz(path: str | os.PathLike, frames: Iterable[Frame]) -> int:
    """Write frames to a new file (compressed when the name ends in .xz, .gz or .bz2).

    The file appears under its name only when it is complete.

    Returns:
        Number of frames written.

    Example:
        >>> import tempfile
        >>> from jorbit.datasets import read
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_extxyz(f"{folder}/ten.extxyz", read("ethanol_gfn2")[:10])
        10
    """
    path, count = Path(path), 0
    temporary = path.with_name(f"{path.stem}.partial{path.suffix}")
    try:
        with open_text(temporary, "wt") as stream:
            for frame in frames:
                stream.write(format_frame(frame))
                count += 1
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return count
