"""Networks on 3BPA and acetylacetone: trained at 300 K, tested hotter, beside the ACE and the published rows.

    JORBIT_DATA=... python benchmarks/bench_networks.py --minutes 10          # writes results/networks.json
    ... bench_networks.py --sets acac --models mace "mace, orbits" --seeds 3 --minutes 60 --size full
    ... bench_networks.py --train 20 --test 20 --minutes 0.02 --models schnet   # does it run here?

Every network gets the same 450 frames, the same 50 for choosing the best epoch, and the same budget of PROCESSOR time
(wall time on a GPU), which other work on the machine does not use up. It is trained for as many epochs as fit: an epoch
is timed after everything has been compiled, and the learning rate comes down over the epochs that the budget allows.
Compilation is told apart (`compile_cpu_s`) and is not in the budget, nor are the five epochs that find the time of one.

"mace, orbits" tells atoms of one element apart by the orbits of the training frames. Labels go by the order of atoms,
the same in all files. In acetylacetone a proton goes from one oxygen atom to the other: pairs that are bonded in three
frames of ten count as bonds there, so that it belongs to both.

Tests: acac test_MD_300K, test_MD_600K and the dihedral scan (energies). 3BPA: the published test files are not at
hand; the 600 K and 1200 K parts of train_mixedT and its 300 K frames not in train_300K. Rows of other settings in the
file of results stay; a row with the same set, model, frames, budget, size and seed is replaced.
"""

import argparse
import gc
from collections.abc import Callable
from typing import Any

from common import environment, load_rows, write
from hot_molecules import PUBLISHED, errors_of, tests_of, training_frames
from networks import CUTOFF, NETWORKS, draw, speed, train_network, with_orbits

# row -> (model of `networks.NETWORKS`, whether atoms of an element are told apart by orbit)
ROWS: dict[str, tuple[str, bool]] = {
    "hiphop": ("HIP-HOP", False),
    "mace": ("MACE", False),
    "mace, orbits": ("MACE", True),
    "painn": ("PaiNN", False),
    "schnet": ("SchNet", False),
    "ani": ("ANI", False),
    "dimenet": ("DimeNet", False),
}
ORBIT_OPTIONS: dict[str, dict[str, Any]] = {"3bpa": {}, "acac": {"p_bond": 0.3}}
FRONT = "600 K"  # the tests whose errors are drawn against costs


def run(name: str, model: str, seed: int, options: argparse.Namespace) -> dict:
    """One training and its tests."""
    import jorbit
    from jorbit.train import orbit_table

    begun = environment(seeds=(seed,))
    registered, *sizes = NETWORKS[ROWS[model][0]]
    data, train, valid = training_frames(name)
    species = jorbit.SpeciesTable.from_structures([train[0].structure])
    prepared: Callable[[list], list] = list
    if ROWS[model][1]:
        orbits = jorbit.find_orbits([*train, *valid], **ORBIT_OPTIONS[name])
        species, prepared = orbit_table(orbits), lambda frames: with_orbits(frames, orbits)

    train, valid = prepared(train[: options.train]), prepared(valid)
    of_size = sizes[options.size == "full"]
    potential, params, about = train_network(
        registered, of_size, species, train, valid, minutes=options.minutes, seed=seed
    )
    tests = errors_of(name, data, potential, params, most=options.test, prepared=prepared)
    front = tests[FRONT]
    warm = prepared(list(tests_of(name, data)["300 K"][1])[:16])
    row = {
        "key": f"{name} | {model} | {len(train)} frames | {options.minutes:g} min | {options.size} | {seed}",
        "set": name,
        "model": model,
        "n_train": len(train),
        "n_validation": len(valid),
        "budget_processor_minutes": options.minutes,
        "size": options.size,
        "seed": seed,
        "network": {"cutoff": CUTOFF, **of_size},
        "labels": list(species.names),
        "errors_are_of": f"{FRONT}; all in tests",
        "energy_rmse_mev": front["energy_rmse_mev"],
        "force_rmse_mev_per_angstrom": front["force_rmse_mev_per_angstrom"],
        **about,
        **speed(potential, params, warm, "float32"),
        "tests": tests,
        "published": PUBLISHED[name][FRONT],
        "environment": begun,
    }
    print(
        f"{name} {model} (seed {seed}): {row['n_parameters']} parameters, {row['epochs']} epochs in "
        f"{row['fit_seconds']['cpu_s']:.0f} s, {row['us_per_atom']:.1f} µs/atom",
        flush=True,
    )
    return row


def main() -> None:
    """Train what is asked for; other rows in the results file stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--models", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--minutes", type=float, default=10.0, help="processor time for the training of each model")
    parser.add_argument("--size", choices=("small", "full"), default="small", help="of the models")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings of each model: seeds 0, 1, ...")
    parser.add_argument("--train", type=int, default=450, help="training frames, fewer for a trial")
    parser.add_argument("--test", type=int, help="test frames of each kind, fewer for a trial (default: all)")
    options = parser.parse_args()
    if options.seeds < 1 or not 2 <= options.train <= 450 or options.minutes <= 0:
        parser.error("wanted one seed or more, 2 to 450 training frames and a budget that is not 0.")
    rows = load_rows("networks", "key")
    for name in options.sets:
        for model in options.models:
            for seed in range(options.seeds):
                row = run(name, model, seed, options)
                rows[row["key"]] = row
                what = (
                    "networks trained at 300 K and tested hotter, the same frames and the same processor time for "
                    "each; RMSE of total energies and of components of forces"
                )
                write("networks", what, list(rows.values()))
                gc.collect()
    draw("networks", list(rows.values()))


if __name__ == "__main__":
    main()
