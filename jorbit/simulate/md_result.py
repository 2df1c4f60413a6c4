"""What a run of molecular dynamics leaves behind."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from jorbit.core.errors import DataError
from jorbit.core.structure import Structure
from jorbit.simulate.observables import energy_drift
from jorbit.simulate.orbit_watch import OrbitEvent
from jorbit.simulate.watch_report import WatchReport


@dataclasses.dataclass(frozen=True, eq=False)
class SimulationResult:
    """What a run leaves behind. One record per `record_every` steps, the start included.

    Attributes:
        times: fs.
        potential_energies, kinetic_energies: eV.
        temperatures: K; NaN for dynamics without momenta.
        volumes: Å^3; 0 without a full cell.
        stresses: eV/Å^3, positive under tension, momenta included; None when not measured.
        measurements: results by name, such as "rdf".
        structure: the last configuration; atoms are not wrapped into the cell.
        velocities: of the last configuration, Å/fs.
        drift, drift_error: slope of the total energy and its standard error, meV/atom/ps.
        n_steps: steps made.
        n_compilations: how often the block of steps was compiled.
        n_reallocations: how often a block was thrown away because a neighbour list had become too small.
        stopped: why an observer ended the run before `n_steps`; "" when none did.
        orbit_events: what the labels of the atoms do not allow and happened all the same; () without orbits.
        watched: what `watch` saw; None without it.
        seconds: wall clock, compilation and the parts before a resume included.
    """

    times: Float[np.ndarray, " records"]
    potential_energies: Float[np.ndarray, " records"]
    kinetic_energies: Float[np.ndarray, " records"]
    temperatures: Float[np.ndarray, " records"]
    volumes: Float[np.ndarray, " records"]
    stresses: Float[np.ndarray, "records 3 3"] | None
    measurements: dict[str, Any]
    structure: Structure
    velocities: Float[np.ndarray, "atoms 3"]
    drift: float
    drift_error: float
    n_steps: int
    n_compilations: int
    n_reallocations: int
    stopped: str
    orbit_events: tuple[OrbitEvent, ...]
    watched: WatchReport | None
    seconds: float

    @property
    def total_energies(self) -> Float[np.ndarray, " records"]:
        """Potential + kinetic energy, eV."""
        return self.potential_energies + self.kinetic_energies

    @property
    def pressures(self) -> Float[np.ndarray, " records"]:
        """Minus a third of the trace of the stress, eV/Å^3; NaN when stress was not measured."""
        if self.stresses is None:
            return np.full(len(self.times), np.nan)
        return -np.trace(self.stresses, axis1=1, axis2=2) / 3

    def arrays(self) -> dict[str, np.ndarray]:
        """Every number by name: records, and measurements as "rdf/r", "rdf/g/all", "msd/times", "msd/values/Si" ..."""
        names = ("times", "potential_energies", "kinetic_energies", "temperatures", "volumes")
        found: dict[str, np.ndarray] = {name: getattr(self, name) for name in names}
        if self.stresses is not None:
            found |= {"stresses": self.stresses, "pressures": self.pressures}
        for name, measured in self.measurements.items():
            for field in dataclasses.fields(measured):
                value = getattr(measured, field.name)
                if isinstance(value, dict):
                    found |= {f"{name}/{field.name}/{key}": np.asarray(v) for key, v in value.items()}
                else:
                    found[f"{name}/{field.name}"] = np.asarray(value)
        return found

    def save(self, path: str | Path) -> None:
        """Write `arrays()` to an .npz file.

        Raises:
            DataError: it cannot be written.
        """
        try:
            np.savez(path, **self.arrays())  # pyright: ignore[reportArgumentType]
        except OSError as error:
            raise DataError(f"The results {path} cannot be written: {error.strerror}.") from error

    @classmethod
    def of(cls, series: Mapping[str, np.ndarray], structure: Structure, **others: Any) -> "SimulationResult":
        """From the numbers of all records, and the rest."""
        total = series["potential"] + series["kinetic"]
        drift, drift_error = energy_drift(series["times"], total, structure.n_atoms)
        return cls(
            times=series["times"],
            potential_energies=series["potential"],
            kinetic_energies=series["kinetic"],
            temperatures=series["temperatures"],
            volumes=series["volumes"],
            stresses=series.get("stresses"),
            structure=structure,
            drift=drift,
            drift_error=drift_error,
            **others,
        )
