"""Radial functions made by a small network of Bessel functions, exact at every pair or interpolated between nodes."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.radial import bessel, chebyshev

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


def chebyshev_functions(
    r: Float[Array, "*batch"], envelope: Float[Array, "*batch"], cutoff: float, n: int
) -> Float[Array, "*batch {n}"]:
    """envelope(r) T_k(2 r / cutoff - 1) for k = 0 .. n - 1."""
    return envelope[..., None] * chebyshev(jnp.clip(2.0 * r / cutoff - 1.0, -1.0, 1.0), n)


def interpolated_network(
    kernels: Sequence[Float[Array, "_ _"]],
    last: Float[Array, "n_units n_outputs"],
    cutoff: float,
    power: int,
    n_bessel: int,
    n: int,
) -> Float[Array, "{n} n_outputs"]:
    """Coefficients c with network(r) = envelope(r) sum_k c_k T_k(2 r / cutoff - 1), exact at n Chebyshev nodes.

    The network is a smooth function of one variable, so the error between nodes falls faster than any power of 1 / n.
    Its envelope is the polynomial cutoff of the given power, factored out so that it is kept exactly.
    """
    angles = (np.arange(n) + 0.5) * np.pi / n
    r = jnp.asarray(0.5 * cutoff * (1.0 + np.cos(angles)), last.dtype)
    envelope = polynomial_cutoff(r, cutoff, power)
    values = hidden_units(radial_inputs(r, envelope, cutoff, n_bessel), kernels) @ last / envelope[:, None]
    transform = np.cos(np.arange(n)[:, None] * angles[None, :]) * (2.0 / n)
    transform[0] *= 0.5
    return jnp.asarray(transform, last.dtype) @ values
