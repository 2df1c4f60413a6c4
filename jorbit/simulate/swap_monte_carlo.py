"""Molecular dynamics with exchanges of unlike atoms: alloys and mixtures whose order dynamics alone is too slow for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.pytree import pytree
from jorbit.simulate.jax_md import EnergyFunction, NeighborList
from jorbit.simulate.velocity_rescaling import temp_csvr


@pytree
class SwapState:
    """State between two blocks.

    Attributes:
        dynamics: of the thermostat; has position, momentum, force and mass.
        neighbors: lists for its positions.
        rng: key of the exchanges.
        n_tried, n_accepted: exchanges so far.
    """

    dynamics: Any
    neighbors: NeighborList
    rng: Array
    n_tried: Int[Array, ""]
    n_accepted: Int[Array, ""]

    @property
    def position(self) -> Float[Array, "atoms 3"]:
        """Å."""
        return self.dynamics.position


def hybrid_swap_mc(
    energy_fn: EnergyFunction,
    shift_fn: Callable[..., Any],
    dt: float,
    kT: float,
    *,
    md_steps: int,
    n_swaps: int,
    tau: float | None = None,
) -> tuple[Callable[..., SwapState], Callable[[SwapState], SwapState]]:
    """Blocks of `md_steps` steps at constant temperature and `n_swaps` attempts to exchange two unlike atoms.

    jax-md's function of this name exchanges the diameters of particles with pair potentials; this one takes any
    potential, and exchanges the positions of atoms whose rows in its table of species differ. Both halves leave the
    canonical distribution as it is: pairs are drawn symmetrically, the change of the total energy decides (Metropolis),
    and momenta stay with their atoms.

    Args:
        energy_fn: of `to_jax_md`, with a fixed box.
        shift_fn: of `jax_md.space`.
        dt: time step.
        kT: eV.
        md_steps: per block; 0 exchanges only.
        n_swaps: attempts per block, each an evaluation of the energy.
        tau: time constant of the thermostat, in the unit of dt; 100 steps when not given.

    Returns:
        (init_fn, apply_fn): `init_fn(key, R, neighbor=lists, mass=masses)`, and one block.

    Raises:
        ConfigError: atoms of one kind only, or numbers below zero.

    Example:
        >>> from jax_md import space
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.potential import Potential
        >>> from jorbit.simulate import to_jax_md
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> mixture = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([10, 18]))
        >>> displacement, shift = space.free()
        >>> neighbor_fn, energy_fn = to_jax_md(mixture, {"lennard_jones": {}}, displacement, numbers=[10, 18])
        >>> R = jnp.array([[0.0, 0.0, 0.0], [3.8, 0.0, 0.0]])
        >>> init_fn, apply_fn = hybrid_swap_mc(energy_fn, shift, 0.1, 0.02, md_steps=0, n_swaps=3)
        >>> state = apply_fn(init_fn(jax.random.key(0), R, neighbor=neighbor_fn.allocate(R), mass=1.0))
        >>> int(state.n_accepted)  # Lennard-Jones atoms do not know their element here
        3

    References:
        Berthier, Flenner, Fullerton, Scalliet, Singh, J. Stat. Mech. 064004 (2019).
    """
    if md_steps < 0 or n_swaps < 0:
        raise ConfigError(f"Wanted md_steps >= 0 and n_swaps >= 0, got {md_steps} and {n_swaps}.")
    if len(set(energy_fn.species.tolist())) < 2:
        raise ConfigError("All atoms are of one kind: there is nothing to exchange.")
    start, move = temp_csvr(energy_fn, shift_fn, dt, kT, 100 * dt if tau is None else tau)

    def init_fn(key: Array, R: Array, *, neighbor: NeighborList, mass: Any = 1.0, **kwargs: Any) -> SwapState:
        key, other = jax.random.split(key)
        none = jnp.zeros((), jnp.int32)
        dynamics = start(other, R, mass=mass, neighbor=neighbor, **kwargs)
        return SwapState(dynamics=dynamics, neighbors=neighbor, rng=key, n_tried=none, n_accepted=none)

    def step(_: Any, carry: tuple[Any, NeighborList]) -> tuple[Any, NeighborList]:
        dynamics, neighbors = carry
        dynamics = move(dynamics, neighbor=neighbors)
        return dynamics, neighbors.update(dynamics.position)

    def apply_fn(state: SwapState) -> SwapState:
        species = jnp.asarray(energy_fn.species, jnp.int32)
        dynamics, neighbors = jax.lax.fori_loop(0, md_steps, step, (state.dynamics, state.neighbors))
        sites = dynamics.position

        def energy(who: Array) -> Array:
            return energy_fn(sites, neighbor=neighbors, species=species[who])

        def attempt(_: Any, carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            who, now, key, accepted = carry
            key, first, second, decide = jax.random.split(key, 4)
            i = jax.random.randint(first, (), 0, len(species))
            kind = species[who]
            j = jnp.argmax(jnp.where(kind != kind[i], jax.random.uniform(second, kind.shape), -1.0))
            other = who.at[i].set(who[j]).at[j].set(who[i])
            then = energy(other)
            yes = jax.random.uniform(decide, dtype=now.dtype) < jnp.exp(-(then - now) / kT)  # False for NaN
            return jnp.where(yes, other, who), jnp.where(yes, then, now), key, accepted + yes.astype(jnp.int32)

        who = jnp.arange(len(species), dtype=jnp.int32)  # which atom is where
        carry = (who, energy(who), state.rng, state.n_accepted)
        who, _, key, accepted = jax.lax.fori_loop(0, n_swaps, attempt, carry)
        position = jnp.zeros_like(sites).at[who].set(sites)
        neighbors = neighbors.update(position)
        force = -jax.grad(lambda r: energy_fn(r, neighbor=neighbors))(position)
        dynamics = dataclasses.replace(dynamics, position=position, force=force)
        return SwapState(
            dynamics=dynamics, neighbors=neighbors, rng=key, n_tried=state.n_tried + n_swaps, n_accepted=accepted
        )

    return init_fn, jax.jit(apply_fn)
