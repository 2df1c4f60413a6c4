"""Networks: energy + forces within 5 Å in float32, and a training step, beside the packages they are compared with.

    python benchmarks/bench_models.py --peer hippynn=PYTHON --peer mace-torch=PYTHON --peer schnetpack=PYTHON

Rows of jorbit are named by registry name and size (ROWS); each peer is an interpreter of an environment of its own.
Every row is a process of its own on `--threads` cores, and a model and its peer take turns. Systems: rattled bulk Si
(1000 atoms), one ethanol molecule, and a training step on 8 octanols (216 atoms; loss of energies and forces, Adam).
Compilation (the first calls) is apart. Weights are random: this is about cost.

"model" is the evaluation with the neighbours given (hippynn and schnetpack: their calculator or converter with a list
that is not rebuilt), "with list" adds jorbit's own host search and graph building of every call. `wall` is what a user
waits for; `cpu` is what the process used, which other work on the machine disturbs least (for one thread the two agree
on an idle machine). Rows of an earlier run stay in the file unless they are measured again.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import time

CUTOFF = 5.0
HIP = {"n_features": 64, "n_sensitivities": 20, "n_interactions": 2, "n_atom_layers": 3, "soft_min": 1.0}
HIP |= {"soft_max": 4.5, "envelope": "cosine"}
# row -> (registered name, options, peer, the peer's model)
ROWS: dict[str, tuple[str, dict, str, str]] = {
    "hipnn 64": ("hipnn", HIP, "hippynn", "Hipnn"),
    "hiphop l2 n3 64": (
        "hiphop",
        {**HIP, "invariants": "hop13:3,2", "normalization": "group"},
        "hippynn",
        "HipHopnn 2 3",
    ),
    "hiphop l3 n4 64": (
        "hiphop",
        {**HIP, "invariants": "hop13:4,3", "normalization": "group"},
        "hippynn",
        "HipHopnn 3 4",
    ),
    "hiphop hop14 bounded 64": ("hiphop", {**HIP, "invariants": "hop14"}, "", ""),
    "schnet 128": ("schnet", {"n_features": 128, "envelope": "cosine"}, "schnetpack", "SchNet"),
    "painn 128": ("painn", {}, "schnetpack", "PaiNN"),
    "ani 1x": ("ani", {}, "torchani", "ANI-1x"),
    "neuralil": ("neuralil", {}, "", ""),
    "dimenet 128": ("dimenet", {}, "", ""),
    "nequip 32x l2": ("nequip", {}, "", ""),
    "mace 32x0e": ("mace", {"channels": 32, "hidden_l": 0}, "mace-torch", "32x0e"),
    "mace 128x0e+128x1o": ("mace", {"channels": 128, "hidden_l": 1}, "mace-torch", "128x0e + 128x1o"),
}
ETHANOL = (
    (6, -1.168, -0.398, 0.003),
    (6, 0.063, 0.556, 0.012),
    (8, 1.201, -0.281, -0.021),
    (1, -1.166, -1.041, 0.893),
    (1, -1.130, -1.034, -0.892),
    (1, -2.091, 0.201, -0.004),
    (1, 0.065, 1.196, 0.901),
    (1, 0.058, 1.209, -0.879),
    (1, 1.991, 0.271, 0.014),
)


def systems(name: str) -> list:
    """ase.Atoms of a system, rattled by 0.05 Å with fixed seeds."""
    from ase import Atoms
    from ase.build import bulk

    if name.startswith("Si"):
        n = round((int(name[2:]) / 8) ** (1 / 3))
        found = [bulk("Si", "diamond", a=5.43, cubic=True) * (n, n, n)]
    elif name == "ethanol":
        found = [Atoms([z for z, *_ in ETHANOL], [xyz for _, *xyz in ETHANOL])]
    else:
        found = [octanol() for _ in range(8)]
    for k, atoms in enumerate(found):
        atoms.rattle(0.05, seed=k)
    return found


def octanol():  # type: ignore[no-untyped-def]
    """C8H17OH as a zigzag chain: 27 atoms at about the right distances."""
    import numpy as np
    from ase import Atoms

    symbols, positions = [], []
    for k in range(9):
        center = np.array([1.26 * k, 0.44 * (-1) ** k, 0.0])
        symbols.append("O" if k == 8 else "C")
        positions.append(center)
        side = (-1) ** k
        if k < 8:
            for z in (0.9, -0.9):
                symbols.append("H")
                positions.append(center + [0.0, 0.63 * side, z])
        if k in (0, 8):
            symbols.append("H")
            positions.append(center + [0.95 * (1 if k else -1), 0.4 * side * (-1 if k == 0 else 1), 0.0])
    return Atoms(symbols, positions)


def timed(function, repeats: int, limit: float) -> dict:  # type: ignore[no-untyped-def]
    """Two calls to warm up, then wall and processor time of each call, seconds."""
    start = time.perf_counter()
    function()
    first = time.perf_counter() - start
    function()
    wall, cpu = [], []
    while len(wall) < repeats and (sum(wall) < limit or len(wall) < 3):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        function()
        wall.append(time.perf_counter() - begin)
        cpu.append(time.process_time() - begin_cpu)
    found = {"wall_s": statistics.median(wall), "wall_min_s": min(wall), "cpu_s": statistics.median(cpu)}
    return {**found, "cpu_min_s": min(cpu), "first_call_s": first, "calls": len(wall)}


def work_jorbit(row: str, system: str, options: argparse.Namespace) -> dict:
    import jax
    import jax.numpy as jnp

    import jorbit
    from jorbit.core.compilation import compilations
    from jorbit.graphs.ase_atoms import from_ase
    from jorbit.models import MODELS
    from jorbit.potential.derivatives import energy_and_derivatives

    name, settings, *_ = ROWS[row]
    structures = [from_ase(atoms) for atoms in systems(system)]
    table = jorbit.SpeciesTable.from_structures(structures)
    model = MODELS.load(name)(n_species=len(table), cutoff=CUTOFF, **settings)
    potential = jorbit.Potential((model,), species=table)
    graph = potential.graph(structures)
    params = jax.jit(potential.init)(jax.random.key(0), graph)
    found = {"parameters": sum(x.size for x in jax.tree.leaves(params)), "version": jax.__version__}
    if system == "octanols":
        import optax

        optimizer = optax.adam(1e-3)

        def loss(params):  # type: ignore[no-untyped-def]
            p = energy_and_derivatives(potential, params, graph)
            return jnp.mean(p.energy**2) + 100 * jnp.mean(p.forces**2)

        @jax.jit
        def step(params, state):  # type: ignore[no-untyped-def]
            updates, state = optimizer.update(jax.grad(loss)(params), state)
            return optax.apply_updates(params, updates), state

        now = [params, optimizer.init(params)]

        def call() -> None:
            now[:] = jax.block_until_ready(step(*now))

        return found | {"model": timed(call, options.repeats, options.limit)}
    given = timed(
        lambda: jax.block_until_ready(jorbit.predict(potential, params, graph)), options.repeats, options.limit
    )
    listed = timed(lambda: jorbit.predict(potential, params, structures[0]), options.repeats, options.limit)
    return found | {"model": given, "with list": listed, "compilations": dict(compilations())}


def work_hippynn(model: str, system: str, options: argparse.Namespace) -> dict:
    import warnings

    warnings.filterwarnings("ignore")
    import hippynn
    import numpy as np
    import torch
    from hippynn.graphs import GraphModule, inputs, networks, physics, targets
    from hippynn.interfaces.ase_interface import HippynnCalculator

    torch.set_num_threads(options.threads)
    atoms = systems(system)
    cls, *sizes = model.split()
    kinds = sorted({int(z) for a in atoms for z in a.numbers})
    settings = {"possible_species": [0, *kinds], "n_features": 64, "n_sensitivities": 20, "n_interaction_layers": 2}
    settings |= {"n_atom_layers": 3, "dist_soft_min": 1.0, "dist_soft_max": 4.5, "dist_hard_max": CUTOFF}
    if sizes:
        settings |= {"l_max": int(sizes[0]), "n_max": int(sizes[1])}
    species, positions = inputs.SpeciesNode(db_name="Z"), inputs.PositionsNode(db_name="R")
    periodic = bool(atoms[0].pbc.any())
    given = (species, positions, *([inputs.CellNode(db_name="C")] if periodic else []))
    energy = targets.HEnergyNode("E", getattr(networks, cls)("net", given, periodic=periodic, module_kwargs=settings))
    if system == "octanols":
        forces = physics.GradientNode("F", (energy, positions), sign=-1)
        module = GraphModule([species, positions], [energy.main_output, forces])
        z, r = (torch.tensor(np.array([getattr(a, k) for a in atoms])) for k in ("numbers", "positions"))
        r, optimizer = r.float(), torch.optim.Adam(module.parameters(), 1e-3)

        def call() -> None:
            optimizer.zero_grad()
            e, f = module(z, r.clone())
            ((e**2).mean() + 100 * (f**2).mean()).backward()
            optimizer.step()
    else:
        calculator = HippynnCalculator(energy, skin=0.3, en_unit=1.0)
        calculator.to(torch.float32)
        atoms[0].calc, rng = calculator, np.random.default_rng(0)
        module = calculator.module

        def call() -> None:
            atoms[0].positions += rng.normal(0, 1e-5, atoms[0].positions.shape)
            atoms[0].get_forces()

    found = {"parameters": sum(p.numel() for p in module.parameters()), "version": hippynn.__version__}
    return found | {"model": timed(call, options.repeats, options.limit), "torch": torch.__version__}


def work_schnetpack(model: str, system: str, options: argparse.Namespace) -> dict:
    import importlib.metadata

    import schnetpack as spk
    import schnetpack.transform as trn
    import torch
    from schnetpack.interfaces import AtomsConverter

    torch.set_num_threads(options.threads)
    settings = {"n_atom_basis": 128, "n_interactions": 3, "radial_basis": spk.nn.GaussianRBF(20, CUTOFF)}
    representation = getattr(spk.representation, model)(cutoff_fn=spk.nn.CosineCutoff(CUTOFF), **settings)
    network = spk.model.NeuralNetworkPotential(
        representation,
        input_modules=[spk.atomistic.PairwiseDistances()],
        output_modules=[spk.atomistic.Atomwise(n_in=128, output_key="energy"), spk.atomistic.Forces()],
    )
    batch = AtomsConverter(trn.MatScipyNeighborList(CUTOFF), dtype=torch.float32)(systems(system)[0])
    for p in network.parameters():
        p.requires_grad_(False)
    found = {"parameters": sum(p.numel() for p in network.parameters())}
    found["version"] = importlib.metadata.version("schnetpack")
    return found | {"model": timed(lambda: network(dict(batch))["forces"], options.repeats, options.limit)}


def work_mace(model: str, system: str, options: argparse.Namespace) -> dict:
    import mace
    import numpy as np
    import torch
    from e3nn import o3
    from mace import data, modules
    from mace.tools import torch_geometric, utils

    torch.set_num_threads(options.threads)
    torch.set_default_dtype(torch.float32)
    atoms = systems(system)
    table = utils.AtomicNumberTable(sorted({int(z) for a in atoms for z in a.numbers}))
    network = modules.ScaleShiftMACE(
        r_max=CUTOFF,
        num_bessel=8,
        num_polynomial_cutoff=5,
        max_ell=3,
        interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
        num_interactions=2,
        num_elements=len(table),
        hidden_irreps=o3.Irreps(model),
        MLP_irreps=o3.Irreps("16x0e"),
        atomic_energies=np.zeros(len(table)),
        avg_num_neighbors=28.0 if system.startswith("Si") else 12.0,
        atomic_numbers=table.zs,
        correlation=3,
        gate=torch.nn.functional.silu,
        atomic_inter_scale=1.0,
        atomic_inter_shift=0.0,
    )
    configs = [data.config_from_atoms(a) for a in atoms]
    frames = [data.AtomicData.from_config(c, z_table=table, cutoff=CUTOFF) for c in configs]
    loader = torch_geometric.dataloader.DataLoader(frames, batch_size=len(frames), shuffle=False)
    batch = next(iter(loader)).to_dict()
    found = {"parameters": sum(p.numel() for p in network.parameters()), "version": mace.__version__}
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        out = network(batch, training=True)
        ((out["energy"] ** 2).mean() + 100 * (out["forces"] ** 2).mean()).backward()
        optimizer.step()

    call = step if system == "octanols" else lambda: network(batch, training=False)["forces"]
    return found | {"model": timed(call, options.repeats, options.limit), "torch": torch.__version__}


def work_torchani(model: str, system: str, options: argparse.Namespace) -> dict:
    """Networks of jorbit's widths for each element; `cutoff` as in ANI-1x would not be 5 Å, so it is set."""
    import torch
    import torchani
    from torchani.arch import simple_ani
    from torchani.nn import ANINetworks, AtomicNetwork

    torch.set_num_threads(options.threads)
    atoms = systems(system)
    symbols = tuple(sorted({s for a in atoms for s in a.get_chemical_symbols()}))
    network = simple_ani(
        symbols,
        lot="none",
        radial_cutoff=CUTOFF,
        angular_shifts=4,
        sections=8,
        radial_precision=16.0,
        angular_precision=8.0,
        angular_zeta=32.0,
        cutoff_fn="cosine",
        dispersion=False,
        repulsion=False,
        strategy="pyaev",
        neighborlist="cell_list" if atoms[0].pbc.any() else "all_pairs",
        self_energies="zero",
    )
    n_in = network.aev_computer.out_dim
    made = {s: AtomicNetwork((n_in, 160, 128, 96, 1), activation="gelu", bias=True) for s in symbols}
    network.potentials["nnp"].neural_networks = ANINetworks(made)
    z = torch.stack([torch.as_tensor(a.numbers, dtype=torch.long) for a in atoms])
    r = torch.stack([torch.as_tensor(a.positions, dtype=torch.float32) for a in atoms])
    more = {}
    if atoms[0].pbc.any():
        more = {"cell": torch.as_tensor(atoms[0].cell.array, dtype=torch.float32), "pbc": torch.ones(3).bool()}
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def call() -> None:
        x = r.clone().requires_grad_()
        energy = network((z, x), **more).energies
        train = system == "octanols"
        (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=train)
        if train:
            optimizer.zero_grad()
            ((energy**2).mean() + 100 * (gradient**2).mean()).backward()
            optimizer.step()

    if system != "octanols":
        for p in network.parameters():
            p.requires_grad_(False)
    found = {"parameters": sum(p.numel() for p in network.parameters()), "version": torchani.__version__}
    return found | {"model": timed(call, options.repeats, options.limit), "torch": torch.__version__}


PEERS = {"torchani": work_torchani, "hippynn": work_hippynn, "schnetpack": work_schnetpack, "mace-torch": work_mace}


def worker(options: argparse.Namespace) -> None:
    row = ROWS[options.row]
    if options.worker == "jorbit":
        found = work_jorbit(options.row, options.system, options)
    else:
        found = PEERS[options.worker](row[3], options.system, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # all of the process, compiler included
    print("ROW " + json.dumps(found | {"peak_MB": round(peak)}))


def measure(python: str, tool: str, row: str, system: str, threads: int, options: argparse.Namespace) -> dict:
    """Run one row in its own process."""
    name = f"{tool}: {row if tool == 'jorbit' else ROWS[row][3]}"
    result = {"key": f"{name} | {system} | {threads}", "tool": tool, "row": row, "system": system, "threads": threads}
    command = [python, __file__, "--worker", tool, "--row", row, "--system", system, "--threads", str(threads)]
    command += ["--repeats", str(options.repeats), "--limit", str(options.limit)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONWARNINGS": "ignore", "JAX_PLATFORMS": "cpu"}
    environment.pop("XLA_FLAGS", None)  # the number of cores the process may use decides
    cores = sorted(os.sched_getaffinity(0))[-threads:]
    done = subprocess.run(
        ["taskset", "-c", ",".join(map(str, cores)), *command], capture_output=True, text=True, env=environment
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("ROW ")]
    if not lines:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        print(f"{result['key']:60s} failed: {reason}", flush=True)
        return result | {"failed": reason}
    result |= json.loads(lines[0][4:]) | {"load_average": round(os.getloadavg()[0], 2)}
    n_atoms = {"ethanol": 9, "octanols": 216}.get(system) or int(system[2:])
    for kind in ("model", "with list"):
        if kind in result:
            t = result[kind]
            result[f"us_per_atom {kind}"] = {k: round(1e6 * t[f"{k}_s"] / n_atoms, 2) for k in ("wall", "cpu")}
            print(
                f"{result['key']:60s} {kind:9s} {1e3 * t['wall_s']:9.2f} ms wall {1e3 * t['cpu_s']:9.2f} ms cpu  "
                f"{1e6 * t['cpu_s'] / n_atoms:8.1f} µs/atom cpu   first {t['first_call_s']:.1f} s",
                flush=True,
            )
    return result


def main() -> None:
    """Parent: take turns over all rows. Child: measure one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], help="name=interpreter, may be repeated")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--systems", nargs="*", default=["Si1000", "ethanol", "octanols"])
    parser.add_argument("--threads", nargs="*", default=["1", "2"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds of timing per row, at most")
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    parser.add_argument("--row", default="", help=argparse.SUPPRESS)
    parser.add_argument("--system", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        options.threads = int(options.threads[0])
        worker(options)
        return
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    from common import environment, load_rows, write

    peers, rows = dict(p.split("=", 1) for p in options.peer), load_rows("models", "key")
    for system in options.systems:
        for row in options.rows:
            for threads in map(int, options.threads):
                turns = [(sys.executable, "jorbit")]
                if ROWS[row][2] in peers and (system != "octanols" or ROWS[row][2] != "schnetpack"):
                    turns.append((peers[ROWS[row][2]], ROWS[row][2]))
                start = environment() | {"repeats": options.repeats}
                for python, tool in turns:
                    found = measure(python, tool, row, system, threads, options)
                    rows[found["key"]] = found | {"environment": start}
                write("models", "networks, float32, 5 Å: energy + forces, and a training step", list(rows.values()))


if __name__ == "__main__":
    main()
