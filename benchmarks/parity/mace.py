"""Energies, forces and stresses of converted MACE models against mace-torch itself, in float64.

    python benchmarks/parity/mace.py --peer-python PYTHON_WITH_MACE_TORCH

mace-torch lives in an environment of its own, which can import jorbit too. There, models with random weights are built
as training and the foundation models build them, saved with `torch.save`, evaluated on a molecule and on a triclinic
crystal whose atoms see images of themselves, and converted by `jorbit convert`. Here the written model files are
evaluated, and energy, forces and stress are compared. Writes benchmarks/results/parity_mace.json, and the smallest
models with mace-torch's numbers to tests/convert/golden_mace.json for the ordinary tests.
"""

import argparse
import json
import os
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
RESIDUAL, PLAIN = "RealAgnosticResidualInteractionBlock", "RealAgnosticInteractionBlock"
DENSITY, DENSITY_RESIDUAL = "RealAgnosticDensityInteractionBlock", "RealAgnosticDensityResidualInteractionBlock"
SMALL = {"max_ell": 1, "radial_MLP": [4, 3], "num_bessel": 3, "MLP_irreps": "2x0e", "r_max": 3.5}
MODERN = {"pair_repulsion": True, "distance_transform": "Agnesi"}
CASES = {  # name -> options of mace-torch that differ from COMMON
    "small": {**SMALL, "hidden_irreps": "2x0e+2x1o"},
    "small, non-residual, density, Agnesi, ZBL": {
        **SMALL,
        **MODERN,
        "max_ell": 2,
        "hidden_irreps": "2x0e+2x1o",
        "correlation": 2,
        "first": DENSITY,
        "other": DENSITY_RESIDUAL,
    },
    "32x0e": {"hidden_irreps": "32x0e"},
    "32x0e, plain MACE": {"hidden_irreps": "32x0e", "scaled": False},
    "128x0e+128x1o": {"hidden_irreps": "128x0e+128x1o"},
    "16x0e+16x1o+16x2e, three layers": {"hidden_irreps": "16x0e+16x1o+16x2e", "num_interactions": 3},
    "one layer": {"hidden_irreps": "16x0e", "num_interactions": 1},
    "correlation 2": {"hidden_irreps": "16x0e+16x1o", "correlation": 2, "max_ell": 2},
    "non-residual first": {"hidden_irreps": "16x0e+16x1o", "first": PLAIN},
    "foundation layout": {**MODERN, "hidden_irreps": "64x0e+64x1o", "first": DENSITY, "other": DENSITY_RESIDUAL},
    "plain MACE with ZBL": {**MODERN, "hidden_irreps": "16x0e", "scaled": False},
    "two heads": {"hidden_irreps": "16x0e+16x1o", "heads": ["other", "Default"]},
}
COMMON = {
    "r_max": 4.0,
    "num_bessel": 8,
    "num_polynomial_cutoff": 5,
    "max_ell": 3,
    "num_interactions": 2,
    "MLP_irreps": "16x0e",
    "correlation": 3,
    "first": RESIDUAL,
    "other": RESIDUAL,
    "scaled": True,
}


def build(options: dict):
    """A model of mace-torch with random weights, in float64."""
    import torch
    from e3nn import o3
    from mace import modules

    options = {**COMMON, **options}
    scaled, heads = options.pop("scaled"), options.get("heads", ["Default"])
    energies = np.array([[-1.3, -7.2, -4.1], [-1.1, -7.7, -4.9]])[-len(heads) :]
    first, other = (modules.interaction_classes[options.pop(key)] for key in ("first", "other"))
    options = {
        **options,
        "interaction_cls_first": first,
        "interaction_cls": other,
        "hidden_irreps": o3.Irreps(options["hidden_irreps"]),
        "MLP_irreps": o3.Irreps(options["MLP_irreps"]),
        "num_elements": 3,
        "atomic_numbers": [1, 8, 14],
        "avg_num_neighbors": 11.3,
        "gate": torch.nn.functional.silu,
        "atomic_energies": energies if len(heads) > 1 else energies[0],
    }
    if scaled:
        scale, shift = ([0.7, 0.83], [0.2, -0.11]) if len(heads) > 1 else (0.83, -0.11)
        return modules.ScaleShiftMACE(**options, atomic_inter_scale=scale, atomic_inter_shift=shift)
    return modules.MACE(**options)


def evaluate(model, system: dict) -> dict:
    """mace-torch's energy, forces and stress of one system."""
    import ase
    from mace import data, tools
    from mace.tools import torch_geometric

    crystal = system["cell"] is not None
    atoms = ase.Atoms(system["numbers"], system["positions"], cell=system["cell"], pbc=crystal)
    config = data.config_from_atoms(atoms, key_specification=data.KeySpecification())
    config.head = "Default"
    table = tools.AtomicNumberTable([1, 8, 14])
    inputs = data.AtomicData.from_config(config, z_table=table, cutoff=float(model.r_max), heads=list(model.heads))
    batch = next(iter(torch_geometric.dataloader.DataLoader([inputs], batch_size=1))).to_dict()
    out = model(batch, compute_force=True, compute_stress=crystal)
    result = {"energy": out["energy"].item(), "forces": out["forces"].detach().numpy().tolist()}
    return result | ({"stress": out["stress"].detach().numpy()[0].tolist()} if crystal else {})


def work(folder: pathlib.Path) -> None:
    """In mace-torch's environment: build, save, evaluate, convert."""
    import importlib.metadata
    import warnings

    sys.path.remove(str(pathlib.Path(__file__).resolve().parent))  # this file is called mace as well
    import mace.modules  # noqa: F401  before e3nn
    import torch

    warnings.filterwarnings("ignore")
    torch.set_default_dtype(torch.float64)
    import jorbit
    from jorbit.convert import convert
    from jorbit.convert.mace import describe

    versions = {name: importlib.metadata.version(name) for name in ("mace-torch", "e3nn", "torch")}
    results: dict = {"versions": versions, "cases": {}}
    for number, (case, options) in enumerate(CASES.items()):
        torch.manual_seed(number)
        model = build(options)
        torch.save(model, folder / f"{number}.model")
        results["cases"][case] = {
            "n_parameters": sum(p.numel() for p in model.parameters()),
            "results": {name: evaluate(model, system) for name, system in SYSTEMS.items()},
        }
        jorbit.save(folder / f"{number}.safetensors", *convert(folder / f"{number}.model", trust=True))
        if "small" in case:
            plain, arrays = describe(model)
            results["cases"][case] |= {"options": plain, "arrays": {k: sparse(v) for k, v in arrays.items() if used(k)}}
        print(case, flush=True)
    (folder / "results.json").write_text(json.dumps(results))


def used(name: str) -> bool:
    """Whether an array matters for a conversion."""
    return not any(word in name for word in ("covalent_radii", "_zeroed", "pair_repulsion_fn", "radial_embedding"))


def sparse(array: np.ndarray) -> dict:
    """Shape, and the elements that are not zero."""
    flat = array.reshape(-1)
    if np.count_nonzero(flat) > 0.4 * flat.size:
        return {"shape": list(array.shape), "values": flat.tolist()}
    at = np.flatnonzero(flat)
    return {"shape": list(array.shape), "at": at.tolist(), "values": flat[at].tolist()}


def compare(folder: pathlib.Path) -> None:
    """Here: jorbit's numbers from the written files."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jorbit
    from jorbit.core.structure import Structure

    peer = json.loads((folder / "results.json").read_text())
    rows, golden = (
        {},
        {"made_by": "benchmarks/parity/mace.py", "versions": peer["versions"], "systems": SYSTEMS, "cases": {}},
    )
    for number, (case, content) in enumerate(peer["cases"].items()):
        potential, params = jorbit.load(folder / f"{number}.safetensors")
        row = {"terms": list(potential.names), "n_parameters_mace_torch": content["n_parameters"]}
        row["n_parameters"] = int(sum(np.size(p) for p in jax.tree.leaves(params["mace"]["params"])))
        for name, wanted in content["results"].items():
            system = SYSTEMS[name]
            cell = {} if system["cell"] is None else {"cell": np.array(system["cell"]), "pbc": np.ones(3, dtype=bool)}
            s = Structure(positions=np.array(system["positions"]), numbers=np.array(system["numbers"]), **cell)
            got = jorbit.predict(potential, params, s)
            for kind in wanted:
                reference = np.array(wanted[kind])
                error = np.abs(np.asarray(getattr(got, kind)).reshape(reference.shape) - reference).max()
                row[f"{name} {kind}"] = float(error / np.abs(reference).max())
        rows[case] = row
        print(f"{case:45s} worst {max(v for v in row.values() if isinstance(v, float)):.1e}", flush=True)
        if "options" in content:
            golden["cases"][case] = {k: content[k] for k in ("options", "arrays", "results")}
    report = {
        "what": "largest error / largest number of mace-torch, float64",
        "versions": peer["versions"],
        "rows": rows,
    }
    (ROOT / "benchmarks/results/parity_mace.json").write_text(json.dumps(report, indent=1) + "\n")
    (ROOT / "tests/convert/golden_mace.json").write_text(json.dumps(golden) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", help="python that can import mace-torch and jorbit's dependencies")
    parser.add_argument("--work", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        sys.exit()
    with tempfile.TemporaryDirectory() as name:
        command = [arguments.peer_python, __file__, "--work", name]
        subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        compare(pathlib.Path(name))
