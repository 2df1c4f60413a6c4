"""run(): molecular dynamics compiled in blocks; watched for overflow and NaN, measured, and taken up again."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ase.data
import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.compilation import compilations, counted_jit
from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN, FS
from jorbit.orbits import OrbitResult
from jorbit.potential.orbit_reference import FoundOrbits, as_reference
from jorbit.potential.potential import Potential
from jorbit.simulate.blocks import Progress, configuration, make_block, more_room, on_the_beat, record_plan
from jorbit.simulate.frames import Observer, Series, blown_up, frames_of
from jorbit.simulate.integrators import Integrator, Surroundings, make_integrator, thermal_momenta
from jorbit.simulate.jax_md import functions_for
from jorbit.simulate.live import LiveReport, interruptions
from jorbit.simulate.md_checkpoint import identity_of, load_dynamics, save_dynamics
from jorbit.simulate.md_result import SimulationResult
from jorbit.simulate.measurements import Measurement, chosen_measurements
from jorbit.simulate.orbit_watch import OrbitEvent, OrbitWatch
from jorbit.simulate.precision import ForcesInFloat32, float_precision, state_type
from jorbit.simulate.trajectory import writer_for
from jorbit.simulate.watch_report import Watchman
from jorbit.simulate.watchman import Watch, graph_of, watched


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
    pressure: float = 0.0,
    barostat_time: float = 1000.0,
    cell: str = "full",
    record_every: int = 10,
    block_size: int = 100,
    measure: Sequence[str | Measurement] = (),
    trajectory: str | Path | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: float = 60.0,
    resume: bool = False,
    velocities: Any = None,
    masses: Any = None,
    seed: int = 0,
    skin: float = 0.5,
    capacity_multiplier: float = 1.25,
    dtype: str = "float64",
    orbits: FoundOrbits | OrbitResult | None = None,
    observers: Sequence[Observer] = (),
    watch: Watch | None = None,
    progress: bool = True,
) -> SimulationResult:
    """Molecular dynamics of one structure.

    Blocks of steps are compiled and run on the device. A block in which a neighbour list overflowed is thrown away and
    done again with more room. Ctrl-C leaves a trajectory that holds every block finished until then, and a checkpoint.
    A run that was killed and is taken up again (`resume`) ends in the same bits as one that was not.

    Args:
        potential: sum of terms.
        params: its parameters.
        structure: start.
        integrator: one of `jorbit.simulate.integrators.INTEGRATORS`, or a function of jax-md's kind:
            `integrator(energy_fn, shift_fn, dt)` or `integrator(energy_fn, shift_fn, dt, kT)` -> (init_fn, apply_fn);
            when its init_fn takes a `box`, positions are fractional.
        n_steps: how many, those before a checkpoint included.
        timestep: fs.
        temperature: of the thermostat, and of the random velocities at the start, K.
        friction: of Langevin and Brownian dynamics, 1/fs.
        damping_time: period of a Nosé-Hoover chain, time constant of velocity rescaling, fs.
        pressure: for npt_langevin and npt_nose_hoover, eV/Å^3 (1 GPa is `jorbit.core.units.GPA`); positive when the
            surroundings press.
        barostat_time: period of the cell, fs.
        cell: what npt_langevin may change: "isotropic", "orthorhombic" (three lengths) or "full" (angles too).
        record_every: steps between two records (and frames of the trajectory).
        block_size: steps per compiled block, rounded to a multiple of `record_every`.
        measure: "stress" (or "pressure"), "rdf", "msd", "vacf", or objects of `jorbit.simulate.measurements`, on the
            device every `record_every` steps. Stress is always measured under constant pressure.
        trajectory: file for positions, momenta, forces, energies and times: extxyz, or HDF5 (.h5, H5MD).
        checkpoint: file from which the run can be taken up again.
        checkpoint_every: seconds between two checkpoints; 0 writes one after every block.
        resume: go on from the checkpoint; without one the run starts from the beginning.
        velocities: [atoms, 3] at the start, Å/fs; random of `temperature` when not given.
        masses: [atoms], amu; those of the elements when not given.
        seed: of the random velocities and of random forces.
        skin: of the neighbour list, Å.
        capacity_multiplier: how much larger arrays are than the start needs.
        dtype: "float64", "float32" (energies drift), or "mixed": float64 positions and momenta, float32 forces.
        orbits: what `jorbit.find_orbits` returned; recorded frames are watched for bonds that break or form. The
            orbits of the potential are watched anyway.
        observers: functions called with the `Frames` of each finished block; one that returns a reason ends the run.
        watch: an uncertainty or extrapolation grade to look at while the run goes on: when to stop, what to keep.
        progress: show steps, temperature, drift and ns/day.

    Returns:
        Energies, temperatures, drift, measurements, and the last configuration.

    Raises:
        SimulationError: the system has blown up, or no neighbour list holds the atoms any more.
        StructureError, UnknownSpeciesError: a start that makes no sense or is not known to the potential.
        ConfigError: an unknown integrator, numbers of steps that are not positive, a checkpoint of another run.
        DataError: the trajectory or the checkpoint cannot be written, or the checkpoint cannot be read.

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
    if resume and checkpoint is None:
        raise ConfigError("resume=True needs checkpoint=, the file to go on from.")
    structure = potential.labelled([structure.check()])[0]
    n_atoms = structure.n_atoms
    orbit_watch = _watch(potential, structure, orbits)
    if velocities is not None and np.shape(velocities) != (n_atoms, 3):
        raise StructureError(f"Wanted velocities [{n_atoms}, 3] in Å/fs, got {np.shape(velocities)}.")
    masses = ase.data.atomic_masses[structure.numbers] if masses is None else np.asarray(masses, np.float64)
    if masses.shape != (n_atoms,) or not np.all(masses > 0):
        raise StructureError(
            f"Wanted positive masses [{n_atoms}] in amu, got shape {masses.shape}, smallest {masses.min(initial=0.0)}."
        )
    file = None if checkpoint is None else Path(checkpoint)
    surroundings = Surroundings(
        n_atoms=n_atoms,
        kT=BOLTZMANN * temperature,
        friction=friction,
        damping_time=damping_time,
        pressure=pressure,
        barostat_time=barostat_time,
        cell=cell,
    )
    with contextlib.ExitStack() as stack:
        stack.enter_context(float_precision(dtype, mixed=True))
        real = state_type(dtype)
        mass = jnp.asarray(masses, real)[:, None]

        changes_cell = make_integrator(integrator, lambda *_, **__: None, timestep, surroundings).changes_cell
        if changes_cell and not np.all(structure.pbc):
            raise ConfigError("Constant pressure needs a cell that repeats in all three directions.")
        if pressure and not changes_cell:
            raise ConfigError(
                f"pressure={pressure} was given, but {getattr(integrator, '__name__', integrator)} does not change the "
                "cell. Use integrator='npt_langevin' or 'npt_nose_hoover', or leave the pressure out."
            )
        with_stress, measurements = chosen_measurements(measure, structure, capacity_multiplier)
        with_stress = with_stress or changes_cell
        if with_stress and not np.all(structure.pbc):
            raise ConfigError("Stress needs a cell that repeats in all three directions.")
        neighbor_fn, energy_fn = functions_for(
            potential,
            params,
            structure,
            skin=skin,
            capacity_multiplier=capacity_multiplier,
            fractional_coordinates=changes_cell,
        )

        energy_in_step: Any = ForcesInFloat32(energy_fn) if dtype == "mixed" else energy_fn

        def integrator_for(careful: bool) -> Integrator:
            def energy(position: Any, neighbor: Any, **kwargs: Any) -> Any:
                if careful:  # atoms have moved since the lists were looked at
                    neighbor = neighbor.update(position, box=kwargs.get("box"))
                value = energy_in_step(position, neighbor=neighbor, **kwargs)
                if watch is None or not watch.bias_height:
                    return value
                return value + watch.bias(graph_of(energy_fn, position, neighbor, kwargs.get("box")))

            made = make_integrator(integrator, energy, timestep, surroundings)
            if dtype == "mixed" or (watch is not None and watch.bias_height):
                # Steps know energies in float32 only, or with the bias: records take those of the potential.
                made = dataclasses.replace(made, forces=None)
            return made if watch is None else watched(watch, made, energy_fn)

        careful = skin == 0 or callable(integrator)  # others ask for forces where steps end, and lists are made there
        chosen = integrator_for(careful)

        def compiled() -> Callable:
            return counted_jit(make_block(chosen, energy_fn, mass, measurements, with_stress), "simulate_block")

        block = compiled()
        compiled_before = compilations().get("simulate_block", 0)
        box: dict[str, Any] = {}
        position = jnp.asarray(structure.positions, real)
        if changes_cell:
            position = jnp.asarray(structure.positions @ np.linalg.inv(structure.cell), real)
            box = {"box": jnp.asarray(structure.cell.T, real)}
        key = jax.random.key(seed)
        if velocities is None:
            momenta = thermal_momenta(jax.random.fold_in(key, 1), mass, surroundings.kT)
        else:
            momenta = jnp.asarray(np.asarray(velocities) * masses[:, None] / FS, real)
        neighbors = neighbor_fn.allocate(position, **box)
        kT = surroundings.kT
        start = jax.jit(lambda n: chosen.init(key, position, mass=mass, neighbor=n, momenta=momenta, kT=kT, **box))
        now = Progress(
            state=start(neighbors), neighbors=neighbors, sums=tuple(m.start(position.dtype) for m in measurements)
        )
        settings = dict(integrator=getattr(integrator, "__name__", integrator), timestep=timestep, seed=seed)
        settings |= dict(
            record_every=record_every, dtype=dtype, skin=skin, measure=list(measure), masses=masses.tolist()
        )
        settings |= dataclasses.asdict(surroundings) | ({} if watch is None else watch.identity())
        identity = identity_of(potential, params, structure, settings)
        series, done, seconds, keep = Series(), 0, 0.0, None
        saw, seen = None, None
        if resume and file is not None and file.exists():
            begun, arrays, seen, memory = load_dynamics(file, now, identity)
            done, seconds, saw = memory["done"], memory["seconds"], memory.get("watch")
            if done:
                now, series, keep = begun, Series([arrays]), memory["trajectory"]
            else:  # stopped before its first step: the start is recorded again
                now = dataclasses.replace(begun, sums=now.sums)
            if memory.get("careful") and not careful:
                careful, chosen = True, integrator_for(True)
                block = compiled()
            if orbit_watch is not None:
                orbit_watch.remember([OrbitEvent(**event) for event in memory["orbit_events"]])
        if done > n_steps:
            raise ConfigError(f"The checkpoint {file} is of step {done}, beyond n_steps={n_steps}: ask for more steps.")
        watchman = None
        if watch is not None:
            watchman = stack.enter_context(Watchman(watch, structure, timestep, saw, seen))
        writer = stack.enter_context(writer_for(trajectory, masses, keep))
        live = stack.enter_context(LiveReport(progress, n_steps, timestep, n_atoms, done))
        interrupted = stack.enter_context(interruptions(wanted=file is not None))

        def save() -> None:
            if file is not None:
                notes = dict(done=done, trajectory=writer.mark(), careful=careful)
                notes["seconds"] = seconds + time.perf_counter() - started
                notes["orbit_events"] = (
                    [] if orbit_watch is None else [dataclasses.asdict(e) for e in orbit_watch.events]
                )
                notes["watch"] = None if watchman is None else watchman.memory()
                seen = None if watchman is None else watchman.arrays()
                save_dynamics(file, now, series.arrays(), notes, identity, seen)

        n_reallocations, attempts, stopped, saved_at = 0, 0, "", time.perf_counter()
        if watchman is not None and saw is not None:
            stopped = watchman.reason(now.state)
        plan = list(record_plan(done, n_steps, record_every, block_size))
        while plan and not stopped:
            after, observed = block(now, jnp.asarray(plan[0]), on_the_beat(plan[0], done, record_every))
            overflows = [m.overflow(s) for m, s in zip(measurements, after.sums, strict=True)]
            observed, too_many, too_small = jax.device_get((observed, after.neighbors.did_buffer_overflow, overflows))
            missed = bool(observed.pop("missed").any())
            if too_many or any(too_small):
                attempts, n_reallocations = attempts + 1, n_reallocations + 1
                if too_many:
                    now = dataclasses.replace(now, neighbors=more_room(neighbor_fn, chosen, now, attempts, done))
                else:
                    here = frames_of(structure, observed, plan[0], done, timestep).at(0)
                    roomier = capacity_multiplier * 1.3**attempts
                    measurements = tuple(m.prepared(here, roomier) for m in measurements)
                    block = compiled()
                continue
            frames = frames_of(structure, observed, plan[0], done, timestep)
            if missed and not careful and frames.n_sound() == len(frames):
                careful, chosen, n_reallocations = True, integrator_for(True), n_reallocations + 1
                block = compiled()  # which looks at the lists before every force
                continue
            plan.pop(0)
            if watchman is not None:
                state, frames, stopped = watchman.look(after.state, frames)
                after = dataclasses.replace(after, state=state)
            n_good = frames.n_sound()
            writer.append(frames.first(n_good))
            if n_good < len(frames):
                raise blown_up(frames, n_good)
            if orbit_watch is not None:
                orbit_watch.look(np.asarray(frames.times, np.float64), frames.positions)
            series.append(frames)
            now, done, attempts = after, int(frames.steps[-1]), 0
            live.show(series, done)
            stopped = next((reason for reason in [look(frames) for look in observers] if reason), stopped)
            if interrupted or stopped or not plan or time.perf_counter() - saved_at >= checkpoint_every:
                save()
                saved_at = time.perf_counter()
            if interrupted:
                raise KeyboardInterrupt
        positions, momenta, last_cell = jax.device_get(configuration(chosen, now))
        results = {
            m.name: m.result(jax.device_get(s), record_every * timestep)
            for m, s in zip(measurements, now.sums, strict=True)
        }
    last_cell = np.asarray(last_cell, np.float64) if changes_cell else structure.cell
    return SimulationResult.of(
        series.arrays(),
        structure=dataclasses.replace(structure, positions=np.asarray(positions, np.float64), cell=last_cell),
        velocities=np.asarray(momenta, np.float64) / masses[:, None] * FS,
        measurements=results,
        n_steps=done,
        n_compilations=compilations().get("simulate_block", 0) - compiled_before,
        n_reallocations=n_reallocations,
        stopped=stopped,
        orbit_events=() if orbit_watch is None else tuple(orbit_watch.events),
        watched=None if watchman is None else watchman.report(),
        seconds=seconds + time.perf_counter() - started,
    )


def _watch(potential: Potential, structure: Structure, orbits: FoundOrbits | OrbitResult | None) -> OrbitWatch | None:
    """Over the orbits given, or those of the potential."""
    if orbits is not None:
        return OrbitWatch(as_reference(orbits), dataclasses.replace(structure, orbits=None))
    own = potential.orbits
    return OrbitWatch(own, structure) if isinstance(own, FoundOrbits) else None
