"""3BPA and acetylacetone: frames at 300 K to learn from, hotter ones to be tested on, and what papers have on them."""

from collections.abc import Callable
from typing import Any

import numpy as np

# RMSE, energy meV / force meV/Å. MACE (L=2), NequIP and BOTNet: Batatia et al., arXiv:2206.07697, Tables 2 and 3, on
# the published test files. Linear ACE on 3BPA: Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021), RECALLED and not
# checked.
PUBLISHED: dict[str, dict[str, dict[str, tuple[float, float]]]] = {
    "3bpa": {
        "300 K": {
            "MACE": (3.0, 8.8),
            "NequIP": (3.3, 10.8),
            "BOTNet": (3.1, 11.0),
            "linear ACE, recalled": (7.1, 27.1),
        },
        "600 K": {
            "MACE": (9.7, 21.8),
            "NequIP": (11.2, 26.4),
            "BOTNet": (11.5, 26.7),
            "linear ACE, recalled": (24.0, 64.3),
        },
        "1200 K": {
            "MACE": (29.8, 62.0),
            "NequIP": (38.5, 76.2),
            "BOTNet": (39.1, 81.1),
            "linear ACE, recalled": (85.3, 187.0),
        },
    },
    "acac": {
        "300 K": {"MACE": (0.9, 5.1), "NequIP": (0.81, 5.90), "BOTNet": (0.89, 6.3)},
        "600 K": {"MACE": (4.6, 22.4), "NequIP": (6.04, 27.8), "BOTNet": (6.2, 29.8)},
    },
}


def training_frames(name: str) -> tuple[Any, list, list]:
    """The set, 450 frames at 300 K to fit and 50 to choose with; always the same ones.

    Args:
        name: "3bpa" or "acac".
    """
    from jorbit.datasets import load_dataset

    data = load_dataset(name)
    train = data.split("train_300K")
    order = np.random.default_rng(0).permutation(len(train))
    return data, [train[k] for k in order[:450]], [train[k] for k in order[450:]]


def tests_of(name: str, data: Any) -> dict[str, tuple[str, list]]:
    """Published column -> (what the frames really are, the frames)."""
    if name == "acac":
        return {
            "300 K": ("test_MD_300K", data.split("test_MD_300K")),
            "600 K": ("test_MD_600K", data.split("test_MD_600K")),
            "dihedral": ("test_dihedral, energies only", data.split("test_dihedral")),
        }
    seen = {round(f.labels.energy, 7) for f in data.split("train_300K")}
    cold = [f for f in data.split("train_mixedT")[:167] if round(f.labels.energy, 7) not in seen]
    return {
        "300 K": (f"{len(cold)} frames of the 300 K part of train_mixedT that are not in train_300K", cold),
        "600 K": ("600 K part of train_mixedT", data.split("mixed_600K")),
        "1200 K": ("1200 K part of train_mixedT", data.split("mixed_1200K")),
    }


def errors_of(
    name: str,
    data: Any,
    potential: Any,
    params: Any,
    *,
    most: int | None = None,
    prepared: Callable[[list], list] = list,
) -> dict[str, dict]:
    """RMSE of total energies and of components of forces, by published column.

    Args:
        name: of the set.
        data: the set.
        potential, params: what is tested.
        most: frames of each column; None = all.
        prepared: what to do with frames before they are tested, such as labelling their atoms.
    """
    from jorbit.train.metrics import evaluate

    results = {}
    for column, (label, frames) in tests_of(name, data).items():
        tested = prepared(list(frames)[:most])
        errors: Any = evaluate(potential, params, tested)
        force = None if errors.force_rmse is None else errors.force_rmse * 1e3
        results[column] = {
            "test_frames": label,
            "n_frames": len(tested),
            "energy_rmse_mev": errors.energy_rmse * 1e3,
            "force_rmse_mev_per_angstrom": force,
            "published": PUBLISHED[name].get(column, {}),
        }
        print(f"{name} {column} ({label}): energy RMSE {errors.energy_rmse * 1e3:.1f} meV, force RMSE {force} meV/Å")
    return results
