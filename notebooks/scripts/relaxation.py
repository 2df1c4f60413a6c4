"""Relaxation: with jax-md's FIRE in a loop of one's own, and a hundred structures at once with relax_many."""

import jax
import jax.numpy as jnp
from ase.build import bulk
from jax_md import minimize, space

import jorbit
from jorbit.core.units import FS
from jorbit.graphs.ase_atoms import from_ase
from jorbit.terms.lennard_jones import LennardJones

jax.config.update("jax_enable_x64", True)
potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))
params = {"lennard_jones": {}}
crystal = bulk("Ar", "fcc", a=5.3, cubic=True)
crystal.rattle(0.2, seed=0)

box = jnp.asarray(crystal.cell.array.T)
displacement, shift = space.periodic_general(box, fractional_coordinates=False)
neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, box, numbers=crystal.numbers)
R = jnp.asarray(crystal.positions)
neighbors = neighbor_fn.allocate(R, extra_capacity=8)
init, apply = minimize.fire_descent(energy_fn, shift, dt_start=2 * FS, dt_max=8 * FS)
state = init(R, mass=39.95, neighbor=neighbors)
step = jax.jit(lambda s, n: (apply(s, neighbor=n), n.update(s.position)))
for _ in range(200):
    state, neighbors = step(state, neighbors)
print(f"FIRE: largest force {float(jnp.abs(state.force).max()):.1e} eV/A")

structures = []
for seed in range(100):
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * ((1, 1, 1) if seed % 2 else (2, 1, 1))
    atoms.rattle(0.2, seed=seed)
    structures.append(from_ase(atoms))
results = jorbit.simulate.relax_many(potential, params, structures, max_force=1e-3)
print(f"relax_many: {sum(r.converged for r in results)} of {len(results)} structures converged")
