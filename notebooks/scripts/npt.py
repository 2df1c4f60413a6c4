"""Constant pressure with a cell of any shape, in jax-md's loop: a squeezed argon crystal lets go."""

import jax
import jax.numpy as jnp
from ase.build import bulk
from jax_md import space

import jorbit
from jorbit.core.units import BOLTZMANN, FS, GPA
from jorbit.simulate import npt_langevin
from jorbit.terms.lennard_jones import LennardJones

jax.config.update("jax_enable_x64", True)
atoms = bulk("Ar", "fcc", a=5.15, cubic=True) * (2, 2, 2)
potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))

box = jnp.asarray(atoms.cell.array.T)
displacement, shift = space.periodic_general(box, fractional_coordinates=True)
neighbor_fn, energy_fn = jorbit.to_jax_md(
    potential, {"lennard_jones": {}}, displacement, box, numbers=atoms.numbers, capacity_multiplier=1.5
)
R = jnp.asarray(atoms.get_scaled_positions())
neighbors = neighbor_fn.allocate(R, box=box)
init, apply = npt_langevin(energy_fn, shift, 4 * FS, 0.01 * GPA, 40 * BOLTZMANN, 0.02 / FS, tau=300 * FS)
state = init(jax.random.key(0), R, box=box, mass=39.95, neighbor=neighbors)


@jax.jit
def block(carry):
    def step(carry, _):
        state, neighbors = carry
        neighbors = neighbors.update(state.position, box=state.box)
        state = apply(state, neighbor=neighbors)
        return (state, neighbors), jnp.linalg.det(state.box)

    return jax.lax.scan(step, carry, None, length=500)


(state, neighbors), volumes = block((state, neighbors))
if neighbors.did_buffer_overflow:
    raise SystemExit("The neighbour list is too small: allocate a new one.")
print(f"volume {atoms.get_volume():.0f} A^3 at the start, {float(volumes[100:].mean()):.0f} A^3 on average")
