"""Linear ACE on 3BPA and acetylacetone, trained at 300 K and tested hotter.

    JORBIT_DATA=... python benchmarks/bench_3bpa.py [3bpa] [acac]        # writes benchmarks/results/3bpa.json

3BPA: the published test files are not at hand. Tested instead: the 600 K and 1200 K parts of train_mixedT (drawn from
the same simulations), and the 300 K frames of train_mixedT that are not in train_300K. Rows are labelled so.
"""

import argparse
import gc

from common import Stopwatch, environment, load_rows, write
from hot_molecules import errors_of, training_frames

# A strong smoothness prior: the tests lie outside the training data, and rough models extrapolate badly. Degrees by
# element: functions do most around the heavy atoms, see bench_rmd17.py.
COMMON = {"cutoff": 4.5, "bond_lengths": 1.5, "l_max": 4, "smoothness": 4.0}
OPTIONS: dict[str, dict] = {
    "3bpa": COMMON | {"max_degree": ((8, 6, 4), (13, 10, 8), (10, 8, 6), (8, 6, 4))},
    "acac": COMMON | {"max_degree": ((8, 6, 4), (14, 11, 9), (10, 8, 6))},
}


def run(name: str) -> dict:
    """Fit 450 frames at 300 K, choose the ridge on 50, test."""
    from molecule_ace import molecule_ace, n_functions

    import jorbit
    from jorbit.terms.reference_energy import ReferenceEnergy

    data, fitted, held_out = training_frames(name)
    species = jorbit.SpeciesTable.from_structures([fitted[0].structure])
    model = molecule_ace(fitted[0].structure, species, **OPTIONS[name])
    potential = jorbit.Potential(terms=(ReferenceEnergy(n_species=len(species)), model), species=species)
    watch = Stopwatch()
    potential, params, report = jorbit.fit(
        fitted,
        potential,
        prior="validation",
        validation=held_out,
        reference_energies=dict(data.isolated_energies) if data.isolated_energies else None,
        progress=True,
    )
    seconds = watch.read()
    results = errors_of(name, data, potential, params)
    return {
        "set": name,
        "n_parameters": n_functions(model),
        "options": OPTIONS[name] | {"max_factors": model.max_factors},
        "n_train": len(fitted),
        "n_validation": len(held_out),
        "tests": results,
        "ridge": report.ridge,
        "fit_seconds": seconds,
        "seconds_by_stage": report.seconds,
        "environment": environment(),
    }


def main() -> None:
    """Run the sets asked for; rows of the other in the results file stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(OPTIONS))
    options = parser.parse_args()
    rows = load_rows("3bpa", "set")
    for name in options.sets:
        rows[name] = run(name)
        write(
            "3bpa",
            "linear ACE trained on 450 + 50 frames at 300 K; total-energy and force-component RMSE",
            [rows[key] for key in OPTIONS if key in rows],
        )
        gc.collect()


if __name__ == "__main__":
    main()
