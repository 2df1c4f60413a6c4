"""Factors that end a radial function at the cutoff, chosen by name."""

import dataclasses

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import cosine_cutoff, quadratic_cutoff
from jorbit.core.errors import ConfigError

ENVELOPES = ("quadratic", "cubic", "shifted_cosine", "step")


@dataclasses.dataclass(frozen=True)
class Envelope:
    """w(r), from 1 at the centre to exactly 0 at the cutoff and beyond.

    * "quadratic": (1 - x^2)^3 with x = r / cutoff; two continuous derivatives;
    * "cubic": 1 - 3 x^2 + 2 x^3; one;
    * "shifted_cosine": 1 up to cutoff - width, then half a cosine; one;
    * "step": 1 inside, for functions that are smooth at the cutoff themselves.

    Attributes:
        kind: one of the four.
        cutoff: Å.
        width: of the step of "shifted_cosine", Å; the others do not read it.

    Example:
        >>> Envelope("cubic", 4.0)(jnp.array([0.0, 2.0, 4.0])).tolist()
        [1.0, 0.5, 0.0]

    References:
        Caro, Phys. Rev. B 100, 024112 (2019) ("cubic", with exponent 1).
    """

    kind: str
    cutoff: float
    width: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ENVELOPES:
            raise ConfigError(f"Wanted an envelope in {ENVELOPES}, got {self.kind!r}.")
        if self.cutoff <= 0 or (self.kind == "shifted_cosine" and not 0 < self.width <= self.cutoff):
            raise ConfigError(
                f"Wanted a positive cutoff and a width between 0 and the cutoff, got {self.cutoff} and {self.width} Å."
            )

    def __call__(self, r: Float[Array, "*batch"]) -> Float[Array, "*batch"]:
        """w at distances r, Å."""
        if self.kind == "quadratic":
            return quadratic_cutoff(r, self.cutoff)
        if self.kind == "cubic":
            x = jnp.minimum(r / self.cutoff, 1.0)
            return 1.0 - x**2 * (3.0 - 2.0 * x)
        if self.kind == "step":
            return jnp.where(r < self.cutoff, jnp.ones_like(r), 0.0)
        return cosine_cutoff(jnp.maximum(r - (self.cutoff - self.width), 0.0), self.width)
