"""Blocks of steps: what is compiled in a simulation, and how a block is done again with more room."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import CapacityError, SimulationError
from jorbit.core.pytree import pytree
from jorbit.core.units import FS
from jorbit.graphs.batching import round_up
from jorbit.graphs.cell_list import geometry, search
from jorbit.simulate import observables
from jorbit.simulate.integrators import Integrator
from jorbit.simulate.jax_md import NeighborFunctions, NeighborList, rows_from_box
from jorbit.simulate.measurements import Measurement, Snapshot

_MOST_ATTEMPTS = 10
_GROWTH = 1.3


@pytree
class Progress:
    """Everything that changes while a simulation runs: what a checkpoint keeps.

    Attributes:
        state: of the integrator.
        neighbors: lists for it.
        sums: of each measurement.
    """

    state: Any
    neighbors: NeighborList
    sums: tuple[Any, ...]


def record_plan(done: int, n_steps: int, record_every: int, block_size: int) -> Int[np.ndarray, "blocks records"]:
    """Steps before each record, from step `done` on; 0 for the start itself, -1 fills up the last block.

    Blocks always begin at the same steps, wherever a run is taken up again.
    """
    marks = [*range(0, n_steps, record_every), n_steps]
    per_block = min(max(1, round(block_size / record_every)), len(marks))
    first = int(np.searchsorted(marks, done, side="right")) if done else 0
    stretches = np.diff([done, *marks[first:]])
    n_blocks = -(-len(stretches) // per_block)
    plan = np.full(n_blocks * per_block, -1, np.int32)
    plan[: len(stretches)] = stretches
    return plan.reshape(n_blocks, per_block)


def on_the_beat(plan: Int[np.ndarray, " records"], done: int, record_every: int) -> Bool[np.ndarray, " records"]:
    """Which records of a block measurements see: equally spaced ones, not the end of a run between two of them.

    Args:
        plan: steps before each record. done: steps before the block.
        record_every: steps between two records.

    Example:
        >>> print(on_the_beat(np.array([10, 10, 5, -1]), 80, 10))
        [ True  True False False]
    """
    return ((done + np.cumsum(plan)) % record_every == 0) & (plan >= 0)


def make_block(
    integrator: Integrator,
    energy_fn: Callable,
    mass: Float[Array, "atoms 1"],
    measurements: tuple[Measurement, ...],
    with_stress: bool,
) -> Callable[[Progress, Array, Array], tuple[Progress, dict[str, Array]]]:
    """A function (progress, plan, measured) that makes plan[0], plan[1], ... steps and observes after each stretch.

    Measurements see the records where `measured` (see `on_the_beat`).
    `observed["missed"]` tells where atoms moved so far in one step that the forces at its end may lack pairs. Where the
    integrator's forces tell their energy, and no stress is wanted, records take it from the last step.
    """
    forces = None if with_stress else integrator.forces

    def step(_: Any, carry: tuple[Any, NeighborList, Array, Array]) -> tuple[Any, NeighborList, Array, Array]:
        before, neighbors, missed, energy = carry
        state = integrator.apply(before, neighbor=neighbors)
        energy = energy if forces is None else forces.energy.astype(energy.dtype)
        neighbors, now = neighbors.follow(state.position, before.position, **_box(integrator, state))
        return state, neighbors, missed | now, energy

    def stretch(progress: Progress, asked: tuple[Array, Array]) -> tuple[Progress, dict[str, Array]]:
        n, measured = asked
        dtype = progress.state.position.dtype
        start = (progress.state, progress.neighbors, jnp.zeros((), bool), jnp.zeros((), dtype))
        state, neighbors, missed, energy = jax.lax.fori_loop(0, n, step, start)
        if forces is None:
            energy = None
        else:
            energy = jax.lax.cond(n > 0, lambda: energy, lambda: energy_fn(state.position, neighbor=neighbors))
        observed = {"missed": missed} | observe(integrator, energy_fn, mass, state, neighbors, with_stress, energy)
        velocities = observed["momenta"] / mass * FS
        if not hasattr(state, "momentum"):
            velocities = jnp.full_like(velocities, jnp.nan)
        cell = observed["cells"] if "cells" in observed else neighbors.lists.cell
        snapshot = Snapshot(observed["positions"], velocities, cell, mass)
        sums = tuple(
            jax.lax.cond(measured, lambda s, m=m: m.add(s, snapshot), lambda s: s, s)
            for m, s in zip(measurements, progress.sums, strict=True)
        )
        return Progress(state=state, neighbors=neighbors, sums=sums), observed

    return lambda progress, plan, measured: jax.lax.scan(stretch, progress, (plan, measured))


def observe(
    integrator: Integrator,
    energy_fn: Callable,
    mass: Float[Array, "atoms 1"],
    state: Any,
    neighbors: NeighborList,
    with_stress: bool,
    potential: Array | None = None,
) -> dict[str, Array]:
    """One record of a state: Å, sqrt(amu eV), eV/Å, eV, K, eV/Å^3. `potential`: its energy where that is known."""
    box, position = _box(integrator, state), state.position
    dtype, unit = position.dtype, jnp.eye(3, dtype=position.dtype)
    cell = rows_from_box(box["box"], dtype) if box else neighbors.lists.cell
    moves = hasattr(state, "momentum")
    momenta = state.momentum if moves else jnp.zeros_like(position)

    def energy(r: Array, perturbation: Array) -> Array:
        return energy_fn(r, neighbor=neighbors, perturbation=perturbation, **box)

    observed = {
        "positions": jnp.matmul(position, cell, precision="highest") if box else position,
        "momenta": momenta,
        "kinetic": observables.kinetic_energy(momenta, mass),
        "temperatures": observables.temperature(momenta, mass) if moves else jnp.full((), jnp.nan, dtype),
    }
    if box:
        observed["cells"] = cell
    if with_stress:
        observed["potential"], slope = jax.value_and_grad(energy, argnums=1)(position, unit)
        flow = jnp.matmul((momenta / mass).T, momenta, precision="highest")
        observed["stresses"] = (0.5 * (slope + slope.T) - flow) / jnp.abs(jnp.linalg.det(cell))
    else:
        observed["potential"] = energy_fn(position, neighbor=neighbors, **box) if potential is None else potential
    forces = getattr(state, "force", None)
    observed["forces"] = -jax.grad(energy)(position, unit) if forces is None else forces
    return observed


def configuration(integrator: Integrator, progress: Progress) -> tuple[Array, Array, Array]:
    """Cartesian positions, momenta and cell (rows) of a state."""
    state, box = progress.state, integrator.box(progress.state)
    momenta = getattr(state, "momentum", jnp.zeros_like(state.position))
    if box is None:
        return state.position, momenta, progress.neighbors.lists.cell
    cell = rows_from_box(box, state.position.dtype)
    return jnp.matmul(state.position, cell, precision="highest"), momenta, cell


def _box(integrator: Integrator, state: Any) -> dict[str, Any]:
    box = integrator.box(state)
    return {} if box is None else {"box": box}


def more_room(
    neighbor_fn: NeighborFunctions, integrator: Integrator, progress: Progress, attempts: int, step: int
) -> NeighborList:
    """Lists with more room after `attempts` overflows in a row.

    With a fixed cell they are the very lists that larger arrays would have held all along, in the same order, so the
    simulation goes on as if nothing had happened.

    Raises:
        SimulationError: it makes no sense to go on.
    """
    lists, box = progress.neighbors.lists, _box(integrator, progress.state)
    if attempts <= _MOST_ATTEMPTS and not box:
        grow = _GROWTH**attempts
        plan = dataclasses.replace(
            lists.plan,
            n_slots=tuple(round_up(int(np.ceil(grow * max(n, 1)))) for n in lists.plan.n_slots),
            bin_capacity=min(len(lists.reference), int(np.ceil(grow * lists.plan.bin_capacity))),
        )
        at = jnp.matmul(lists.reference, geometry(plan, lists.cell)[0], precision="highest")
        return dataclasses.replace(progress.neighbors, lists=jax.jit(search, static_argnums=0)(plan, at, lists.cell))
    try:
        if attempts <= _MOST_ATTEMPTS:
            roomier = dataclasses.replace(neighbor_fn, headroom=neighbor_fn.headroom * _GROWTH**attempts)
            return roomier.allocate(progress.state.position, **box)
        reason = f"neighbour lists overflowed {attempts} times in a row."
    except CapacityError as error:
        reason = str(error)
    raise SimulationError(
        f"The simulation cannot go on after step {step}: {reason} Atoms draw together without end, or fly away: use a "
        "shorter timestep, relax the start first, or fit the potential to configurations like these."
    )
