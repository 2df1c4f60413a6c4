"""sGDML of a molecule of 42 atoms from 1000 frames, whose kernel matrix (118 GiB) fits nowhere: the iterative solver.

    python benchmarks/bench_sgdml_large.py [--folder FOLDER] [--memory 2]      # writes results/sgdml_large.json

Ac-Ala3-NHMe. Geometries are drawn by Langevin dynamics with MMFF94 (RDKit) at 500 K, labels are GFN2-xTB (tblite); both
stay in FOLDER, so a second run goes on where the first stopped, and so does the solver (its checkpoint is there, too).
1000 frames to train on, 100 to test. σ is chosen on 100 of the training frames in closed form, judged by 50 others.
"""

import argparse
import pathlib
import sys
import tempfile
import time

import numpy as np

SMILES = "CC(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)NC"
N_TEST, STRIDE, TEMPERATURE = 100, 100, 500.0
SIGMAS = [20.0, 40.0, 80.0]


def geometries(path: pathlib.Path, n_frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers, and positions of all frames, Å."""
    if path.exists():
        stored = np.load(path)
        if len(stored["positions"]) >= n_frames:
            return stored["numbers"], stored["positions"][:n_frames]
    from rdkit import Chem
    from rdkit.Chem import AllChem

    molecule = Chem.AddHs(Chem.MolFromSmiles(SMILES))
    AllChem.EmbedMolecule(molecule, randomSeed=7)  # type: ignore[attr-defined]
    AllChem.MMFFOptimizeMolecule(molecule)  # type: ignore[attr-defined]
    properties = AllChem.MMFFGetMoleculeProperties(molecule)  # type: ignore[attr-defined]
    field = AllChem.MMFFGetMoleculeForceField(molecule, properties)  # type: ignore[attr-defined]
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
    from jorbit.core.units import KCAL_MOL

    # velocity Verlet with an exact step of the thermostat (BAOAB); eV, Å, amu; time in Å sqrt(amu / eV) = 10.18 fs
    masses = np.array([{1: 1.008, 6: 12.011, 7: 14.007, 8: 15.999}[z] for z in numbers])[:, None]
    step, friction, kt = 0.5 / 10.1805, 0.02 * 10.1805 / 2.0, 8.617333e-5 * TEMPERATURE
    rng, r = np.random.default_rng(0), molecule.GetConformer().GetPositions()
    keep, noise = np.exp(-friction * step), np.sqrt(kt / masses)
    v = noise * rng.normal(size=r.shape)

    def acceleration(r: np.ndarray) -> np.ndarray:
        here = r.ravel().tolist()
        field.CalcEnergy(here)  # else the gradient takes the distances of the last geometry
        return -KCAL_MOL * np.array(field.CalcGrad(here)).reshape(r.shape) / masses

    a, frames = acceleration(r), []
    for k in range(STRIDE * (n_frames + 20)):
        v = v + 0.5 * step * a
        r = r + 0.5 * step * v
        v = keep * v + np.sqrt(1.0 - keep**2) * noise * rng.normal(size=r.shape)
        r = r + 0.5 * step * v
        a = acceleration(r)
        v = v + 0.5 * step * a
        if k % STRIDE == STRIDE - 1 and k >= 20 * STRIDE:
            frames.append(r.copy())
    if not np.isfinite(frames).all():
        sys.exit("the dynamics with MMFF94 went wrong: no geometries were written")
    np.savez(path, numbers=numbers, positions=np.array(frames))
    print(len(frames), "geometries", flush=True)
    return numbers, np.array(frames)


def labelled(folder: pathlib.Path, n_frames: int) -> list:
    """Frames with GFN2-xTB energies (eV) and forces (eV/Å)."""
    from ase import Atoms
    from tblite.ase import TBLite

    from jorbit.core.structure import Frame, Labels, Structure

    numbers, positions = geometries(folder / "geometries.npz", n_frames)
    path = folder / "labels.npz"
    energies, forces = (list(np.load(path)[k]) for k in ("energies", "forces")) if path.exists() else ([], [])
    atoms = Atoms(numbers=numbers, positions=positions[0])
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    for k in range(len(energies), n_frames):
        atoms.positions = positions[k]
        energies.append(atoms.get_potential_energy())
        forces.append(atoms.get_forces())
        if k % 50 == 49 or k == n_frames - 1:
            np.savez(path, energies=np.array(energies), forces=np.array(forces))
            print(k + 1, "labels", flush=True)
    return [
        Frame(structure=Structure(positions=r, numbers=numbers), labels=Labels(energy=float(e), forces=f))
        for r, e, f in zip(positions, energies[:n_frames], forces[:n_frames], strict=True)
    ]


def main() -> None:
    """Make the data, fit, test."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "sgdml_large")
    parser.add_argument("--train", type=int, default=1000, help="frames")
    parser.add_argument("--memory", type=float, default=2.0, help="GiB for the solver")
    parser.add_argument("--permutations", default="none")
    options = parser.parse_args()
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
    from benchmarks.common import Stopwatch, environment, write

    options.folder.mkdir(parents=True, exist_ok=True)
    n_train = options.train
    frames = labelled(options.folder, n_train + N_TEST)

    import jorbit
    from jorbit.models.sgdml import predict_geometries
    from jorbit.train.sgdml_iterative import IterativeOptions

    order = np.random.default_rng(1).permutation(len(frames))
    train, test = [frames[k] for k in order[:n_train]], [frames[k] for k in order[n_train:]]
    fit = {"permutations": options.permutations, "memory": options.memory}
    small = jorbit.fit_sgdml(
        train[: min(100, n_train // 2)], validation=train[-min(50, n_train // 2) :], sigma=SIGMAS, **fit
    )
    print("σ", small.report.sigma, small.report.sigma_search, flush=True)
    told, watch, history = [time.perf_counter()], Stopwatch(), []

    def tell(*what: object) -> None:
        if time.perf_counter() - told[0] > 15.0:
            told[0] = time.perf_counter()
            history.append([watch.read()["wall_s"], str(what[0])])
            print(" ", *what, flush=True)

    solver = IterativeOptions(checkpoint=options.folder / f"alphas_{n_train}.npz", resume=True)
    model = jorbit.fit_sgdml(
        train, sigma=small.report.sigma, solver="iterative", iterative=solver, progress=tell, **fit
    )
    r, f = np.stack([x.structure.positions for x in test]), np.stack([x.labels.forces for x in test])
    results = {}
    for name, m in (("few", small), ("all", model)):
        forces = predict_geometries(m.potential.terms[0], m.params["sgdml"], r)[1]  # type: ignore[arg-type]
        results[name] = float(1e3 * np.abs(forces - f).mean())
    row = {
        "molecule": "Ac-Ala3-NHMe",
        "n_atoms": int(r.shape[1]),
        "n_train": n_train,
        "n_rows": 3 * r.shape[1] * n_train,
        "n_permutations": model.report.n_permutations,
        "sigma": model.report.sigma,
        "memory_gib": options.memory,
        "closed_form_gib": 8.0 * (3 * r.shape[1] * n_train) ** 2 / 2**30,
        "iterations": model.report.iterations,
        "residual": model.report.residual,
        "fit_seconds": watch.read(),
        "force_mae_mev_per_angstrom": results["all"],
        "force_mae_of_the_frames_that_chose_sigma": results["few"],
        "mean_force_mev_per_angstrom": float(1e3 * np.abs(f).mean()),
        "history": history,
        "environment": environment(),
    }
    print({k: v for k, v in row.items() if k != "history"}, flush=True)
    write("sgdml_large", "iterative sGDML of a molecule of 42 atoms", [row])


if __name__ == "__main__":
    main()
