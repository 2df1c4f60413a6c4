"""Radial functions made by a small network of Bessel functions."""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.radial import bessel
from jorbit.basis.tables import Tabulated

KNOTS = 16  # of a table, for each Bessel function

# 1 / sqrt(E[silu(x)^2]) for normal x (by quadrature; a test repeats it): a layer keeps the variance 1 of its inputs
SILU_NORM = 1.6765324703310907


def normalized_silu(x: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
    """silu(x) times the constant that makes its second moment 1 for normal x."""
    return SILU_NORM * jax.nn.silu(x)


def hidden_units(
    inputs: Float[Array, "*batch n_inputs"], kernels: Sequence[Float[Array, "_ _"]]
) -> Float[Array, "*batch n_units"]:
    """The last hidden layer of a network without biases: zero where the inputs are zero.

    Each layer is silu(x W / sqrt(n)), normalised; weights are of order 1 whatever the width n. Factors multiply what
    they can be fused with: here and elsewhere, scaled copies of weights are a tenth of the time of a small molecule.
    """
    x = inputs.reshape(-1, inputs.shape[-1])
    for kernel in kernels:
        x = normalized_silu((x @ kernel) / math.sqrt(kernel.shape[0]))
    return x.reshape(*inputs.shape[:-1], x.shape[-1])


def radial_inputs(
    r: Float[Array, "*batch"], envelope: Float[Array, "*batch"], cutoff: float, n_bessel: int
) -> Float[Array, "*batch n_bessel"]:
    """Bessel functions that vanish at the cutoff with two derivatives."""
    return envelope[..., None] * bessel(r, cutoff, n_bessel)


def units_of_distance(
    kernels: Sequence[Float[Array, "_ _"]], cutoff: float, n_bessel: int, power: int, *, table: bool
) -> Callable[[Array], Array]:
    """`hidden_units` of Bessel functions as a function of distances [*batch]; zero at the cutoff and beyond.

    Args:
        kernels: of `hidden_units`.
        cutoff: Å.
        n_bessel: functions that enter the network.
        power: of the polynomial cutoff.
        table: from a table where that is accurate, see `jorbit.basis.tables.Tabulated`.
    """

    def network(kernels: Sequence[Array], r: Array, *, continued: bool = False) -> Array:
        envelope = polynomial_cutoff(r, cutoff, power, continued=continued)
        return hidden_units(radial_inputs(r, envelope, cutoff, n_bessel), kernels)

    if not table:
        return functools.partial(network, kernels)
    smooth = Tabulated(functools.partial(network, continued=True), cutoff, KNOTS * n_bessel)
    prepared = smooth.prepared(kernels, kernels[0].dtype)

    def units(r: Array) -> Array:
        values = smooth(prepared, r.reshape(-1)).reshape(*r.shape, -1)
        return jnp.where((r < cutoff)[..., None], values, 0.0)

    return units
