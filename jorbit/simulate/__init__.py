"""Simulation: the same potential in jax-md, in ASE, and in a run loop of our own."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jorbit.simulate.ase_calculator import Calculator as Calculator
    from jorbit.simulate.barostat import npt_langevin as npt_langevin
    from jorbit.simulate.batched_relaxation import relax_many as relax_many
    from jorbit.simulate.exploration import explore as explore
    from jorbit.simulate.jax_md import to_jax_md as to_jax_md
    from jorbit.simulate.molecular_dynamics import SimulationResult as SimulationResult
    from jorbit.simulate.molecular_dynamics import run as run
    from jorbit.simulate.orbit_watch import OrbitEvent as OrbitEvent
    from jorbit.simulate.orbit_watch import OrbitWatch as OrbitWatch
    from jorbit.simulate.relaxation import relax as relax
    from jorbit.simulate.watchman import Watch as Watch

_PUBLIC = {
    "Calculator": "jorbit.simulate.ase_calculator",
    "OrbitEvent": "jorbit.simulate.orbit_watch",
    "OrbitWatch": "jorbit.simulate.orbit_watch",
    "SimulationResult": "jorbit.simulate.molecular_dynamics",
    "Watch": "jorbit.simulate.watchman",
    "explore": "jorbit.simulate.exploration",
    "npt_langevin": "jorbit.simulate.barostat",
    "relax": "jorbit.simulate.relaxation",
    "relax_many": "jorbit.simulate.batched_relaxation",
    "run": "jorbit.simulate.molecular_dynamics",
    "to_jax_md": "jorbit.simulate.jax_md",
}

__all__ = list(_PUBLIC)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'jorbit.simulate' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
