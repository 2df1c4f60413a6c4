"""Small array operations shared by every layer: safe functions, gathers, sums."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Shaped

from jorbit.core.graph import Graph, Neighbors


def safe_norm(vectors: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """Euclidean norm over the last axis, with value and gradient 0 at the zero vector."""
    squared = jnp.sum(vectors**2, axis=-1)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def safe_divide(numerator: Float[Array, "..."], denominator: Float[Array, "..."]) -> Float[Array, "..."]:
    """numerator / denominator, with value and gradients 0 where the denominator is 0."""
    nonzero = denominator != 0
    return jnp.where(nonzero, numerator / jnp.where(nonzero, denominator, 1.0), 0.0)


def gather_neighbors(
    values: Shaped[Array, " atoms *rest"], neighbors: Neighbors
) -> Shaped[Array, " atoms slots *rest"]:
    """Values of atom j for every pair (i, slot). Empty slots hold atom 0's value: mask what is summed."""
    return values[neighbors.index]


def sum_over_structures(values: Float[Array, " atoms *rest"], graph: Graph) -> Float[Array, " structures *rest"]:
    """Sum per-atom values into their structures; padding counts as 0."""
    mask = graph.atom_mask.reshape((-1,) + (1,) * (values.ndim - 1))
    values = jnp.where(mask, values, 0.0)
    if graph.n_structures == 1:
        return values.sum(axis=0, keepdims=True)
    return jax.ops.segment_sum(values, graph.owner, num_segments=graph.n_structures, indices_are_sorted=True)


def neutralized(charges: Float[Array, " atoms"], graph: Graph) -> Float[Array, " atoms"]:
    """Charges shifted alike for all atoms of a structure until they add up to its total charge; 0 on padding."""
    count = sum_over_structures(jnp.ones_like(charges), graph)
    missing = graph.charge.astype(charges.dtype) - sum_over_structures(charges, graph)
    shift = missing / jnp.maximum(count, 1.0)
    return jnp.where(graph.atom_mask, charges + shift[graph.owner], 0.0)
