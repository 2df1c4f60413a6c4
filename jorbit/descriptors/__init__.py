"""Graph -> invariant features of each atom. One file each; nothing else names them but this table."""

import importlib
from typing import TYPE_CHECKING, Any

from jorbit.core.registry import Registry

if TYPE_CHECKING:
    from jorbit.descriptors.separation import separate as separate

__all__ = ["DESCRIPTORS", "separate"]

DESCRIPTORS = Registry(
    "descriptor",
    {
        "ace": "jorbit.descriptors.ace:ACE",
        "cartesian": "jorbit.descriptors.cartesian:Cartesian",
        "acsf": "jorbit.descriptors.acsf:ACSF",
        "aev": "jorbit.descriptors.aev:AEV",
        "bessel": "jorbit.descriptors.bessel:Bessel",
        "coulomb_matrix": "jorbit.descriptors.coulomb_matrix:CoulombMatrix",
        "soap": "jorbit.descriptors.soap:SOAP",
        "lode": "jorbit.descriptors.lode:LODE",
        "pruned": "jorbit.descriptors.pruned:Pruned",
    },
)


def __getattr__(name: str) -> Any:
    """`separate`, imported when first used: it needs a neighbour search, the table does not."""
    if name == "separate":
        return importlib.import_module("jorbit.descriptors.separation").separate
    raise AttributeError(f"module 'jorbit.descriptors' has no attribute {name!r}")
