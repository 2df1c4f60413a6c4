"""Float types of a simulation, without touching JAX's global switch."""

import contextlib
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.core.errors import ConfigError
from jorbit.simulate.jax_md import EnergyFunction

MIXED_DRIFT = 1e-3  # meV/atom/ps: what float32 forces in float64 dynamics may add to the drift of the energy


def float_precision(dtype: str, *, mixed: bool = False) -> contextlib.AbstractContextManager:
    """A context in which arrays of this type exist: float64 is off in JAX unless it is switched on.

    Args:
        dtype: "float64" or "float32".
        mixed: whether "mixed" will do as well.

    Raises:
        ConfigError: another name.
    """
    known = ("float64", "float32", "mixed") if mixed else ("float64", "float32")
    if dtype not in known:
        raise ConfigError(f"Wanted dtype {' or '.join(map(repr, known))}, got {dtype!r}.")
    return contextlib.nullcontext() if dtype == "float32" else jax.enable_x64(True)


def state_type(dtype: str) -> str:
    """Float type of positions and momenta."""
    return "float32" if dtype == "float32" else "float64"


class ForcesInFloat32:
    """An energy_fn for float64 positions whose derivatives are computed in float32 and handed back in float64.

    What is lost is the last digits of single forces, at random; what float32 dynamics lose besides, the small step
    that is added to a large position, is kept. Energies are rounded to float32: take those of `energy_fn` for records.

    Args:
        energy_fn: of float64 positions.
    """

    def __init__(self, energy_fn: EnergyFunction):
        self.energy_fn = dataclasses.replace(energy_fn, params=jax.tree.map(_to_float32, energy_fn.params))

    def __call__(self, position: Array, neighbor: Any = None, **kwargs: Any) -> Array:
        """Total energy, eV."""
        small = jax.tree.map(_to_float32, (position, neighbor, kwargs))
        return self.energy_fn(small[0], neighbor=small[1], **small[2]).astype(position.dtype)


def _to_float32(x: Any) -> Any:
    if isinstance(x, jax.Array | np.ndarray) and jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.asarray(x, jnp.float32)
    return x
