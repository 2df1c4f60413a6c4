"""Blocks of steps: what is compiled in a simulation, and how a block is done again with more room."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from jorbit.core.errors import CapacityError, SimulationError
from jorbit.simulate import observables
from jorbit.simulate.jax_md import NeighborFunctions, NeighborList

_MOST_ATTEMPTS = 10


def record_plan(n_steps: int, record_every: int, block_size: int) -> np.ndarray:
    """Steps before each record, [blocks, records]; the first is 0 (the start), -1 fills up the last block."""
    stretches = [0] + [record_every] * (n_steps // record_every)
    if n_steps % record_every:
        stretches.append(n_steps % record_every)
    per_block = min(max(1, round(block_size / record_every)), len(stretches))
    n_blocks = -(-len(stretches) // per_block)
    plan = np.full(n_blocks * per_block, -1, np.int32)
    plan[: len(stretches)] = stretches
    return plan.reshape(n_blocks, per_block)


def make_block(apply_fn: Callable, energy_fn: Callable, mass: Array) -> Callable:
    """A function that makes plan[0], plan[1], ... steps and observes after each of these stretches."""

    def step(_: Any, carry: tuple[Any, NeighborList]) -> tuple[Any, NeighborList]:
        state, neighbors = carry
        state = apply_fn(state, neighbor=neighbors)
        return state, neighbors.update(state.position)

    def stretch(carry: tuple[Any, NeighborList], n: Array) -> tuple[tuple[Any, NeighborList], dict[str, Array]]:
        state, neighbors = carry = jax.lax.fori_loop(0, n, step, carry)
        observed = {
            "positions": state.position,
            "momenta": state.momentum,
            "forces": state.force,
            "potential": energy_fn(state.position, neighbor=neighbors),
            "kinetic": observables.kinetic_energy(state.momentum, mass),
            "temperatures": observables.temperature(state.momentum, mass),
        }
        return carry, observed

    def block(state: Any, neighbors: NeighborList, plan: Array) -> tuple[Any, NeighborList, dict[str, Array]]:
        (state, neighbors), observed = jax.lax.scan(stretch, (state, neighbors), plan)
        return state, neighbors, observed

    return block


def more_room(neighbor_fn: NeighborFunctions, position: Array, attempts: int, step: int) -> NeighborList:
    """A new list after `attempts` overflows in a row.

    Raises:
        SimulationError: it makes no sense to go on.
    """
    try:
        if attempts <= _MOST_ATTEMPTS:
            return neighbor_fn.allocate(position)
        reason = f"neighbour lists overflowed {attempts} times in a row."
    except CapacityError as error:
        reason = str(error)
    raise SimulationError(
        f"The simulation cannot go on after step {step}: {reason} Atoms draw together without end, or fly away: use a "
        "shorter timestep, relax the start first, or fit the potential to configurations like these."
    )
