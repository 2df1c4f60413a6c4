"""Boxes of jax-md, and what a displacement function tells about periodicity."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError, StructureError

Box = Any  # a scalar, a vector of edges, or a matrix with lattice vectors as columns


def rows_from_box(box: Box, dtype: jax.typing.DTypeLike | None = None) -> Float[Array, "3 3"]:
    """Lattice vectors as rows, from jax-md's box: a scalar, a vector of edges, or a matrix of columns (Å)."""
    box = jnp.asarray(box, dtype)
    if box.size == 1:
        return jnp.eye(3, dtype=box.dtype) * box.reshape(())
    if box.shape == (3,):
        return jnp.diag(box)
    if box.shape == (3, 3):
        return box.T
    raise StructureError(
        "Wanted a box that is a scalar, a vector [3] or a matrix [3, 3] with lattice vectors as columns, got an array "
        f"{box.shape}."
    )


def inspect_displacement(
    displacement_fn: Callable, box: Box, fractional: bool | None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Cell rows, periodic directions, and whether positions are fractional, by asking `displacement_fn`."""
    with_box = box is not None
    cell = np.asarray(rows_from_box(box), dtype=np.float64) if with_box else np.eye(3)
    if not np.isfinite(cell).all() or abs(np.linalg.det(cell)) < 1e-6:
        raise StructureError(f"The box {np.asarray(box).tolist()} has no volume: wanted lengths in Å, all above 0.")

    def displacement(a: np.ndarray) -> np.ndarray:
        return np.asarray(displacement_fn(jnp.asarray(a), jnp.zeros(3)), dtype=np.float64)

    inner = np.array([0.11, 0.07, 0.05])
    tolerance = 1e-3 * np.linalg.norm(cell, axis=1).min()
    is_fractional = bool(np.abs(displacement(inner) - inner @ cell).max() < tolerance)
    is_cartesian = bool(np.abs(displacement(inner @ cell) - inner @ cell).max() < tolerance)
    if fractional is None:
        fractional = is_fractional and not is_cartesian
    if not (is_fractional if fractional else is_cartesian):
        kind = "fractional" if fractional else "Cartesian"
        raise ConfigError(
            f"displacement_fn does not measure {kind} positions in the box {np.round(cell.T, 6).tolist()}. Pass the "
            "box (columns, Å) and the fractional_coordinates that displacement_fn was made with."
        )
    pbc = np.zeros(3, dtype=bool)
    for k in range(3):
        step = np.eye(3)[k] if fractional else cell[k]
        found = displacement(step)
        pbc[k] = np.abs(found).max() < tolerance
        if not pbc[k] and np.abs(found - cell[k]).max() > tolerance:
            raise ConfigError(
                f"displacement_fn repeats, but not with the lattice vector {cell[k].round(6).tolist()} Å of the box. "
                "Pass the box that displacement_fn was made with."
            )
    if pbc.any() and not with_box:
        raise ConfigError("displacement_fn is periodic, but no box was given: pass the box it was made with.")
    return (cell if pbc.any() else np.zeros((3, 3))), pbc, fractional
