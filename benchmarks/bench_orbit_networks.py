"""Networks with orbits beside networks with elements: do orbits save parameters? Error against size, with seeds.

    JORBIT_DATA=... python benchmarks/bench_orbit_networks.py --minutes 5        # writes results/orbit_networks.json
    ... bench_orbit_networks.py --systems "CsPbI3 slab" "graphene N3V1" --sizes s xl --seeds 3 --minutes 5
    ... bench_orbit_networks.py --systems Ac-Phe-Ala5-Lys --models mace hiphop --sizes s l
    ... bench_orbit_networks.py --systems "graphene N3V1" --models mace --sizes xs --seeds 1 --train 8 --minutes 0.01

The claim under test: MACE with orbits has a tenth of the parameters of MACE with elements at equal accuracy. Every
training of a system gets the same frames and the same budget of PROCESSOR time (wall time on a GPU). The verdict is
computed: the best size with elements (by its mean force RMSE over seeds) against the best with orbits that has at most
a tenth of its parameters; equal means no worse than the spread of two seeds. Whether a model with elements of that size
does as well is told beside it: then it is not the orbits.

Labels: "elements"; "orbits" as `jorbit.find_orbits` finds them without the test frames, with the settings of
bench_orbit_models.py; "atoms", one label for each atom, which a crystal allows whose atoms stay where they are. Where
the orbits are the elements, as in the mean structure of a cubic perovskite, the two are the same model: its rows with
orbits are left out, and the file says so. The bulk is measured with "atoms" as well.

CsPbI3 (its cells of 40 atoms, strained ones among them) and CsPbBr3 are read from JORBIT_DATA, the others are shipped.
Ac-Phe-Ala5-Lys is measured with MACE and HIP-HOP; linear ACE and sGDML on it are in bench_orbit_models.py and
bench_sgdml_orbits.py. Rows of other settings in the file of results stay.
"""

import argparse
import gc
from typing import Any

from common import environment, load_rows, write
from networks import CUTOFF, draw, speed, train_network, with_orbits
from orbit_verdict import means, sentence, verdicts

BULK = ("CsPbI3", "CsPbBr3")  # of JORBIT_DATA: at most 200 frames train, 40 validate, the rest tests
PEPTIDE = "Ac-Phe-Ala5-Lys"
SYSTEMS = (*BULK, "CsPbI3 slab", "graphene N3V1", PEPTIDE)
LABELS = ("elements", "orbits", "atoms")
N_TRAIN, N_VALID, N_TEST = 200, 40, 200
# size -> channels, highest degree of what passes between layers, hidden layers of the radial network
MACE: dict[str, tuple[int, int, tuple[int, ...]]] = {
    "xs": (4, 0, (16, 16)),
    "s": (8, 0, (16, 16)),
    "m": (16, 0, (32, 32)),
    "l": (32, 0, (64, 64, 64)),
    "xl": (64, 1, (64, 64, 64)),
}
HIPHOP = {"xs": 8, "s": 12, "m": 20, "l": 32, "xl": 64}  # features


def options_of(network: str, size: str) -> tuple[str, dict[str, Any]]:
    """Registered model and its options."""
    if network == "mace":
        channels, hidden_l, radial = MACE[size]
        return "mace", {"channels": channels, "hidden_l": hidden_l, "radial_widths": radial}
    return "hiphop", {"n_features": HIPHOP[size], "n_interactions": 2}


def frames_of(system: str) -> tuple[list, list, list, dict[str, Any]]:
    """Training, validation and test frames of the same atoms, and what `find_orbits` is told."""
    import numpy as np

    import jorbit

    if system not in BULK:
        from bench_orbit_models import SYSTEMS as SHIPPED

        dataset, options = SHIPPED[system]
        train = list(jorbit.read(f"{dataset}:train"))
        kept = [frame for k, frame in enumerate(train) if k % 8]
        return kept, train[::8], list(jorbit.read(f"{dataset}:test")), options
    from bench_orbits import systems

    groups = systems([system])
    frames = next(group for group in groups.values() if group[0].structure.n_atoms == 40)
    order = np.random.default_rng(0).permutation(len(frames))
    n_train = min(N_TRAIN, len(frames) - 2 * N_VALID)
    parts = np.split(order, [n_train, n_train + N_VALID])
    train, valid, test = ([frames[k] for k in sorted(part)] for part in parts)  # in time, as find_orbits wants them
    return train, valid, test, {}


def labels_of(parts: tuple, found_with: dict[str, Any]) -> dict[str, Any]:
    """What `find_orbits` says for each kind of labels; "orbits" is left out where they are the elements."""
    import jorbit

    frames = [*parts[0], *parts[1]]
    found = {
        "elements": jorbit.find_orbits(frames, mode="species"),
        "orbits": jorbit.find_orbits(frames, **found_with),
        "atoms": jorbit.find_orbits(frames, mode="identity"),
    }
    if found["orbits"].n_orbits == found["elements"].n_orbits:
        del found["orbits"]
    return found


def train_and_test(
    system: str,
    network: str,
    size: str,
    labels: str,
    seed: int,
    parts: tuple,
    found: dict[str, Any],
    options: argparse.Namespace,
) -> dict:
    """One row."""
    from jorbit.train import LossWeights, orbit_table
    from jorbit.train.metrics import evaluate

    train, valid, test, found_with = parts
    begun = environment(seeds=(seed,))
    species, exact = orbit_table(found[labels]), found.get("orbits", found["elements"])
    fitted, held_out, tested = (
        with_orbits(part, found[labels])
        for part in (train[: options.train], valid[: options.train], test[: options.test])
    )
    registered, model = options_of(network, size)
    potential, params, about = train_network(
        registered,
        model,
        species,
        fitted,
        held_out,
        minutes=options.minutes,
        seed=seed,
        batch_size=4,
        loss=LossWeights(stress=0.0),
    )
    errors: Any = evaluate(potential, params, tested)
    key = f"{system} | {network} | {size} | {labels} | {len(fitted)} frames | {options.minutes:g} min | {seed}"
    row = {
        "key": key,
        "system": system,
        "model": f"{network}, {labels}",
        "network": network,
        "size": size,
        "labels": labels,
        "n_labels_of_atoms": len(species),
        "n_orbits_of_system": exact.n_orbits,
        "n_elements_of_system": found["elements"].n_orbits,
        "n_atoms_of_system": exact.n_atoms,
        "orbit_options": found_with,
        "options": model | {"cutoff": CUTOFF},
        "n_train": len(fitted),
        "n_validation": len(held_out),
        "n_test": len(tested),
        "budget_processor_minutes": options.minutes,
        "seed": seed,
        "energy_mae_mev_per_atom": 1e3 * errors.energy_mae_per_atom,
        "force_mae_mev_per_angstrom": 1e3 * errors.force_mae,
        "force_rmse_mev_per_angstrom": 1e3 * errors.force_rmse,
        "force_mae_by_label_mev_per_angstrom": {
            name: 1e3 * e["force_mae"] for name, e in errors.force_errors_by_orbit().items()
        },
        **about,
        **speed(potential, params, tested, "float32"),
        "environment": begun,
    }
    print(
        f"{key}: {row['n_parameters']} parameters, force RMSE {row['force_rmse_mev_per_angstrom']:.1f} meV/Å, "
        f"{row['epochs']} epochs in {row['fit_seconds']['cpu_s']:.0f} s",
        flush=True,
    )
    return row


def save(rows: dict[str, dict]) -> None:
    """Rows, means over seeds, verdicts."""
    every = list(rows.values())
    same = {row["system"] for row in every if row["n_orbits_of_system"] == row["n_elements_of_system"]}
    what = (
        "networks with elements and with orbits of several sizes, the same frames and the same processor time for "
        "each; RMSE of components of forces on other frames"
    )
    write(
        "orbit_networks",
        what,
        every,
        means=means(every),
        verdicts=[verdict | {"in_words": sentence(verdict)} for verdict in verdicts(every)],
        orbits_are_the_elements=sorted(same),
    )


def main() -> None:
    """Train what is asked for; other rows in the results file stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", default=list(SYSTEMS), choices=SYSTEMS)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=("mace", "hiphop"),
        help=f"default: mace, and on {PEPTIDE} hiphop as well",
    )
    parser.add_argument("--sizes", nargs="+", default=list(MACE), choices=list(MACE))
    parser.add_argument("--labels", nargs="+", choices=LABELS, help="default: elements and orbits; atoms in the bulk")
    parser.add_argument("--seeds", type=int, default=3, help="how many trainings of each model: seeds 0, 1, ...")
    parser.add_argument("--minutes", type=float, default=5.0, help="processor time of each training")
    parser.add_argument("--train", type=int, help="training frames, fewer for a trial (default: all, at most 200)")
    parser.add_argument("--test", type=int, default=N_TEST, help="test frames at most")
    options = parser.parse_args()
    if options.seeds < 1 or options.minutes <= 0:
        parser.error("wanted one seed or more and a budget that is not 0.")
    rows = load_rows("orbit_networks", "key")
    for system in options.systems:
        parts = frames_of(system)
        found = labels_of(parts, parts[3])
        if "orbits" not in found:
            print(f"{system}: the orbits are the elements; rows with orbits would be those with elements.", flush=True)
        for network in options.models or (("mace", "hiphop") if system == PEPTIDE else ("mace",)):
            for size in options.sizes:
                for labels in options.labels or (LABELS if system in BULK else LABELS[:2]):
                    for seed in range(options.seeds if labels in found else 0):
                        row = train_and_test(system, network, size, labels, seed, parts, found, options)
                        rows[row["key"]] = row
                        save(rows)
                        gc.collect()
    for verdict in verdicts(list(rows.values())):
        print(sentence(verdict))
    draw("orbit_networks", list(rows.values()), "parameters")


if __name__ == "__main__":
    main()
