"""jorbit: differentiable interatomic potentials in JAX.

Public names, imported when first used: ``read``, ``fit``, ``fit_sgdml``, ``fit_gap``, ``predict``, ``save``, ``load``,
``to_jax_md``, ``Calculator``, ``find_orbits``, ``Structure``, ``Labels``, ``Frame``, ``Potential``, ``SpeciesTable``,
``simulate``.
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

from jorbit.core.freed_memory import keep_freed_memory
from jorbit.core.version_guard import warn_about_known_bugs

if TYPE_CHECKING:
    from jorbit import simulate as simulate
    from jorbit.core.species import SpeciesTable as SpeciesTable
    from jorbit.core.structure import Frame as Frame
    from jorbit.core.structure import Labels as Labels
    from jorbit.core.structure import Structure as Structure
    from jorbit.datasets import read as read
    from jorbit.orbits import find_orbits as find_orbits
    from jorbit.potential.artefact import load as load
    from jorbit.potential.artefact import save as save
    from jorbit.potential.potential import Potential as Potential
    from jorbit.potential.predict import predict as predict
    from jorbit.simulate.ase_calculator import Calculator as Calculator
    from jorbit.simulate.jax_md import to_jax_md as to_jax_md
    from jorbit.train.fit import fit as fit
    from jorbit.train.gap import fit_gap as fit_gap
    from jorbit.train.sgdml import fit_sgdml as fit_sgdml

_PUBLIC = {
    "Calculator": "jorbit.simulate.ase_calculator",
    "Frame": "jorbit.core.structure",
    "Labels": "jorbit.core.structure",
    "Potential": "jorbit.potential.potential",
    "SpeciesTable": "jorbit.core.species",
    "Structure": "jorbit.core.structure",
    "find_orbits": "jorbit.orbits",
    "fit": "jorbit.train.fit",
    "fit_gap": "jorbit.train.gap",
    "fit_sgdml": "jorbit.train.sgdml",
    "load": "jorbit.potential.artefact",
    "predict": "jorbit.potential.predict",
    "read": "jorbit.datasets",
    "save": "jorbit.potential.artefact",
    "to_jax_md": "jorbit.simulate.jax_md",
}

__all__ = [*_PUBLIC, "simulate"]  # pyright: ignore[reportUnsupportedDunderAll]

try:
    __version__ = importlib.metadata.version("jorbit")
except importlib.metadata.PackageNotFoundError:  # running from a checkout that is not installed
    __version__ = "0+unknown"

warn_about_known_bugs()
keep_freed_memory()


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    if name == "simulate":
        return importlib.import_module("jorbit.simulate")
    raise AttributeError(f"module 'jorbit' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
