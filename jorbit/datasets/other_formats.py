"""Files in the other formats that ASE knows: .traj, .cif, .vasp, .db, ..."""

import os
from pathlib import Path

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame
from jorbit.datasets.labels_from_atoms import LabelKeys, frame_from_atoms


def read_with_ase(path: str | os.PathLike) -> list[Frame]:
    """All frames of a file whose format ASE recognises; labels from the stored calculator results.

    Raises:
        DataError: ASE does not know the format, or cannot read the file.

    Example:
        >>> read_with_ase("relaxation.traj")  # doctest: +SKIP
    """
    import ase.io
    from ase.io.formats import UnknownFileTypeError

    path = Path(path)
    try:
        images = ase.io.read(path, index=":")
    except UnknownFileTypeError as error:
        raise DataError(
            f"{path}: unknown format {path.suffix or '(no suffix)'!r}. Wanted .extxyz or .xyz (also .xz, .gz, .bz2), "
            ".npz, or a format that ASE reads, such as .traj or .cif."
        ) from error
    except Exception as error:  # each of ASE's parsers has its own errors
        raise DataError(f"{path}: ASE cannot read it ({type(error).__name__}: {error}).") from error
    images = images if isinstance(images, list) else [images]
    if not images:
        raise DataError(f"{path} holds no frames.")
    return [frame_from_atoms(atoms, LabelKeys(), f"{path}, frame {index}") for index, atoms in enumerate(images)]
