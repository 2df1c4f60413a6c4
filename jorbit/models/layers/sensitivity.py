"""Radial functions of HIP-NN: Gaussians in 1 / r with centres and widths that are learned."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.models.layers.envelopes import check_envelope, envelope

CLOSEST = 1e-3  # Å; nearer than this all functions are 0 to any precision, and 1 / r stays finite


@dataclasses.dataclass(frozen=True)
class Sensitivities:
    """s_n(r) = exp(-(1 / r - 1 / center_n)^2 width_n^2 / 2) envelope(r).

    At first 1 / center_n is spread evenly from 1 / soft_max to 1 / soft_min, and width_n = 2 n soft_min.

    Attributes:
        n: number of functions.
        cutoff: where the envelope ends, Å.
        soft_min, soft_max: the closest and the farthest centre at first, Å.
        envelope: "quadratic", (1 - (r / cutoff)^2)^3 with two continuous derivatives at the cutoff, or "cosine",
            cos^2(pi r / (2 cutoff)) as in the paper, whose second derivative jumps there.

    Example:
        >>> s = Sensitivities(n=4, cutoff=5.0, soft_min=1.0, soft_max=4.0)
        >>> s(jnp.array([1.0, 5.0]), *map(jnp.asarray, s.initial())).shape
        (2, 4)

    References:
        Lubbers, Smith and Barros, J. Chem. Phys. 148, 241715 (2018).
    """

    n: int
    cutoff: float
    soft_min: float
    soft_max: float
    envelope: str = "quadratic"

    def __post_init__(self) -> None:
        check_envelope(self.envelope)
        if self.n < 1 or not 0 < self.soft_min < self.soft_max <= self.cutoff:
            raise ConfigError(
                "Wanted at least one sensitivity and 0 < soft_min < soft_max <= cutoff, got "
                f"n={self.n}, soft_min={self.soft_min}, soft_max={self.soft_max}, cutoff={self.cutoff} Å."
            )

    def initial(self) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Centres, Å, and widths, Å, before training."""
        centers = 1.0 / np.linspace(1.0 / self.soft_max, 1.0 / self.soft_min, self.n)
        return centers, np.full(self.n, 2.0 * self.n * self.soft_min)

    def __call__(
        self, r: Float[Array, "*batch"], centers: Float[Array, " n"], widths: Float[Array, " n"]
    ) -> Float[Array, "*batch n"]:
        """Values at distances r, Å; zero from the cutoff on."""
        last = (1,) * r.ndim + (self.n,)
        inverse = 1.0 / jnp.maximum(r, CLOSEST)
        nearness = (inverse[..., None] - (1.0 / centers).reshape(last)) * widths.reshape(last)
        gaussians = jnp.exp(-0.5 * nearness**2)
        return gaussians * envelope(self.envelope, r, self.cutoff)[..., None]
