"""What ends the messages of the networks at the cutoff, by name."""

from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import cosine_cutoff, polynomial_cutoff, quadratic_cutoff
from jorbit.core.errors import ConfigError

ENVELOPES = {"quadratic": quadratic_cutoff, "cosine": cosine_cutoff, "polynomial": polynomial_cutoff}


def check_envelope(name: str) -> None:
    """Refuse an unknown name.

    Raises:
        ConfigError: says which there are.
    """
    if name not in ENVELOPES:
        raise ConfigError(f"Wanted an envelope in {sorted(ENVELOPES)}, got {name!r}.")


def envelope(name: str, r: Float[Array, "*batch"], cutoff: float) -> Float[Array, "*batch"]:
    """By name: "quadratic", (1 - (r / cutoff)^2)^3, and "polynomial" (near 1 for longer), two continuous derivatives;
    "cosine", (1 + cos(pi r / cutoff)) / 2, one.
    """
    return ENVELOPES[name](r, cutoff)
