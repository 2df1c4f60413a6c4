"""Mean squared error of energies per atom, (eV/atom)^2."""

import dataclasses

from jax import Array
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.losses.residuals import residuals, weighted_mean


@dataclasses.dataclass(frozen=True)
class EnergyLoss:
    """Mean over structures, by weight, of ((E_k - label_k) / n_atoms_k)^2.

    Example:
        >>> EnergyLoss() == EnergyLoss.tiny()
        True
    """

    @classmethod
    def tiny(cls) -> "EnergyLoss":
        return cls()

    def __call__(self, prediction: Prediction, labels: BatchLabels, graph: Graph) -> Float[Array, ""]:
        difference, weight = residuals(prediction, labels, graph, "energy")
        return weighted_mean(difference**2, weight)
