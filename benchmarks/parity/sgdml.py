"""Predictions and training of sGDML models against the sgdml package, in float64, through its numpy code.

    python benchmarks/parity/sgdml.py --peer-python PYTHON_WITH_SGDML

sgdml 1.0.3 lives in an environment of its own (numpy < 2.4). Data sets are written with `jorbit.convert.sgdml`, tasks
are made with given permutations, and sgdml trains and predicts; then jorbit reads its model files and predicts the same
geometries, and trains the same tasks by itself. Models of jorbit are written as files of sgdml and predicted there.
Writes benchmarks/results/parity_sgdml.json, and the smallest cases to tests/convert/golden_sgdml.json.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
# name -> (data set, frames, sigma, permutations, energies fitted too)
CASES = {
    "ethanol_none": ("ethanol_gfn2", range(0, 500, 50), 10, "none", False),
    "ethanol_feasible": ("ethanol_gfn2", range(0, 400, 50), 20, "feasible", False),
    "ethanol_topological": ("ethanol_gfn2", range(0, 400, 50), 20, "topological", False),
    "ethanol_energies": ("ethanol_gfn2", range(0, 500, 50), 15, "none", True),
    "graphene": ("graphene_n3_gfn1", range(0, 60, 20), 30, "none", False),
    "graphene_group": ("graphene_n3_gfn1", range(0, 60, 15), 30, "topological", False),
    "ethanol_200": ("ethanol_gfn2", range(0, 1000, 5), 20, "feasible", False),
}
GOLDEN = ("ethanol_none", "ethanol_feasible", "ethanol_energies", "graphene")
TESTS = slice(3, None, 29)

PEER = r"""
import sys, json, numpy as np
import sgdml
from sgdml.train import GDMLTrain
from sgdml.predict import GDMLPredict
job = json.loads(sys.stdin.read())
trainer = GDMLTrain(max_memory=4, max_processes=1)
out = {"version": sgdml.__version__, "numpy": np.__version__, "cases": {}}
for name, c in job["cases"].items():
    data = dict(np.load(c["data"], allow_pickle=True))
    task = {
        "type": "t", "code_version": sgdml.__version__, "dataset_name": "jorbit", "dataset_theory": "xtb",
        "z": data["z"], "R_train": data["R"], "F_train": data["F"], "E_train": data["E"],
        "idxs_train": np.arange(len(data["R"])), "md5_train": "", "idxs_valid": np.zeros(0, int), "md5_valid": "",
        "sig": c["sigma"], "lam": 1e-10, "use_E": True, "use_E_cstr": c["energies"], "use_sym": True,
        "perms": np.array(c["permutations"]),
    }
    if "lattice" in data:
        task["lattice"] = data["lattice"]
    model = trainer.train(task)
    np.savez_compressed(c["model"], **model)
    answers = {"c": float(model["c"]), "std": float(model["std"]), "alphas_F": model["alphas_F"].tolist()}
    if "alphas_E" in model:
        answers["alphas_E"] = model["alphas_E"].tolist()
    predictor = GDMLPredict(model, max_processes=1)
    e, f = predictor.predict(np.array(c["tests"]).reshape(len(c["tests"]), -1))
    answers["E"], answers["F"] = e.tolist(), f.tolist()
    out["cases"][name] = answers
for name, c in job.get("back", {}).items():
    model = dict(np.load(c["model"], allow_pickle=False))
    model = {k: v.item() if v.ndim == 0 else v for k, v in model.items()}
    e, f = GDMLPredict(model, max_processes=1).predict(np.array(c["tests"]).reshape(len(c["tests"]), -1))
    out["cases"][name] = {"E": e.tolist(), "F": f.tolist()}
print("RESULT" + json.dumps(out))
"""


def ask(python: str, job: dict) -> dict:
    done = subprocess.run([python, "-c", PEER], input=json.dumps(job), capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    return json.loads(done.stdout.split("RESULT")[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", required=True)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import jorbit
    from benchmarks.common import environment, write
    from jorbit.convert.sgdml import convert_sgdml, write_sgdml_dataset, write_sgdml_model
    from jorbit.core.units import KCAL_MOL
    from jorbit.models.sgdml import predict_geometries
    from jorbit.train.sgdml_permutations import choose_permutations

    folder = pathlib.Path(tempfile.mkdtemp())
    sets = {name: jorbit.read(name) for name in {c[0] for c in CASES.values()}}
    groups = {}
    job: dict = {"cases": {}}
    for name, (data, chosen, sigma, kind, energies) in CASES.items():
        frames = [sets[data][k] for k in chosen]
        if (data, kind) not in groups:
            groups[data, kind] = choose_permutations(kind, [f.structure for f in sets[data][:300]])[0]
        write_sgdml_dataset(folder / f"{name}.npz", frames, permutations=groups[data, kind])
        job["cases"][name] = {
            "data": str(folder / f"{name}.npz"),
            "model": str(folder / f"{name}_model.npz"),
            "sigma": sigma,
            "permutations": groups[data, kind].tolist(),
            "energies": energies,
            "tests": [f.structure.positions.tolist() for f in sets[data][TESTS][:8]],
        }
    peer = ask(options.peer_python, job)

    rows, golden, back = [], {}, {}
    for name, (data, chosen, sigma, kind, energies) in CASES.items():
        wanted, asked = peer["cases"][name], job["cases"][name]
        tests = np.array(asked["tests"])
        frames = [sets[data][k] for k in chosen]
        potential, params = convert_sgdml(pathlib.Path(asked["model"]))
        e, f = (x / KCAL_MOL for x in predict_geometries(potential.terms[0], params["sgdml"], tests))  # type: ignore[arg-type]
        mine = jorbit.fit_sgdml(
            frames, sigma=float(sigma), permutations=groups[data, kind], use_energies=energies, images="round"
        )
        own = predict_geometries(mine.potential.terms[0], mine.params["sgdml"], tests)  # type: ignore[arg-type]
        alphas = -np.array(wanted["alphas_F"])
        reference = np.array(wanted["F"]).reshape(f.shape)
        row = {
            "case": name,
            "n_frames": len(frames),
            "n_permutations": len(groups[data, kind]),
            "sigma": sigma,
            "largest_alpha": float(np.abs(alphas).max()),
            "same_file_energy_kcal_mol": float(np.abs(e - np.array(wanted["E"])).max()),
            "same_file_forces_kcal_mol_A": float(np.abs(f - reference).max()),
            "same_task_alphas_relative": float(np.abs(mine.report.alphas - alphas).max() / np.abs(alphas).max()),
            "same_task_constant_kcal_mol": float(abs(mine.params["sgdml"]["constant"] / KCAL_MOL - wanted["c"])),
            "same_task_std_relative": float(abs(mine.params["sgdml"]["scale"] / KCAL_MOL / wanted["std"] - 1.0)),
            "same_task_energy_kcal_mol": float(np.abs(own[0] / KCAL_MOL - np.array(wanted["E"])).max()),
            "same_task_forces_kcal_mol_A": float(np.abs(own[1] / KCAL_MOL - reference).max()),
        }
        rows.append(row)
        print(row, flush=True)
        write_sgdml_model(folder / f"{name}_back.npz", mine.potential, mine.params, alphas=mine.report.alphas)
        back[name] = {"model": str(folder / f"{name}_back.npz"), "tests": asked["tests"]}
        back[name]["own"] = [x.tolist() for x in own]
        if name in GOLDEN:
            golden[name] = {
                "data": data,
                "frames": list(chosen),
                "sigma": sigma,
                "permutations": groups[data, kind].tolist(),
                "energies": energies,
                "tests": list(range(len(sets[data])))[TESTS][:3],
                "E": wanted["E"][:3],
                "F": wanted["F"][:3],
                "c": wanted["c"],
                "std": wanted["std"],
                "alphas_F": wanted["alphas_F"],
            } | ({"alphas_E": wanted["alphas_E"]} if energies else {})
    asked_back = {k: {"model": v["model"], "tests": v["tests"]} for k, v in back.items()}
    returned = ask(options.peer_python, {"cases": {}, "back": asked_back})
    for row in rows:
        name = row["case"]
        energy, forces = (np.array(x) / KCAL_MOL for x in back[name]["own"])
        answer = returned["cases"][name]
        row["written_file_energy_kcal_mol"] = float(np.abs(energy - np.array(answer["E"])).max())
        row["written_file_forces_kcal_mol_A"] = float(np.abs(forces.reshape(len(energy), -1) - answer["F"]).max())
    peers = {"sgdml": peer["version"], "numpy": peer["numpy"]}
    write("parity_sgdml", "largest differences to sgdml, numpy path", rows, environment=environment(), peers=peers)
    target = ROOT / "tests" / "convert" / "golden_sgdml.json"
    target.parent.mkdir(exist_ok=True)
    provenance = {"package": "sgdml", "version": peer["version"], "script": "benchmarks/parity/sgdml.py"}
    units = {"energy": "kcal/mol", "forces": "kcal/mol/Å"}
    target.write_text(json.dumps({"provenance": provenance, "units": units, "cases": golden}) + "\n")
    print(f"written to {target.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
