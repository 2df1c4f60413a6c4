"""Mean squared error of stress components, (eV/Å^3)^2."""

import dataclasses

from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.losses.residuals import residuals, weighted_mean


@dataclasses.dataclass(frozen=True)
class StressLoss:
    """Mean over structures, by weight, of |σ_k - label_k|^2 / 9.

    Example:
        >>> StressLoss() == StressLoss.tiny()
        True
    """

    @classmethod
    def tiny(cls) -> "StressLoss":
        return cls()

    def __call__(self, prediction: Prediction, labels: BatchLabels, graph: Graph) -> Float[Array, ""]:
        difference, weight = residuals(prediction, labels, graph, "stress")
        return weighted_mean(difference**2, weight)
