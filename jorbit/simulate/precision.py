"""Float64 where it is asked for, without touching JAX's global switch."""

import contextlib

import jax

from jorbit.core.errors import ConfigError


def float_precision(dtype: str) -> contextlib.AbstractContextManager:
    """A context in which arrays of this type exist: float64 is off in JAX unless it is switched on.

    Raises:
        ConfigError: neither "float64" nor "float32".
    """
    if dtype not in ("float64", "float32"):
        raise ConfigError(f'Wanted dtype "float64" or "float32", got {dtype!r}.')
    return jax.enable_x64(True) if dtype == "float64" else contextlib.nullcontext()
