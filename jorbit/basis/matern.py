"""Matérn 5/2 kernel sums over permuted points, for models of forces: energies and their gradients by matrix products.

k(d) = (1 + u + u^2/3) exp(-u), u = sqrt(5) d / σ, is the covariance of energies at two descriptors a distance d apart.
Its derivatives are those of forces, so that a sum of them is a force field with its energy.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.basis.inverse_distances import pair_permutations

CACHE_ELEMENTS = 2**17  # numbers of one temporary that stay in a core's cache


@jax.custom_jvp
def decay(squared: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
    """exp(-u), u = sqrt(5 d^2)/σ, as a function of the squared distance; its derivative at 0 counts as 0."""
    return jnp.exp(-jnp.sqrt(5.0 * squared) / sigma)


@decay.defjvp
def _decay_jvp(primals, tangents):
    squared, sigma = primals
    value = decay(squared, sigma)
    positive = squared > 0
    u = jnp.sqrt(5.0 * jnp.where(positive, squared, 1.0)) / sigma
    slope = jnp.where(positive, -2.5 * value / (u * sigma**2), 0.0)
    by_sigma = jnp.where(positive, value * u / sigma, 0.0)
    return value, slope * tangents[0] + by_sigma * tangents[1]


@jax.custom_jvp
def first(squared: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
    """(1 + u) exp(-u): -3σ²/5 times the derivative of k along the difference, per length of it."""
    u = jnp.sqrt(5.0 * squared) / sigma
    return (1.0 + u) * jnp.exp(-u)


@first.defjvp
def _first_jvp(primals, tangents):
    squared, sigma = primals
    exponential = decay(squared, sigma)
    by_sigma = 5.0 * squared / sigma**3 * exponential
    return first(squared, sigma), -2.5 / sigma**2 * exponential * tangents[0] + by_sigma * tangents[1]


@jax.custom_jvp
def matern52(squared: Float[Array, "..."], sigma: Float[Array, ""]) -> Float[Array, "..."]:
    """k = (1 + u + u²/3) exp(-u) of the squared distance; three derivatives are finite everywhere.

    Example:
        >>> float(matern52(jnp.zeros(()), jnp.ones(())))
        1.0
    """
    u = jnp.sqrt(5.0 * squared) / sigma
    return (1.0 + u + u * u / 3.0) * jnp.exp(-u)


@matern52.defjvp
def _matern_jvp(primals, tangents):
    squared, sigma = primals
    slope = first(squared, sigma)
    by_sigma = 5.0 * squared / (3.0 * sigma**3) * slope
    return matern52(squared, sigma), -2.5 / (3.0 * sigma**2) * slope * tangents[0] + by_sigma * tangents[1]


def _elements(
    rows: Float[Array, "rows pairs"],
    points: Float[Array, "points pairs"],
    weights: Float[Array, "points pairs"],
    sigma: Float[Array, ""],
) -> tuple[Float[Array, "rows points"], Float[Array, "rows points"]]:
    """Squared distances of all rows to all points, and their differences times the points' weights."""
    product = functools.partial(jnp.matmul, precision="highest")
    squared = (
        jnp.sum(rows * rows, axis=1)[:, None]
        + jnp.sum(points * points, axis=1)[None, :]
        - 2.0 * product(rows, points.T)
    )
    squared = jnp.where(squared > 0, squared, 0.0)
    return squared, product(rows, weights.T) - jnp.sum(points * weights, axis=1)[None, :]


def _sums(rows, points, weights, energy_weights, sigma):
    """Energies of rows that are permuted already and centred as the points are, and their gradients."""
    product = functools.partial(jnp.matmul, precision="highest")
    squared, along = _elements(rows, points, weights, sigma)
    exponential, factor = decay(squared, sigma), 5.0 / (3.0 * sigma**2)
    slope = first(squared, sigma)
    energy = -factor * jnp.sum(slope * along, axis=1)
    pull = (5.0 / sigma**2) * exponential * along
    if energy_weights is not None:
        energy = energy + product(matern52(squared, sigma), energy_weights)
        pull = pull - slope * energy_weights[None, :]
    gradient = product(slope, weights) - jnp.sum(pull, axis=1)[:, None] * rows + product(pull, points)
    return energy, -factor * gradient


def energies_and_gradients(
    queries: Float[Array, "queries pairs"],
    points: Float[Array, "points pairs"],
    weights: Float[Array, "points pairs"],
    center: Float[Array, " pairs"],
    permutations: Int[Array | np.ndarray, "permutations atoms"],
    sigma: Float[Array, ""],
    energy_weights: Float[Array, " points"] | None = None,
    block_elements: int = CACHE_ELEMENTS,
) -> tuple[Float[Array, " queries"], Float[Array, "queries pairs"]]:
    """E(q) = -5/(3σ²) Σ_p Σ_b (1 + u) exp(-u) (δ.w_b) + Σ_p Σ_b k(d) β_b,  δ = p⁻¹q - x_b, d = |δ|, and dE/dq.

    Permutations act on the query, not on the points: the points are kept and read once. Four matrix products; memory
    grows with queries x permutations x points, held for a block of queries at a time.

    Args:
        queries: descriptors.
        points: descriptors of the training points minus `center`.
        weights: w of each point, in the space of descriptors.
        center: what was taken from the points: distances of large vectors would lose digits.
        permutations: of atoms; the sum over them makes the model symmetric.
        sigma: length scale, in the unit of the descriptors.
        energy_weights: β of each point, where energies were fitted too.
        block_elements: size of the largest temporary.

    References:
        Chmiela et al., Nat. Commun. 9, 3887 (2018), for the kernel and its symmetrisation.
    """
    forward = jnp.asarray(pair_permutations(permutations))
    backward = jnp.argsort(forward, axis=1)
    n_permutations, n_pairs = forward.shape

    def of_block(block: Float[Array, "block pairs"]) -> tuple[Array, Array]:
        rows = block[:, backward] - center[None, None, :]
        energy, gradient = _sums(rows.reshape(-1, n_pairs), points, weights, energy_weights, sigma)
        gradient = gradient.reshape(-1, n_permutations, n_pairs)
        back = jnp.take_along_axis(gradient, forward[None], axis=2)
        return energy.reshape(-1, n_permutations).sum(axis=1), back.sum(axis=1)

    n_queries = queries.shape[0]
    size = max(1, block_elements // max(1, n_permutations * points.shape[0]))
    if n_queries <= size:
        return of_block(queries)
    n_blocks = -(-n_queries // size)
    size = -(-n_queries // n_blocks)
    padded = jnp.pad(queries, ((0, n_blocks * size - n_queries), (0, 0)), mode="edge")
    energy, gradient = jax.lax.map(of_block, padded.reshape(n_blocks, size, n_pairs))
    return energy.reshape(-1)[:n_queries], gradient.reshape(-1, n_pairs)[:n_queries]


@functools.partial(jax.custom_jvp)
def symmetric_energies(
    queries: Float[Array, "queries pairs"],
    points: Float[Array, "points pairs"],
    weights: Float[Array, "points pairs"],
    center: Float[Array, " pairs"],
    permutations: Int[Array, "permutations atoms"],
    sigma: Float[Array, ""],
    energy_weights: Float[Array, " points"] | None,
) -> Float[Array, " queries"]:
    """The energies of `energies_and_gradients`, whose derivative is computed along with them and not once more."""
    return energies_and_gradients(queries, points, weights, center, permutations, sigma, energy_weights)[0]


@functools.partial(symmetric_energies.defjvp, symbolic_zeros=True)
def _symmetric_energies_jvp(primals, tangents):
    queries, points, weights, center, permutations, sigma, energy_weights = primals
    along = tangents[0]
    energy, gradient = energies_and_gradients(*primals)
    change = jnp.zeros_like(energy)
    if not isinstance(along, jax.custom_derivatives.SymbolicZero):
        change = change + jnp.sum(gradient * along, axis=1)
    moving = [k for k in (1, 2, 3, 5) if not isinstance(tangents[k], jax.custom_derivatives.SymbolicZero)]
    if energy_weights is not None and not isinstance(tangents[6], jax.custom_derivatives.SymbolicZero):
        moving.append(6)
    if moving:  # parameters are differentiated too: plainly

        def of_parameters(*values: Array) -> Array:
            arguments = list(primals)
            for k, value in zip(moving, values, strict=True):
                arguments[k] = value
            return energies_and_gradients(*arguments)[0]

        start = tuple(primals[k] for k in moving)
        change = change + jax.jvp(of_parameters, start, tuple(tangents[k] for k in moving))[1]
    return energy, change
