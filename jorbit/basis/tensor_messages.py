"""Sums over neighbours of radial function x harmonic x neighbour's tensor, before anything is coupled or mixed.

The sum over neighbours is the only step whose cost goes with the number of pairs, so it runs first, as matrix products
batched over atoms; Clebsch-Gordan coefficients and mixing of channels act on what is left, once per atom.
"""

import functools

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.coupling import coupled_degrees
from jorbit.basis.moments import degree_slice
from jorbit.basis.symmetric_contraction import couple_outer

MessagePath = tuple[int, int, int]  # degree of the neighbour's tensor, of the harmonic, of the message


@functools.cache
def message_paths(l_neighbor: int, l_max: int) -> tuple[MessagePath, ...]:
    """Couplings of tensors of degree 0 .. l_neighbor with harmonics up to l_max to tensors up to l_max, all of natural
    parity: (neighbour, harmonic, message).

    Example:
        >>> message_paths(0, 2), len(message_paths(1, 3))
        (((0, 0, 0), (0, 1, 1), (0, 2, 2)), 10)
    """
    return tuple(
        (l1, l2, l)
        for l1 in range(l_neighbor + 1)
        for l2 in range(l_max + 1)
        for l in coupled_degrees(l1, l2)
        if l <= l_max and (l1 + l2 + l) % 2 == 0
    )


def neighbor_messages(
    radial: Float[Array, "atoms slots paths channels"],
    harmonics: Float[Array, "atoms slots lm"],
    tensors: Float[Array, "atoms slots lm_neighbor channels"],
    paths: tuple[MessagePath, ...],
) -> list[Float[Array, "m atoms channels"]]:
    """For each path the tensor sum over slots of radial (tensor x harmonic)_l.

    Args:
        radial: zero in empty slots.
        harmonics: Y_lm of the pair vectors.
        tensors: of the neighbour of each pair, components of all degrees in a row.
        paths: from `message_paths`.
    """
    return [
        neighbor_message(radial[:, :, k], harmonics[..., degree_slice(l2)], tensors[:, :, degree_slice(l1)], l)
        for k, (l1, l2, l) in enumerate(paths)
    ]


def neighbor_message(
    radial: Float[Array, "atoms slots channels"],
    harmonics: Float[Array, "atoms slots m2"],
    tensors: Float[Array, "atoms slots m1 channels"],
    degree: int,
) -> Float[Array, "m atoms channels"]:
    """sum over slots of radial (tensor x harmonic)_degree, of one tensor and harmonics of one degree.

    Args:
        radial: zero in empty slots.
        harmonics: of the pair vectors.
        tensors: of the neighbour of each pair.
        degree: of the result.
    """
    weighted = radial[:, :, None, :] * tensors
    n_atoms, n_slots, n_m, n_channels = weighted.shape
    summed = jnp.einsum("asy,asc->yac", harmonics, weighted.reshape(n_atoms, n_slots, -1))
    summed = summed.reshape(-1, n_atoms, n_m, n_channels)
    return summed[:, :, 0] if n_m == 1 else couple_outer(jnp.moveaxis(summed, 2, 0), degree)


def species_messages(
    functions: Float[Array, "atoms slots functions"],
    harmonics: Float[Array, "atoms slots lm"],
    chosen: Float[Array, "atoms slots species"] | None,
    radial: Float[Array, "functions paths channels"],
    scalars: Float[Array, "species channels"],
) -> list[Float[Array, "m atoms channels"]]:
    """The same for scalars that depend on the neighbour's species only: radial functions are summed, then combined.

    Args:
        functions: of distance, zero in empty slots.
        harmonics: Y_lm of the pair vectors.
        chosen: 1 for the species of the neighbour, else 0; None when there is one species.
        radial: coefficients of the functions for each degree and channel.
        scalars: of each species.
    """
    n_atoms, n_slots, n_functions = functions.shape
    if chosen is not None:
        functions = (chosen[..., None] * functions[:, :, None, :]).reshape(n_atoms, n_slots, -1)
    summed = jnp.einsum("asm,ask->mak", harmonics, functions)
    table = scalars[:, None, None, :] * radial[None]
    return [summed[degree_slice(l)] @ table[:, :, l].reshape(-1, scalars.shape[1]) for l in range(radial.shape[1])]
