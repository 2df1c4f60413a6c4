"""Activation functions by name."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError


def shifted_softplus(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """ln(e^x / 2 + 1 / 2): softplus that is 0 at 0."""
    return jax.nn.softplus(x) - jnp.asarray(np.log(2.0), x.dtype)


def narrow_celu(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """x above 0, (e^(10 x) - 1) / 10 below: the activation of ANI's networks; its second derivative jumps at 0."""
    return jax.nn.celu(x, 0.1)


def exact_gelu(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """x times the normal distribution function of x; "gelu" is its usual approximation by tanh."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS = {
    "silu": jax.nn.silu,
    "tanh": jnp.tanh,
    "gelu": jax.nn.gelu,
    "softplus": jax.nn.softplus,
    "shifted_softplus": shifted_softplus,
    "square": jnp.square,
    "celu": narrow_celu,
    "exact_gelu": exact_gelu,
}


def check_activation(name: str) -> None:
    """Refuse an unknown name.

    Raises:
        ConfigError: says which there are.
    """
    if name not in ACTIVATIONS:
        raise ConfigError(f"Wanted an activation in {sorted(ACTIVATIONS)}, got {name!r}.")
