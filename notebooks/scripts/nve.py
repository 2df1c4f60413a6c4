"""Constant energy in jax-md: 108 argon atoms, half a picosecond."""

import jax
import jax.numpy as jnp
from ase.build import bulk
from jax_md import simulate, space

import jorbit
from jorbit.core.units import BOLTZMANN, FS
from jorbit.terms.lennard_jones import LennardJones

jax.config.update("jax_enable_x64", True)
atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (3, 3, 3)
potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))
params = {"lennard_jones": {}}  # or potential, params = jorbit.load("model.safetensors")

box = jnp.asarray(atoms.cell.array.T)  # jax-md keeps lattice vectors as columns
displacement, shift = space.periodic_general(box, fractional_coordinates=False)
neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=atoms.numbers)

R = jnp.asarray(atoms.positions)
neighbors = neighbor_fn.allocate(R)
init, apply = simulate.nve(energy_fn, shift, 2 * FS)
state = init(jax.random.key(0), R, kT=80 * BOLTZMANN, mass=39.95, neighbor=neighbors)


@jax.jit
def block(carry):
    def step(_, carry):
        state, neighbors = carry
        neighbors = neighbors.update(state.position)
        return apply(state, neighbor=neighbors), neighbors

    return jax.lax.fori_loop(0, 50, step, carry)


energies = []
for _ in range(5):
    state, neighbors = block((state, neighbors))
    if neighbors.did_buffer_overflow:
        raise SystemExit("The neighbour list is too small: allocate a new one.")
    energies.append(float(energy_fn(state.position, neighbor=neighbors) + simulate.kinetic_energy(state)))
print(f"total energy {energies[-1]:.6f} eV, spread {max(energies) - min(energies):.1e} eV")
