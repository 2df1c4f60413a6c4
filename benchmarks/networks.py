"""Networks as the benchmarks train them: what they are called, how large they are, and how long they take."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from budget import train_within
from common import measure

CUTOFF = 5.0  # Å, of all models
# name -> (registered model, options when small, options when full)
NETWORKS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "ANI": ("ani", {"hidden": (64, 48, 32)}, {}),
    "NeuralIL": ("neuralil", {}, {"n_max": 6}),
    "SchNet": ("schnet", {"n_features": 64}, {"n_features": 128}),
    "DimeNet": ("dimenet", {"n_features": 32, "n_down": 16, "n_out": 64, "n_blocks": 2}, {}),
    "PaiNN": ("painn", {"n_features": 48}, {}),
    "HIP-HOP": ("hiphop", {"n_features": 32, "n_interactions": 2}, {"n_features": 64, "n_interactions": 2}),
    "MACE": ("mace", {"channels": 16}, {"channels": 64, "hidden_l": 1}),
}


def train_network(
    registered: str,
    options: dict[str, Any],
    species: Any,
    train: list,
    valid: list,
    *,
    minutes: float,
    seed: int,
    **settings: Any,
) -> tuple[Any, Any, dict]:
    """Potential, parameters, and what the training was, of a network trained for as many epochs as the budget holds.

    Args:
        registered: name of the model.
        options: of the model.
        species: table of elements, or of elements and orbits; the frames carry them then.
        train, valid: frames.
        minutes: see `budget.train_within`.
        seed: of the initial parameters and of the order of batches.
        settings: of `jorbit.train.GradientConfig`.
    """
    import jorbit
    from jorbit.models import MODELS
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train import GradientConfig

    model = MODELS.load(registered)(n_species=len(species), cutoff=CUTOFF, **options)
    potential = jorbit.Potential(terms=(ReferenceEnergy(n_species=len(species)), model), species=species)
    settings = {"batch_size": 5, "learning_rate": 2e-3 if registered == "ani" else 5e-3} | settings
    params, about = train_within(potential, train, valid, minutes, GradientConfig(seed=seed, **settings))
    return potential, params, about


def with_orbits(frames: Sequence[Any], orbits: Any) -> list:
    """The frames with orbits, carried over by the order of the atoms.

    For sets whose files have the same atoms in the same order: labels hold where a proton changes its oxygen atom, too,
    whose bonds would not be recognised.

    Args:
        frames: structures with labels.
        orbits: what `jorbit.find_orbits` returned.
    """
    for frame in frames:
        if not np.array_equal(frame.structure.numbers, orbits.numbers):
            raise SystemExit("Wanted frames with the atoms that the orbits were found in, in the same order.")
    labels = np.asarray(orbits.structure_orbits)
    return [dataclasses.replace(f, structure=dataclasses.replace(f.structure, orbits=labels)) for f in frames]


def speed(potential: Any, params: Any, frames: list, dtype: str) -> dict:
    """Energy and forces of 16 structures with given neighbours: compilation apart; processor time on a processor."""
    import jax

    import jorbit
    from jorbit.graphs.batching import build_graph

    structures = potential.labelled(frame.structure for frame in frames[:16])
    with jax.enable_x64(dtype == "float64"):
        graph = build_graph(structures, potential.species, potential.cutoffs, dtype=dtype)
        found = measure(lambda: jax.block_until_ready(jorbit.predict(potential, params, graph)))
    n_atoms = sum(s.n_atoms for s in structures)
    clock, name = ("cpu", "processor") if jax.default_backend() == "cpu" else ("wall", "wall")
    found |= {f"us_per_atom_{kind}": 1e6 * found[f"{clock}_{kind}_s"] / n_atoms for kind in ("min", "max")}
    return {"us_per_atom": 1e6 * found[f"{clock}_s"] / n_atoms, "cost": found, "cost_clock": name, "dtype": dtype}


def draw(name: str, rows: list[dict], x_label: str | None = None) -> None:
    """Error against each cost, with the published errors as lines: results/<name>_<cost>.png.

    Args:
        name: of the file of results.
        rows: its rows.
        x_label: of the one cost to draw.
    """
    from common import RESULTS

    from jorbit.report.benchmark_figures import draw_curves
    from jorbit.report.benchmarks import benchmark_curves
    from jorbit.report.figures import save_figure

    for curves in benchmark_curves({"rows": rows}):
        if curves.kind == "front" and x_label in (None, curves.x_label):
            cost = curves.x_label.partition(",")[0].replace("µs", "us").replace(" ", "_")
            (RESULTS / f"{name}_{cost}.png").write_bytes(save_figure(draw_curves(curves)))
