"""Energies, forces and stresses of converted HIP-NN and HIP-HOP-NN models against hippynn itself, in float64.

    python benchmarks/parity/hippynn.py --peer-python PYTHON_WITH_HIPPYNN

hippynn lives in an environment of its own, of the same Python version. There, models with random weights are built,
saved with `torch.save` and evaluated on a molecule and on a triclinic crystal whose atoms see images of themselves.
Here the saved files go through `jorbit.convert`, and energy, forces and stress are compared. Writes
benchmarks/results/parity_hippynn.json, and the smallest models with hippynn's numbers to
tests/convert/golden_hippynn.json for the ordinary tests.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
SYSTEMS = {
    "molecule": {
        "positions": [[0.01, 0.02, 0.12], [0.03, 0.76, -0.47], [-0.02, -0.75, -0.49], [1.9, 0.4, 1.3]],
        "numbers": [8, 1, 1, 14],
        "cell": None,
    },
    "crystal": {
        "positions": [[0.2, 0.3, 0.1], [1.7, 1.6, 1.4], [3.1, -0.6, 3.0]],
        "numbers": [14, 8, 8],
        "cell": [[2.7, 0.0, 0.0], [0.9, 3.1, 0.0], [-0.6, 0.8, 4.4]],
    },
}
SMALL = {
    "n_features": 4,
    "n_sensitivities": 4,
    "n_interaction_layers": 2,
    "n_atom_layers": 1,
    "dist_soft_min": 0.9,
    "dist_soft_max": 3.2,
    "dist_hard_max": 3.9,
}
LARGE = {**SMALL, "n_features": 32, "n_sensitivities": 20, "n_atom_layers": 3}
CASES = {  # name -> (class of hippynn, options, whether the first, one-hot features enter the energy)
    "hipnn small": ("Hipnn", SMALL, True),
    "hiphop 4,3 small": ("HipHopnn", {**SMALL, "n_max": 4, "l_max": 3}, True),
    "hiphop 3,2 no norm small": ("HipHopnn", {**SMALL, "n_max": 3, "l_max": 2, "group_norm": False}, False),
    "hipnn": ("Hipnn", LARGE, True),
    **{f"hiphop {n},{l}": ("HipHopnn", {**LARGE, "n_max": n, "l_max": l}, True) for n in (2, 3, 4) for l in (1, 2, 3)},
}


def work(folder: pathlib.Path) -> None:
    """In hippynn's environment: build, save, evaluate."""
    import warnings

    import torch

    warnings.filterwarnings("ignore")
    torch.set_default_dtype(torch.float64)  # before hippynn makes its constant tables
    import hippynn
    from hippynn.graphs import GraphModule, inputs, networks, targets

    results: dict = {"versions": {"hippynn": hippynn.__version__, "torch": torch.__version__}, "cases": {}}
    for number, (case, (cls, options, one_hot)) in enumerate(CASES.items()):
        results["cases"][case] = {}
        rng = np.random.default_rng(number)
        weights: dict = {}
        for name, system in SYSTEMS.items():
            crystal = system["cell"] is not None
            species, positions = inputs.SpeciesNode(db_name="Z"), inputs.PositionsNode(db_name="R")
            given = (species, positions, *([inputs.CellNode(db_name="C")] if crystal else []))
            settings = {"possible_species": [0, 8, 1, 14], **options}  # not in ascending order
            network = getattr(networks, cls)("net", given, periodic=crystal, module_kwargs=settings)
            energy = targets.HEnergyNode("E", network, module_kwargs={"first_is_interacting": not one_hot})
            module = GraphModule(list(given), [energy.main_output])
            for key, value in module.state_dict().items():
                part = key.split(".", 2)[-1]  # nodes are counted differently in a molecule and in a crystal
                learned = value.is_floating_point() and "maps" not in key and value.numel() > 0
                if learned and ("mu" in key.split(".") or "sigma" in key.split(".")):
                    weights.setdefault(part, np.round(value.numpy() * rng.uniform(0.9, 1.1, value.shape), 4))
                elif learned:
                    weights.setdefault(part, np.round(value.numpy() + 0.1 * rng.normal(size=value.shape), 4))
                if learned:
                    value.copy_(torch.as_tensor(weights[part]))
            torch.save(module, folder / f"{number}_{name}.pt")
            z = torch.tensor([system["numbers"]])
            r = torch.tensor([system["positions"]], requires_grad=True)
            strain = torch.zeros((3, 3), requires_grad=True)
            deformed = r @ (torch.eye(3) + strain)
            cell = [torch.tensor([system["cell"]]) @ (torch.eye(3) + strain)] if crystal else []
            total = module(z, deformed, *cell)[0].sum()
            gradient, virial = torch.autograd.grad(total, [r, strain])
            volume = abs(np.linalg.det(system["cell"])) if crystal else np.inf
            results["cases"][case][name] = {
                "energy": total.item(),
                "forces": (-gradient[0]).tolist(),
                "stress": (virial / volume).tolist(),
            }
    (folder / "results.json").write_text(json.dumps(results))


def compare(folder: pathlib.Path) -> None:
    """Here: convert, predict, compare, write."""
    import jax
    import torch

    jax.config.update("jax_enable_x64", True)
    torch.set_default_dtype(torch.float64)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from common import environment, write

    import jorbit
    from jorbit.convert import convert
    from jorbit.convert.hippynn import describe
    from jorbit.core.structure import Structure

    results, rows, golden = json.loads((folder / "results.json").read_text()), [], {}
    for number, (case, found) in enumerate(results["cases"].items()):
        for name, wanted in found.items():
            system, path = SYSTEMS[name], folder / f"{number}_{name}.pt"
            potential, params = convert(path, trust=True)
            cell = None if system["cell"] is None else np.array(system["cell"])
            periodic = {} if cell is None else {"cell": cell, "pbc": np.ones(3, dtype=bool)}
            numbers, positions = np.array(system["numbers"]), np.array(system["positions"])
            got = jorbit.predict(potential, params, Structure(numbers=numbers, positions=positions, **periodic))
            row = {"case": case, "system": name, "energy": wanted["energy"]}
            pairs = {"energy": got.energy, "forces": got.forces, "stress": got.stress}
            for kind, value in pairs.items():
                scale = np.abs(wanted[kind]).max()
                error = np.abs(np.asarray(value).reshape(np.shape(wanted[kind])) - wanted[kind]).max()
                row[f"relative error of {kind}"] = float(error / scale) if scale else 0.0
            rows.append(row)
            print(row, flush=True)
        if case.endswith("small"):
            module = torch.load(path, weights_only=False)
            options, arrays = describe(module)
            golden[case] = {"options": options, "arrays": {k: v.tolist() for k, v in arrays.items()}, "results": found}
    worst = max(v for row in rows for k, v in row.items() if k.startswith("relative"))
    print(f"worst relative error {worst:.1e}")
    what = "converted models against hippynn, float64: largest difference over largest number"
    write("parity_hippynn", what, rows, environment=environment(), peer=results["versions"])
    provenance = {"script": "benchmarks/parity/hippynn.py", **results["versions"]}
    target = ROOT / "tests" / "convert" / "golden_hippynn.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps({"provenance": provenance, "systems": SYSTEMS, "cases": golden}) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.path = [p for p in sys.path if pathlib.Path(p).resolve() != ROOT / "benchmarks" / "parity"]  # not this file
        work(pathlib.Path(options.worker))
        return
    with tempfile.TemporaryDirectory() as name:
        subprocess.run([options.peer_python, __file__, "--worker", name], check=True)
        where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        site = subprocess.run([options.peer_python, "-c", where], capture_output=True, text=True, check=True)
        sys.path = [p for p in sys.path if pathlib.Path(p).resolve() != ROOT / "benchmarks" / "parity"]
        sys.path.append(site.stdout.strip())  # after our own: torch and hippynn come from there, numpy does not
        compare(pathlib.Path(name))


if __name__ == "__main__":
    main()
