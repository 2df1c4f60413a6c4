"""Classical descriptors with derivatives, beside dscribe and featomic at the same hyper-parameters.

    JORBIT_DATA=... python benchmarks/bench_descriptors.py --peer-python PYTHON_WITH_THE_PEERS --threads 2

Writes benchmarks/results/descriptors.json (rows of the same tool, descriptor, system and threads are replaced). Every
row is a process of its own; jorbit and the peers take turns. Systems: rattled bulk Si of 1000 and 8000 atoms, and 64
frames of 3BPA (27 atoms) as one batch. What is timed ("kind"):

* values: features of all atoms;
* gradients: values and d features of atom i / d positions of every neighbour, the whole array: [atoms, features, slots,
  3] for jorbit, featomic's position gradients, dscribe's derivatives(attach=True) (all atoms, dense). Those of 3BPA are
  several GB with four elements: every tool gets the 64 frames in four parts and drops each result;
* pull: sum over features of weight x d feature / d positions, [atoms, 3]: what the forces of a model need. featomic
  computes its gradients and contracts them with numpy, the weight of a feature the same in every block.

Gradients per neighbour are not the same array everywhere: featomic stores all n x n' products and, with several
elements, only the blocks that a neighbour's element enters; jorbit and dscribe store n <= n' once and every zero.
"gradient_numbers_per_atom" says how many numbers that is.

jorbit is given a graph; the peers build their neighbour list inside the call (2 to 7 µs/atom for such systems, see
results/neighbors.json). jorbit with 2 threads is two CPU devices, each with half of the atoms. dscribe has no
derivatives of SOAP for periodic systems and only numerical ones of ACSF; those of Si are measured for 4 atoms
("gradients of 4 atoms") and given per displaced atom.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

CUTOFF = 5.0
CELLS = {"Si 1000": 5, "Si 8000": 10}
SYSTEMS = [*CELLS, "3BPA x 64"]
G2 = [(eta, 0.0) for eta in (0.01, 0.05, 0.1, 0.3, 0.6, 1.0, 2.0, 4.0)]
G4 = [(0.01, zeta, sign) for zeta in (1.0, 2.0, 4.0) for sign in (-1.0, 1.0)]
JORBIT = ["soap", "acsf", "aev", "bessel", "coulomb_matrix"]
KINDS = ["values", "pull", "gradients"]
SETTINGS = {
    "soap": "n 8, l 6, sigma 0.5 Å, cutoff 5 Å",
    "acsf": "8 G2 and 6 G4, cutoff 5 Å",
    "aev": "ANI-1x, 5.2 and 3.5 Å",
    "bessel": "n 6, cutoff 5 Å",
    "coulomb_matrix": "sorted eigenvalues",
}


def frames(system: str) -> list:
    if system in CELLS:
        from ase.build import bulk

        atoms = bulk("Si", "diamond", a=5.43, cubic=True).repeat(CELLS[system])
        atoms.rattle(0.05, seed=0)
        return [atoms]
    from ase.io import read

    data = os.environ.get("JORBIT_DATA")
    path = pathlib.Path(data or ".") / "3bpa" / "train_300K.extxyz.xz"
    if not path.exists():
        raise SystemExit("3BPA is not there: set JORBIT_DATA to a folder with 3bpa/train_300K.extxyz.xz.")
    found = read(path, index=":64", format="extxyz")
    for atoms in found:
        atoms.pbc, atoms.cell = False, None
    return found


def parts(kind: str, systems: list) -> list[list]:
    """Gradients of many molecules are computed in four parts."""
    n = len(systems) // 4 if kind != "values" and len(systems) > 1 else len(systems)
    return [systems[k : k + n] for k in range(0, len(systems), n)]


def timed(function, repeats: int) -> dict:  # type: ignore[no-untyped-def]
    """Wall time of the first call and of later ones, processor time, seconds; peak memory, MiB."""
    start = time.perf_counter()
    function()
    first, wall, cpu = time.perf_counter() - start, [], []
    for _ in range(repeats):
        start, start_cpu = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return {
        "first_call_s": first,
        "median_s": statistics.median(wall),
        "min_s": min(wall),
        "cpu_s": statistics.median(cpu),
        "cpu_min_s": min(cpu),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def work_jorbit(name: str, kind: str, system: str, dtype: str, threads: int, repeats: int) -> dict:
    import jax
    import jax.numpy as jnp
    import numpy as np

    jax.config.update("jax_enable_x64", dtype == "float64")
    jax.config.update("jax_num_cpu_devices", threads)

    from jorbit.core.species import SpeciesTable
    from jorbit.descriptors import DESCRIPTORS
    from jorbit.graphs.ase_atoms import from_ase
    from jorbit.graphs.batching import build_graph, capacity_for

    structures = [from_ase(atoms) for atoms in frames(system)]
    species = SpeciesTable.from_structures(structures)
    options = {
        "soap": {"n_species": len(species), "cutoff": CUTOFF, "envelope": "shifted_cosine", "family": "gto_powers"},
        "acsf": {"n_species": len(species), "cutoff": CUTOFF, "g2": tuple(G2), "g4": tuple(G4)},
        "aev": {"n_species": len(species)},
        "bessel": {"n_species": len(species), "cutoff": CUTOFF, "n_max": 6},
        "coulomb_matrix": {"n_atoms": max(s.n_atoms for s in structures)},
    }[name]
    descriptor = DESCRIPTORS.load(name)(**options)
    cutoffs = {descriptor.needs.cutoff} - {None}
    if name == "aev" and kind != "gradients":
        cutoffs.add(descriptor.angular_cutoff)
    lists = parts(kind, structures)
    capacity = capacity_for(structures[: len(lists[0])], sorted(cutoffs))
    slots = capacity_for(structures, sorted(cutoffs)).n_slots
    capacity = dataclasses.replace(capacity, n_slots=slots)
    graphs = [build_graph(one, species, sorted(cutoffs), capacity=capacity, dtype=dtype) for one in lists]
    weights = jnp.asarray(np.random.default_rng(0).normal(size=descriptor.n_features), dtype)

    def spread(function):  # type: ignore[no-untyped-def]
        """A function of arrays [atoms, ...], on all devices."""
        if threads == 1:
            return function
        mesh = jax.make_mesh((threads,), ("atoms",), axis_types=(jax.sharding.AxisType.Auto,))
        along = jax.sharding.PartitionSpec("atoms")
        return jax.shard_map(function, mesh=mesh, in_specs=along, out_specs=along, check_vma=False)

    def blocks(function, graph, block):  # type: ignore[no-untyped-def]
        from jorbit.core.blocks import map_atom_blocks

        inputs = descriptor._inputs(graph)
        inputs = inputs[:2] if name == "aev" and kind == "gradients" else inputs  # of one neighborhood
        return spread(lambda *inputs: map_atom_blocks(function, inputs, block))(*inputs)

    module = sys.modules[type(descriptor).__module__]
    value_block = getattr(module, "VALUE_BLOCK", getattr(module, "BLOCK", 0))
    gradient_block = getattr(module, "GRADIENT_BLOCK", getattr(module, "BLOCK", 0))

    def values(graph):  # type: ignore[no-untyped-def]
        per_atom = hasattr(descriptor, "_values")
        return blocks(descriptor._values, graph, value_block) if per_atom else descriptor.spectrum(graph)

    def gradients(graph):  # type: ignore[no-untyped-def]
        if name == "coulomb_matrix":
            return jax.jacrev(lambda r: values(graph.replace(positions=r)).sum(axis=0))(graph.positions)
        return blocks(descriptor._values_and_gradients, graph, gradient_block)

    def pull(graph):  # type: ignore[no-untyped-def]
        return jax.grad(lambda r: jnp.sum(values(graph.replace(positions=r)) @ weights))(graph.positions)

    compiled = jax.jit({"values": values, "gradients": gradients, "pull": pull}[kind])

    def run() -> None:
        for graph in graphs:
            jax.block_until_ready(compiled(graph))

    row = timed(run, repeats) | {"n_features": descriptor.n_features, "version": jax.__version__}
    if cutoffs and kind == "gradients":
        row["gradient_numbers_per_atom"] = 3 * descriptor.n_features * slots[-1]
    return row


def work_featomic(kind: str, system: str, repeats: int) -> dict:
    import featomic
    import numpy as np

    settings = {
        "cutoff": {"radius": CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        "density": {"type": "Gaussian", "width": 0.5},
        "basis": {"type": "TensorProduct", "max_angular": 6, "radial": {"type": "Gto", "max_radial": 7}},
    }
    calculator, systems = featomic.SoapPowerSpectrum(**settings), frames(system)
    wanted = [] if kind == "values" else ["positions"]
    found = calculator.compute(systems[:1], gradients=wanted)
    n_features = max(len(block.properties) for block in found.blocks())
    numbers = [block.gradient(name).values.size for block in found.blocks() for name in wanted]
    weights = np.random.default_rng(0).normal(size=n_features)
    del found

    def run() -> None:
        for some in parts(kind, systems):
            result = calculator.compute(some, gradients=wanted)
            if kind == "pull":
                first = np.cumsum([0] + [len(atoms) for atoms in some])
                pulls = np.zeros((first[-1], 3))
                for block in result.blocks():
                    gradient = block.gradient("positions")
                    moved = first[gradient.samples["system"]] + gradient.samples["atom"]
                    np.add.at(pulls, moved, np.asarray(gradient.values) @ weights[: len(block.properties)])

    row = timed(run, repeats)
    row |= {"gradient_numbers_per_atom": sum(numbers) / len(systems[0])} if numbers else {}
    row |= {"n_features": n_features, "version": featomic.__version__}
    return row | {"per": "block of one pair of species"}


def work_dscribe(name: str, kind: str, system: str, threads: int, repeats: int) -> dict:
    import importlib.metadata
    import warnings

    import dscribe.descriptors

    warnings.simplefilter("ignore")
    systems = frames(system)
    periodic, elements = bool(systems[0].pbc.any()), sorted(set(systems[0].symbols))
    if name == "soap":
        peer = dscribe.descriptors.SOAP(species=elements, periodic=periodic, r_cut=CUTOFF, n_max=8, l_max=6, sigma=0.5)
    elif name == "acsf":
        peer = dscribe.descriptors.ACSF(species=elements, periodic=periodic, r_cut=CUTOFF, g2_params=G2, g4_params=G4)
    else:
        peer = dscribe.descriptors.CoulombMatrix(n_atoms_max=27, permutation="eigenspectrum")
    jobs = {"n_jobs": threads} if len(systems) > 1 else {}
    given = systems if len(systems) > 1 else systems[0]
    if kind == "values":
        row = timed(lambda: peer.create(given, **jobs), repeats)
    else:
        method = "analytical" if name == "soap" and not periodic else "numerical"
        more = {"attach": True} if name != "coulomb_matrix" else {}
        if periodic:
            more["include"] = [0, 1, 2, 3]

        def run() -> None:
            for some in parts(kind, systems):
                peer.derivatives(some if len(some) > 1 else some[0], method=method, **more, **jobs)

        row = timed(run, 1)
        row |= {"method": method} | ({"displaced_atoms": 4} if periodic else {})
    return row | {"n_features": peer.get_number_of_features(), "version": importlib.metadata.version("dscribe")}


def worker(options: argparse.Namespace) -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.threads :])
    for name in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(options.threads)
    os.environ.pop("XLA_FLAGS", None)
    one = (options.kind, options.system)
    if options.worker == "jorbit":
        row = work_jorbit(options.descriptor, *one, options.dtype, options.threads, options.repeats)
    elif options.worker == "featomic":
        row = work_featomic(*one, options.repeats)
    else:
        row = work_dscribe(options.descriptor, *one, options.threads, options.repeats)
    print("ROW " + json.dumps(row))


def measure(tool: str, descriptor: str, kind: str, system: str, dtype: str, options: argparse.Namespace) -> dict:
    """One row in its own process."""
    row = {"tool": tool, "descriptor": descriptor, "settings": SETTINGS[descriptor], "kind": kind, "system": system}
    row |= {"dtype": dtype, "threads": options.threads}
    python = sys.executable if tool == "jorbit" else options.peer_python
    command = [python, "-W", "ignore", __file__, "--worker", tool, "--descriptor", descriptor, "--kind", kind]
    command += ["--system", system, "--dtype", dtype, "--threads", str(options.threads)]
    command += ["--repeats", str(options.repeats)]
    before = os.getloadavg()[0]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=options.minutes * 60)
        lines = [line for line in done.stdout.splitlines() if line.startswith("ROW ")]
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
    except subprocess.TimeoutExpired:
        lines, reason = [], f"not finished in {options.minutes} minutes"
    if not lines:
        print(f"{tool:9s} {descriptor:15s} {kind:10s} {system:10s} {dtype} failed: {reason}", flush=True)
        return row | {"failed": reason}
    row |= json.loads(lines[0].removeprefix("ROW ")) | {"load_average_before": round(before, 2)}
    n_atoms = {"Si 1000": 1000, "Si 8000": 8000}.get(system, 64 * 27)
    n_atoms = row.get("displaced_atoms", n_atoms)
    row["us_per_atom"] = 1e6 * row["median_s"] / n_atoms
    row["cpu_us_per_atom"] = 1e6 * row["cpu_s"] / n_atoms
    print(
        f"{tool:9s} {descriptor:15s} {kind:10s} {system:10s} {dtype} {options.threads} threads "
        f"{row['us_per_atom']:9.1f} µs/atom (processor {row['cpu_us_per_atom']:9.1f}), {row['peak_rss_mib']} MiB, "
        f"load {before:.1f}",
        flush=True,
    )
    return row


def jobs(options: argparse.Namespace) -> list[tuple[str, str, str, str, str]]:
    """(tool, descriptor, kind, system, dtype), peers next to jorbit."""
    rows = []
    for name in options.only or JORBIT:
        for system in options.systems or SYSTEMS:
            if name == "coulomb_matrix" and system in CELLS:
                continue  # a description of one structure: its cost grows with the third power of the atoms
            for kind in options.kinds:
                if kind == "gradients" and system == "Si 8000":
                    continue  # several GB; their cost per atom is that of Si 1000
                rows += [("jorbit", name, kind, system, dtype) for dtype in options.dtypes]
                if name == "soap" and (kind == "values" or system != "Si 8000"):
                    rows.append(("featomic", name, kind, system, "float64"))
                if name in ("soap", "acsf", "coulomb_matrix") and (kind != "pull"):
                    rows.append(("dscribe", name, kind, system, "float64"))
    return rows


LIMITS = """
Processor time is what the machine did for the row; wall time next to other processes says less. What limits:

* values and forces: arithmetic in cache (radial series, harmonics, small matrix products). Blocks of eight atoms keep
  the coefficients in a core's cache; with blocks of 128 forces of four elements took three times as long;
* gradients per neighbour of SOAP: memory. For Si about half of the time goes into tables (harmonics, small matrix
  products), the other half into writing the array, whose products alone take a fifth of that half. With four elements
  jorbit and dscribe write every zero; featomic writes a third as many numbers and is faster there. Forces do not need
  that array;
* ACSF: exponentials, cosines and powers of all pairs of neighbours.
"""


def describe(rows: list[dict]) -> str:
    """The table of results/descriptors.md."""
    tools = ("jorbit", "featomic", "dscribe")
    found: dict[tuple, dict[str, dict]] = {}
    for row in rows:
        key = tuple(row[k] for k in ("descriptor", "system", "kind", "threads", "dtype"))
        found.setdefault(key, {})[row["tool"]] = row
    lines = ["| " + " | ".join(("descriptor", "system", "what", "threads", "dtype", *tools, "ratio")) + " |"]
    lines.append("| --- | --- | --- | ---: | --- | ---: | ---: | ---: | ---: |")
    for key, of in sorted(found.items()):
        cost = {tool: row["cpu_us_per_atom"] for tool, row in of.items() if "cpu_us_per_atom" in row}
        peers = [cost[tool] for tool in tools[1:] if tool in cost]
        ratio = f"{min(peers) / cost['jorbit']:.1f}" if peers and "jorbit" in cost else "-"
        cells = [f"{cost[tool]:.0f}" if tool in cost else "-" for tool in tools]
        lines.append("| " + " | ".join((*map(str, key), *cells, ratio)) + " |")
    head = "# Classical descriptors\n\nProcessor time, µs/atom; ratio: the better peer over jorbit. Settings, versions,"
    return f"{head} wall\ntimes and load are in descriptors.json; `bench_descriptors.py` says what was timed.\n\n" + (
        "\n".join(lines) + "\n" + LIMITS
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with dscribe and featomic")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=4.0, help="limit of one row")
    parser.add_argument("--only", nargs="*", choices=JORBIT)
    parser.add_argument("--systems", nargs="*", choices=SYSTEMS)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS)
    parser.add_argument("--dtypes", nargs="*", choices=["float64", "float32"], default=["float64", "float32"])
    for hidden in ("--worker", "--descriptor", "--kind", "--system", "--dtype"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    if (options := parser.parse_args()).worker:
        return worker(options)
    import common

    def key(row: dict) -> tuple:
        return tuple(row[k] for k in ("tool", "descriptor", "kind", "system", "dtype", "threads"))

    path = common.RESULTS / "descriptors.json"
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    found = {key(row): row for row in earlier}
    environment = common.environment()
    for job in jobs(options):
        row = measure(*job, options) | {"date": environment["date"], "commit": environment["commit"]}
        found[key(row)] = row
        what = "classical descriptors: µs/atom of values, all derivatives per neighbour, and contracted derivatives"
        common.write("descriptors", what, list(found.values()), **environment)
        (common.RESULTS / "descriptors.md").write_text(describe(list(found.values())), encoding="utf-8")


if __name__ == "__main__":
    main()
