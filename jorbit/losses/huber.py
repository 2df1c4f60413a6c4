"""Huber loss: quadratic for small errors, linear for large ones, so that outliers pull less."""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.losses.residuals import Quantity, check_predicted, check_quantity, residuals, weighted_mean


@dataclasses.dataclass(frozen=True)
class HuberLoss:
    """Mean over items and components, by weight, of e^2 / 2 for |e| < delta, delta (|e| - delta / 2) beyond.

    Attributes:
        quantity: "energy" (per atom), "forces", "stress" or "charges".
        delta: where it turns linear, in the unit of the quantity: eV/atom, eV/Å, eV/Å^3 or e.

    Raises:
        ConfigError: another quantity, or a delta that is not above 0.
        MissingInputError: charges are asked for and no term of the potential predicts any.

    Example:
        >>> HuberLoss(quantity="forces", delta=0.1).delta
        0.1

    References:
        Huber, Ann. Math. Statist. 35, 73 (1964).
    """

    quantity: Quantity = "forces"
    delta: float = 0.01

    def __post_init__(self) -> None:
        check_quantity(self.quantity)
        if not self.delta > 0:
            raise ConfigError(f"Wanted delta > 0, got {self.delta}.")

    @classmethod
    def tiny(cls) -> "HuberLoss":
        return cls(delta=0.1)

    def __call__(self, prediction: Prediction, labels: BatchLabels, graph: Graph) -> Float[Array, ""]:
        check_predicted(prediction, self.quantity)
        difference, weight = residuals(prediction, labels, graph, self.quantity)
        size = jnp.abs(difference)
        small = jnp.minimum(size, self.delta)
        return weighted_mean(small * (size - 0.5 * small), weight)
