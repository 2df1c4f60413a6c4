"""Radial functions made by a small network of Bessel functions."""

import math
from collections.abc import Sequence

import jax
from jax import Array
from jaxtyping import Float

from jorbit.basis.radial import bessel

# 1 / sqrt(E[silu(x)^2]) for normal x (by quadrature; a test repeats it): a layer keeps the variance 1 of its inputs
SILU_NORM = 1.6765324703310907


def normalized_silu(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """silu(x) times the constant that makes its second moment 1 for normal x."""
    return SILU_NORM * jax.nn.silu(x)


def hidden_units(
    inputs: Float[Array, "*batch n_inputs"], kernels: Sequence[Float[Array, "_ _"]]
) -> Float[Array, "*batch n_units"]:
    """The last hidden layer of a network without biases: zero where the inputs are zero.

    Each layer is silu(x W / sqrt(n)), normalised; weights are of order 1 whatever the width n.
    """
    x = inputs.reshape(-1, inputs.shape[-1])
    for kernel in kernels:
        x = normalized_silu(x @ (kernel / math.sqrt(kernel.shape[0])))
    return x.reshape(*inputs.shape[:-1], x.shape[-1])


def radial_inputs(
    r: Float[Array, "*batch"], envelope: Float[Array, "*batch"], cutoff: float, n_bessel: int
) -> Float[Array, "*batch n_bessel"]:
    """Bessel functions that vanish at the cutoff with two derivatives."""
    return envelope[..., None] * bessel(r, cutoff, n_bessel)
