"""HIP-HOP-NN on random methane: energy errors against the number of training structures, by set of invariants.

    JORBIT_DATA=... python benchmarks/bench_methane.py --train 1000 8000 --minutes 10     # writes results/methane.json
    ... bench_methane.py --sets hop13 hop14 flex15 --train 1000 --seeds 0 1 2
    ... bench_methane.py --file all_methane.extxyz.xz --train 100000 1000000 --minutes 600
    ... bench_methane.py --xtb methane_gfn2.extxyz --train 1000 10000 90000 --forces 1 --minutes 120

Energies of CH4 with hydrogens at random within 3 Å of the carbon atom (Pozdnyakov et al., Phys. Rev. Lett. 125, 166001,
2020), 10,000 of 7.7 million structures: the last 1000 test, the 1000 before validate, the first train.
One interaction layer and three atom layers of 32 features, so that what an atom sees is what its invariants tell. Every
training gets the same budget of PROCESSOR time; compilation is told apart.

With --xtb, a file of benchmarks/data/make_methane.py: other labels (GFN2-xTB) on geometries drawn in the same way, and
more of them, for the slope of the curve. Its errors are not errors on the public set, and no stored value stands beside
them. It has forces: --forces is their weight in the loss, beside that of the energies per atom, 1.

Beside them: energy RMSE, kcal/mol, of HIP-NN, HIP-NN-TS (l = 1, 2) and HIP-HOP-NN (n, l) at 1000 and 10,000 training
structures, means of ten replicates, from a data file labelled "paper" beside the code of an author of Allen et al.,
arXiv:2503.23515. That paper shows curves and prints no table; whether the file is exactly its figure is not known.
Those models were trained until they were done, on forces as well, and tested on other structures; the 10,000 here have
energies alone.
"""

import argparse
import dataclasses
import gc
import itertools
import lzma
import os
import pathlib
import re
from typing import Any

import numpy as np
from budget import train_within
from common import RESULTS, environment, load_rows, measure, write

STANDARD_DEVIATION = 73.829  # kcal/mol, of the energies of the complete set
FILE = "methane_random/random_ch4_10k_hartree.extxyz.xz"
# row -> (set of invariants, None for HIP-NN; energy RMSE of that file by number of structures, kcal/mol)
SETS: dict[str, tuple[str | None, dict[int, float]]] = {
    "hipnn (l 0, n 1)": (None, {1000: 13.75, 10_000: 9.205}),
    "hop13:2,1 (l 1, n 2)": ("hop13:2,1", {1000: 11.92, 10_000: 2.907}),
    "hop13:2,2 (l 2, n 2)": ("hop13:2,2", {1000: 10.78, 10_000: 2.507}),
    "hop13:3,2 (l 2, n 3)": ("hop13:3,2", {1000: 12.41, 10_000: 2.295}),
    "hop13:4,2 (l 2, n 4)": ("hop13:4,2", {1000: 11.34, 10_000: 2.347}),
    "hop13 (l 3, n 4)": ("hop13", {1000: 13.39, 10_000: 2.255}),
    "hop14": ("hop14", {}),
    "flex15": ("flex15", {}),
}
# As in the methane example of the code, github.com/lanl/hippynn; every pair of atoms is within the cutoff.
NETWORK = {"n_features": 32, "n_sensitivities": 20, "n_interactions": 1, "n_atom_layers": 3}
NETWORK |= {"cutoff": 10.3, "soft_min": 0.4, "soft_max": 9.0}


def frames_of(path: pathlib.Path, most: int | None = None) -> list:
    """The first `most` structures with energies in eV; those of the file are in Hartree."""
    from jorbit.core.structure import Frame, Labels, Structure
    from jorbit.core.units import HARTREE

    opened = lzma.open(path, "rt") if path.suffix == ".xz" else path.open()
    numbers, frames = np.array([6, 1, 1, 1, 1]), []
    with opened as file:
        while len(frames) != most and (lines := list(itertools.islice(file, 7))):  # the complete set has 54 million
            energy = re.search(r"energy=(\S+)", lines[1]) if len(lines) == 7 else None
            atoms = [line.split() for line in lines[2:]]
            if lines[0].strip() != "5" or energy is None or [a[0] for a in atoms if a] != ["C", "H", "H", "H", "H"]:
                raise SystemExit(
                    f"{path.name}, line {7 * len(frames) + 1}: wanted frames of one C and four H with an energy."
                )
            positions = np.array([a[1:4] for a in atoms], dtype=np.float64)
            structure = Structure(positions=positions, numbers=numbers)
            frames.append(Frame(structure=structure, labels=Labels(energy=float(energy[1]) * HARTREE)))
    return frames


def potential_of(invariants: str | None, species: Any) -> Any:
    """Reference energies and one network."""
    import jorbit
    from jorbit.models.hiphop import HipHop
    from jorbit.models.hipnn import HipNN
    from jorbit.terms.reference_energy import ReferenceEnergy

    n = len(species)
    options: dict[str, Any] = {"n_species": n, **NETWORK}
    model: Any = HipNN(**options) if invariants is None else HipHop(**options, invariants=invariants)
    return jorbit.Potential(terms=(ReferenceEnergy(n_species=n), model), species=species)


def run(
    name: str, frames: list, n_train: int, seed: int, minutes: float, xtb: bool = False, forces: float = 0.0
) -> dict:
    """One training and its test."""
    import jax

    import jorbit
    from jorbit.core.units import KCAL_MOL
    from jorbit.train import GradientConfig, LossWeights
    from jorbit.train.metrics import evaluate

    invariants, stored = SETS[name]
    train, valid, test = frames[:n_train], frames[-2000:-1000], frames[-1000:]
    deviation = float(np.std([f.labels.energy for f in frames])) / KCAL_MOL if xtb else STANDARD_DEVIATION
    stored = {} if xtb else stored
    species = jorbit.SpeciesTable.from_structures([train[0].structure])
    potential, begun = potential_of(invariants, species), environment(seeds=(seed,))
    loss = LossWeights(energy=1.0, forces=forces, stress=0.0, huber_energy=0.2, huber_forces=1.0 if forces else None)
    config = GradientConfig(
        batch_size=20 if n_train < 5000 else 50, seed=seed, learning_rate=3e-3, loss=loss, reference_energies="fit"
    )
    params, about = train_within(potential, train, valid, minutes, config)
    errors: Any = evaluate(potential, params, test)
    graph = potential.graph([f.structure for f in test[:64]])
    cost = measure(lambda: jax.block_until_ready(jorbit.predict(potential, params, graph)))
    row = {
        "key": f"{name} | {n_train} | {minutes:g} min | {seed}" + (f" | GFN2-xTB, forces {forces:g}" if xtb else ""),
        "system": f"random CH4, GFN2-xTB, {'energies and forces' if forces else 'energies'}" if xtb else "random CH4",
        "model": name,
        "n_train": n_train,
        "n_test": len(test),
        "budget_processor_minutes": minutes,
        "seed": seed,
        "energy_mae_mev": 1e3 * errors.energy_mae,
        "energy_rmse_mev": 1e3 * errors.energy_rmse,
        "energy_rmse_kcal_mol": errors.energy_rmse / KCAL_MOL,
        "energy_rmse_by_standard_deviation": errors.energy_rmse / KCAL_MOL / deviation,
        "standard_deviation_kcal_mol": deviation,
        **({"force_mae_mev_per_angstrom": 1e3 * errors.force_mae} if xtb else {}),
        **about,
        "us_per_atom": 1e6 * cost["cpu_s"] / (64 * 5),
        "cost": cost,
        "cost_clock": "processor",
        "dtype": "float32",
        "network": NETWORK,
        "loss": dataclasses.asdict(loss),
        "stored_as_paper_energy_rmse_kcal_mol": stored,
        "environment": begun,
    }
    print(
        f"{name:24s} {n_train:6d} structures: RMSE {row['energy_rmse_kcal_mol']:.2f} kcal/mol after {row['epochs']} "
        f"epochs ({row['fit_seconds']['cpu_s']:.0f} s of processor), stored as paper: {stored or '-'}",
        flush=True,
    )
    return row


def main() -> None:
    """Run the points asked for; other rows in the results file stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", default=list(SETS), help="by name, or by the beginning of it")
    parser.add_argument("--train", type=int, nargs="*", default=[1000], help="training structures, up to 8000")
    parser.add_argument("--minutes", type=float, default=2.0, help="processor time of each training")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    parser.add_argument("--file", type=pathlib.Path, help="another file of the same form, such as the complete set")
    parser.add_argument("--xtb", type=pathlib.Path, help="a file of data/make_methane.py instead: other labels")
    parser.add_argument("--forces", type=float, default=0.0, help="weight of the forces, which only --xtb has")
    options = parser.parse_args()
    if (options.forces and options.xtb is None) or (options.xtb and options.file):
        raise SystemExit("Wanted --forces with --xtb only, and one of --file and --xtb.")
    names = [[name for name in SETS if name.split(" (")[0] == given or name == given] for given in options.sets]
    if not all(names):
        raise SystemExit(f"Wanted sets among {', '.join(SETS)}.")
    if options.xtb:
        import jorbit

        frames: list = jorbit.read(options.xtb)
    elif options.file:
        frames = frames_of(options.file, max(options.train) + 2000)
    else:
        frames = frames_of(pathlib.Path(os.environ["JORBIT_DATA"]) / FILE)
    if max(options.train) > len(frames) - 2000:
        raise SystemExit(f"Wanted at most {len(frames) - 2000} training structures: 2000 of them validate and test.")
    rows = load_rows("methane", "key")
    for n_train in options.train:
        for (name,) in names:
            for seed in options.seeds:
                row = run(name, frames, n_train, seed, options.minutes, bool(options.xtb), options.forces)
                rows[row["key"]] = row
                what = (
                    "HIP-HOP-NN on energies of random methane, by set of invariants; the same processor time for each"
                )
                write("methane", what, list(rows.values()))
                gc.collect()
    draw(list(rows.values()))


def draw(rows: list[dict]) -> None:
    """The learning curves, where there are two sizes: results/methane.png."""
    from jorbit.report.benchmark_figures import draw_curves
    from jorbit.report.benchmarks import benchmark_curves
    from jorbit.report.figures import save_figure

    for curves in benchmark_curves({"rows": rows}):
        if curves.kind == "learning":
            (RESULTS / "methane.png").write_bytes(save_figure(draw_curves(curves)))


if __name__ == "__main__":
    main()
