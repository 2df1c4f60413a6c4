"""Models of other packages -> a potential and its parameters, to be saved as an ordinary model file.

Each converter is a function `(path, *, trust) -> (potential, params)`. The packages that wrote the files are imported
inside these functions only (extra `[convert]`); what they return needs none of them.
"""

import inspect
import os
import pathlib
from typing import Any

from jorbit.convert.foreign import guess_source
from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.registry import Registry
from jorbit.potential.potential import Potential

CONVERTERS = Registry(
    "converter",
    {
        "hippynn": "jorbit.convert.hippynn:convert_hippynn",
        "mace": "jorbit.convert.mace:convert_mace",
        "schnetpack": "jorbit.convert.schnetpack:convert_schnetpack",
        "sgdml": "jorbit.convert.sgdml:convert_sgdml",
        "torchani": "jorbit.convert.torchani:convert_torchani",
    },
)


def convert(
    path: str | os.PathLike[str], source: str | None = None, *, trust: bool = False, **options: Any
) -> tuple[Potential, Params]:
    """A potential that computes what a model of another package computes.

    Args:
        path: file of the other package.
        source: name of a converter ("mace", ...); None = found from the file's contents, which are not run for that.
        trust: allow files that can run code when they are opened (pickles). Only for files from people you trust.
        options: those of one converter, such as mace's `head` or hippynn's `energy_unit`.

    Returns:
        The potential and its parameters in float64, for `jorbit.save`.

    Raises:
        ModelFileError: a file that is not there, is not of that package, or can run code and is not trusted.
        ConfigError: no such converter or option, or the package that wrote the file is not installed.
    """
    path = pathlib.Path(path)
    source = source or guess_source(path, tuple(CONVERTERS))
    function = CONVERTERS.load(source)
    known = [name for name in inspect.signature(function).parameters if name not in ("path", "trust")]
    for name in options:
        if name not in known:
            raise ConfigError(f"The converter {source!r} has no option {name!r}. It has: {', '.join(known) or 'none'}.")
    return function(path, trust=trust, **options)
