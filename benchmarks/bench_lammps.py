"""Molecular dynamics in LAMMPS with jorbit's forces: 8000 atoms of silicon on one and two MPI ranks.

    python benchmarks/bench_lammps.py [--steps N]

Runs itself under mpiexec. Per rank: processor time of all its steps, of the evaluations alone (host arrays to forces),
and of the searches (distinct atoms, neighbours, tables), after everything has been compiled; waiting for the other rank
is not in the last two. "seen" counts the atoms in a rank's graph, its own and those around them; "calculator" is the
same model in ASE on all atoms, one evaluation with a list that is kept. One thread per rank. The ACE has small random
coefficients and the network random weights, beside a pair potential that holds the crystal. Writes
benchmarks/results/lammps.json.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import ase
import common
import jax
import numpy as np
from ase.build import bulk

import jorbit
from jorbit.core.species import SpeciesTable
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.hiphop import HipHop
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.simulate.lammps import attach, open_lammps
from jorbit.simulate.lammps_input import data_file
from jorbit.terms.lennard_jones import LennardJones

CASES = (("ace", "float64"), ("ace", "float32"), ("hiphop, 2 layers", "float32"))


def silicon(n: int) -> ase.Atoms:
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (n, n, n)
    atoms.rattle(0.05, seed=0)
    return atoms


def model_of(name: str) -> tuple[Potential, dict]:
    pair, table = LennardJones(0.3, 2.2, 5.0, 3.5), SpeciesTable.from_numbers([14])
    if name == "ace":
        ace = LinearACE(n_species=1, cutoff=5.0, max_degree=(10, 8, 6))
        coefficients = 1e-6 * np.random.default_rng(0).normal(size=(1, ace.n_functions))
        return Potential((pair, ace), table), {"lennard_jones": {}, "linear_ace": {"coefficients": coefficients}}
    network = HipHop(1, cutoff=5.0, n_features=16, n_sensitivities=10, n_interactions=2, n_atom_layers=2)
    potential = Potential((pair, network), table)
    return potential, jax.jit(potential.init)(jax.random.key(0), potential.graph(from_ase(silicon(3))))


class Clock:
    """Processor time spent in a function, and how often it was called."""

    def __init__(self, function):
        self.function, self.seconds, self.calls = function, 0.0, 0

    def __call__(self, *arguments):
        begin = time.process_time()
        result = self.function(*arguments)
        self.seconds, self.calls = self.seconds + time.process_time() - begin, self.calls + 1
        return result


def rank(folder: pathlib.Path, n_steps: int) -> None:
    """One MPI rank: every case, into one file per rank."""
    rows = []
    for name, dtype in CASES:
        lmp = open_lammps(["-log", "none", "-screen", "none"])
        comm = lmp.get_mpi_comm()
        lmp.commands_string(f"units metal\natom_style atomic\nread_data {folder / 'silicon.data'}")
        lmp.commands_string("velocity all create 600 1\ntimestep 0.001\nfix move all nve")
        forces = attach(lmp, model_of(name), ["Si"], dtype=dtype)
        forces.run(2)  # compiles
        compute, search = Clock(forces._compute), Clock(forces._search)
        forces._compute, forces._search = compute, search
        begin, wall = time.process_time(), time.perf_counter()
        forces.run(n_steps)
        rows.append(
            {
                "name": name,
                "dtype": dtype,
                "ranks": comm.Get_size(),
                "own": lmp.extract_setting("nlocal"),
                "seen": forces.n_seen,
                "steps": n_steps,
                "searches": search.calls,
                "wall_ms_per_step": 1e3 * (time.perf_counter() - wall) / n_steps,
                "cpu_ms_per_step": 1e3 * (time.process_time() - begin) / n_steps,
                "evaluation_ms": 1e3 * compute.seconds / compute.calls,
                "search_ms": 1e3 * search.seconds / search.calls,
            }
        )
        lmp.close()
    (folder / f"{comm.Get_size()}_{comm.Get_rank()}.json").write_text(json.dumps(rows))


def calculator(name: str, dtype: str, repeats: int = 5) -> float:
    """Milliseconds of processor time of one evaluation in ASE, all atoms in one graph."""
    atoms = silicon(10)
    atoms.calc = jorbit.simulate.Calculator(model_of(name), skin=1.0, dtype=dtype)
    times = []
    for _ in range(repeats):
        begin = time.process_time()
        atoms.get_forces()
        times.append(time.process_time() - begin)
        atoms.positions[0, 0] += 1e-6
    return 1e3 * float(np.median(times[1:]))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--rank", type=pathlib.Path)
    arguments = parser.parse_args()
    if arguments.rank is not None:
        return rank(arguments.rank, arguments.steps)
    rows, load = [], [os.getloadavg()[0]]
    with tempfile.TemporaryDirectory() as place:
        folder = pathlib.Path(place)
        crystal = from_ase(silicon(10))
        (folder / "silicon.data").write_text(data_file(crystal, np.ones(crystal.n_atoms, int), [14], ["Si"]))
        for n in (1, 2):
            program = [sys.executable, __file__, "--rank", str(folder), "--steps", str(arguments.steps)]
            mpiexec = [str(pathlib.Path(sys.prefix) / "bin" / "mpiexec"), "-n", str(n)]
            subprocess.run(mpiexec + program, check=True)
            ranks = [json.loads((folder / f"{n}_{k}.json").read_text()) for k in range(n)]
            for case in zip(*ranks, strict=True):
                row = dict(case[0])
                for key in ("own", "seen"):
                    row[key] = [r[key] for r in case]
                for key in ("wall_ms_per_step", "cpu_ms_per_step", "evaluation_ms", "search_ms"):
                    row[key] = round(max(r[key] for r in case), 1)
                rows.append(row)
                print(row, flush=True)
            load.append(os.getloadavg()[0])
        for row in rows[: len(CASES)]:
            row["calculator_ms"] = round(calculator(row["name"], row["dtype"]), 1)
            print(row["name"], row["dtype"], row["calculator_ms"], flush=True)
    more = {
        "load_average": [round(x, 1) for x in load],
        "versions": common.versions("jax", "jaxlib", "numpy", "lammps", "mpich"),
    }
    about = "8000 atoms of silicon in LAMMPS with jorbit's forces; of several ranks the slowest"
    common.write("lammps", about, rows, environment=common.environment() | more)


if __name__ == "__main__":
    with jax.enable_x64(True):
        main()
