"""The ladder of the field on a molecule of revised MD17: from Coulomb matrices to MACE, same frames, same budget.

    JORBIT_DATA=... python benchmarks/bench_ladder.py --train 200 --minutes 1       # writes results/ladder.json
    ... bench_ladder.py --molecule aspirin --train 950 --minutes 60 --size full     # as the published rows
    ... bench_ladder.py --models MACE PaiNN --seeds 0 1 2

Every model gets the same training frames (the first of split 01), the same 50 frames for what is chosen on the way, and
the same budget of PROCESSOR time, which other work on the machine does not use up. Networks are trained for as many
epochs as fit: an epoch is timed after everything has been compiled, and the learning rate comes down over the epochs
that the budget allows; their compilation is told apart (`compile_cpu_s`) and is not in the budget. Kernels and linear
models have one solution and take the time they take, compilation and the choice of a length included; `within_budget`
says whether a training took at most a tenth more than the budget.

Published rows: MAE, energy meV / force meV/Å, 950 + 50 frames, trained as long as it took: Batatia et al.,
arXiv:2206.07697, Table 1.
"""

import argparse
import gc
from typing import Any

import numpy as np
from common import Stopwatch, environment, load_rows, write
from networks import CUTOFF, NETWORKS, draw, speed, train_network

# energy MAE meV, force MAE meV/Å
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "aspirin": {"MACE": (2.2, 6.6), "Allegro": (2.3, 7.3), "NequIP": (2.3, 8.2), "linear ACE": (6.1, 17.9)},
    "benzene": {"MACE": (0.4, 0.3), "Allegro": (0.3, 0.2), "NequIP": (0.04, 0.3), "linear ACE": (0.04, 0.5)},
    "ethanol": {"MACE": (0.4, 2.1), "Allegro": (0.4, 2.1), "NequIP": (0.4, 2.8), "linear ACE": (1.2, 7.3)},
    "malonaldehyde": {"MACE": (0.8, 4.1), "Allegro": (0.6, 3.6), "NequIP": (0.8, 5.1), "linear ACE": (1.7, 11.1)},
    "naphthalene": {"MACE": (0.5, 1.6), "Allegro": (0.2, 0.9), "NequIP": (0.9, 1.3), "linear ACE": (0.9, 5.1)},
    "uracil": {"MACE": (0.5, 2.1), "Allegro": (0.6, 1.8), "NequIP": (0.4, 3.1), "linear ACE": (1.1, 6.6)},
}
MORE: dict[str, tuple[tuple[float, float], ...]] = {  # FCHL19, GAP, ANI, PaiNN
    "aspirin": ((6.2, 20.9), (17.7, 44.9), (16.6, 40.6), (6.9, 16.1)),
    "benzene": ((0.35, 2.6), (0.75, 6.0), (3.3, 10.0)),
    "ethanol": ((0.9, 6.2), (3.5, 18.1), (2.5, 13.4), (2.7, 10.0)),
    "malonaldehyde": ((1.5, 10.3), (4.8, 26.4), (4.6, 24.5), (3.9, 13.8)),
    "naphthalene": ((1.2, 6.5), (3.8, 16.5), (11.3, 29.2), (5.1, 3.6)),
    "uracil": ((0.6, 4.2), (3.0, 17.6), (5.1, 21.4), (4.5, 6.1)),
}
for _molecule, _errors in MORE.items():
    PUBLISHED[_molecule] |= dict(zip(("FCHL19", "GAP", "ANI", "PaiNN"), _errors, strict=False))

CLOSED = ("Coulomb matrix + kernel ridge", "SOAP-GAP", "linear ACE", "sGDML")
LADDER = (CLOSED[0], "ANI", "NeuralIL", *CLOSED[1:], "SchNet", "DimeNet", "PaiNN", "HIP-HOP", "MACE")


def frames_of(molecule: str, n_train: int, n_test: int) -> tuple[list, list, list]:
    """Training, validation and test frames of split 01; the last 50 training frames of the split validate."""
    from jorbit.datasets import load_dataset

    data = load_dataset(f"rmd17_{molecule}")
    train = list(data.split("train_01"))
    if not 10 <= n_train <= 950:
        raise SystemExit(f"Wanted between 10 and 950 training frames, got {n_train}: 50 of the 1000 validate.")
    return train[:n_train], train[950:], list(data.split("test_01"))[:n_test]


def closed(name: str, train: list, valid: list, size: str, seed: int) -> tuple[Any, Any, dict]:
    """A model that is found by one linear solve: potential, parameters, what to tell of it."""
    import jorbit
    from jorbit.descriptors.coulomb_matrix import CoulombMatrix
    from jorbit.descriptors.soap import SOAP
    from jorbit.models.gap import GAP
    from jorbit.models.linear_ace import LinearACE
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train.metrics import evaluate

    structure = train[0].structure
    species = jorbit.SpeciesTable.from_structures([structure])
    full = size == "full"
    if name == "sGDML":
        found = jorbit.fit_sgdml(train, validation=valid, sigma=(10.0, 20.0, 40.0), seed=seed)
        return found.potential, found.params, {"sigma": found.report.sigma, "n_parameters": found.report.n_rows}
    if name == "linear ACE":
        degrees = (14, 10, 8, 6) if full else (12, 8, 6)
        model = LinearACE(n_species=len(species), cutoff=CUTOFF, max_degree=degrees, l_max=4, bond_lengths=1.5)
        potential = jorbit.Potential(terms=(ReferenceEnergy(n_species=len(species)), model), species=species)
        found = jorbit.fit(train, potential, prior="validation", validation=valid)
        return found.potential, found.params, {"n_parameters": found.report.n_parameters, "max_degree": list(degrees)}
    if name == "SOAP-GAP":
        n, l = (8, 6) if full else (6, 4)  # noqa: E741 (as everybody calls them)
        descriptor = SOAP(n_species=len(species), cutoff=CUTOFF, n_radial=n, l_max=l)
        kernels = [GAP(descriptor=descriptor, n_points=1000 if full else 300)]
    else:
        # Kernel ridge of whole structures: all atoms have the spectrum of the matrix, and a point is a structure.
        spectrum = CoulombMatrix(n_atoms=structure.n_atoms)
        kernels = [
            GAP(descriptor=spectrum, n_points=min(len(train), 400), kernel="rbf", length=length)
            for length in (2.0, 8.0, 32.0)
        ]
    fits: list[Any] = [jorbit.fit_gap(train, kernel, optimize=True, seed=seed) for kernel in kernels]
    wrong = [evaluate(f.potential, f.params, valid).force_rmse or 0.0 for f in fits]
    best = int(np.argmin(wrong))
    about = {"n_parameters": sum(fits[best].report.n_points)}
    if len(fits) > 1:
        about |= {"length": kernels[best].length, "length_chosen_by": "force RMSE of the validation frames"}
    return fits[best].potential, fits[best].params, about


def run(name: str, seed: int, options: argparse.Namespace) -> dict:
    """One rung: train, test, time."""
    from jorbit.train.metrics import evaluate

    train, valid, test = frames_of(options.molecule, options.train, options.test)
    begun = environment(seeds=(seed,))
    if name in NETWORKS:
        import jorbit

        registered, *sizes = NETWORKS[name]
        species = jorbit.SpeciesTable.from_structures([train[0].structure])
        of_size = sizes[options.size == "full"]
        potential, params, about = train_network(
            registered, of_size, species, train, valid, minutes=options.minutes, seed=seed
        )
    else:
        watch = Stopwatch()
        potential, params, about = closed(name, train, valid, options.size, seed)
        about["fit_seconds"] = watch.read()
    errors: Any = evaluate(potential, params, test)
    seconds = about["fit_seconds"]
    row = {
        "key": f"{options.molecule} | {name} | {len(train)} frames | {options.minutes:g} min | {options.size} | {seed}",
        "molecule": options.molecule,
        "model": name,
        "n_train": len(train),
        "n_validation": len(valid),
        "n_test": len(test),
        "budget_processor_minutes": options.minutes,
        "size": options.size,
        "seed": seed,
        "energy_mae_mev": 1e3 * errors.energy_mae,
        "force_mae_mev_per_angstrom": 1e3 * errors.force_mae,
        "force_rmse_mev_per_angstrom": 1e3 * errors.force_rmse,
        "within_budget": seconds["cpu_s"] <= 1.1 * 60.0 * options.minutes,
        **about,
        **speed(potential, params, test, "float32" if name in NETWORKS else "float64"),
        "published": PUBLISHED[options.molecule],
        "environment": begun,
    }
    print(
        f"{name:30s} {row['n_parameters']:7d} parameters, force MAE {row['force_mae_mev_per_angstrom']:.1f} meV/Å, "
        f"energy MAE {row['energy_mae_mev']:.2f} meV, {seconds['cpu_s']:.0f} s, {row['us_per_atom']:.1f} µs/atom",
        flush=True,
    )
    return row


def main() -> None:
    """Run the rungs asked for; other rows in the results file stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--molecule", default="ethanol", choices=list(PUBLISHED))
    parser.add_argument("--models", nargs="*", default=list(LADDER), choices=LADDER)
    parser.add_argument("--train", type=int, default=200, help="training frames")
    parser.add_argument("--test", type=int, default=1000, help="test frames")
    parser.add_argument("--minutes", type=float, default=1.0, help="processor time for the training of each model")
    parser.add_argument("--size", choices=("small", "full"), default="small", help="of the models")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    options = parser.parse_args()
    rows = load_rows("ladder", "key")
    for name in options.models:
        for seed in options.seeds if name in NETWORKS else options.seeds[:1]:
            row = run(name, seed, options)
            rows[row["key"]] = row
            write(
                "ladder",
                "rMD17, split 01: models of every generation on the same frames with the same budget of processor time",
                list(rows.values()),
            )
            gc.collect()
    draw("ladder", list(rows.values()))


if __name__ == "__main__":
    main()
