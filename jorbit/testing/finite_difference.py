"""Derivatives from values alone: the oracle of every analytic derivative."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

from jorbit.core.structure import Structure
from jorbit.testing.transformations import moved, strained


def finite_difference(function: Callable[[float], Any], step: float = 1e-3) -> np.ndarray:
    """df/dx at x = 0 of a function of one number, from four values.

    (8 (f(h) - f(-h)) - (f(2h) - f(-2h))) / (12 h), with an error of order h^4: in float64 with h = 1e-3 both the
    truncation and the rounding of an interatomic energy stay near 1e-10 relative.

    Example:
        >>> abs(finite_difference(lambda x: np.sin(2.0 + x)) - np.cos(2.0)) < 1e-12
        np.True_
    """
    near = np.asarray(function(step), np.float64) - np.asarray(function(-step), np.float64)
    far = np.asarray(function(2 * step), np.float64) - np.asarray(function(-2 * step), np.float64)
    return np.asarray((8.0 * near - far) / (12.0 * step))


def finite_difference_forces(
    energy: Callable[[Structure], Any], structure: Structure, step: float = 1e-3
) -> Float[np.ndarray, "atoms 3"]:
    """-dE/dr of every coordinate, eV/Å."""
    forces = np.zeros((structure.n_atoms, 3))
    for i, x in np.ndindex(*forces.shape):
        unit = np.zeros_like(forces)
        unit[i, x] = 1.0
        forces[i, x] = -finite_difference(lambda h, unit=unit: energy(moved(structure, h * unit)), step)
    return forces


def finite_difference_virial(
    energy: Callable[[Structure], Any], structure: Structure, step: float = 1e-4
) -> Float[np.ndarray, "3 3"]:
    """dE/dε of every component of the strain, eV. Divided by the volume it is the stress."""
    virial = np.zeros((3, 3))
    for a, b in np.ndindex(3, 3):
        unit = np.zeros((3, 3))
        unit[a, b] = 1.0
        virial[a, b] = finite_difference(lambda h, unit=unit: energy(strained(structure, h * unit)), step)
    return virial
