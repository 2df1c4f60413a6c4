"""Mean squared error of force components, (eV/Å)^2."""

import dataclasses

from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.losses.residuals import residuals, weighted_mean


@dataclasses.dataclass(frozen=True)
class ForcesLoss:
    """Mean over atoms, by weight, of |F_i - label_i|^2 / 3.

    Example:
        >>> ForcesLoss() == ForcesLoss.tiny()
        True
    """

    @classmethod
    def tiny(cls) -> "ForcesLoss":
        return cls()

    def __call__(self, prediction: Prediction, labels: BatchLabels, graph: Graph) -> Float[Array, ""]:
        difference, weight = residuals(prediction, labels, graph, "forces")
        return weighted_mean(difference**2, weight)
