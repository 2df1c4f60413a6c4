"""Labels for atoms that are known by their place: in a crystal, a slab or a sheet."""

import numpy as np
from jaxtyping import Int

from jorbit.core.errors import StructureError
from jorbit.orbits.frames import Trajectory
from jorbit.orbits.result import OrbitResult


def assign_sites(
    result: OrbitResult, in_place: Int[np.ndarray, " members"], found: Trajectory, atoms: Int[np.ndarray, " rest"]
) -> Int[np.ndarray, " rest"]:
    """Labels of `atoms` of a structure from the sites of the reference.

    Raises:
        StructureError: no way to lay the structure on the reference.
    """
    if np.array_equal(found.numbers[atoms], result.numbers[in_place]):
        return result.labels[in_place]
    raise StructureError("not yet")
