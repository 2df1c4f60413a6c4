"""What converters share: which package wrote a file, whether it may be opened, and importing that package."""

import contextlib
import importlib
import io
import pathlib
import warnings
import zipfile
from typing import Any

from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.units import ENERGY_UNITS

TRACES = {
    "mace": b"mace",
    "hippynn": b"hippynn",
    "sgdml": b"sgdml",
    "torchani": b"torchani",
}  # words in the pickled names of classes


def guess_source(path: pathlib.Path, known: tuple[str, ...]) -> str:
    """Name of the package that wrote a file, from bytes in it; nothing is unpickled and no code is run.

    Raises:
        ModelFileError: no such file, or none of the `known` packages is recognised in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror or error}.") from error
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if names and all(name.endswith(".npy") for name in names):
                return _checked("sgdml", known, path)
            content = b"".join(archive.read(name) for name in names if name.endswith(".pkl"))
    for name in known:
        if TRACES.get(name, name.encode()) in content:
            return name
    raise ModelFileError(
        f"{path} does not say which package wrote it. Say so with --from (source=...): {', '.join(sorted(known))}."
    )


def _checked(name: str, known: tuple[str, ...], path: pathlib.Path) -> str:
    if name not in known:
        raise ModelFileError(f"{path} looks like a file of {name}, which cannot be converted. Known: {known}.")
    return name


def require_trust(path: pathlib.Path, trust: bool) -> None:
    """Refuse to open a pickle that the user has not vouched for.

    Raises:
        ModelFileError: there is no such file, or `trust` is False.
    """
    if not path.is_file():
        raise ModelFileError(f"{path} cannot be read: there is no such file. Check the path.")
    if not trust:
        raise ModelFileError(
            f"{path} is a pickle: opening it can run any code its author put there. If you know where it comes from, "
            "say so with --trust (trust=True). The model file that is written then is safe to open and to share."
        )


def open_pickle(path: pathlib.Path, *, trust: bool, module: str, package: str | None = None) -> Any:
    """What `torch.save` wrote.

    Args:
        path: of the file.
        trust: see `require_trust`.
        module: of the package whose classes are in it, imported before the file is opened.
        package: what pip calls it, where that differs.

    Raises:
        ModelFileError: no such file, not trusted, or one that cannot be opened.
        ConfigError: the package or torch is not installed.
    """
    require_trust(path, trust)
    import_package(module, package)
    torch = import_package("torch")
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the pickle raises
        raise ModelFileError(
            f"{path} cannot be opened with torch and {package or module} ({type(error).__name__}: {error}). Is it "
            "whole, and of a version of the package that is installed?"
        ) from error


def unit_in_ev(unit: float | str) -> float:
    """eV of a unit of energy, given by name or by its value.

    Raises:
        ConfigError: an unknown name, or no positive number.

    Example:
        >>> unit_in_ev("meV"), unit_in_ev(27.2)
        (0.001, 27.2)
    """
    if isinstance(unit, str) and unit.lower() in ENERGY_UNITS:
        return ENERGY_UNITS[unit.lower()]
    if isinstance(unit, str) or not 0 < unit < float("inf"):
        raise ConfigError(f"Unknown unit of energy {unit!r}: wanted one of {', '.join(ENERGY_UNITS)}, or its eV.")
    return float(unit)


def import_package(name: str, package: str | None = None) -> Any:
    """A package that wrote the file, imported now.

    Args:
        name: of the module.
        package: what pip calls it, where that differs.

    Raises:
        ConfigError: it is not installed.

    Example:
        >>> import_package("json").__name__
        'json'
    """
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(
            f"This file can only be read with the package {package or name}, which cannot be imported ({error}). "
            "Install what conversions need: pip install 'jorbit[convert]'."
        ) from error
