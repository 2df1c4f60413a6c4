"""What is read off a trajectory: kinetic energy, temperature, and how well the energy is conserved."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.units import BOLTZMANN


def kinetic_energy(momenta: Float[Array, "atoms 3"], masses: Float[Array, "atoms 1"]) -> Float[Array, ""]:
    """Sum of p^2 / 2m, eV. Momenta in sqrt(amu eV), masses in amu."""
    return 0.5 * jnp.sum(momenta * momenta / masses)


def temperature(momenta: Float[Array, "atoms 3"], masses: Float[Array, "atoms 1"]) -> Float[Array, ""]:
    """Temperature in K of the motion relative to the centre of mass, which leaves 3 N - 3 degrees of freedom.

    A single atom keeps its 3.
    """
    n_atoms = len(momenta)
    if n_atoms > 1:
        momenta = momenta - masses * (jnp.sum(momenta, axis=0) / jnp.sum(masses))
    return 2.0 * kinetic_energy(momenta, masses) / (BOLTZMANN * (3 * n_atoms - 3 if n_atoms > 1 else 3))


def energy_drift(
    times: Float[np.ndarray, " records"], energies: Float[np.ndarray, " records"], n_atoms: int
) -> tuple[float, float]:
    """Slope of the straight line through the total energies, and the slope's standard error, in meV/atom/ps.

    The error is that of ordinary least squares; energies close in time are correlated, so it is a lower bound.

    Args:
        times: fs.
        energies: total energies, eV.
        n_atoms: to divide by.

    Returns:
        (slope, standard error); NaN where there are too few records for one.

    Example:
        >>> energy_drift(np.array([0.0, 1000.0, 2000.0]), np.array([0.0, 0.002, 0.004]), 2)[0]
        1.0
    """
    if len(times) < 2 or np.ptp(times) == 0:
        return float("nan"), float("nan")
    x, y = times / 1000.0, 1000.0 * (energies - energies.mean()) / n_atoms
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    residual = y - slope * x
    error = np.sqrt(residual @ residual / (len(x) - 2) / (x @ x)) if len(x) > 2 else np.nan
    return slope, float(error)
