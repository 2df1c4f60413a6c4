"""What benchmarks of networks share: one process per model that measures jorbit or a peer.

Not called by hand: `bench_models.py` and `bench_training.py` start it with the interpreters of the peers.
"""

import argparse
import json
import os
import pathlib
import resource
import statistics
import subprocess
import time

from model_rows import CUTOFF, ROWS, systems

HERE = pathlib.Path(__file__)


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
    if options.train:
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


def work_loader(row: str, system: str, options: argparse.Namespace) -> dict:
    """How long the device waits for batches: three epochs of 8 batches of the trainer itself, labels made up."""
    import numpy as np

    import jorbit
    from jorbit.graphs.ase_atoms import from_ase
    from jorbit.models import MODELS
    from jorbit.train.gradient import train_by_gradient
    from jorbit.train.gradient_config import GradientConfig

    name, settings, *_ = ROWS[row]
    one, rng = [from_ase(atoms) for atoms in systems(system)], np.random.default_rng(0)
    frames = [
        jorbit.Frame(
            structure=s, labels=jorbit.Labels(energy=float(rng.normal()), forces=rng.normal(size=s.positions.shape))
        )
        for s in 8 * one
    ]
    table = jorbit.SpeciesTable.from_structures(one)
    potential = jorbit.Potential((MODELS.load(name)(n_species=len(table), cutoff=CUTOFF, **settings),), table)
    config = GradientConfig(epochs=3, batch_size=len(one), learning_rate=1e-5, warmup=0)
    seconds = train_by_gradient(potential, frames, config=config).report.seconds
    return {"seconds": seconds, "waiting_share": seconds["wait"] / max(seconds["train"], 1e-9)}


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
    if options.train:
        forces = physics.GradientNode("F", (energy, positions), sign=-1)
        module = GraphModule(list(given), [energy.main_output, forces])
        z, r = (torch.tensor(np.array([getattr(a, k) for a in atoms])) for k in ("numbers", "positions"))
        r, optimizer = r.float(), torch.optim.Adam(module.parameters(), 1e-3)
        cell = [torch.tensor(np.array([a.cell.array for a in atoms])).float()] if periodic else []

        def call() -> None:
            optimizer.zero_grad()
            e, f = module(z, r.clone(), *cell)
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
    batch = AtomsConverter(trn.MatScipyNeighborList(CUTOFF), dtype=torch.float32)(systems(system))
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        out = network(dict(batch))
        ((out["energy"] ** 2).mean() + 100 * (out["forces"] ** 2).mean()).backward()
        optimizer.step()

    if not options.train:
        for p in network.parameters():
            p.requires_grad_(False)
    found = {"parameters": sum(p.numel() for p in network.parameters())}
    found["version"] = importlib.metadata.version("schnetpack")
    call = step if options.train else lambda: network(dict(batch))["forces"]
    return found | {"model": timed(call, options.repeats, options.limit), "torch": torch.__version__}


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

    call = step if options.train else lambda: network(batch, training=False)["forces"]
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
        train = options.train
        (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=train)
        if train:
            optimizer.zero_grad()
            ((energy**2).mean() + 100 * (gradient**2).mean()).backward()
            optimizer.step()

    if not options.train:
        for p in network.parameters():
            p.requires_grad_(False)
    found = {"parameters": sum(p.numel() for p in network.parameters()), "version": torchani.__version__}
    return found | {"model": timed(call, options.repeats, options.limit), "torch": torch.__version__}


def work_mlip(model: str, system: str, options: argparse.Namespace) -> dict:
    """MACE of InstaDeep's mlip, by the function that its ASE calculator compiles, with the neighbours given."""
    import importlib.metadata

    import jax
    from mlip.data.dataset_info import DatasetInfo
    from mlip.models import ForceField, Mace
    from mlip.simulation.ase.mlip_ase_calculator import MLIPForceFieldASECalculator

    if options.train:
        raise SystemExit("mlip trains by its own loop only: not measured")
    atoms = systems(system)[0]
    if not atoms.pbc.any():
        atoms.cell = [40.0, 40.0, 40.0]  # its graphs want a cell
        atoms.pbc = False
    info = DatasetInfo(
        atomic_energies_map={int(z): 0.0 for z in set(atoms.numbers)},
        graph_cutoff_angstrom=CUTOFF,
        avg_num_neighbors=28.0 if system.startswith("Si") else 12.0,
        avg_r_min_angstrom=1.0,
    )
    channels, symmetry = int(model.split("x")[0]), int("1o" in model)
    settings = Mace.Config(num_channels=channels, l_max=3, node_symmetry=symmetry, correlation=3, num_layers=2)
    field = ForceField.from_mlip_network(Mace(settings, info))
    calculator = MLIPForceFieldASECalculator(atoms, 1.05, field)
    compiled, given = calculator.model_apply_fun, {}

    def remember(*inputs, **named):  # type: ignore[no-untyped-def]
        given["inputs"] = inputs, named
        return compiled(*inputs, **named)

    calculator.model_apply_fun = remember
    atoms.calc = calculator
    start = time.perf_counter()
    atoms.get_forces()
    first = time.perf_counter() - start
    inputs, named = given["inputs"]
    found = {"parameters": sum(p.size for p in jax.tree.leaves(field.params))}
    found |= {"version": importlib.metadata.version("mlip"), "jax": jax.__version__}
    measured = timed(lambda: jax.block_until_ready(compiled(*inputs, **named)), options.repeats, options.limit)
    return found | {"model": measured | {"first_call_s": first}}


PEERS = {
    "torchani": work_torchani,
    "hippynn": work_hippynn,
    "schnetpack": work_schnetpack,
    "mace-torch": work_mace,
    "mlip": work_mlip,
}


def worker(options: argparse.Namespace) -> None:
    row = ROWS[options.row]
    if options.worker == "loader":
        found = work_loader(options.row, options.system, options)
    elif options.worker == "jorbit":
        found = work_jorbit(options.row, options.system, options)
    else:
        found = PEERS[options.worker](row[3], options.system, options)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # all of the process, compiler included
    print("ROW " + json.dumps(found | {"peak_MB": round(peak)}))


def measure(
    python: str, tool: str, row: str, system: str, threads: int, options: argparse.Namespace, *, train: bool
) -> dict:
    """Run one row in its own process."""
    name = f"{tool}: {ROWS[row][3] if tool in PEERS else row}"
    result = {"key": f"{name} | {system} | {threads}", "tool": tool, "row": row, "system": system, "threads": threads}
    command = [python, str(HERE), "--worker", tool, "--row", row, "--system", system, "--threads", str(threads)]
    command += ["--repeats", str(options.repeats), "--limit", str(options.limit), *(["--train"] if train else [])]
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
    """One row, for the process that asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("worker", "row", "system"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit", type=float, default=30.0)
    parser.add_argument("--train", action="store_true")
    worker(parser.parse_args())


if __name__ == "__main__":
    main()
