"""Make the two data sets that jorbit ships, with GFN-xTB from tblite.

* ``ethanol_gfn2``: ethanol, GFN2-xTB, 2000 frames of Langevin dynamics at 300, 600 and 1000 K.
* ``bn_gfn1``: cubic boron nitride, 32 atoms, GFN1-xTB at the Gamma point, 300 frames of Langevin dynamics at
  300, 600 and 1000 K in twelve strained (triclinic) cells, with stress.

A self-consistent method may fall into another solution, and then energies and forces belong to different surfaces.
So every frame has to pass: (1) along the dynamics, E(next) - E(previous) equals the integral of -F.dr (trapezoidal
rule) on the steps into and out of the frame; (2) a calculation from scratch gives the energy that the dynamics saw;
(3) on the frames checked (all of ethanol, one in ten of the crystal) forces, and stress, agree with central
differences. What fails is dropped and counted. The labels that are stored come from the calculation from scratch.

Each finished trajectory is kept in ``--parts``, so an interrupted run goes on where it stopped.

Example::

    OMP_NUM_THREADS=1 python benchmarks/data/make_xtb.py --out jorbit/datasets/data
    OMP_NUM_THREADS=1 python benchmarks/data/make_xtb.py --small --out /tmp/small
"""

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two threads on a busy machine are slower than one

import ase  # noqa: E402
import numpy as np  # noqa: E402
from ase import Atoms, units  # noqa: E402
from ase.build import bulk, make_supercell, molecule  # noqa: E402
from ase.md.langevin import Langevin  # noqa: E402
from tblite.ase import TBLite  # noqa: E402

TEMPERATURES = (300.0, 600.0, 1000.0)  # K
LABEL_ACCURACY = 0.1  # tblite's accuracy of the stored labels; the dynamics runs at its default, 1.0
# Ground states of the free atoms.
MULTIPLICITY = {"H": 2, "B": 2, "C": 3, "N": 4, "O": 3, "I": 2, "Cs": 2, "Pb": 3}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one data set is made. Times in fs, energies in eV, lengths in Å."""

    name: str
    method: str
    seed: int
    n_frames: int
    n_trajectories: int
    n_per_trajectory: int  # a few more than needed: the reserve for frames that are dropped
    timestep: float
    stride: int  # steps between two frames
    equilibration: int  # steps before the first frame
    friction: float  # 1/fs
    max_jump: float  # eV: largest |E(next) - E(prev) - integral of -F.dr| on a step next to a frame
    max_strain: float  # largest entry of the random strain; 0 for a molecule
    check_every: int  # central differences on every n-th frame of a trajectory
    temperatures: tuple[float, ...] = TEMPERATURES  # of trajectory 0, 1, ...; repeated
    heat: float = 2.0  # kinetic temperature of the start / temperature: half becomes potential energy
    single: bool = False  # positions and cell rounded to float32 before the labels are calculated


ETHANOL = Recipe("ethanol_gfn2", "GFN2-xTB", 20240, 2000, 12, 170, 0.5, 40, 2000, 0.01, 0.005, 0.0, 1)
CRYSTAL = Recipe("bn_gfn1", "GFN1-xTB", 20241, 300, 12, 26, 1.5, 8, 30, 0.02, 0.02, 0.03, 10)
MAX_SCRATCH = 1e-3  # eV: energy from scratch against energy in the dynamics
MAX_FORCE_ERROR = 1e-3  # eV/Å along a random unit direction of all coordinates
MAX_STRESS_ERROR = 1e-4  # eV/Å^3 along a random symmetric strain


Start = Callable[[Recipe, int, np.random.Generator], Atoms]


def starting_point(recipe: Recipe, index: int, rng: np.random.Generator) -> Atoms:
    """Atoms at the start of a trajectory: both conformers of ethanol, or the strained crystal."""
    if recipe.max_strain == 0:
        atoms = molecule("CH3CH2OH")
        if index % 2:  # gauche: turn the hydroxyl hydrogen about the C-O bond
            h = int(np.argmax(np.where(atoms.numbers == 1, -atoms.get_distances(2, range(9)), -99)))
            c = int(np.argmin(np.where(atoms.numbers == 6, atoms.get_distances(2, range(9)), 99)))
            other = int(next(i for i in np.flatnonzero(atoms.numbers == 6) if i != c))
            atoms.set_dihedral(other, c, 2, h, 60.0, indices=[h])
        return atoms
    body_centred = [[-1, 1, 1], [1, -1, 1], [1, 1, -1]]  # 4 cubic cells, 32 atoms, as round as 32 atoms can be
    atoms = make_supercell(bulk("BN", "zincblende", a=3.64, cubic=True), body_centred)
    if index >= len(TEMPERATURES):  # one unstrained trajectory per temperature
        strain = rng.uniform(-recipe.max_strain, recipe.max_strain, (3, 3))
        atoms.set_cell(atoms.cell @ (np.eye(3) + (strain + strain.T) / 2), scale_atoms=True)
    atoms.rattle(0.01, rng=rng)
    return atoms


def single_point(atoms: Atoms, method: str, **settings) -> Atoms:
    """A copy of the atoms with a calculator that starts from scratch."""
    fresh = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    fresh.calc = TBLite(method=method, accuracy=LABEL_ACCURACY, verbosity=0, **settings)
    return fresh


def difference_errors(atoms: Atoms, method: str, rng: np.random.Generator) -> tuple[float, float]:
    """Forces and stress against central differences along one random direction each: eV/Å, eV/Å^3."""

    def energy(moved: Atoms) -> float:
        return single_point(moved, method).get_potential_energy()

    direction = rng.normal(size=atoms.positions.shape)
    direction /= np.linalg.norm(direction)
    step, ends = 0.003, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * direction
        ends.append(energy(moved))
    force_error = abs((ends[0] - ends[1]) / (2 * step) + (atoms.get_forces() * direction).sum())
    if not atoms.pbc.any():
        return force_error, 0.0
    strain = rng.normal(size=(3, 3))
    strain = (strain + strain.T) / np.linalg.norm(strain + strain.T)
    step, ends = 1e-3, []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.set_cell(atoms.cell @ (np.eye(3) + sign * step * strain), scale_atoms=True)
        ends.append(energy(moved))
    slope = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
    return force_error, abs(slope - (atoms.get_stress(voigt=False) * strain).sum())


def run_trajectory(
    recipe: Recipe, index: int, n_frames: int, equilibration: int, start: Start = starting_point
) -> dict[str, np.ndarray]:
    """Sample one trajectory, label its frames from scratch and measure everything the guard looks at."""
    rng = np.random.default_rng([recipe.seed, index])
    temperature = recipe.temperatures[index % len(recipe.temperatures)]
    atoms = start(recipe, index, rng)
    if recipe.single:
        atoms.cell = np.array(atoms.cell, dtype=np.float32).astype(np.float64)
    atoms.calc = TBLite(method=recipe.method, verbosity=0)
    spread = np.sqrt(recipe.heat * units.kB * temperature * atoms.get_masses())[:, None]
    atoms.set_momenta(spread * rng.normal(size=atoms.positions.shape))
    dynamics = Langevin(
        atoms,
        recipe.timestep * units.fs,
        temperature_K=temperature,
        friction=recipe.friction / units.fs,
        fixcm=False,  # ASE's fixcm does not sample the canonical distribution of a small system
        rng=rng,
    )
    rows: dict[str, list] = {}
    previous = (atoms.positions.copy(), atoms.get_potential_energy(), atoms.get_forces())
    waiting = None  # the row whose step out has not been seen yet
    for step in range(1, equilibration + n_frames * recipe.stride + 1):
        dynamics.run(1)
        now = (atoms.positions.copy(), atoms.get_potential_energy(), atoms.get_forces())
        jump = abs(now[1] - previous[1] + 0.5 * ((now[2] + previous[2]) * (now[0] - previous[0])).sum())
        previous = now
        if waiting is not None:
            rows["jump"][waiting] = max(rows["jump"][waiting], jump)
            waiting = None
        if step <= equilibration or (step - equilibration) % recipe.stride:
            continue
        frame = single_point(atoms, recipe.method)
        if recipe.single:
            frame.positions = frame.positions.astype(np.float32).astype(np.float64)
        energy, periodic = frame.get_potential_energy(), atoms.pbc.any()
        errors = (np.nan, np.nan)
        if len(rows.get("energy", ())) % recipe.check_every == 0:
            errors = difference_errors(frame, recipe.method, rng)
        row = {
            "position": frame.positions.copy(),
            "cell": np.array(atoms.cell),
            "energy": energy,
            "force": frame.get_forces(),
            "stress": frame.get_stress(voigt=False) if periodic else np.zeros((3, 3)),
            "temperature": temperature,
            "trajectory": index,
            "step": step,
            "jump": jump,
            "scratch": abs(energy - now[1]),
            "force_error": errors[0],
            "stress_error": errors[1],
        }
        for key, value in row.items():
            rows.setdefault(key, []).append(value)
        waiting = len(rows["energy"]) - 1
    return {key: np.array(value) for key, value in rows.items()} | {"numbers": atoms.numbers}


def isolated_atoms(method: str, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energies of the free atoms in eV, ground-state multiplicity, no spin-polarisation term."""
    elements = np.unique(numbers)
    energies = []
    for number in elements:
        atom = Atoms([int(number)], [[0.0, 0.0, 0.0]])
        symbol = atom.get_chemical_symbols()[0]
        energies.append(single_point(atom, method, multiplicity=MULTIPLICITY[symbol]).get_potential_energy())
    return elements, np.array(energies)


def make(
    recipe: Recipe,
    out: Path,
    parts: Path,
    small: bool,
    start: Start = starting_point,
    script: str = "benchmarks/data/make_xtb.py",
) -> None:
    """Run or reload all trajectories, drop what fails, shuffle, write one npz."""
    n_trajectories, n_per, equilibration, n_wanted = (
        recipe.n_trajectories,
        recipe.n_per_trajectory,
        recipe.equilibration,
        recipe.n_frames,
    )
    if small:
        n_trajectories, n_per, equilibration, n_wanted = 2, 3, 3, 5
    parts.mkdir(parents=True, exist_ok=True)
    pieces, cpu = [], 0.0
    for index in range(n_trajectories):
        part = parts / f"{recipe.name}_{index:02d}_{n_per}.npz"
        if not part.exists():
            begin = time.process_time()
            piece = run_trajectory(recipe, index, n_per, equilibration, start)
            temporary = part.with_suffix(".tmp.npz")
            np.savez(temporary, cpu=time.process_time() - begin, **piece)
            temporary.rename(part)
        with np.load(part, allow_pickle=False) as stored:
            pieces.append({key: stored[key] for key in stored})
        cpu += float(pieces[-1]["cpu"])
        last = pieces[-1]
        print(
            f"{recipe.name} trajectory {index + 1}/{n_trajectories} {last['temperature'][0]:.0f} K: "
            f"{len(last['energy'])} frames, CPU {float(last['cpu']):.0f} s, largest jump {last['jump'].max():.1e} eV, "
            f"scratch {last['scratch'].max():.1e} eV, force error {np.nanmax(last['force_error']):.1e} eV/Å, "
            f"stress error {np.nanmax(last['stress_error']):.1e} eV/Å^3",
            flush=True,
        )
    numbers = pieces[0]["numbers"]
    rows = {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0] if key not in ("numbers", "cpu")}
    failed = {
        "energy not continuous": rows["jump"] > recipe.max_jump,
        "another solution from scratch": rows["scratch"] > MAX_SCRATCH,
        "forces against differences": np.nan_to_num(rows["force_error"]) > MAX_FORCE_ERROR,
        "stress against differences": np.nan_to_num(rows["stress_error"]) > MAX_STRESS_ERROR,
    }
    good = ~np.any(list(failed.values()), axis=0)
    dropped = {why: int(bad.sum()) for why, bad in failed.items()}
    print(f"{recipe.name}: {len(good)} frames sampled, {int((~good).sum())} dropped {dropped}, CPU {cpu:.0f} s")
    chosen = np.random.default_rng(recipe.seed).permutation(np.flatnonzero(good))[:n_wanted]
    if len(chosen) < n_wanted:
        raise SystemExit(f"{recipe.name}: wanted {n_wanted} frames, only {len(chosen)} passed. Raise n_per_trajectory.")
    elements, free = isolated_atoms(recipe.method, numbers)
    about = {
        "name": recipe.name,
        "method": recipe.method,
        "recipe": dataclasses.asdict(recipe),
        "label_accuracy": LABEL_ACCURACY,
        "units": {"energy": "eV", "length": "Å", "stress": "eV/Å^3, (1/V) dE/dstrain, positive under tension"},
        "n_sampled": len(good),
        "n_dropped": int((~good).sum()),
        "dropped": dropped,
        "largest_kept": {
            key: float(np.nanmax(rows[key][chosen])) for key in ("jump", "scratch", "force_error", "stress_error")
        },
        "cpu_seconds": round(cpu),
        "versions": {"tblite": tblite_version(), "ase": ase.__version__, "numpy": np.__version__},
        "python": platform.python_version(),
        "script": script,
    }
    precision = np.float32 if recipe.single else np.float64
    arrays = {
        "nuclear_charges": numbers.astype(np.uint8),
        "coords": rows["position"][chosen].astype(precision),
        "energies": rows["energy"][chosen],
        "forces": rows["force"][chosen].astype(precision),
        "temperatures": rows["temperature"][chosen],
        "trajectories": rows["trajectory"][chosen].astype(np.int32),
        "steps": rows["step"][chosen].astype(np.int32),
        "isolated_numbers": elements.astype(np.uint8),
        "isolated_energies": free,
        "e_unit": np.array("eV"),
        "r_unit": np.array("Ang"),
        "about": np.array(json.dumps(about, ensure_ascii=False)),
    }
    if rows["cell"].any():
        arrays |= {"cells": rows["cell"][chosen], "stresses": rows["stress"][chosen].astype(precision)}
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{recipe.name}.npz"
    np.savez_compressed(path, **arrays)
    print(f"{path.name}: {len(chosen)} frames, {path.stat().st_size} bytes")
    print(json.dumps(about, indent=1, ensure_ascii=False))


def tblite_version() -> str:
    """Version of the installed tblite."""
    from importlib.metadata import version

    return version("tblite")


def main() -> None:
    """Read the command line and make the sets that are asked for."""
    parser = argparse.ArgumentParser(description="Make the two data sets that jorbit ships.")
    parser.add_argument("--set", choices=["ethanol", "crystal", "all"], default="all")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished files")
    parser.add_argument("--parts", type=Path, help="folder for finished trajectories (default: OUT/parts)")
    parser.add_argument("--small", action="store_true", help="a few frames, to see that everything runs")
    options = parser.parse_args()
    recipes = {"ethanol": [ETHANOL], "crystal": [CRYSTAL], "all": [ETHANOL, CRYSTAL]}[options.set]
    for recipe in recipes:
        make(recipe, options.out, options.parts or options.out / "parts", options.small)


if __name__ == "__main__":
    main()
