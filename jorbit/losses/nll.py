"""Negative log-likelihood of the labels under the predicted Gaussian, for models that predict a variance."""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.ops import safe_divide
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.losses.residuals import atoms_per_structure, residuals, weighted_mean


@dataclasses.dataclass(frozen=True)
class NegativeLogLikelihood:
    """Mean over items and components, by weight, of e^2 / (2 s^2) + log(s^2 / noise^2) / 2, s^2 = noise^2 + variance.

    The constant log(2 pi noise^2) / 2 is left out, so the loss is 0 for exact labels predicted without doubt and
    positive otherwise. Without a predicted variance it is the squared error in units of the noise.

    Attributes:
        quantity: "energy" (per atom) or "forces".
        noise: standard deviation of the labels themselves: eV/atom or eV/Å.

    Example:
        >>> NegativeLogLikelihood(quantity="energy", noise=0.001).quantity
        'energy'

    References:
        Nix and Weigend, Proc. IEEE ICNN 1, 55 (1994).
    """

    quantity: str = "energy"
    noise: float = 0.01

    def __post_init__(self) -> None:
        if self.quantity not in ("energy", "forces"):
            raise ConfigError(f"Wanted the quantity 'energy' or 'forces', got {self.quantity!r}.")
        if not self.noise > 0:
            raise ConfigError(f"Wanted noise > 0, got {self.noise}.")

    @classmethod
    def tiny(cls) -> "NegativeLogLikelihood":
        return cls(noise=0.1)

    def __call__(self, prediction: Prediction, labels: BatchLabels, graph: Graph) -> Float[Array, ""]:
        difference, weight = residuals(prediction, labels, graph, self.quantity)  # type: ignore[arg-type]
        ratio = jnp.zeros_like(difference)
        if self.quantity == "forces" and prediction.forces_variance is not None:
            ratio = prediction.forces_variance / self.noise**2
        elif self.quantity == "energy" and prediction.energy_variance is not None:
            variance = safe_divide(jnp.asarray(prediction.energy_variance), atoms_per_structure(graph) ** 2)
            ratio = variance[:, None] / self.noise**2
        ratio = jnp.where(weight[:, None] > 0, ratio, 0.0)
        return weighted_mean(0.5 * ((difference / self.noise) ** 2 / (1.0 + ratio) + jnp.log1p(ratio)), weight)
