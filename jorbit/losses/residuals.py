"""What every loss starts from: differences to the labels with weights, and their weighted mean."""

from typing import Literal

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError, MissingInputError
from jorbit.core.graph import Graph
from jorbit.core.ops import safe_divide, sum_over_structures
from jorbit.core.outputs import BatchLabels, Prediction

Quantity = Literal["energy", "forces", "stress", "charges"]
QUANTITIES = ("energy", "forces", "stress", "charges")


def check_quantity(quantity: str) -> None:
    """Raise a ConfigError for anything but the names of quantities that have labels."""
    if quantity not in QUANTITIES:
        raise ConfigError(f"Wanted a quantity in {QUANTITIES}, got {quantity!r}.")


def check_predicted(prediction: Prediction, quantity: str) -> None:
    """Raise a MissingInputError where charges are asked for and no term predicts any: a loss of nothing would be 0."""
    if quantity == "charges" and prediction.charges is None:
        raise MissingInputError(
            "The loss of charges needs a term that predicts charges, such as 'charges' after a network or "
            "'charge_equilibration'. Add one, or set its weight to 0."
        )


def atoms_per_structure(graph: Graph) -> Float[Array, " structures"]:
    """Number of atoms of each structure; 0 for padding."""
    return sum_over_structures(jnp.ones_like(graph.positions[:, 0]), graph)


def residuals(
    prediction: Prediction, labels: BatchLabels, graph: Graph, quantity: Quantity
) -> tuple[Float[Array, "items components"], Float[Array, " items"]]:
    """Prediction minus label, and the weight of each item; both exactly 0 where there is no label or only padding.

    Returns:
        energy: per structure and atom, eV/atom, [structures, 1]; forces: eV/Å, [atoms, 3]; stress: eV/Å^3,
        [structures, 9]; charges: e, [atoms, 1], weight 0 where nothing predicts them.
    """
    if quantity == "charges":
        if prediction.charges is None or labels.charges is None or labels.charges_weight is None:
            none = jnp.zeros_like(graph.positions[:, 0])
            return none[:, None], none
        difference = (jnp.asarray(prediction.charges) - labels.charges)[:, None]
        counts = graph.atom_mask & (labels.charges_weight > 0)
        return jnp.where(counts[:, None], difference, 0.0), jnp.where(counts, labels.charges_weight, 0.0)
    if quantity == "forces":
        difference, weight, real = prediction.forces - labels.forces, labels.forces_weight, graph.atom_mask
    elif quantity == "stress":
        difference = (prediction.stress - labels.stress).reshape(-1, 9)
        weight, real = labels.stress_weight, graph.structure_mask
    else:
        difference = safe_divide(jnp.asarray(prediction.energy) - labels.energy, atoms_per_structure(graph))[:, None]
        weight, real = labels.energy_weight, graph.structure_mask
    counts = real & (weight > 0)
    return jnp.where(counts[:, None], difference, 0.0), jnp.where(counts, weight, 0.0)


def weighted_mean(values: Float[Array, "items components"], weight: Float[Array, " items"]) -> Float[Array, ""]:
    """Mean over items (by weight) and components; 0 when all weights are 0."""
    return safe_divide(jnp.sum(values.mean(axis=1) * weight), jnp.sum(weight))
