"""Named public data sets: found in the folder JORBIT_DATA, in the cache, or downloaded and checked by sha256.

What they are, where they come from and what to cite is in `public_sources.py`; to add one, add a row there and a line
in the table of `jorbit.datasets`.
"""

import functools
import hashlib
import os
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame
from jorbit.datasets.dataset import FrameDataset
from jorbit.datasets.extxyz import read_extxyz
from jorbit.datasets.isolated import split_isolated
from jorbit.datasets.npz import frames_from_arrays, load_arrays
from jorbit.datasets.public_sources import SOURCES, PublicFile, PublicSet

TIMEOUT = 60  # s


def __getattr__(name: str) -> Callable[[], FrameDataset]:
    """`public.<name>` is the loader of the set of that name, so that the registry's "module:attribute" finds it."""
    if name in SOURCES:
        loader = functools.partial(load_public, name)
        loader.__doc__ = SOURCES[name].description  # what `jorbit list` shows
        return loader
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_public(name: str) -> FrameDataset:
    """Read a public set, from the first place that has all its files.

    Raises:
        DataError: the files are nowhere to be found and cannot be downloaded, or are not the files of that name.
    """
    source = SOURCES[name]
    frames: list[Frame] = []
    splits: dict[str, np.ndarray] = {}
    isolated: dict[int, float] = {}
    for file, path in _locate(source):
        new, new_splits = _read(path, file, source)
        if file.split == "isolated_atoms":
            isolated |= split_isolated(new)[1]
            continue
        if file.split:
            new_splits[file.split] = np.arange(len(new))
        splits |= {key: indices + len(frames) for key, indices in new_splits.items()}
        frames += new
    for split, (base, start, stop) in source.parts.items():
        splits[split] = splits[base][start:stop]
    return FrameDataset(
        name=name,
        frames=tuple(frames),
        description=f"{source.description} {source.note}".strip(),
        citation=source.citation,
        licence=source.licence,
        source=source.origin,
        splits=splits,
        isolated_energies=isolated,
    )


def cache_folder() -> Path:
    """Where downloads are kept: JORBIT_CACHE, or jorbit/ in XDG_CACHE_HOME, or ~/.cache/jorbit."""
    if os.environ.get("JORBIT_CACHE"):
        return Path(os.environ["JORBIT_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jorbit"


def _locate(source: PublicSet) -> list[tuple[PublicFile, Path]]:
    data = os.environ.get("JORBIT_DATA")
    if data and not Path(data).is_dir():
        raise DataError(
            f"JORBIT_DATA is {data!r}, which is no folder. Set it to the folder that holds {source.folder}/."
        )
    homes = [Path(data)] if data else []
    for home in [*homes, cache_folder()]:
        for choice in source.choices:
            paths = [_first_existing(home / source.folder, file) for file in choice]
            if all(path is not None for path in paths):
                return [(file, path) for file, path in zip(choice, paths, strict=True) if path is not None]
    for choice in source.choices:
        if all(file.url for file in choice):
            return [(file, _download(file, cache_folder() / source.folder, source)) for file in choice]
    wanted = " or ".join(" + ".join(file.names[0] for file in choice) for choice in source.choices)
    raise DataError(
        f"The data set {source.name!r} is not on this machine and has no address to download it from. Set JORBIT_DATA "
        f"to a folder with {source.folder}/{wanted}. Its source: {source.origin}."
    )


def _first_existing(folder: Path, file: PublicFile) -> Path | None:
    return next((folder / name for name in file.names if (folder / name).exists()), None)


def _download(file: PublicFile, folder: Path, source: PublicSet) -> Path:
    target, url = folder / file.names[0], str(file.url)
    help_text = f"Or set JORBIT_DATA to a folder that has {source.folder}/{file.names[0]}."
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:  # noqa: S310 (addresses are our own constants)
            contents = answer.read()
    except (urllib.error.URLError, OSError) as error:
        raise DataError(f"Cannot download {source.name!r} from {url} ({error}). {help_text}") from error
    got = hashlib.sha256(contents).hexdigest()
    if got != file.sha256:
        raise DataError(
            f"{url} is not the file it was: wanted sha256 {file.sha256}, got {got}. Nothing was kept. {help_text}"
        )
    folder.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    partial.write_bytes(contents)
    partial.replace(target)
    return target


def _check(path: Path, file: PublicFile, source: PublicSet) -> None:
    contents = path.read_bytes()
    if path.suffix == ".xz":
        import lzma

        try:
            contents = lzma.decompress(contents)
        except (lzma.LZMAError, EOFError) as error:
            raise DataError(f"{path} is damaged ({error}). Copy it again.") from error
    got = hashlib.sha256(contents).hexdigest()
    if got != file.sha256:
        raise DataError(
            f"{path} is not the file that {source.name!r} stands for: wanted sha256 {file.sha256} (uncompressed), got "
            f"{got}. To use your own file, give its path to jorbit.read."
        )


def _read(path: Path, file: PublicFile, source: PublicSet) -> tuple[list[Frame], dict[str, np.ndarray]]:
    _check(path, file, source)
    if path.suffix != ".npz":
        return read_extxyz(path, energy_unit=source.energy_unit, length_unit=source.length_unit), {}
    arrays = load_arrays(path)
    frames = frames_from_arrays(arrays, energy_unit=source.energy_unit, length_unit=source.length_unit, where=path.name)
    splits = {key: arrays[key].astype(np.int64) for key in arrays if key.startswith(("train_", "test_"))}
    return frames, splits
