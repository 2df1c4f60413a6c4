"""Recorded frames of a simulation, on the host, and what may look at them while it runs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jorbit.core.errors import SimulationError
from jorbit.core.structure import Structure

HOTTEST = 100.0  # eV of kinetic energy per atom, 770 000 K: no potential was fitted to that


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
        stresses: eV/Å^3, positive under tension, momenta included; None when not measured.
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
    stresses: Float[np.ndarray, "frames 3 3"] | None = None

    def __len__(self) -> int:
        return len(self.times)

    def at(self, k: int) -> Structure:
        """Frame k as a structure."""
        return dataclasses.replace(
            self.structure,
            positions=np.asarray(self.positions[k], np.float64),
            cell=np.asarray(self.cells[k], np.float64),
        )

    def first(self, n: int) -> "Frames":
        """The first n frames."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "structure"}
        return dataclasses.replace(self, **{name: v if v is None else v[:n] for name, v in values.items()})

    def until(self, step: int, timestep: float) -> "Frames":
        """The frames up to a step from which on nothing moved, that step included."""
        kept = self.first(min(int(np.searchsorted(self.steps, step)) + 1, len(self.steps)))
        steps = np.minimum(kept.steps, step)
        return dataclasses.replace(kept, steps=steps, times=steps * timestep)

    def n_sound(self) -> int:
        """How many frames there are before the first that has blown up: not finite, or far too hot."""
        finite = np.isfinite(self.potential) & np.isfinite(self.cells).all(axis=(1, 2))
        finite &= self.kinetic < HOTTEST * self.positions.shape[1]  # False for NaN
        finite &= np.isfinite(self.positions).all(axis=(1, 2)) & np.isfinite(self.forces).all(axis=(1, 2))
        return int(np.argmin(finite)) if not finite.all() else len(self)


Observer = Callable[[Frames], str | None]
"""Looks at every finished block, after it has been written to the trajectory: returns None to go on, or the reason why
the run shall end here."""


_SERIES = ("times", "potential", "kinetic", "temperatures", "volumes", "stresses")


class Series:
    """Numbers of every record since the start, in pieces that are joined when somebody asks.

    Args:
        pieces: of earlier records.
    """

    def __init__(self, pieces: list[dict[str, np.ndarray]] | None = None):
        self.pieces = pieces or []

    def append(self, frames: Frames) -> None:
        volumes = np.abs(np.linalg.det(np.asarray(frames.cells, np.float64)))
        piece = {"times": frames.times, "potential": frames.potential, "kinetic": frames.kinetic, "volumes": volumes}
        piece |= {"temperatures": frames.temperatures}
        piece |= {} if frames.stresses is None else {"stresses": frames.stresses}
        self.pieces.append({name: np.asarray(value, np.float64) for name, value in piece.items()})

    def arrays(self) -> dict[str, np.ndarray]:
        """One array per name."""
        if len(self.pieces) > 1:
            self.pieces = [{n: np.concatenate([p[n] for p in self.pieces]) for n in _SERIES if n in self.pieces[0]}]
        return self.pieces[0] if self.pieces else {}


def frames_of(
    structure: Structure, observed: Mapping[str, Any], plan: Int[np.ndarray, " records"], done: int, timestep: float
) -> Frames:
    """The records of a block that were asked for, from step `done` on."""
    used = plan >= 0
    steps = done + np.cumsum(plan[used])
    values = {name: np.asarray(value)[used] for name, value in observed.items()}
    if "cells" not in values:
        values["cells"] = np.broadcast_to(np.asarray(structure.cell, np.float64), (len(steps), 3, 3))
    return Frames(structure=structure, steps=steps, times=steps * timestep, **values)


def blown_up(frames: Frames, n_good: int) -> SimulationError:
    """What to tell when frame `n_good` is the first that has blown up."""
    before = f" (temperature before: {frames.temperatures[n_good - 1]:.4g} K)" if n_good else ""
    return SimulationError(
        f"The system has blown up at step {frames.steps[n_good]}{before}: energies or positions are not finite, or "
        f"atoms have more than {HOTTEST:g} eV of kinetic energy each. Use a shorter timestep, "
        "relax the start first, or fit the potential to configurations like these. The trajectory holds the records "
        "before."
    )
