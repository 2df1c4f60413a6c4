"""Models of mace-torch (foundation models too) -> reference energies + mace."""

import pathlib

from jorbit.convert.foreign import import_package, require_trust
from jorbit.core.errors import ModelFileError
from jorbit.core.protocols import Params
from jorbit.potential.potential import Potential


def convert_mace(path: pathlib.Path, *, trust: bool = False) -> tuple[Potential, Params]:
    """A model saved by mace-torch as a potential in float64.

    Args:
        path: what `torch.save(model, path)` wrote.
        trust: open the pickle.

    Raises:
        ModelFileError: not trusted, or not a model of mace-torch.
        ConfigError: mace-torch is not installed.
    """
    require_trust(path, trust)
    import_package("mace.modules", "mace-torch")
    raise ModelFileError(f"{path}: this version of jorbit cannot convert models of mace-torch yet.")
