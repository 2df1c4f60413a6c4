"""Any ASE calculator on the data sets used here: errors of energies and forces, and time per atom.

    python benchmarks/bench_calculator.py --calculator mace.calculators:mace_mp rmd17_ethanol:test_01 acac:test_MD_300K
    python benchmarks/bench_calculator.py --calculator ase.calculators.emt:EMT mlearn_cu:test
    python benchmarks/bench_calculator.py --model model.safetensors ethanol_gfn2:test

MODULE:NAME is a function or class that, called with the --options (JSON), gives an ASE calculator. Writes
results/calculators.json; rows of the same calculator and set are replaced.

Potentials of other origin have other zeros of energy. `energy_mae_mev_per_atom` is what is left after one constant per
element, fitted to these frames by least squares; where all frames have one composition that is the mean. Forces are
compared as they are. Labels of another level of theory are another truth: read the README of the set.
"""

import argparse
import importlib
import json
import pathlib
import sys
import time

import numpy as np
from common import environment, load_rows, write


def calculator(options: argparse.Namespace):
    """The ASE calculator that was asked for."""
    if options.model:
        import jorbit

        return jorbit.Calculator(options.model)
    module, colon, name = options.calculator.partition(":")
    if not colon:
        raise SystemExit(f"Wanted --calculator MODULE:NAME, got {options.calculator!r}.")
    sys.path.insert(0, str(pathlib.Path.cwd()))
    return getattr(importlib.import_module(module), name)(**json.loads(options.options))


def measured(calc, name: str, n_frames: int) -> dict:
    """Errors and time of one set."""
    import jorbit
    from jorbit.graphs.ase_atoms import to_ase

    frames = jorbit.read(name)[:n_frames]
    elements = sorted({int(z) for f in frames for z in f.structure.numbers})
    counts = np.array([[np.sum(f.structure.numbers == z) for z in elements] for f in frames], dtype=float)
    energies, forces, seconds = [], [], []
    for frame in frames:
        atoms = to_ase(frame.structure)
        atoms.calc = calc
        begin = time.perf_counter()
        forces.append(atoms.get_forces())
        energies.append(atoms.get_potential_energy())
        seconds.append((time.perf_counter() - begin) / len(atoms))
    difference = np.array(energies) - np.array([f.labels.energy for f in frames])
    constants, *_ = np.linalg.lstsq(counts, difference, rcond=None)
    left = (difference - counts @ constants) / counts.sum(axis=1)
    wrong = np.concatenate([(a - f.labels.forces).ravel() for a, f in zip(forces, frames, strict=True)])
    return {
        "n_frames": len(frames),
        "energy_mae_mev_per_atom": 1e3 * float(np.abs(left).mean()),
        "force_mae_mev_per_angstrom": 1e3 * float(np.abs(wrong).mean()),
        "force_rmse_mev_per_angstrom": 1e3 * float(np.sqrt((wrong**2).mean())),
        "us_per_atom": 1e6 * float(np.median(seconds[1:] or seconds)),
        "first_call_s": seconds[0] * len(frames[0].structure.numbers),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=["ethanol_gfn2:test"], help="from `jorbit list`, with :part")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--calculator", metavar="MODULE:NAME")
    which.add_argument("--model", metavar="FILE", help="a jorbit model file")
    parser.add_argument("--options", default="{}", help="keyword arguments of the calculator, as JSON")
    parser.add_argument("--label", help="name of the rows (default: the calculator's)")
    parser.add_argument("--frames", type=int, default=200, help="of each set, at most")
    options = parser.parse_args()
    label = options.label or options.calculator or pathlib.Path(options.model).stem
    calc = calculator(options)
    rows = load_rows("calculators", "key")
    for name in options.sets:
        row = {"key": f"{label} | {name}", "calculator": label, "set": name}
        row |= measured(calc, name, options.frames) | {"environment": environment()}
        print(
            f"{row['key']}: energy MAE {row['energy_mae_mev_per_atom']:.2f} meV/atom (constants per element removed), "
            f"force MAE {row['force_mae_mev_per_angstrom']:.1f} meV/Å, {row['us_per_atom']:.0f} µs/atom",
            flush=True,
        )
        rows[row["key"]] = row
        write("calculators", "ASE calculators on data sets", list(rows.values()))


if __name__ == "__main__":
    main()
