"""Mean squared error of the charges of atoms, e^2."""

import dataclasses

from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.losses.residuals import check_predicted, residuals, weighted_mean


@dataclasses.dataclass(frozen=True)
class ChargesLoss:
    """Mean over atoms of (q_i - label_i)^2.

    Raises:
        MissingInputError: no term of the potential predicts charges.

    Example:
        >>> ChargesLoss() == ChargesLoss.tiny()
        True
    """

    @classmethod
    def tiny(cls) -> "ChargesLoss":
        return cls()

    def __call__(self, prediction: Prediction, labels: BatchLabels, graph: Graph) -> Float[Array, ""]:
        check_predicted(prediction, "charges")
        difference, weight = residuals(prediction, labels, graph, "charges")
        return weighted_mean(difference**2, weight)
