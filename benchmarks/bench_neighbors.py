"""Neighbour search: ours on the host and on the device, beside vesin, matscipy and jax-md.

Rattled diamond silicon, full lists within 5 Å, 1000 / 8000 / 64000 atoms. Every tool must find the same pairs.
Compilation and the first allocation are timed apart; each number is the median of several runs with its spread. A tool
that is not installed gets a row that says so.

    python benchmarks/bench_neighbors.py --threads 1            # writes benchmarks/results/neighbors.json
"""

import argparse
import json
import os
import pathlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from common import PACKAGES, RESULTS, environment, versions

CUTOFF = 5.0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1, help="cores the process may use")
    parser.add_argument("--cells", type=int, nargs="+", default=[5, 10, 20], help="cubic cells per edge, 8 atoms each")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--output", type=pathlib.Path, default=RESULTS / "neighbors.json")
    return parser.parse_args()


def silicon(n: int):  # type: ignore[no-untyped-def]
    """Diamond silicon, n^3 cubic cells, rattled by 0.1 Å so that no shell of neighbours lies on the cutoff."""
    from ase.build import bulk

    atoms = bulk("Si", "diamond", a=5.431, cubic=True) * (n, n, n)
    atoms.rattle(0.1, seed=0)
    return atoms


def timed(function: Callable[[], object], repeats: int) -> dict[str, float]:
    """Median, shortest and longest of several runs, seconds."""
    runs = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        runs.append(time.perf_counter() - start)
    return {"median_s": statistics.median(runs), "min_s": min(runs), "max_s": max(runs), "repeats": repeats}


def host_ours(atoms, repeats: int) -> dict:  # type: ignore[no-untyped-def]
    from jorbit.graphs import find_pairs
    from jorbit.graphs.ase_atoms import from_ase

    structure = from_ase(atoms)
    pairs = len(find_pairs(structure, CUTOFF).i)
    return {"pairs": pairs} | timed(lambda: find_pairs(structure, CUTOFF), repeats)


def host_vesin(atoms, repeats: int) -> dict:  # type: ignore[no-untyped-def]
    import vesin

    search = vesin.NeighborList(cutoff=CUTOFF, full_list=True)
    box = atoms.cell.array

    def once():  # type: ignore[no-untyped-def]
        return search.compute(atoms.positions, box, True, quantities="ijSd")

    return {"pairs": len(once()[0])} | timed(once, repeats)


def host_matscipy(atoms, repeats: int) -> dict:  # type: ignore[no-untyped-def]
    from matscipy.neighbours import neighbour_list  # pyright: ignore[reportMissingImports]

    def once():  # type: ignore[no-untyped-def]
        return neighbour_list("ijSd", atoms, CUTOFF)

    return {"pairs": len(once()[0])} | timed(once, repeats)


def device_ours(dtype: str) -> Callable:
    def bench(atoms, repeats: int) -> dict:  # type: ignore[no-untyped-def]
        import jax
        import jax.numpy as jnp

        from jorbit.graphs.ase_atoms import from_ase
        from jorbit.graphs.cell_list import plan_search, search

        with jax.enable_x64(dtype == "float64"):
            start = time.perf_counter()
            plan = plan_search(from_ase(atoms), (CUTOFF,))
            allocate = time.perf_counter() - start
            positions, cell = jnp.asarray(atoms.positions, dtype), jnp.asarray(atoms.cell.array, dtype)
            start = time.perf_counter()
            compiled = jax.jit(search, static_argnums=0).lower(plan, positions, cell).compile()
            compile_seconds = time.perf_counter() - start
            found = compiled(positions, cell)
            if found.overflow:
                raise RuntimeError("The list overflowed on the configuration it was planned for.")
            row = {"pairs": int(found.mask[0].sum()), "compile_s": compile_seconds, "allocate_s": allocate}
            return row | timed(lambda: jax.block_until_ready(compiled(positions, cell)), repeats)

    return bench


def device_jax_md(dtype: str) -> Callable:
    def bench(atoms, repeats: int) -> dict:  # type: ignore[no-untyped-def]
        import jax
        import jax.numpy as jnp
        from jax_md import partition, space

        with jax.enable_x64(dtype == "float64"):
            length: Any = float(atoms.cell.array[0, 0])
            displacement, _ = space.periodic(length)
            neighbor_fn = partition.neighbor_list(
                displacement, length, CUTOFF, dr_threshold=0.0, capacity_multiplier=1.25, format=partition.Dense
            )
            positions = jnp.mod(jnp.asarray(atoms.positions, dtype), length)
            start = time.perf_counter()
            first = jax.block_until_ready(neighbor_fn.allocate(positions))
            allocate = time.perf_counter() - start
            start = time.perf_counter()
            # A compiled loop calls update on positions; the list is closed over, as its static fields cannot be hashed.
            compiled = jax.jit(lambda r: first.update(r).idx).lower(positions).compile()
            compile_seconds = time.perf_counter() - start
            pairs = int((compiled(positions) < len(positions)).sum())
            row = {"pairs": pairs, "compile_s": compile_seconds, "allocate_s": allocate}
            return row | timed(lambda: jax.block_until_ready(compiled(positions)), repeats)

    return bench


TOOLS: dict[str, Callable] = {
    "jorbit host": host_ours,
    "vesin": host_vesin,
    "matscipy": host_matscipy,
    "jorbit device float64": device_ours("float64"),
    "jorbit device float32": device_ours("float32"),
    "jax-md dense float64": device_jax_md("float64"),
    "jax-md dense float32": device_jax_md("float32"),
}


def main() -> None:
    """Run every tool on every size and write the table."""
    options = arguments()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.threads])  # before jax counts the cores
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    load_before = os.getloadavg()
    rows = []
    for n in options.cells:
        atoms = silicon(n)
        expected = None
        for tool, bench in TOOLS.items():
            row: dict = {"tool": tool, "n_atoms": len(atoms)}
            try:
                row |= bench(atoms, options.repeats)
            except ImportError as error:
                rows.append(row | {"skipped": f"not installed: {error.name}"})
                print(f"{tool:24s} {len(atoms):7d} atoms   {rows[-1]['skipped']}", flush=True)
                continue
            expected = row["pairs"] if expected is None else expected
            # In float32 a distance within 1e-6 of the cutoff may fall on either side of it.
            allowed = 1e-5 * expected if tool.endswith("float32") else 0
            if abs(row["pairs"] - expected) > allowed:
                raise SystemExit(f"{tool} finds {row['pairs']} pairs, jorbit's host search {expected}.")
            row["us_per_atom"] = 1e6 * row["median_s"] / len(atoms)
            rows.append(row)
            print(
                f"{tool:24s} {len(atoms):7d} atoms {row['pairs']:9d} pairs {1e3 * row['median_s']:9.2f} ms "
                f"({1e3 * row['min_s']:.2f} to {1e3 * row['max_s']:.2f}) {row['us_per_atom']:7.2f} µs/atom   "
                f"compile {row.get('compile_s', 0.0):.2f} s, first allocation {row.get('allocate_s', 0.0):.2f} s",
                flush=True,
            )
    report = {
        "what": f"full neighbour lists of rattled diamond Si within {CUTOFF} Å, one search, warm",
        **environment(),
        "threads": options.threads,
        "load_average_before": load_before,
        "load_average_after": os.getloadavg(),
        "versions": versions(*PACKAGES, "matscipy"),
        "rows": rows,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(report, indent=1) + "\n")
    print(f"written to {options.output.name}")


if __name__ == "__main__":
    main()
