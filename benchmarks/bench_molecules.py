"""HIP-NN and HIP-HOP-NN on molecules of many compositions: QM7, a sample of QM9, and the dimers of COMP6's S66x8.

    JORBIT_DATA=... python benchmarks/bench_molecules.py --minutes 30               # writes results/molecules.json
    ... bench_molecules.py --sets qm7 --folds 0 1 2 3 4 --minutes 60
    ... bench_molecules.py --qm9 dsgdb9nsd.xyz.tar.bz2 --sets qm9-full --train 110000 --minutes 600
    ... bench_molecules.py --comp6 COMP6v1/s66x8 --sets comp6-full

Every training gets the same budget of PROCESSOR time (compilation apart), and every test frame is of a molecule, or a
dimer, that the model has never seen: a set is cut into five folds by the index of the molecule (dimer) modulo five, one
fold tests, a tenth of the molecules of the others validates. Energies are relative to one constant for each element,
by least squares on the training frames.

* **qm7**: 7101 of its 7165 molecules, atomization energies, PBE0. No forces.
* **qm9**: 985 of its 134 thousand molecules, formation energies, B3LYP. No forces.
* **s66x8**: 66 dimers at eight separations, energies and forces, ωB97X/6-31G(d). COMP6 tests potentials trained on
  ANI-1 data of the same level of theory, and there are none here. So this trains on four fifths of the dimers and
  tests on the others, which is another and smaller task; published rows stand beside it as an orientation only.
  "relative": the energy of a separation against the widest one of the same dimer (the last frame of a group).

Published rows carry where they are from, and on which data.
"""

import argparse
import dataclasses
import gc
import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
from budget import train_within
from common import environment, load_rows, measure, write

FOLDS = 5
WHAT = "HIP-NN and HIP-HOP-NN on molecules and dimers they have not seen; the same processor time for each"
QM9_FILE = "qm9_subset/small_molecules_985.extxyz.xz"
MODELS = {"hipnn": None, "hiphop l2 n3": "hop13:3,2", "hiphop l3 n4": "hop13"}
# As in the ANI-1x example of the code, github.com/lanl/hippynn, with fewer features.
NETWORK = {"n_sensitivities": 20, "n_interactions": 2, "n_atom_layers": 3}
NETWORK |= {"cutoff": 6.5, "soft_min": 0.75, "soft_max": 5.5}
# set -> rows of (model, {error: kcal/mol or kcal/mol/Å}, on what, and from where)
PUBLISHED: dict[str, list[tuple[str, dict[str, float], str]]] = {
    "qm7": [
        ("KRR, Coulomb matrix", {"energy": 9.9}, "1000 training molecules; Rupp et al. 2012, recalled, not verified"),
        (
            "KRR, sorted Coulomb matrix, Laplacian",
            {"energy": 3.07},
            "5-fold; Hansen et al. 2013, recalled, not verified",
        ),
    ],
    "qm9": [("HIP-NN", {"energy": 0.26}, "OTHER DATA: trained on the complete QM9; abstract of arXiv:1710.00017")],
    "s66x8": [
        (name, dict(zip(("energy", "relative", "force"), errors, strict=True)), f"OTHER DATA: {where}")
        for name, errors, where in (
            ("ANI-1x", (1.93, 1.85, 3.09), "the complete COMP6, trained on ANI-1x; README of COMP6"),
            ("ANI-1", (5.01, 3.01, 3.70), "the complete COMP6, trained on ANI-1; README of COMP6"),
        )
    ],
}
PUBLISHED |= {"qm9-full": PUBLISHED["qm9"], "comp6-full": PUBLISHED["s66x8"]}


def staged(name: str) -> pathlib.Path:
    """A file of JORBIT_DATA."""
    return pathlib.Path(os.environ["JORBIT_DATA"]) / name


def qm7(options: argparse.Namespace) -> tuple[list, np.ndarray]:
    """Frames, and the molecule of each."""
    from jorbit.datasets import read

    key = "atomization_energy_kcalmol_pbe0"
    frames = read(staged("qm7/qm7.extxyz.xz"), energy_key=key, energy_unit="kcal/mol")
    return frames, np.arange(len(frames))


def qm9(options: argparse.Namespace) -> tuple[list, np.ndarray]:
    """The file has energies per atom."""
    from jorbit.datasets import read

    key = "dft_formation_energy_per_atom_in_eV"
    frames = [with_energy(f, f.structure.n_atoms) for f in read(staged(QM9_FILE), energy_key=key)]
    return frames, np.arange(len(frames))


def qm9_full(options: argparse.Namespace) -> tuple[list, np.ndarray]:
    """A file of the user: the archive, a folder, or an npz."""
    from jorbit.datasets.molecule_sets import iter_qm9, read_qm9_npz

    npz = options.qm9.suffix == ".npz"
    frames = read_qm9_npz(options.qm9, energy_unit=options.qm9_unit) if npz else list(iter_qm9(options.qm9))
    return frames, np.arange(len(frames))


def s66x8(options: argparse.Namespace) -> tuple[list, np.ndarray]:
    """Eight frames of each dimer."""
    from jorbit.datasets import read

    frames = read(staged("comp6_s66x8/s66x8.extxyz.xz"))
    return frames, groups([f.info["dimer"] for f in frames])


def comp6_full(options: argparse.Namespace) -> tuple[list, np.ndarray]:
    """Files of the user; frames of one group stay together."""
    from jorbit.datasets.molecule_sets import iter_ani_hdf5

    frames = list(iter_ani_hdf5(options.comp6))
    return frames, groups([f.info["molecule"] for f in frames])


SETS: dict[str, Callable[[argparse.Namespace], tuple[list, np.ndarray]]] = {
    "qm7": qm7,
    "qm9": qm9,
    "s66x8": s66x8,
    "qm9-full": qm9_full,
    "comp6-full": comp6_full,
}


def groups(names: list[str]) -> np.ndarray:
    """Numbers of the names, in the order in which they come."""
    known = {name: k for k, name in enumerate(dict.fromkeys(names))}
    return np.array([known[name] for name in names])


def with_energy(frame: Any, factor: float = 1.0, shift: float = 0.0) -> Any:
    """A frame with factor E + shift."""
    energy = float(frame.labels.energy) * factor + shift
    return dataclasses.replace(frame, labels=dataclasses.replace(frame.labels, energy=energy))


def split(group: np.ndarray, fold: int, n_train: int | None, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames to train, validate and test on; no molecule is in two of them."""
    rest = np.random.default_rng([seed, fold]).permutation(np.unique(group[group % FOLDS != fold]))
    n_valid = max(1, len(rest) // 10)
    train, valid = rest[n_valid:], rest[:n_valid]
    places = {int(g): k for k, g in enumerate(train)}
    chosen = np.flatnonzero(np.isin(group, train))
    chosen = chosen[np.argsort([places[int(g)] for g in group[chosen]], kind="stable")][:n_train]
    return chosen, np.flatnonzero(np.isin(group, valid)), np.flatnonzero(group % FOLDS == fold)


def limits(options: argparse.Namespace) -> tuple[int | None, ...]:
    """How many frames train, validate and test at most."""
    return options.train, options.most, options.most


def relative_mae(errors: Any, group: np.ndarray, step: np.ndarray) -> float:
    """MAE of energies against the widest separation of the same dimer, eV; only frames that are compared count."""
    wrong = errors.energy_predicted - errors.energy_reference
    found = []
    for g in np.unique(group):
        mine = np.flatnonzero(group == g)
        last = mine[np.argmax(step[mine])]
        found += [abs(wrong[k] - wrong[last]) for k in mine if k != last]
    return float(np.mean(found))


def run(name: str, data: tuple[list, np.ndarray], model_name: str, fold: int, options: argparse.Namespace) -> dict:
    """One training and its test."""
    import jax

    import jorbit
    from jorbit.core.units import KCAL_MOL
    from jorbit.models.hiphop import HipHop
    from jorbit.models.hipnn import HipNN
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train import GradientConfig, LossWeights
    from jorbit.train.metrics import evaluate
    from jorbit.train.statistics import reference_energies

    frames, group = data
    begun = environment(seeds=(options.seed,))
    parts = [part[:n] for part, n in zip(split(group, fold, options.train, options.seed), limits(options), strict=True)]
    species = jorbit.SpeciesTable.from_structures([f.structure for f in frames])
    # Totals of thousands of eV are no numbers for float32: what elements explain goes before anything is rounded.
    constants = reference_energies([frames[k] for k in parts[0]], species, "fit").energies
    of_element = dict(zip((int(z) for z in species.numbers), constants, strict=True))
    train, valid, test = (
        [with_energy(frames[k], shift=-sum(of_element[int(z)] for z in frames[k].structure.numbers)) for k in part]
        for part in parts
    )
    has_forces = train[0].labels.forces is not None
    invariants, n = MODELS[model_name], len(species)
    network: dict[str, Any] = {"n_species": n, "n_features": options.features, **NETWORK}
    model: Any = HipNN(**network) if invariants is None else HipHop(**network, invariants=invariants)
    potential = jorbit.Potential(terms=(ReferenceEnergy(n_species=n), model), species=species)
    loss = LossWeights(energy=100.0, forces=1.0 if has_forces else 0.0, stress=0.0, huber_energy=0.02)
    config = GradientConfig(batch_size=20, seed=options.seed, learning_rate=2e-3, loss=loss, reference_energies="fit")
    params, about = train_within(potential, train, valid, options.minutes, config)
    errors: Any = evaluate(potential, params, test)
    some = [f.structure for f in test[:32]]
    graph = potential.graph(some)
    cost = measure(lambda: jax.block_until_ready(jorbit.predict(potential, params, graph)))
    row = {
        "key": f"{name} | {model_name} | {len(train)} | {options.minutes:g} min | fold {fold} | {options.seed}",
        "set": name,
        "model": model_name,
        "n_train": len(train),
        "n_validation": len(valid),
        "n_test": len(test),
        "fold": fold,
        "seed": options.seed,
        "budget_processor_minutes": options.minutes,
        "energy_mae_mev": 1e3 * errors.energy_mae,
        "energy_mae_kcal_mol": errors.energy_mae / KCAL_MOL,
        "energy_rmse_kcal_mol": errors.energy_rmse / KCAL_MOL,
        "elements_only_mae_kcal_mol": float(np.mean([abs(f.labels.energy) for f in test])) / KCAL_MOL,
        **about,
        "us_per_atom": 1e6 * cost["cpu_s"] / sum(s.n_atoms for s in some),
        "cost_clock": "processor",
        "dtype": "float32",
        "network": {"n_features": options.features, **NETWORK},
        "loss": dataclasses.asdict(loss),
        "published_kcal_mol": PUBLISHED[name],
        "environment": begun,
    }
    if has_forces:
        row |= {
            "force_mae_mev_per_angstrom": 1e3 * errors.force_mae,
            "force_mae_kcal_mol_per_angstrom": errors.force_mae / KCAL_MOL,
            "relative_mae_kcal_mol": relative_mae(
                errors, group[parts[2]], np.array([frames[k].info["step"] for k in parts[2]])
            )
            / KCAL_MOL,
        }
    print(
        f"{name:10s} {model_name:14s} {row['n_train']:6d} frames, {row['epochs']} epochs: energy MAE "
        f"{row['energy_mae_kcal_mol']:.2f} kcal/mol = {row['energy_mae_mev']:.0f} meV (elements alone "
        f"{row['elements_only_mae_kcal_mol']:.1f})",
        flush=True,
    )
    return row


def main() -> None:
    """Run the rows asked for; other rows in the results file stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="*", choices=list(SETS), default=["qm7", "qm9", "s66x8"])
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--minutes", type=float, default=10.0, help="processor time of each training")
    parser.add_argument("--folds", type=int, nargs="*", choices=range(FOLDS), default=[0])
    parser.add_argument("--train", type=int, help="training frames, at most; all of the other folds if not given")
    parser.add_argument("--most", type=int, help="frames that validate, and that test, at most; for a trial")
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--qm9", type=pathlib.Path, help="complete QM9, for the set qm9-full: archive, folder or .npz")
    parser.add_argument("--qm9-unit", default="hartree", help="of the energies of an .npz")
    parser.add_argument("--comp6", type=pathlib.Path, help="COMP6 files, for the set comp6-full: .h5 or a folder")
    options = parser.parse_args()
    for given, name in ((options.qm9, "qm9"), (options.comp6, "comp6")):
        if f"{name}-full" in options.sets and given is None:
            raise SystemExit(f"The set {name}-full is a file of yours: wanted --{name} PATH.")
    rows = load_rows("molecules", "key")
    for name in options.sets:
        data = SETS[name](options)
        for model_name in options.models:
            for fold in options.folds:
                row = run(name, data, model_name, fold, options)
                rows[row["key"]] = row
                write("molecules", WHAT, list(rows.values()))
                gc.collect()


if __name__ == "__main__":
    main()
