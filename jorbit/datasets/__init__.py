"""Data sets: files in extxyz and npz, the shipped sets, named public sets, labelling and checks.

Frames carry eV, Å, eV/Å and eV/Å^3 (stress positive under tension); other units are converted when a file is read.
Nothing is downloaded, and neither ase nor tblite is imported, before a function needs it.
"""

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jorbit.core.errors import DataError
from jorbit.core.registry import Registry
from jorbit.core.structure import Frame

if TYPE_CHECKING:
    from jorbit.datasets.dataset import FrameDataset

DATASETS = Registry(
    "dataset",
    {
        "ethanol_gfn2": "jorbit.datasets.shipped:ethanol_gfn2",
        "bn_gfn1": "jorbit.datasets.shipped:bn_gfn1",
        "naphthyridine_gfn2": "jorbit.datasets.orbit_systems:naphthyridine_gfn2",
        "dalanine_gfn2": "jorbit.datasets.orbit_systems:dalanine_gfn2",
        "dhistidine_gfn2": "jorbit.datasets.orbit_systems:dhistidine_gfn2",
        "graphene_n3_gfn1": "jorbit.datasets.orbit_systems:graphene_n3_gfn1",
        "cspbi3_slab_gfn1": "jorbit.datasets.orbit_systems:cspbi3_slab_gfn1",
        "ethanol_on_graphene_gfn1": "jorbit.datasets.orbit_systems:ethanol_on_graphene_gfn1",
        "naphthyridine_on_graphene_gfn1": "jorbit.datasets.orbit_systems:naphthyridine_on_graphene_gfn1",
        "dalanine_on_graphene_gfn1": "jorbit.datasets.orbit_systems:dalanine_on_graphene_gfn1",
        "dhistidine_on_graphene_gfn1": "jorbit.datasets.orbit_systems:dhistidine_on_graphene_gfn1",
        "acphe_ala5_lys_gfn2": "jorbit.datasets.orbit_systems:acphe_ala5_lys_gfn2",
        "rmd17_aspirin": "jorbit.datasets.public:rmd17_aspirin",
        "rmd17_benzene": "jorbit.datasets.public:rmd17_benzene",
        "rmd17_ethanol": "jorbit.datasets.public:rmd17_ethanol",
        "rmd17_malonaldehyde": "jorbit.datasets.public:rmd17_malonaldehyde",
        "rmd17_naphthalene": "jorbit.datasets.public:rmd17_naphthalene",
        "rmd17_uracil": "jorbit.datasets.public:rmd17_uracil",
        "3bpa": "jorbit.datasets.public:3bpa",
        "acac": "jorbit.datasets.public:acac",
        "mlearn_cu": "jorbit.datasets.public:mlearn_cu",
        "mlearn_ge": "jorbit.datasets.public:mlearn_ge",
        "mlearn_li": "jorbit.datasets.public:mlearn_li",
        "mlearn_mo": "jorbit.datasets.public:mlearn_mo",
        "mlearn_ni": "jorbit.datasets.public:mlearn_ni",
        "mlearn_si": "jorbit.datasets.public:mlearn_si",
    },
)

_EXTXYZ = (".xyz", ".extxyz")
HDF5 = (".h5", ".hdf5")  # `jorbit.datasets.hdf5.HDF5Frames` reads these frame by frame
_COMPRESSED = (".xz", ".gz", ".bz2")


def load_dataset(name: str) -> "FrameDataset":
    """A named data set, ready to use. Public sets come from JORBIT_DATA, the cache, or a checked download.

    Raises:
        ConfigError: there is no set of that name; says which one is close.
        DataError: a public set that is neither on this machine nor downloadable; says what to do.

    Example:
        >>> load_dataset("ethanol_gfn2")[0].structure.n_atoms
        9
    """
    return DATASETS.load(name)()


def read(path: str | os.PathLike, **settings) -> list[Frame]:
    """Frames of a file or of a named data set.

    Args:
        path: an extxyz file (.xyz, .extxyz, also with .xz, .gz or .bz2), an npz file, an HDF5 file of
            `jorbit.datasets.hdf5` or a trajectory of `jorbit.simulate.run`, any other file that ASE reads
            (.traj, .cif, .vasp, ...), the name of a data set, or one split of it ("ethanol_gfn2:test").
        settings: passed on to `read_extxyz` (such as `energy_key`) or `read_npz` (such as `energy_unit`).

    Returns:
        The frames in the order of the file.

    Raises:
        DataError: no such file, an empty one, an unknown format, settings that its reader does not take, or contents
            that cannot be right.

    Example:
        >>> len(read("ethanol_gfn2")), len(read("ethanol_gfn2:test"))
        (2000, 1000)
    """
    file = Path(path)
    if not file.exists():
        return _read_named(str(path), settings)
    if file.is_dir():
        raise DataError(f"{file} is a folder: wanted a file with frames (.extxyz, .npz, ...).")
    if file.stat().st_size == 0:
        raise DataError(f"{file} is empty: wanted at least one frame. Was the copy or the calculation cut off?")
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    suffix = suffixes[-1] if suffixes else ""
    if suffix in _EXTXYZ:
        from jorbit.datasets.extxyz import read_extxyz

        return list(_read_with(read_extxyz, file, settings))
    if suffix == ".npz":
        from jorbit.datasets.npz import read_npz

        return list(_read_with(read_npz, file, settings))
    if suffix in (*HDF5, ".h5md"):
        from jorbit.datasets.h5md import H5MDFrames, is_h5md
        from jorbit.datasets.hdf5 import HDF5Frames

        return list(_read_with(H5MDFrames if is_h5md(file) else HDF5Frames, file, settings))
    from jorbit.datasets.other_formats import read_with_ase

    return list(_read_with(read_with_ase, file, settings))


def _read_with(reader: Callable[..., Sequence[Frame]], file: Path, settings: dict) -> Sequence[Frame]:
    """What `reader` makes of the file, if it takes these settings."""
    known = list(inspect.signature(reader).parameters)[1:]
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise DataError(
            f"{file}: files of this format are read with {', '.join(known) or 'no settings'}, got {unknown[0]!r}. "
            "Leave it out, or convert the file."
        )
    return reader(file, **settings)


def _read_named(name: str, settings: dict) -> list[Frame]:
    dataset, _, split = name.partition(":")
    if dataset in DATASETS:
        if settings:
            raise DataError(
                f"The data set {dataset!r} knows its own keys and units; got {sorted(settings)}. Leave them out."
            )
        return load_dataset(dataset).split(split) if split else list(load_dataset(dataset))
    close = DATASETS.suggest(name)
    hint = f" Did you mean the data set {close!r}?" if close else ""
    raise DataError(
        f"There is no file {name!r} (looked in {Path.cwd()}), and no data set of that name.{hint} "
        f"Data sets: {', '.join(sorted(DATASETS))}."
    )
