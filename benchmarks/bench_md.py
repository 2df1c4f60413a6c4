"""Molecular dynamics: what a step costs, what the run loop adds to it, and many relaxations at once.

    python benchmarks/bench_md.py [--only RUN ...] [--mace PYTHON] [--mlip PYTHON]

Every row gives processor time of one thread, which other work on the machine disturbs least, after everything has
been compiled. "run" is a step of jorbit.simulate.run (records every 10 steps, list updated when needed); "bare" is
energy and forces alone, with a neighbour list that is kept: "loop" as many of them in one compiled loop, "call" each
called from Python. Blocks of the three take turns in one process; given are medians, and overheads are medians of the
ratio within a turn: of the run to calls, and to the loop, which knows neither Python nor new lists. Turns in which
something was compiled (the first, and after lists overflowed) do not count. Steps are 1 fs, of molecules and networks
0.5 fs. Networks have random weights (a pair potential and a Langevin thermostat hold the
atoms); "64 ethanol" are molecules 6 Å apart in one periodic cell (10 Å for the ACE, whose 100 frames are of one
molecule: what others would do to it is not in them). Stillinger-Weber is jax-md's own, in a loop of
jax-md's NVE. --mace is an interpreter that has mace-torch: the same architecture in ASE's Langevin dynamics; --mlip one
that has InstaDeep's mlip: its MACE of that size in its jax-md engine. Writes benchmarks/results/md.json.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
import time
from functools import partial

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase.io
import common
import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk
from model_rows import HIP, systems

import jorbit
from jorbit.core.compilation import compilations
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN, FS
from jorbit.graphs.ase_atoms import from_ase, to_ase
from jorbit.models import MODELS
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.simulate import relax, relax_many, run
from jorbit.simulate.jax_md import functions_for
from jorbit.terms.lennard_jones import LennardJones
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.terms.stillinger_weber import StillingerWeber


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


def network(name: str, options: dict, numbers: list[int]) -> tuple[Potential, dict]:
    """Random weights that hardly matter to the motion, beside a pair potential that keeps atoms apart."""
    table = SpeciesTable.from_numbers(numbers)
    pair = LennardJones(0.3, 2.2, 5.0, 3.5) if numbers == [14] else LennardJones(0.05, 1.0, 3.0, 2.0)
    model = MODELS.load(name)(n_species=len(table), cutoff=5.0, **options)
    potential = Potential((pair, model), table)
    first = silicon(3) if numbers == [14] else molecules(2)
    params = potential.init(jax.random.key(0), potential.graph(first))

    def weaker(path: tuple, leaf: jax.Array) -> jax.Array:
        return 1e-3 * leaf if getattr(path[-1], "key", "") == "energy_scale" else leaf

    return potential, jax.tree_util.tree_map_with_path(weaker, params)


def molecules(n: int, apart: float = 6.0) -> Structure:
    """n x n x n molecules of ethanol, so many Å apart."""
    one = from_ase(systems("ethanol")[0])
    places = apart * np.array(list(np.ndindex(n, n, n)))
    return Structure(
        positions=(places[:, None] + one.positions[None]).reshape(-1, 3),
        numbers=np.tile(one.numbers, len(places)),
        cell=apart * n * np.eye(3),
        pbc=np.ones(3, bool),
    )


def speed(
    name: str, model: tuple[Potential, dict], structure: Structure, size: int, dtypes: tuple = ("float32", "float64"),
    **options,
) -> dict:  # fmt: skip
    """Turns of `size` steps of run (a multiple of 10), as many bare evaluations in a compiled loop, and calls."""
    row: dict = {"name": name, "atoms": structure.n_atoms}
    for dtype in dtypes:
        turns = turns_of(*model, structure, size, dtype, options)
        unit = 1e6 / size / structure.n_atoms
        row[f"{dtype}_reallocations"] = turns.pop("reallocations")
        times = {key: float(np.median(values)) * unit for key, values in turns.items()}
        row |= {
            f"{dtype}_bare_loop_us_per_atom": round(times["loop"], 2),
            f"{dtype}_bare_call_us_per_atom": round(times["call"], 2),
            f"{dtype}_run_us_per_atom_step": round(times["run"], 2),
            f"{dtype}_overhead_percent": round(100 * float(np.median(turns["run"] / turns["call"]) - 1), 1),
            f"{dtype}_overhead_over_loop_percent": round(100 * float(np.median(turns["run"] / turns["loop"]) - 1), 1),
            f"{dtype}_ns_per_day_at_1fs": round(86400 / (times["run"] * structure.n_atoms), 4),
        }
    return row


def turns_of(potential: Potential, params: dict, structure: Structure, size: int, dtype: str, options: dict) -> dict:
    with jax.enable_x64(dtype == "float64"):
        room = options.get("capacity_multiplier", 1.25)
        neighbor_fn, energy_fn = functions_for(potential, params, structure, skin=0.5, capacity_multiplier=room)
        start = jnp.asarray(structure.positions, dtype)
        lists = neighbor_fn.allocate(start)
        both = jax.jit(lambda r, lists: jax.value_and_grad(energy_fn)(r, neighbor=lists))

        def step(_, carry):
            r, _, lists = carry
            energy, slope = jax.value_and_grad(energy_fn)(r, neighbor=lists)
            return r - 1e-12 * slope, energy, lists

        loop = jax.jit(lambda r, lists: jax.lax.fori_loop(0, size, step, (r, r[0, 0], lists))[:2])
        jax.block_until_ready((both(start, lists), loop(start, lists)))
    turns, last, counts = {"run": [], "loop": [], "call": []}, [time.process_time()], [compilations()]
    large = structure.n_atoms > 2000
    calls = 2 if large else size

    def take_turns(_) -> None:
        with jax.enable_x64(dtype == "float64"):
            marks = [last[0], time.process_time()]
            jax.block_until_ready(loop(start, lists))
            marks.append(time.process_time())
            jax.block_until_ready([both(start, lists) for _ in range(calls)])
            marks.append(time.process_time())
        for key, seconds in zip(turns, np.diff(marks), strict=True):
            turns[key].append(seconds)
        counts.append(compilations())
        last[0] = time.process_time()

    settings = dict(timestep=1.0, temperature=300.0, record_every=10, block_size=size, progress=False) | options
    result = run(
        potential,
        params,
        structure,
        n_steps=(4 if large else 12) * size,
        dtype=dtype,
        observers=[take_turns],
        **settings,
    )
    turns["call"] = [seconds * size / calls for seconds in turns["call"]]
    compiled = np.diff([c.get("simulate_block", 0) for c in counts])
    whole = np.flatnonzero(compiled[:-1] == 0)  # the last may be shorter
    return {key: np.array(values)[whole] for key, values in turns.items()} | {"reallocations": result.n_reallocations}


# Option -> (script, what the row is called).
PEERS = {"mace": ("md_mace_torch.py", "mace-torch 32x0e in ASE"), "mlip": ("md_mlip.py", "mlip MACE 32x0e in jax-md")}


def peer(tool: str, python: str, structures: dict[str, Structure]) -> list[dict]:
    """A network of another package with random weights in Langevin dynamics, by another interpreter."""
    file_name, label = PEERS[tool]
    rows = []
    for name, structure in structures.items():
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/start.extxyz"
            ase.io.write(file, to_ase(structure))
            script = str(pathlib.Path(__file__).parent / file_name)
            done = subprocess.run([python, script, file], capture_output=True, text=True, check=True)
        seconds = json.loads(done.stdout.splitlines()[-1])["cpu_s_per_step"]
        rows.append(
            {
                "name": f"{label}, {name}",
                "atoms": structure.n_atoms,
                "float32_run_us_per_atom_step": round(1e6 * seconds / structure.n_atoms, 2),
                "float32_ns_per_day_at_1fs": round(86400e-6 / seconds, 4),
            }
        )
    return rows


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


def own_stillinger_weber(structure: Structure) -> dict:
    """The same potential as a term of jorbit, in jorbit.simulate.run."""
    potential = Potential((StillingerWeber(),), SpeciesTable.from_numbers([14]))
    return speed("Stillinger-Weber of jorbit, Si 1000", (potential, {"stillinger_weber": {}}), structure, 20)


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
    networks = ["hiphop", "hiphop_ethanol", "mace", "mace_ethanol"]
    default = ["ethanol", "relax", "si216", "si1000", "si8000", *networks, "sw", "hiphop8000", "mace8000"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=default)
    parser.add_argument("--mace", help="an interpreter that has mace-torch")
    parser.add_argument("--mlip", help="an interpreter that has mlip")
    options = parser.parse_args()
    rows, ace = common.load_rows("md", "name"), silicon_ace()
    held = dict(integrator="nvt_langevin", friction=0.05, timestep=0.5, dtypes=("float32",))
    roomy = held | {"capacity_multiplier": 1.6}  # molecules leave their lattice
    hip = {**HIP, "invariants": "hop14"}
    simple = {"channels": 32, "hidden_l": 0}
    todo = {
        "si216": lambda: [speed("linear ACE, Si 216", ace, silicon(3), 40)],
        "si1000": lambda: [speed("linear ACE, Si 1000", ace, silicon(5), 20)],
        "si8000": lambda: [speed("linear ACE, Si 8000", ace, silicon(10), 10)],
        "hiphop": lambda: [
            speed("HIP-HOP hop14 64, Si 1000", network("hiphop", hip, [14]), silicon(5), 10, **held),
        ],
        "hiphop_ethanol": lambda: [
            speed("HIP-HOP hop14 64, 64 ethanol", network("hiphop", hip, [1, 6, 8]), molecules(4), 10, **roomy)
        ],
        "mace": lambda: [
            speed("MACE 32x0e, Si 1000", network("mace", simple, [14]), silicon(5), 10, **held),
        ],
        "mace_ethanol": lambda: [
            speed("MACE 32x0e, 64 ethanol", network("mace", simple, [1, 6, 8]), molecules(4), 10, **roomy)
        ],
        "hiphop8000": lambda: [
            speed("HIP-HOP hop14 64, Si 8000", network("hiphop", hip, [14]), silicon(10), 10, **held)
        ],
        "mace8000": lambda: [speed("MACE 32x0e, Si 8000", network("mace", simple, [14]), silicon(10), 10, **held)],
        "sw": lambda: [stillinger_weber(silicon(5)), own_stillinger_weber(silicon(5))],
    }
    if {"ethanol", "relax"} & set(options.only):
        potential, params, frames = ethanol()
        todo["ethanol"] = lambda: [
            speed("linear ACE, ethanol", (potential, params), frames[0].structure, 1000, timestep=0.5),
            speed("linear ACE, 64 ethanol", (potential, params), molecules(4, apart=10.0), 50, timestep=0.5),
        ]
        todo["relax"] = lambda: [relaxations(potential, params, frames)]
    peers = {tool: getattr(options, tool) for tool in PEERS if getattr(options, tool)}
    for tool, python in peers.items():
        todo[f"peer {tool}"] = partial(peer, tool, python, {"Si 1000": silicon(5), "64 ethanol": molecules(4)})
    for name in [*options.only, *(f"peer {tool}" for tool in peers)]:
        for row in todo[name]():
            print(row, flush=True)
            rows[row["name"]] = row | {"environment": common.environment()}
        what = " ".join((__doc__ or "").split())
        common.write("md", what, list(rows.values()))


if __name__ == "__main__":
    main()
