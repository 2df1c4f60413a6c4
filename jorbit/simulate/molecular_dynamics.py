"""run(): molecular dynamics with jax-md's integrators, compiled in blocks, watched for overflow and NaN."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from jorbit.core.compilation import compilations, counted_jit
from jorbit.core.errors import ConfigError, SimulationError, StructureError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN, FS
from jorbit.orbits import OrbitResult
from jorbit.potential.orbit_reference import FoundOrbits, as_reference
from jorbit.potential.potential import Potential
from jorbit.simulate import observables
from jorbit.simulate.blocks import make_block, more_room, record_plan
from jorbit.simulate.frames import Frames, Observer
from jorbit.simulate.integrators import Surroundings, make_integrator, thermal_momenta
from jorbit.simulate.jax_md import NeighborList, functions_for
from jorbit.simulate.orbit_watch import OrbitEvent, OrbitWatch
from jorbit.simulate.precision import float_precision
from jorbit.simulate.trajectory import TrajectoryWriter

_SERIES = ("times", "potential", "kinetic", "temperatures")


@dataclasses.dataclass(frozen=True, eq=False)
class SimulationResult:
    """What a run leaves behind. One record per `record_every` steps, the start included.

    Attributes:
        times: fs.
        potential_energies, kinetic_energies: eV.
        temperatures: K.
        structure: the last configuration; atoms are not wrapped into the cell.
        velocities: of the last configuration, Å/fs.
        drift, drift_error: slope of the total energy and its standard error, meV/atom/ps.
        n_steps: steps made.
        n_compilations: how often the block of steps was compiled.
        n_reallocations: how often a block was thrown away because a neighbour list had become too small.
        stopped: why an observer ended the run before `n_steps`; "" when none did.
        orbit_events: what the labels of the atoms do not allow and happened all the same; () without orbits.
        seconds: wall clock, compilation included.
    """

    times: Float[np.ndarray, " records"]
    potential_energies: Float[np.ndarray, " records"]
    kinetic_energies: Float[np.ndarray, " records"]
    temperatures: Float[np.ndarray, " records"]
    structure: Structure
    velocities: Float[np.ndarray, "atoms 3"]
    drift: float
    drift_error: float
    n_steps: int
    n_compilations: int
    n_reallocations: int
    stopped: str
    orbit_events: tuple[OrbitEvent, ...]
    seconds: float

    @property
    def total_energies(self) -> Float[np.ndarray, " records"]:
        """Potential + kinetic energy, eV."""
        return self.potential_energies + self.kinetic_energies


def run(
    potential: Potential,
    params: Params,
    structure: Structure,
    *,
    integrator: str | Callable = "nve",
    n_steps: int = 1000,
    timestep: float = 0.5,
    temperature: float = 300.0,
    friction: float = 0.01,
    damping_time: float = 100.0,
    record_every: int = 10,
    block_size: int = 100,
    trajectory: str | Path | None = None,
    velocities: Any = None,
    masses: Any = None,
    seed: int = 0,
    skin: float = 0.5,
    capacity_multiplier: float = 1.25,
    dtype: str = "float64",
    orbits: FoundOrbits | OrbitResult | None = None,
    observers: Sequence[Observer] = (),
    progress: bool = True,
) -> SimulationResult:
    """Molecular dynamics of one structure.

    Blocks of steps are compiled and run on the device. A block in which a neighbour list overflowed is thrown away and
    done again with more room. Ctrl-C leaves a trajectory that holds every block finished until then.

    Args:
        potential: sum of terms.
        params: its parameters.
        structure: start.
        integrator: one of `jorbit.simulate.integrators.INTEGRATORS`, or a function of jax-md's kind:
            `integrator(energy_fn, shift_fn, dt)` or `integrator(energy_fn, shift_fn, dt, kT)` -> (init_fn, apply_fn).
        n_steps: how many.
        timestep: fs.
        temperature: of the thermostat, and of the random velocities at the start, K.
        friction: of Langevin dynamics, 1/fs.
        damping_time: period of the Nosé-Hoover chain, fs.
        record_every: steps between two records (and frames of the trajectory).
        block_size: steps per compiled block, rounded to a multiple of `record_every`.
        trajectory: extxyz file for positions, momenta, forces, energies and times.
        velocities: [atoms, 3] at the start, Å/fs; random of `temperature` when not given.
        masses: [atoms], amu; those of the elements when not given.
        seed: of the random velocities and of Langevin noise.
        skin: of the neighbour list, Å.
        capacity_multiplier: how much larger arrays are than the start needs.
        dtype: "float64" or "float32". Energies drift in float32.
        orbits: what `jorbit.find_orbits` returned; recorded frames are watched for bonds that break or form. The
            orbits of the potential are watched anyway.
        observers: functions called with the `Frames` of each finished block; one that returns a reason ends the run.
        progress: show a progress bar.

    Returns:
        Energies, temperatures, drift, and the last configuration.

    Raises:
        SimulationError: energies or positions are no longer finite, or no neighbour list holds the atoms any more.
        StructureError, UnknownSpeciesError: a start that makes no sense or is not known to the potential.
        ConfigError: an unknown integrator, or numbers of steps that are not positive.
        DataError: the trajectory cannot be written.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> pair = Structure(positions=np.array([[0.0, 0, 0], [3.9, 0, 0]]), numbers=np.array([18, 18]))
        >>> run(argon, {"lennard_jones": {}}, pair, n_steps=20, temperature=10.0, progress=False).n_steps
        20
    """
    started = time.perf_counter()
    if n_steps < 1 or record_every < 1 or block_size < 1 or not timestep > 0 or not temperature >= 0:
        raise ConfigError(
            "Wanted n_steps, record_every, block_size >= 1, timestep > 0 fs and temperature >= 0 K, got "
            f"{n_steps}, {record_every}, {block_size}, {timestep} and {temperature}."
        )
    structure = potential.labelled([structure.check()])[0]
    watch = _watch(potential, structure, orbits)
    if velocities is not None and np.shape(velocities) != (structure.n_atoms, 3):
        raise StructureError(f"Wanted velocities [{structure.n_atoms}, 3] in Å/fs, got {np.shape(velocities)}.")
    with float_precision(dtype), TrajectoryWriter(trajectory, structure) as writer:
        neighbor_fn, energy_fn = functions_for(
            potential, params, structure, skin=skin, capacity_multiplier=capacity_multiplier
        )
        masses = ase.data.atomic_masses[structure.numbers] if masses is None else np.asarray(masses, np.float64)
        mass = jnp.asarray(masses, dtype)[:, None]

        def fresh_energy(position: Array, neighbor: NeighborList, **kwargs: Any) -> Array:
            # Integrators move atoms before they ask for forces: look at the list again, so that none is missed.
            return energy_fn(position, neighbor=neighbor.update(position), **kwargs)

        kT = BOLTZMANN * temperature
        make = make_integrator(integrator, Surroundings(kT=kT, friction=friction, damping_time=damping_time))
        init_fn, apply_fn = make(fresh_energy, lambda r, dr, **_: r + dr, timestep * FS)
        block = counted_jit(make_block(apply_fn, energy_fn, mass), "simulate_block")
        compiled_before = compilations().get("simulate_block", 0)

        position = jnp.asarray(structure.positions, dtype)
        neighbors = neighbor_fn.allocate(position)
        key = jax.random.key(seed)
        if velocities is None:
            momenta = thermal_momenta(jax.random.fold_in(key, 1), mass, kT)
        else:
            momenta = jnp.asarray(np.asarray(velocities) * masses[:, None] / FS, dtype)
        state = init_fn(key, position, mass=mass, kT=kT, neighbor=neighbors, momenta=momenta)

        done, n_reallocations, attempts = 0, 0, 0
        records: list[dict[str, np.ndarray]] = []
        plan = record_plan(n_steps, record_every, block_size)
        stopped = ""
        with _progress_bar(progress) as bar:
            task = bar.add_task("MD", total=n_steps)
            k = 0
            while k < len(plan) and not stopped:
                new_state, new_neighbors, observed = block(state, neighbors, jnp.asarray(plan[k]))
                observed, overflow = jax.device_get((observed, new_neighbors.did_buffer_overflow))
                if overflow:
                    attempts, n_reallocations = attempts + 1, n_reallocations + 1
                    neighbor_fn = dataclasses.replace(neighbor_fn, headroom=neighbor_fn.headroom * 1.3)
                    neighbors = more_room(neighbor_fn, state.position, attempts, done)
                    continue
                frames = _frames(structure, observed, plan[k], done, timestep)
                _require_finite(frames)
                writer.append(frames)
                if watch is not None:
                    watch.look(np.asarray(frames.times, np.float64), frames.positions)
                records.append({name: getattr(frames, name) for name in _SERIES})
                stopped = next((reason for reason in [look(frames) for look in observers] if reason), "")
                state, neighbors = new_state, new_neighbors
                done, attempts, k = int(frames.steps[-1]), 0, k + 1
                bar.update(task, completed=done)
        series = {n: np.concatenate([r[n] for r in records]).astype(np.float64) for n in _SERIES}
        last, momentum = np.asarray(state.position, np.float64), np.asarray(state.momentum, np.float64)
    slope, error = observables.energy_drift(series["times"], series["potential"] + series["kinetic"], structure.n_atoms)
    return SimulationResult(
        times=series["times"],
        potential_energies=series["potential"],
        kinetic_energies=series["kinetic"],
        temperatures=series["temperatures"],
        structure=dataclasses.replace(structure, positions=last),
        velocities=momentum / masses[:, None] * FS,
        drift=slope,
        drift_error=error,
        n_steps=done,
        n_compilations=compilations().get("simulate_block", 0) - compiled_before,
        n_reallocations=n_reallocations,
        stopped=stopped,
        orbit_events=() if watch is None else tuple(watch.events),
        seconds=time.perf_counter() - started,
    )


def _watch(potential: Potential, structure: Structure, orbits: FoundOrbits | OrbitResult | None) -> OrbitWatch | None:
    """Over the orbits given, or those of the potential."""
    if orbits is not None:
        return OrbitWatch(as_reference(orbits), dataclasses.replace(structure, orbits=None))
    own = potential.orbits
    return OrbitWatch(own, structure) if isinstance(own, FoundOrbits) else None


def _frames(
    structure: Structure, observed: dict[str, np.ndarray], plan: np.ndarray, done: int, timestep: float
) -> Frames:
    used = plan >= 0
    steps = done + np.cumsum(plan[used])
    observed = {name: np.asarray(values)[used] for name, values in observed.items()}
    cells = np.broadcast_to(np.asarray(structure.cell, np.float64), (len(steps), 3, 3))
    return Frames(structure=structure, steps=steps, times=steps * timestep, cells=cells, **observed)


def _require_finite(frames: Frames) -> None:
    finite = np.isfinite(frames.potential) & np.isfinite(frames.kinetic)
    finite &= np.isfinite(frames.positions).all(axis=(1, 2)) & np.isfinite(frames.forces).all(axis=(1, 2))
    if finite.all():
        return
    good = frames.temperatures[finite]
    raise SimulationError(
        f"Energies or positions are no longer finite at step {frames.steps[~finite][0]}"
        + (f" (temperature before: {good[-1]:.4g} K)" if len(good) else "")
        + ". Use a shorter timestep, relax the start first, or fit the potential to configurations like these. The "
        "trajectory holds the blocks before."
    )


def _progress_bar(show: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("steps"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        disable=not show,
    )
