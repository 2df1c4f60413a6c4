"""Recorded frames of a simulation, on the host, and what may look at them while it runs."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from jorbit.core.structure import Structure


@dataclasses.dataclass(frozen=True, eq=False)
class Frames:
    """The records of one block of steps.

    Attributes:
        structure: elements, periodicity, charge and orbits of every frame.
        steps: number of the step.
        times: fs.
        positions: Å; not wrapped into the cell.
        momenta: sqrt(amu eV), ASE's unit; zeros for dynamics without momenta.
        forces: eV/Å.
        cells: lattice vectors as rows, Å; zeros without a cell.
        potential, kinetic: eV.
        temperatures: K; NaN for dynamics without momenta.
    """

    structure: Structure
    steps: Int[np.ndarray, " frames"]
    times: Float[np.ndarray, " frames"]
    positions: Float[np.ndarray, "frames atoms 3"]
    momenta: Float[np.ndarray, "frames atoms 3"]
    forces: Float[np.ndarray, "frames atoms 3"]
    cells: Float[np.ndarray, "frames 3 3"]
    potential: Float[np.ndarray, " frames"]
    kinetic: Float[np.ndarray, " frames"]
    temperatures: Float[np.ndarray, " frames"]

    def __len__(self) -> int:
        return len(self.times)

    def at(self, k: int) -> Structure:
        """Frame k as a structure."""
        return dataclasses.replace(
            self.structure,
            positions=np.asarray(self.positions[k], np.float64),
            cell=np.asarray(self.cells[k], np.float64),
        )


Observer = Callable[[Frames], str | None]
"""Looks at every finished block, after it has been written to the trajectory: returns None to go on, or the reason why
the run shall end here."""
