"""Linear ACE: energy + forces of rattled bulk Si within 5 Å, beside python-ace (the C++ evaluator of pacemaker).

    python benchmarks/bench_ace.py --peer-python PYTHON_WITH_PYACE      # writes benchmarks/results/ace_speed.json

Every row is a process of its own on `--threads` cores; jorbit and the peer take turns, at (nearly) the same number of
basis functions. python-ace builds its neighbour list inside the call, so jorbit is timed twice: the compiled model on a
given graph ("model"), and with the host neighbour search and graph building of every call ("with list"). Compilation is
apart. Coefficients are random: this is about cost.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

# functions asked of python-ace -> degrees per order of the jorbit model with about as many
SIZES = {100: (8, 7, 5, 4), 140: (9, 8, 6, 4), 1000: (14, 12, 10, 9)}
CELLS = {216: 3, 1000: 5, 8000: 10}
CUTOFF = 5.0


def silicon(n: int):  # type: ignore[no-untyped-def]
    from ase.build import bulk

    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (n, n, n)
    atoms.rattle(0.05, seed=0)
    return atoms


def timed(function, repeats: int) -> dict:  # type: ignore[no-untyped-def]
    """Median and extremes of the wall time, and the median processor time, seconds."""
    function()
    wall, cpu = [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return {
        "median_s": statistics.median(wall),
        "min_s": min(wall),
        "max_s": max(wall),
        "cpu_s": statistics.median(cpu),
    }


def work_jorbit(n_functions: int, n_atoms: int, dtype: str, repeats: int) -> dict:
    import jax
    import jax.numpy as jnp
    import numpy as np

    import jorbit
    from jorbit.graphs.ase_atoms import from_ase
    from jorbit.models.linear_ace import LinearACE

    jax.config.update("jax_enable_x64", dtype == "float64")
    model = LinearACE(n_species=1, cutoff=CUTOFF, max_degree=SIZES[n_functions])
    potential = jorbit.Potential(terms=(model,), species=jorbit.SpeciesTable.from_numbers([14]))
    coefficients = np.random.default_rng(0).normal(size=model.n_parameters)
    params = jax.tree.map(lambda x: jnp.asarray(x, dtype), {"linear_ace": model.unflatten(coefficients)})
    structure = from_ase(silicon(CELLS[n_atoms]))
    graph = potential.graph(structure)
    start = time.perf_counter()
    jax.block_until_ready(jorbit.predict(potential, params, graph))
    first_call = time.perf_counter() - start
    only = timed(lambda: jax.block_until_ready(jorbit.predict(potential, params, graph)), repeats)
    with_list = timed(lambda: jorbit.predict(potential, params, structure), repeats)
    return {
        "n_functions": model.n_functions,
        "first_call_s": first_call,
        "model": only,
        "with list": with_list,
        "version": jax.__version__,
    }


def work_pyace(n_functions: int, n_atoms: int, recursive: bool, repeats: int) -> dict:
    import importlib.metadata

    import numpy as np
    from pyace import PyACECalculator, create_multispecies_basis_config

    basis = create_multispecies_basis_config(
        {
            "deltaSplineBins": 0.001,
            "elements": ["Si"],
            "embeddings": {"ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}},
            "bonds": {"ALL": {"radbase": "SBessel", "radparameters": [5.25], "rcut": CUTOFF, "dcut": 0.01}},
            "functions": {
                "number_of_functions_per_element": n_functions,
                "ALL": {"nradmax_by_orders": [15, 6, 4, 3, 2], "lmax_by_orders": [0, 5, 4, 3, 1]},
            },
        },
        func_coefs_initializer="random",
    )
    atoms = silicon(CELLS[n_atoms])
    options = {"recursive_evaluator": True, "recursive": True} if recursive else {}
    atoms.calc = PyACECalculator(basis, **options)
    rng = np.random.default_rng(0)

    def call() -> None:
        atoms.positions += rng.normal(0, 1e-4, atoms.positions.shape)
        atoms.get_forces()

    return {
        "n_functions": len(basis.funcspecs_blocks[0].funcspecs),
        "with list": timed(call, repeats),
        "version": importlib.metadata.version("python-ace"),
    }


def worker(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    if options.worker == "jorbit":
        row = work_jorbit(options.functions, options.atoms, options.dtype, options.repeats)
    else:
        row = work_pyace(options.functions, options.atoms, options.worker == "python-ace recursive", options.repeats)
    print("ROW " + json.dumps(row))


def measure(python: str, tool: str, functions: int, atoms: int, dtype: str, options: argparse.Namespace) -> dict:
    """Run one row in its own process."""
    row = {"tool": tool, "n_atoms": atoms, "functions_asked": functions, "dtype": dtype, "threads": options.threads}
    command = [python, __file__, "--worker", tool, "--functions", str(functions), "--atoms", str(atoms)]
    command += ["--dtype", dtype, "--threads", str(options.threads), "--repeats", str(options.repeats)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("ROW ")]
    if not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"{tool:22s} {functions:5d} {atoms:5d} {dtype}  failed: {reason}", flush=True)
        return row | {"failed": reason}
    row |= json.loads(lines[0][4:]) | {"load_average": os.getloadavg()[0]}
    for kind in ("model", "with list"):
        if kind in row:
            row[f"us_per_atom {kind}"] = 1e6 * row[kind]["median_s"] / atoms
            print(
                f"{tool:22s} {row['n_functions']:5d} functions {atoms:5d} atoms {dtype} {kind:10s} "
                f"{row[f'us_per_atom {kind}']:8.1f} µs/atom",
                flush=True,
            )
    return row


def main() -> None:
    """Parent: take turns over all rows. Child: measure one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter of an environment with python-ace")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--functions", type=int, default=0, help="only this size")
    parser.add_argument("--atoms", type=int, default=0, help="only this cell")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float64", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options)
        return
    from common import environment, write

    rows, start = [], environment()
    for functions in [options.functions] if options.functions else list(SIZES):
        for atoms in [options.atoms] if options.atoms else list(CELLS):
            turns = [
                (sys.executable, "jorbit", "float64"),
                (options.peer_python, "python-ace", "float64"),
                (options.peer_python, "python-ace recursive", "float64"),
                (sys.executable, "jorbit", "float32"),
            ]
            rows += [measure(python, tool, functions, atoms, dtype, options) for python, tool, dtype in turns]
    write("ace_speed", "energy + forces of rattled bulk Si within 5 Å", rows, environment=start)


if __name__ == "__main__":
    main()
