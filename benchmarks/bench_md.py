"""Molecular dynamics: what a step costs, what the run loop adds to it, and many relaxations at once.

    python benchmarks/bench_md.py [--only RUN ...]

Every row gives processor time of one thread, which other work on the machine disturbs least, after everything has
been compiled: the smallest of several blocks. "bare" is one compiled evaluation of energy and forces, called from
Python, with a neighbour list that is kept; "run" is a step of jorbit.simulate.run (velocity Verlet, records every 10
steps, list updated when needed). Stillinger-Weber is jax-md's own, in a loop of jax-md's NVE. Writes
benchmarks/results/md.json.
"""

import argparse
import dataclasses
import os
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import common
import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk

import jorbit
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN, FS
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.simulate import relax, relax_many, run
from jorbit.simulate.jax_md import functions_for
from jorbit.terms.lennard_jones import LennardJones
from jorbit.terms.reference_energy import ReferenceEnergy


def silicon(n: int) -> Structure:
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (n, n, n)
    atoms.rattle(0.05, seed=0)
    return from_ase(atoms)


def silicon_ace() -> tuple[Potential, dict]:
    """Small random coefficients on top of a pair potential that holds the crystal: time does not depend on them."""
    ace = LinearACE(n_species=1, cutoff=5.0, max_degree=(10, 8, 6))
    potential = Potential((LennardJones(0.3, 2.2, 5.0, 3.5), ace), SpeciesTable.from_numbers([14]))
    coefficients = 1e-6 * np.random.default_rng(0).normal(size=(1, ace.n_functions))
    return potential, {"lennard_jones": {}, "linear_ace": {"coefficients": coefficients}}


def ethanol() -> tuple[Potential, dict, list]:
    frames = jorbit.read("ethanol_gfn2:train")[:100]
    table = SpeciesTable.from_structures(f.structure for f in frames)
    ace = LinearACE(n_species=len(table), cutoff=4.0, max_degree=(8, 6))
    potential, params, _ = jorbit.fit(frames, Potential((ReferenceEnergy(n_species=len(table)), ace), table))
    return potential, params, frames


def cheapest(function, repeats: int = 5) -> float:
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        jax.block_until_ready(function())
        times.append(time.process_time() - begin)
    return min(times)


def bare(potential: Potential, params: dict, structure: Structure, dtype: str) -> float:
    """Seconds of one energy and force evaluation."""
    with jax.enable_x64(dtype == "float64"):
        neighbor_fn, energy_fn = functions_for(potential, params, structure, skin=0.5, capacity_multiplier=1.25)
        r = jnp.asarray(structure.positions, dtype)
        neighbors = neighbor_fn.allocate(r)
        function = jax.jit(lambda r: jax.value_and_grad(energy_fn)(r, neighbor=neighbors))
        many = 20 if structure.n_atoms < 100 else 3
        jax.block_until_ready(function(r))
        return cheapest(lambda: [function(r) for _ in range(many)]) / many


def loop(potential: Potential, params: dict, structure: Structure, dtype: str, temperature: float) -> float:
    """Seconds per step of simulate.run, compilation left out."""
    size = 1000 if structure.n_atoms < 100 else 20
    marks = [time.process_time()]
    options = dict(dtype=dtype, temperature=temperature, timestep=1.0, record_every=10, block_size=size, progress=False)
    run(
        potential,
        params,
        structure,
        n_steps=6 * size,
        observers=[lambda _: marks.append(time.process_time())],
        **options,
    )
    return float(np.min(np.diff(marks)[1:-1])) / size


def speed(name: str, potential: Potential, params: dict, structure: Structure, temperature: float) -> dict:
    row = {"name": name, "atoms": structure.n_atoms}
    for dtype in ("float32", "float64"):
        alone, whole = bare(potential, params, structure, dtype), loop(potential, params, structure, dtype, temperature)
        row |= {
            f"{dtype}_bare_us_per_atom": round(1e6 * alone / structure.n_atoms, 2),
            f"{dtype}_run_us_per_atom_step": round(1e6 * whole / structure.n_atoms, 2),
            f"{dtype}_overhead_percent": round(100 * (whole / alone - 1), 1),
            f"{dtype}_ns_per_day_at_1fs": round(86400e-6 / whole, 3),
        }
    return row


def stillinger_weber(structure: Structure) -> dict:
    """jax-md's own classical potential in its own loop, float32."""
    from jax_md import energy, partition, simulate, space

    box = jnp.asarray(np.diag(structure.cell), jnp.float32)
    displacement, shift = space.periodic(box)
    neighbor_fn, energy_fn = energy.stillinger_weber_neighbor_list(displacement, box, format=partition.Dense)
    r = jnp.asarray(structure.positions, jnp.float32)
    neighbors = neighbor_fn.allocate(r)
    neighbors = dataclasses.replace(neighbors, cell_size=float(neighbors.cell_size))
    init, apply = simulate.nve(energy_fn, shift, 1.0 * FS)
    state = init(jax.random.key(0), r, kT=300 * BOLTZMANN, mass=28.085, neighbor=neighbors)

    def step(_, carry):
        state, neighbors = carry
        neighbors = neighbors.update(state.position)
        return apply(state, neighbor=neighbors), neighbors

    block = jax.jit(lambda carry: jax.lax.fori_loop(0, 20, step, carry))
    jax.block_until_ready(block((state, neighbors)))
    whole = cheapest(lambda: block((state, neighbors))) / 20
    return {
        "name": f"Stillinger-Weber of jax-md, Si {structure.n_atoms}",
        "atoms": structure.n_atoms,
        "float32_run_us_per_atom_step": round(1e6 * whole / structure.n_atoms, 2),
        "float32_ns_per_day_at_1fs": round(86400e-6 / whole, 3),
    }


def relaxations(potential: Potential, params: dict, frames: list) -> dict:
    """100 structures of ethanol, one by one with ASE's BFGS and all at once."""
    structures = [f.structure for f in frames]
    rows = {}
    for name, once in (
        ("relax_many", lambda: relax_many(potential, params, structures, max_force=0.01)),
        ("one_by_one", lambda: [relax(potential, params, s, max_force=0.01) for s in structures]),
    ):
        seconds = []
        for _ in range(2):  # the second time everything is compiled
            begin = time.process_time()
            results = once()
            seconds.append(time.process_time() - begin)
        rows |= {
            f"{name}_cpu_s_first": round(seconds[0], 2),
            f"{name}_cpu_s_again": round(seconds[1], 2),
            f"{name}_converged": sum(r.converged for r in results),
            f"{name}_mean_steps": round(float(np.mean([r.n_steps for r in results])), 1),
        }
    return {"name": "relaxation of 100 ethanol molecules to 0.01 eV/Å", "atoms": 900} | rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=["ethanol", "relax", "si216", "si1000", "sw"])
    options = parser.parse_args()
    rows = common.load_rows("md", "name")
    ace = silicon_ace()
    todo = {
        "si216": lambda: speed("linear ACE, Si 216", *ace, silicon(3), 300.0),
        "si1000": lambda: speed("linear ACE, Si 1000", *ace, silicon(5), 300.0),
        "sw": lambda: stillinger_weber(silicon(5)),
    }
    if {"ethanol", "relax"} & set(options.only):
        potential, params, frames = ethanol()
        todo["ethanol"] = lambda: speed("linear ACE, ethanol", potential, params, frames[0].structure, 300.0)
        todo["relax"] = lambda: relaxations(potential, params, frames)
    for name in options.only:
        row = todo[name]()
        print(row, flush=True)
        rows[row["name"]] = row
        common.write("md", " ".join((__doc__ or "").split()), list(rows.values()), environment=common.environment())


if __name__ == "__main__":
    main()
