"""Linear ACE on revised MD17: official split 01, 950 frames to fit, 50 to choose the ridge, 1000 to test.

Molecules in REFIT are fitted to all 1000 once the ridge is chosen; their rows and the README's table say so.

    JORBIT_DATA=... python benchmarks/bench_rmd17.py [molecule ...]      # writes benchmarks/results/rmd17.json

Published rows: MAE, energy meV / force meV/Å, of Batatia et al., arXiv:2206.07697, Table 1.
"""

import argparse
import dataclasses
import gc

from common import Stopwatch, environment, load_rows, write

# energy MAE meV, force MAE meV/Å
PUBLISHED = {
    "aspirin": {"linear ACE": (6.1, 17.9), "GAP": (17.7, 44.9), "ANI": (16.6, 40.6), "MACE": (2.2, 6.6)},
    "benzene": {"linear ACE": (0.04, 0.5), "GAP": (0.75, 6.0), "ANI": (3.3, 10.0), "MACE": (0.4, 0.3)},
    "ethanol": {"linear ACE": (1.2, 7.3), "GAP": (3.5, 18.1), "ANI": (2.5, 13.4), "MACE": (0.4, 2.1)},
    "malonaldehyde": {"linear ACE": (1.7, 11.1), "GAP": (4.8, 26.4), "ANI": (4.6, 24.5), "MACE": (0.8, 4.1)},
    "naphthalene": {"linear ACE": (0.9, 5.1), "GAP": (3.8, 16.5), "ANI": (11.3, 29.2), "MACE": (0.5, 1.6)},
    "uracil": {"linear ACE": (1.1, 6.6), "GAP": (3.0, 17.6), "ANI": (5.1, 21.4), "MACE": (0.5, 2.1)},
}
OPTIONS = {"bond_lengths": 1.5}
CUTOFFS = {"benzene": 6.0, "naphthalene": 6.0, "uracil": 6.0}  # Å; 4.5 elsewhere. Rigid rings: the far atoms matter
# Per molecule: degrees per order, one row for each element in the order of the periodic table, and l_max. What counts
# is the number of functions: 20 to 30 thousand columns make a fit of fifteen minutes on two cores. All atoms see each
# other, and functions do most around the atoms with the most neighbours. Products of three neighbours do more than
# products of four: for aspirin 12 thousand functions of up to three reached 21.9 meV/Å, 20 thousand of up to four 21.2.
H_LITTLE = (8, 6, 4)
SIZES: dict[str, dict] = {
    "aspirin": {"max_degree": (H_LITTLE, (16, 14, 12), (14, 11, 8)), "l_max": 4, "smoothness": 3.0},
    "benzene": {"max_degree": (14, 12, 10, 7), "l_max": 5},
    "ethanol": {"max_degree": (15, 10, 9, 7), "l_max": 4},
    "malonaldehyde": {"max_degree": (H_LITTLE, (16, 13, 11, 7), (10, 8, 6, 4)), "l_max": 4},
    "naphthalene": {"max_degree": ((10, 8, 6, 5), (18, 15, 13, 10)), "l_max": 5},
    "uracil": {"max_degree": ((6, 4, 2), (14, 11, 9), (12, 10, 8), (8, 6, 4)), "l_max": 4},
}
# A second expansion of few neighbours that sees further: aspirin is longer than 4.5 Å.
FAR: dict[str, dict] = {
    "aspirin": {"cutoff": 6.0, "max_degree": ((10, 4), (16, 9), (16, 9)), "l_max": 4, "smoothness": 3.0}
}
# Once the ridge is chosen, the 50 frames are fitted as well.
REFIT = ("aspirin",)


def run(molecule: str) -> dict:
    """Fit and test one molecule."""
    from molecule_ace import molecule_ace, n_functions

    import jorbit
    from jorbit.datasets import load_dataset
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train.metrics import evaluate

    data = load_dataset(f"rmd17_{molecule}")
    train, test = data.split("train_01"), data.split("test_01")
    species = jorbit.SpeciesTable.from_structures([train[0].structure])
    sizes = [{"cutoff": CUTOFFS.get(molecule, 4.5), **SIZES[molecule]}]
    sizes += [FAR[molecule]] if molecule in FAR else []
    models = [molecule_ace(train[0].structure, species, **OPTIONS, **size) for size in sizes]
    n_parameters = sum(map(n_functions, models))
    potential = jorbit.Potential(terms=(ReferenceEnergy(n_species=len(species)), *models), species=species)
    watch = Stopwatch()
    refit = molecule in REFIT
    potential, params, report = jorbit.fit(
        train[:950], potential, prior="validation", validation=train[950:1000], refit=refit, progress=True
    )
    seconds = watch.read()
    errors = evaluate(potential, params, test)
    energy, force = errors.energy_mae * 1e3, errors.force_mae * 1e3
    published = PUBLISHED[molecule]["linear ACE"]
    print(
        f"{molecule}: {n_parameters} parameters, energy MAE {energy:.2f} meV ({published[0]}), "
        f"force MAE {force:.2f} meV/Å ({published[1]}), fit {seconds['wall_s']:.0f} s",
        flush=True,
    )
    return {
        "molecule": molecule,
        "n_parameters": n_parameters,
        "options": [dataclasses.asdict(model) for model in models],
        "n_train": 950,
        "n_validation": 50,
        "validation_frames_fitted_too": refit,
        "n_test": len(test),
        "energy_mae_mev": energy,
        "force_mae_mev_per_angstrom": force,
        "energy_rmse_mev": errors.energy_rmse * 1e3,
        "force_rmse_mev_per_angstrom": errors.force_rmse * 1e3,
        "ridge": report.ridge,
        "fit_seconds": seconds,
        "seconds_by_stage": report.seconds,
        "compilations": report.compilations,
        "published": PUBLISHED[molecule],
        "environment": environment(),
    }


def main() -> None:
    """Run the molecules asked for; rows of other molecules in the results file stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("molecules", nargs="*", metavar="molecule", help=f"of {', '.join(SIZES)}; default: all")
    options = parser.parse_args()
    if unknown := set(options.molecules) - set(SIZES):
        parser.error(f"there is no molecule {', '.join(sorted(unknown))}; there are {', '.join(SIZES)}")
    rows = load_rows("rmd17", "molecule")
    for molecule in options.molecules or SIZES:
        rows[molecule] = run(molecule)
        write(
            "rmd17",
            "linear ACE on revised MD17, split 01, 950 + 50 frames, MAE on the 1000 test frames",
            [rows[name] for name in SIZES if name in rows],
        )
        gc.collect()


if __name__ == "__main__":
    main()
