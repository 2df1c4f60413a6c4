"""Replicas: eight Langevin trajectories at eight temperatures in one compiled loop, by vmap."""

import jax
import jax.numpy as jnp
from ase.build import bulk
from jax_md import simulate, space

import jorbit
from jorbit.core.units import BOLTZMANN, FS
from jorbit.simulate import observables
from jorbit.terms.lennard_jones import LennardJones

jax.config.update("jax_enable_x64", True)
atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))
box = jnp.asarray(atoms.cell.array.T)
displacement, shift = space.periodic_general(box, fractional_coordinates=False)
neighbor_fn, energy_fn = jorbit.to_jax_md(
    potential, {"lennard_jones": {}}, displacement, box, numbers=atoms.numbers, capacity_multiplier=1.5
)
R, mass = jnp.asarray(atoms.positions), jnp.full((len(atoms), 1), 39.95)
neighbors = neighbor_fn.allocate(R)  # one size for all
init, apply = simulate.nvt_langevin(energy_fn, shift, 4 * FS, 0.0, gamma=0.02 / FS)


def replica(key, kT):
    state = init(key, R, mass=mass, kT=kT, neighbor=neighbors)

    def step(carry, _):
        state, lists = carry
        lists = lists.update(state.position)
        state = apply(state, neighbor=lists, kT=kT)
        return (state, lists), observables.temperature(state.momentum, mass)

    (_, lists), temperatures = jax.lax.scan(step, (state, neighbors), None, length=500)
    return temperatures[150:].mean(), lists.did_buffer_overflow


wanted = jnp.linspace(10.0, 45.0, 8)
found, overflow = jax.jit(jax.vmap(replica))(jax.random.split(jax.random.key(0), 8), wanted * BOLTZMANN)
if overflow.any():
    raise SystemExit("A neighbour list is too small: allocate a new one.")
print("wanted " + " ".join(f"{t:5.1f}" for t in wanted))
print("found  " + " ".join(f"{t:5.1f}" for t in found))
