"""sGDML on revised MD17: the 1000 training frames of split 01, its 1000 test frames; beside published rows and sgdml.

    JORBIT_DATA=... python benchmarks/bench_sgdml_rmd17.py [molecule ...]       # writes results/sgdml_rmd17.json
    ... bench_sgdml_rmd17.py ethanol --peer-python PYTHON_WITH_SGDML            # adds what sgdml makes of these frames

σ is chosen on the training frames only: fitted to the first 400, judged by the next 200, along a grid of whole numbers
(sgdml takes no others) downhill from 20. The fit of all 1000 frames is iterative, within --memory GiB. The peer gets
the same frames, σ, λ and permutations, and solves as it likes within --memory.

Published: GAP, FCHL19 and linear ACE on the same labels, 950 + 50 frames (Batatia et al., arXiv:2206.07697, Table 1);
sGDML on the labels of MD17, which are others, 1000 frames: for orientation only.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time

import numpy as np
from bench_sgdml import Peer
from common import Stopwatch, environment, load_rows, write

# energy MAE meV, force MAE meV/Å
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "aspirin": {"GAP": (17.7, 44.9), "FCHL19": (6.2, 20.9), "linear ACE": (6.1, 17.9)},
    "benzene": {"GAP": (0.75, 6.0), "FCHL19": (0.35, 2.6), "linear ACE": (0.04, 0.5)},
    "ethanol": {"GAP": (3.5, 18.1), "FCHL19": (0.9, 6.2), "linear ACE": (1.2, 7.3)},
    "malonaldehyde": {"GAP": (4.8, 26.4), "FCHL19": (1.5, 10.3), "linear ACE": (1.7, 11.1)},
    "naphthalene": {"GAP": (3.8, 16.5), "FCHL19": (1.2, 6.5), "linear ACE": (0.9, 5.1)},
    "uracil": {"GAP": (3.0, 17.6), "FCHL19": (0.6, 4.2), "linear ACE": (1.1, 6.6)},
}
SGDML_ON_MD17 = {
    "aspirin": (8.2, 29.5),
    "ethanol": (3.0, 14.3),
    "malonaldehyde": (4.3, 17.8),
    "naphthalene": (5.2, 4.8),
    "uracil": (4.8, 10.4),
}
GRID = (7, 10, 14, 20, 28, 40, 56, 80)


def frames_of(molecule: str) -> tuple[list, list]:
    """Training and test frames of split 01."""
    from jorbit.datasets import load_dataset

    data = load_dataset(f"rmd17_{molecule}")
    return list(data.split("train_01")), list(data.split("test_01"))


def arrays(frames: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, energies (eV) and forces (eV/Å)."""
    r = np.stack([f.structure.positions for f in frames])
    return r, np.array([f.labels.energy for f in frames]), np.stack([f.labels.forces for f in frames])


def errors(energies: np.ndarray, forces: np.ndarray, test: list) -> dict[str, float]:
    """Mean absolute errors, meV and meV/Å."""
    _, e, f = arrays(test)
    return {
        "energy_mae_mev": float(1e3 * np.abs(energies - e).mean()),
        "force_mae_mev_per_angstrom": float(1e3 * np.abs(forces - f).mean()),
        "force_rmse_mev_per_angstrom": float(1e3 * np.sqrt(((forces - f) ** 2).mean())),
    }


def best_sigma(train: list, group: np.ndarray, memory: float) -> tuple[int, dict[int, float]]:
    """The whole number of the grid with the smallest force RMSE of held-out training frames, and all errors, eV/Å."""
    import jorbit
    from jorbit.models.sgdml import predict_geometries

    r, _, f = arrays(train[400:600])
    found: dict[int, float] = {}

    def error(k: int) -> float:
        if not 0 <= k < len(GRID):
            return float("inf")
        if GRID[k] not in found:
            model = jorbit.fit_sgdml(train[:400], sigma=float(GRID[k]), permutations=group, memory=memory)
            forces = predict_geometries(model.potential.terms[0], model.params["sgdml"], r)[1]  # type: ignore[arg-type]
            found[GRID[k]] = float(np.sqrt(((forces - f) ** 2).mean()))
            print(f"  σ {GRID[k]}: {1e3 * found[GRID[k]]:.2f} meV/Å", flush=True)
        return found[GRID[k]]

    k = GRID.index(20)
    step = 1 if error(k + 1) < error(k) else -1
    while error(k + step) < error(k):
        k += step
    return GRID[k], dict(sorted(found.items()))


def run(molecule: str, memory: float) -> dict:
    """Choose σ, fit 1000 frames, test."""
    import jorbit
    from jorbit.models.sgdml import predict_geometries
    from jorbit.train.sgdml_permutations import choose_permutations

    train, test = frames_of(molecule)
    group = choose_permutations("feasible", [f.structure for f in train])[0]
    sigma, tried = best_sigma(train, group, memory)
    watch, told = Stopwatch(), [time.perf_counter()]

    def tell(*what: object) -> None:
        if time.perf_counter() - told[0] > 20.0:
            told[0] = time.perf_counter()
            print(" ", *what, flush=True)

    model = jorbit.fit_sgdml(
        train, sigma=float(sigma), permutations=group, solver="iterative", memory=memory, progress=tell
    )
    seconds = watch.read()
    r, _, _ = arrays(test)
    energies, forces = predict_geometries(model.potential.terms[0], model.params["sgdml"], r)  # type: ignore[arg-type]
    row = {
        "molecule": molecule,
        "n_train": len(train),
        "n_test": len(test),
        "sigma": sigma,
        "force_rmse_by_sigma": tried,
        "permutations": group.tolist(),
        "jorbit": errors(energies, forces, test),
        "iterations": model.report.iterations,
        "residual": model.report.residual,
        "memory_gib": memory,
        "fit_seconds": seconds,
        "published": PUBLISHED[molecule],
        "published_sgdml_on_md17_labels": SGDML_ON_MD17.get(molecule),
        "environment": environment(),
    }
    print(molecule, sigma, row["jorbit"], seconds, flush=True)
    return row


def beside(row: dict, python: str, memory: float, n_train: int) -> dict:
    """What the sgdml package makes of the same frames, and jorbit of as many."""
    import jorbit
    from jorbit.convert.sgdml import write_sgdml_dataset
    from jorbit.core.units import KCAL_MOL
    from jorbit.models.sgdml import predict_geometries

    train, test = frames_of(row["molecule"])
    train, group = train[:n_train], np.array(row["permutations"], np.int32)
    folder = pathlib.Path(tempfile.mkdtemp())
    write_sgdml_dataset(folder / "train.npz", train, permutations=group)
    np.save(folder / "R.npy", arrays(test)[0])
    mine = row["jorbit"]
    if n_train != row["n_train"]:
        model = jorbit.fit_sgdml(train, sigma=float(row["sigma"]), permutations=group, memory=memory)
        mine = errors(*predict_geometries(model.potential.terms[0], model.params["sgdml"], arrays(test)[0]), test)  # type: ignore[arg-type]
    peer = Peer(python, 1)
    files = {"data": str(folder / "train.npz"), "model": str(folder / "m.npz"), "memory": memory}
    seconds = peer.ask(do="train", sigma=row["sigma"], **files)["seconds"]
    peer.ask(do="answers", R=str(folder / "R.npy"), to=str(folder / "answers.npz"))
    answers = np.load(folder / "answers.npz")
    found = errors(answers["E"] * KCAL_MOL, answers["F"] * KCAL_MOL, test)
    key = "force_mae_mev_per_angstrom"
    result = {
        "n_train": n_train,
        "jorbit": mine,
        "sgdml": found,
        "force_mae_over_sgdml": mine[key] / found[key],
        "energy_mae_over_sgdml": mine["energy_mae_mev"] / found["energy_mae_mev"],
        "sgdml_solver": str(np.load(folder / "m.npz", allow_pickle=False)["solver_name"]),
        "sgdml_train_seconds": seconds,
        "load_average": os.getloadavg()[0],
        "versions": peer.versions,
    }
    print(row["molecule"], result, flush=True)
    return {"beside_sgdml": result}


def main() -> None:
    """Fit the molecules asked for, or add the peer's rows; others in the results stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("molecules", nargs="*", default=list(PUBLISHED))
    parser.add_argument("--memory", type=float, default=2.0, help="GiB")
    parser.add_argument("--peer-python", help="add what sgdml makes of the frames of molecules already fitted")
    parser.add_argument("--train", type=int, default=1000, help="frames for the comparison with the peer")
    options = parser.parse_args()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    for molecule in options.molecules:
        if options.peer_python:
            new = beside(
                load_rows("sgdml_rmd17", "molecule")[molecule], options.peer_python, options.memory, options.train
            )
        else:
            new = run(molecule, options.memory)
        rows = load_rows("sgdml_rmd17", "molecule")
        rows[molecule] = rows.get(molecule, {}) | new
        write("sgdml_rmd17", "sGDML on revised MD17, 1000 training frames", list(rows.values()))


if __name__ == "__main__":
    main()
