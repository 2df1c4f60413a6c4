"""What the comparisons of converted models share: two systems, one process for the peer, one for jorbit.

A comparison is a script with `work(folder)`, run by the peer's interpreter: it saves models as folder/<number>.pt and
returns {"versions": ..., "cases": {name: {system: {"energy": eV, "forces": ..., "stress": ...}}}}. Then, here, the
saved files go through `jorbit.convert`, and energy, forces and stress are compared. Results go to
benchmarks/results/parity_<name>.json; options and arrays of the cases whose name says "small", with the peer's numbers,
to tests/convert/golden_<name>.json for the ordinary tests.
"""

import argparse
import importlib
import json
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SYSTEMS = {
    "molecule": {
        "positions": [[0.01, 0.02, 0.12], [0.03, 0.76, -0.47], [-0.02, -0.75, -0.49], [1.4, 0.4, 1.1]],
        "numbers": [8, 1, 1, 6],
        "cell": None,
    },
    "crystal": {
        "positions": [[0.2, 0.3, 0.1], [1.7, 1.6, 1.4], [3.1, -0.6, 3.0]],
        "numbers": [6, 8, 1],
        "cell": [[2.7, 0.0, 0.0], [0.9, 3.1, 0.0], [-0.6, 0.8, 4.4]],
    },
}


def evaluated(energy: Callable, system: dict, unit: float = 1.0) -> dict:
    """Energy (eV), forces and stress from a torch function of positions and cell (None for a molecule)."""
    import torch

    r = torch.tensor(system["positions"], requires_grad=True)
    strain = torch.zeros((3, 3), requires_grad=True)
    deformation = torch.eye(3) + strain
    cell = None if system["cell"] is None else torch.tensor(system["cell"]) @ deformation
    total = unit * energy(r @ deformation, cell).sum()
    gradient, virial = torch.autograd.grad(total, [r, strain])
    volume = np.inf if cell is None else abs(np.linalg.det(system["cell"]))
    return {"energy": total.item(), "forces": (-gradient).tolist(), "stress": (virial / volume).tolist()}


def compare(folder: pathlib.Path, name: str, results: dict) -> None:
    """Convert, predict, compare, write."""
    import jax
    import torch

    jax.config.update("jax_enable_x64", True)
    torch.set_default_dtype(torch.float64)
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from common import environment, write

    import jorbit
    from jorbit.convert import convert
    from jorbit.core.structure import Structure

    describe = importlib.import_module(f"jorbit.convert.{name}").describe
    rows, golden = [], {}
    for number, (case, found) in enumerate(results["cases"].items()):
        path = folder / f"{number}.pt"
        potential, params = convert(path, trust=True)
        for which, wanted in found.items():
            system = SYSTEMS[which]
            cell = None if system["cell"] is None else np.array(system["cell"])
            periodic = {} if cell is None else {"cell": cell, "pbc": np.ones(3, dtype=bool)}
            numbers, positions = np.array(system["numbers"]), np.array(system["positions"])
            got = jorbit.predict(potential, params, Structure(numbers=numbers, positions=positions, **periodic))
            row = {"case": case, "system": which, "energy": wanted["energy"]}
            for kind, value in {"energy": got.energy, "forces": got.forces, "stress": got.stress}.items():
                scale = np.abs(wanted[kind]).max()
                error = np.abs(np.asarray(value).reshape(np.shape(wanted[kind])) - wanted[kind]).max()
                row[f"relative error of {kind}"] = float(error / scale) if scale else 0.0
            rows.append(row)
            print(row, flush=True)
        if "small" in case:
            options, arrays = describe(torch.load(path, weights_only=False))
            golden[case] = {"options": options, "arrays": {k: v.tolist() for k, v in arrays.items()}, "results": found}
    worst = max(v for row in rows for k, v in row.items() if k.startswith("relative"))
    print(f"worst relative error {worst:.1e}")
    what = f"converted models against {name}, float64: largest difference over largest number"
    write(f"parity_{name}", what, rows, environment=environment(), peer=results["versions"])
    provenance = {"script": f"benchmarks/parity/{name}.py", **results["versions"]}
    target = ROOT / "tests" / "convert" / f"golden_{name}.json"
    target.write_text(json.dumps({"provenance": provenance, "systems": SYSTEMS, "cases": golden}) + "\n")


def run(script: str, work: Callable[[pathlib.Path], dict], description: str | None) -> None:
    """Parent and worker of a comparison.

    Args:
        script: its file, called like the package.
        work: see above.
        description: for --help.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable)
    parser.add_argument("--worker", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path = [p for p in sys.path if pathlib.Path(p).resolve() != HERE]  # scripts there are called like packages
    if options.worker:
        results = work(pathlib.Path(options.worker))
        (pathlib.Path(options.worker) / "results.json").write_text(json.dumps(results))
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([options.peer_python, script, "--worker", folder], check=True)
        where = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
        site = subprocess.run([options.peer_python, "-c", where], capture_output=True, text=True, check=True)
        sys.path.append(site.stdout.strip())  # after our own: torch comes from there, numpy does not
        results = json.loads((pathlib.Path(folder) / "results.json").read_text())
        compare(pathlib.Path(folder), pathlib.Path(script).stem, results)
