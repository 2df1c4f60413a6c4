"""relax_many(): the atoms of many structures at once, on the device, each with an optimiser of its own.

Structures are packed into padded batches. A few steps of L-BFGS are made for all of them in one compiled loop, with one
evaluation of energies and forces per step; what belongs to one structure (curvatures, step lengths, convergence) is
summed over its atoms only, so a structure takes the steps it would take alone.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, SimulationError
from jorbit.core.graph import Graph, Neighbors
from jorbit.core.ops import sum_over_structures
from jorbit.core.protocols import Capacity, Params
from jorbit.core.pytree import pytree
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph, capacity_for
from jorbit.graphs.device_neighborhoods import trim
from jorbit.potential.potential import Potential
from jorbit.simulate.precision import float_precision
from jorbit.simulate.relaxation import RelaxationResult

_CURVATURE = 70.0  # eV/Å^2 before anything is known, as in ASE's optimisers


@pytree
class _Search:
    """State of the search of one batch; `moved` since the neighbour lists were made."""

    positions: Float[Array, "atoms 3"]
    moved: Float[Array, "atoms 3"]
    step: Float[Array, "atoms 3"]
    gradient: Float[Array, "atoms 3"]
    energies: Float[Array, " structures"]
    max_force: Float[Array, " structures"]
    n_steps: Int[Array, " structures"]
    filled: Int[Array, " structures"]
    s: Float[Array, "memory atoms 3"]
    y: Float[Array, "memory atoms 3"]
    rho: Float[Array, "memory structures"]
    stale: Bool[Array, ""]


def relax_many(
    potential: Potential,
    params: Params,
    structures: Sequence[Structure],
    *,
    max_force: float = 0.01,
    max_steps: int = 500,
    max_atoms: int = 2048,
    max_move: float = 0.2,
    skin: float = 1.0,
    memory: int = 20,
    dtype: str = "float64",
) -> list[RelaxationResult]:
    """Relax the atoms of many structures with L-BFGS; cells stay as they are.

    Faster than one by one where structures are small: a compiled step serves a whole batch, and nothing is compiled
    again for the next structure. Elements, sizes and cells may differ.

    Args:
        potential: sum of terms.
        params: its parameters.
        structures: starts.
        max_force: a structure is done when no force is larger, eV/Å.
        max_steps: give up on a structure after so many steps.
        max_atoms: atoms per batch; a larger structure makes a batch of its own.
        max_move: no atom moves farther in one step, Å.
        skin: neighbour lists are made again when an atom has moved by half of it, Å.
        memory: steps that L-BFGS remembers.
        dtype: "float64" or "float32".

    Returns:
        One result per structure, in order; `energies` holds those of start and end.

    Raises:
        StructureError, UnknownSpeciesError: a structure makes no sense or is not known to the potential.
        SimulationError: an energy or force is not finite.
        ConfigError: numbers that make no sense.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> def pair(x):
        ...     return Structure(positions=np.array([[0.0, 0, 0], [x, 0, 0]]), numbers=np.array([18, 18]))
        >>> pairs = [pair(3.7), pair(4.0)]
        >>> [r.converged for r in relax_many(argon, {"lennard_jones": {}}, pairs, max_force=1e-4)]
        [True, True]

    References:
        Liu, Nocedal, Math. Program. 45, 503 (1989).
    """
    if not (max_force > 0 and max_steps >= 0 and max_move > 0 and skin > 0 and memory >= 1):
        raise ConfigError("Wanted max_force, max_move and skin above 0, max_steps >= 0 and memory >= 1.")
    labelled = potential.labelled([s.check() for s in structures])
    results: list[RelaxationResult | None] = [None] * len(labelled)
    waiting = sorted(range(len(labelled)), key=lambda k: labelled[k].n_atoms)
    with float_precision(dtype):
        while waiting:
            chosen, n_atoms = [], 0
            while waiting and (not chosen or n_atoms + labelled[waiting[-1]].n_atoms <= max_atoms):
                chosen.append(waiting.pop())
                n_atoms += labelled[chosen[-1]].n_atoms
            found = _relax_batch(
                potential, params, [labelled[k] for k in chosen], max_force, max_steps, max_move, skin, memory, dtype
            )
            for k, result in zip(chosen, found, strict=True):
                results[k] = result
    return [result for result in results if result is not None]


def _relax_batch(
    potential: Potential,
    params: Params,
    structures: list[Structure],
    max_force: float,
    max_steps: int,
    max_move: float,
    skin: float,
    memory: int,
    dtype: str,
) -> list[RelaxationResult]:
    cutoffs = [c + skin for c in potential.cutoffs]
    capacity, graph = _graph(potential, structures, cutoffs, None, dtype)
    state = _start(graph, memory)
    limits = tuple(jnp.asarray(x, graph.positions.dtype) for x in (max_force, max_move, skin / 2))
    first: np.ndarray | None = None
    while True:
        state, before = _advance(potential, params, graph, state, limits, jnp.asarray(max_steps, jnp.int32))
        first = np.asarray(before) if first is None else first
        n_real = len(structures)
        energies, forces = np.asarray(state.energies)[:n_real], np.asarray(state.max_force)[:n_real]
        if not (np.isfinite(energies).all() and np.isfinite(forces).all()):
            bad = int(np.argmin(np.isfinite(energies) & np.isfinite(forces)))
            raise SimulationError(
                f"The energy or a force of a structure of {structures[bad].n_atoms} atoms is not finite. Atoms at one "
                "place, or a configuration far outside what the potential was fitted to."
            )
        positions = np.asarray(state.positions, np.float64)
        starts = np.cumsum([0, *[s.n_atoms for s in structures]])
        now = [
            dataclasses.replace(s, positions=positions[a:b])
            for s, a, b in zip(structures, starts[:-1], starts[1:], strict=True)
        ]
        if not bool(state.stale):
            break
        capacity, graph = _graph(potential, now, cutoffs, capacity, dtype)
        state = dataclasses.replace(state, moved=jnp.zeros_like(state.moved), stale=jnp.zeros((), bool))
    stress = np.asarray(_stress(potential, params, graph, state.positions), np.float64)
    return [
        RelaxationResult(
            structure=s,
            energies=np.array([first[k], energies[k]], np.float64),
            max_force=float(forces[k]),
            stress=stress[k],
            n_steps=int(state.n_steps[k]),
            converged=bool(forces[k] <= max_force),
        )
        for k, s in enumerate(now)
    ]


def _graph(
    potential: Potential, structures: list[Structure], cutoffs: list[float], room: Capacity | None, dtype: str
) -> tuple[Capacity, Graph]:
    needed = capacity_for(structures, cutoffs)
    if room is not None:
        slots = tuple(max(a, b) for a, b in zip(room.n_slots, needed.n_slots, strict=True))
        needed = dataclasses.replace(room, n_slots=slots)
    return needed, build_graph(structures, potential.species, cutoffs, capacity=needed, dtype=dtype)


def _start(graph: Graph, memory: int) -> _Search:
    flat, per = jnp.zeros_like(graph.positions), jnp.zeros(graph.n_structures, graph.positions.dtype)
    history = jnp.zeros((memory, *flat.shape), flat.dtype)
    none = jnp.zeros(graph.n_structures, jnp.int32)
    return _Search(
        positions=graph.positions,
        moved=flat,
        step=flat,
        gradient=flat,
        energies=per,
        max_force=jnp.full_like(per, jnp.inf),
        n_steps=none,
        filled=none - 1,
        s=history,
        y=history,
        rho=jnp.zeros((memory, len(per)), per.dtype),
        stale=jnp.zeros((), bool),
    )


def _exact(potential: Potential, graph: Graph, positions: Array) -> Graph:
    """The graph at new positions, with the pairs of the skin masked out."""
    moved = dataclasses.replace(graph, positions=positions)
    lists = []
    for cutoff, wide in zip(potential.cutoffs, graph.neighborhoods, strict=True):
        lists.append(
            trim(moved, Neighbors(cutoff=cutoff, index=wide.index, shifts=wide.shifts, mask=wide.mask), cutoff)
        )
    return dataclasses.replace(moved, neighborhoods=tuple(lists))


def _advance_batch(
    potential: Potential, params: Params, graph: Graph, state: _Search, limits: tuple, max_steps: Array
) -> tuple[_Search, Array]:
    """Steps until all structures are done, or an atom has left its neighbour list; and the energies at the start."""
    max_force, max_move, half_skin = limits

    def evaluate(positions: Array) -> tuple[Array, Array]:
        exact = _exact(potential, graph, positions)

        def total(r: Array) -> tuple[Array, Array]:
            energies = potential.outputs(params, dataclasses.replace(exact, positions=r)).energy
            return energies.sum(), energies

        gradient, energies = jax.grad(total, has_aux=True)(positions)
        return sum_over_structures(energies, graph), jnp.where(graph.atom_mask[:, None], gradient, 0.0)

    def largest(vectors: Array) -> Array:
        size = jnp.where(graph.atom_mask, jnp.sqrt(jnp.sum(vectors * vectors, axis=-1)), 0.0)
        return jax.ops.segment_max(size, graph.owner, num_segments=graph.n_structures, indices_are_sorted=True)

    def dot(a: Array, b: Array) -> Array:
        return sum_over_structures(jnp.sum(a * b, axis=-1), graph)

    def look(state: _Search) -> _Search:
        """Energies and forces here, and what they tell about the curvature."""
        energies, gradient = evaluate(state.positions)
        change = gradient - state.gradient
        along = dot(change, state.step)
        useful = (along > 1e-12) & (state.filled >= 0)
        rho = jnp.where(useful, 1.0 / jnp.where(useful, along, 1.0), 0.0)
        return dataclasses.replace(
            state,
            gradient=gradient,
            energies=energies,
            max_force=largest(gradient),
            filled=state.filled + 1,
            s=jnp.roll(state.s, 1, axis=0).at[0].set(state.step),
            y=jnp.roll(state.y, 1, axis=0).at[0].set(change),
            rho=jnp.roll(state.rho, 1, axis=0).at[0].set(rho),
        )

    def direction(state: _Search) -> Array:
        def down(q: Array, pair: tuple) -> tuple[Array, Array]:
            s, y, rho = pair
            a = rho * dot(s, q)
            return q - a[graph.owner, None] * y, a

        def up(q: Array, pair: tuple) -> tuple[Array, None]:
            s, y, rho, a = pair
            b = rho * dot(y, q)
            return q + (a - b)[graph.owner, None] * s, None

        q, a = jax.lax.scan(down, state.gradient, (state.s, state.y, state.rho))
        q, _ = jax.lax.scan(up, q / _CURVATURE, (state.s, state.y, state.rho, a), reverse=True)
        uphill = dot(q, state.gradient) <= 0
        q = jnp.where(uphill[graph.owner, None], state.gradient / _CURVATURE, q)
        return -q

    def going(state: _Search) -> Array:
        return (state.max_force > max_force) & (state.n_steps < max_steps)

    def step(state: _Search) -> _Search:
        move = direction(state)
        move = move * jnp.minimum(1.0, max_move / jnp.maximum(largest(move), 1e-30))[graph.owner, None]
        active = going(state)
        move = jnp.where(active[graph.owner, None], move, 0.0)
        moved = state.moved + move
        stale = jnp.any(jnp.sum(moved * moved, axis=-1) > half_skin * half_skin)
        new = dataclasses.replace(
            state,
            positions=state.positions + move,
            moved=moved,
            step=move,
            n_steps=state.n_steps + active.astype(jnp.int32),
            stale=stale,
        )
        return jax.lax.cond(stale, lambda s: s, look, new)

    state = look(state)
    return jax.lax.while_loop(lambda s: jnp.any(going(s)) & ~s.stale, step, state), state.energies


_advance = counted_jit(_advance_batch, "relax_many", static_argnums=0)


def _stresses(potential: Potential, params: Params, graph: Graph, positions: Array) -> Any:
    from jorbit.potential.derivatives import energy_and_derivatives

    return energy_and_derivatives(potential, params, _exact(potential, graph, positions)).stress


_stress = jax.jit(_stresses, static_argnums=0)
