"""Who is interchangeable with whom: orbits of atoms, found in a trajectory."""

from jorbit.orbits.find import find_orbits
from jorbit.orbits.options import OrbitOptions
from jorbit.orbits.result import OrbitResult

__all__ = ["OrbitOptions", "OrbitResult", "find_orbits"]
