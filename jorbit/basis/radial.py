"""Radial functions R_n(r), zero at and beyond the cutoff with two continuous derivatives."""

import dataclasses
import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff, quadratic_cutoff
from jorbit.core.errors import ConfigError

FAMILIES = ("chebyshev", "bessel")
ENVELOPES = ("quadratic", "polynomial")


def agnesi(
    r: Float[Array, "*batch"], r0: Float[Array, "*#batch"] | float, p: int = 2, q: int = 4
) -> Float[Array, "*batch"]:
    """y(r) = 1 / (1 + a s^q / (1 + s^(q-p))) with s = r / r0: 1 at r = 0, steepest near r0, decaying as r^-p.

    It spends the resolution of a polynomial basis where bonds are. `a` is chosen so that |dy/dr| peaks at s = 1.

    Args:
        r: distances, Å.
        r0: typical bond length, Å.
        p, q: decay at long and flatness at short distance, 1 <= p < q.

    References:
        Witt et al., J. Chem. Phys. 159, 164101 (2023).
    """
    a = (-2 * q + p * (-2 + 4 * q)) / (p + p**2 + q + q**2)
    return transformed_distance(r, r0, (a, q, p))


def transformed_distance(
    r: Float[Array, "*batch"], r0: Float[Array, "*#batch"] | float, transform: tuple[float, float | int, float | int]
) -> Float[Array, "*batch"]:
    """y = 1 / (1 + a s^q / (1 + s^(q-p))) with s = r / r0 and transform = (a, q, p); see `agnesi`.

    Args:
        r: distances, Å.
        r0: typical bond length, Å.
        transform: a, q and p.
    """
    a, q, p = transform
    s = r / r0
    return 1.0 / (1.0 + a * s**q / (1.0 + s ** (q - p)))


def chebyshev(x: Float[Array, "*batch"], n: int) -> Float[Array, "*batch {n}"]:
    """Chebyshev polynomials of the first kind T_0 .. T_(n-1) of x in [-1, 1]."""
    values = [jnp.ones_like(x), x]
    for _ in range(2, n):
        values.append(2.0 * x * values[-1] - values[-2])
    return jnp.stack(values[:n], axis=-1)


def bessel(r: Float[Array, "*batch"], cutoff: float, n: int) -> Float[Array, "*batch {n}"]:
    """sqrt(2 / cutoff) sin(k pi r / cutoff) / r for k = 1 .. n, finite at r = 0.

    References:
        Gasteiger, Groß and Günnemann, ICLR 2020 (arXiv:2003.03123) (radial basis).
    """
    k = (jnp.arange(1, n + 1, dtype=r.dtype) / cutoff).reshape(*(1,) * r.ndim, n)
    return math.sqrt(2.0 / cutoff) * math.pi * k * jnp.sinc(r[..., None] * k)


def gaussians(r: Float[Array, "*batch"], cutoff: float, n: int) -> Float[Array, "*batch {n}"]:
    """exp(-((r - r_k) / w)^2 / 2) with r_k spread evenly from 0 to the cutoff, and w their distance.

    References:
        Schütt et al., J. Chem. Phys. 148, 241722 (2018).
    """
    width = cutoff / max(n - 1, 1)
    centers = jnp.asarray(np.linspace(0.0, cutoff, n), r.dtype).reshape(*(1,) * r.ndim, n)
    return jnp.exp(-0.5 * ((r[..., None] - centers) / width) ** 2)


@dataclasses.dataclass(frozen=True)
class RadialBasis:
    """R_n(r) = envelope(r) g_n(r), n = 0 .. n_radial - 1, per species pair.

    Attributes:
        n_radial: number of functions.
        cutoff: Å.
        family: "chebyshev" (T_n of the Agnesi-transformed distance, mapped to [-1, 1]) or "bessel".
        envelope: "quadratic", (1 - (r / cutoff)^2)^3, or "polynomial" of power 6.
        bond_lengths: r0 of the transform in Å for each pair of species (a symmetric matrix as nested tuples), or one
            number for all pairs.

    Example:
        >>> abs(RadialBasis(n_radial=6, cutoff=5.0)(jnp.array([1.0, 5.0]))[1]).tolist()
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    """

    n_radial: int
    cutoff: float
    family: str = "chebyshev"
    envelope: str = "quadratic"
    bond_lengths: float | tuple[tuple[float, ...], ...] = 1.5

    def __post_init__(self) -> None:
        if self.family not in FAMILIES or self.envelope not in ENVELOPES:
            raise ConfigError(
                f"Wanted a radial family in {FAMILIES} and an envelope in {ENVELOPES}, "
                f"got {self.family!r} and {self.envelope!r}."
            )
        if self.n_radial < 1 or self.cutoff <= 0:
            raise ConfigError(f"Wanted n_radial >= 1 and a positive cutoff, got {self.n_radial} and {self.cutoff}.")
        if not np.all(np.asarray(self.bond_lengths) > 0):
            raise ConfigError(f"Wanted bond lengths above 0 Å, got {self.bond_lengths}.")

    def __call__(
        self, r: Float[Array, "*batch"], r0: Float[Array, "*#batch"] | float | None = None
    ) -> Float[Array, "*batch n_radial"]:
        """Radial functions at distances r (Å); `r0` overrides the bond length of the transform per element of r."""
        if r0 is None:
            r0 = self.bond_lengths if isinstance(self.bond_lengths, int | float) else self.bond_lengths[0][0]
        if self.family == "bessel":
            values = bessel(r, self.cutoff, self.n_radial)
        else:
            y, at_cutoff = agnesi(r, r0), agnesi(jnp.full_like(r, self.cutoff), r0)
            x = 2.0 * (y - at_cutoff) / (1.0 - at_cutoff) - 1.0
            values = chebyshev(jnp.clip(x, -1.0, 1.0), self.n_radial)
        cut = quadratic_cutoff if self.envelope == "quadratic" else polynomial_cutoff
        return cut(r, self.cutoff)[..., None] * values

    def pair_bond_lengths(self, n_species: int) -> np.ndarray:
        """[species, species] matrix of r0, Å.

        Raises:
            ConfigError: the matrix given does not fit the number of species.
        """
        table = np.asarray(self.bond_lengths, dtype=np.float64)
        table = np.full((n_species, n_species), float(table)) if table.ndim == 0 else table
        if table.shape != (n_species, n_species):
            raise ConfigError(
                f"bond_lengths must be one number or a {n_species} x {n_species} matrix, got shape {table.shape}."
            )
        return table
