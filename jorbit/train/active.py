"""Active learning: explore, select, label, refit, until the error or the labels are what was asked for.

Each round has a folder; each stage leaves one file there, which appears when the stage is done. A run that was killed
goes on with the first file that is missing; labelling goes on with the first frame that is missing.
"""

import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import Params
from jorbit.core.structure import Frame, Structure
from jorbit.datasets import read
from jorbit.datasets.extxyz import format_frame
from jorbit.datasets.isolated import is_isolated_atom
from jorbit.orbits.lattice import displacements, make_lattice
from jorbit.potential.artefact import load, load_grades, save
from jorbit.potential.potential import Potential
from jorbit.potential.uncertainty import Uncertainty
from jorbit.train.calibration import calibrate
from jorbit.train.metrics import evaluate
from jorbit.train.selection import METHODS, select

GRADE = "deviation"  # its name in the model files


class Model(NamedTuple):
    """A fitted potential that knows how certain it is."""

    potential: Potential
    params: Params
    grade: Uncertainty


@dataclasses.dataclass(frozen=True)
class ActivePlan:
    """How long, and how many labels.

    Attributes:
        rounds: of exploring, selecting and labelling.
        per_round: structures labelled in each.
        method: of selection, see `jorbit.train.selection.select`.
        noise: of labels, eV/Å, for "reduction" and "information".
        force_mae: stop when the error on the test frames is below this, eV/Å; 0 = never.
        closest: two atoms nearer than this part of the shortest distance of the training frames are not labelled.
        seed: of everything random.
    """

    rounds: int = 5
    per_round: int = 10
    method: str = "reduction"
    noise: float = 0.05
    force_mae: float = 0.0
    closest: float = 0.7
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.per_round < 1 or self.method not in METHODS or not self.noise > 0:
            raise ConfigError(f"Wanted rounds, per_round >= 1, noise > 0 and a method in {METHODS}, got {self}.")


class Waiting(Exception):
    """Labels are awaited from elsewhere: says what to put where."""


Fit = Callable[[list[Frame]], Model]
Explore = Callable[[Model, list[Structure], int], list[Structure]]
Label = Callable[[Path, Path], None]
Tell = Callable[[str], Any]


def run_active(
    folder: str | os.PathLike[str],
    start: Sequence[Frame],
    plan: ActivePlan,
    *,
    fit: Fit,
    explore: Explore,
    label: Label,
    test: Sequence[Frame] = (),
    tell: Tell = lambda _: None,
) -> list[dict[str, Any]]:
    """Rounds of explore -> select -> label -> refit, in a folder that a killed run goes on from.

    Args:
        folder: round_000/ and so on, each with train.xyz, model.safetensors, metrics.json, candidates.xyz,
            selected.xyz and labelled.xyz.
        start: labelled frames.
        plan: how long, and how many.
        fit: labelled frames -> model with its uncertainty.
        explore: (model, starts, round) -> structures without labels.
        label: (file of structures, file of labelled ones): goes on with an unfinished file; raises `Waiting` when the
            labels come from elsewhere.
        test: labelled frames that measure the error; never learned from.
        tell: called with a line of text now and then.

    Returns:
        metrics.json of each round: n_labels, energy_mae and force_mae (eV, eV/Å) on the test frames, force_scale.

    Raises:
        DataError: nothing labelled to start from, test frames without labels, or a folder of another run.
        ConfigError: a wanted error without test frames to measure it.
        Waiting: see `label`.
    """
    folder = Path(folder)
    start = list(start)
    if not start:
        raise DataError("Active learning needs a few labelled frames to start from, and there are none.")
    if test and not all(any(getattr(f.labels, kind) is not None for f in test) for kind in ("energy", "forces")):
        raise DataError("The test frames of active learning need energies and forces: give others, or none.")
    if plan.force_mae > 0 and not test:
        raise ConfigError(f"force_mae={plan.force_mae:g} eV/Å is an error on test frames: give some, there are none.")
    folder.mkdir(parents=True, exist_ok=True)
    _require_same(folder / "plan.json", plan, start)
    history: list[dict[str, Any]] = []
    frames, scale = start, None
    for k in range(plan.rounds + 1):
        here = folder / f"round_{k:03d}"
        here.mkdir(exist_ok=True)
        _stage(here / "train.xyz", lambda path, frames=frames: _write_frames(path, frames))
        model = _model(here / "model.safetensors", frames, fit, scale)
        metrics = _measure(here / "metrics.json", model, frames, test)
        history.append(metrics)
        tell(describe(metrics, k))
        reached = plan.force_mae > 0 and metrics.get("force_mae", np.inf) <= plan.force_mae
        if k == plan.rounds or reached:
            break

        def candidates(path: Path, model: Model = model, frames: list[Frame] = frames, k: int = k) -> None:
            found = explore(model, [f.structure for f in frames if not is_isolated_atom(f)], k)
            sound = [s for s in found if _sound(s, plan.closest * _shortest(frames))]
            if not sound:
                raise DataError(
                    f"Round {k}: exploration brought back {len(found)} structures, none of them with atoms far enough "
                    "apart. Lower the temperature or stop earlier."
                )
            _write_frames(path, [Frame(structure=s) for s in sound])

        _stage(here / "candidates.xyz", candidates)
        pool = read(here / "candidates.xyz")

        def selected(path: Path, model: Model = model, pool: list[Frame] = pool, k: int = k) -> None:
            structures = [f.structure for f in pool]
            options: dict[str, Any] = {"noise": plan.noise, "seed": plan.seed + k}
            chosen = select(model.grade, model.potential, structures, plan.per_round, plan.method, **options)
            _write_frames(path, [pool[i] for i in chosen])

        _stage(here / "selected.xyz", selected)
        tell(f"round {k}: {len(pool)} candidates, labelling {len(read(here / 'selected.xyz'))}")
        if not _complete(here / "labelled.xyz", here / "selected.xyz"):
            label(here / "selected.xyz", here / "labelled.xyz")
        new = [f for f in read(here / "labelled.xyz") if f.labels.energy is not None and f.labels.forces is not None]
        if new:
            scale = {name: c.scale for name, c in calibrate(model.grade, model.params, new)[1].items()}
            scale = {n: s * float(getattr(model.grade, f"{n}_scale")) for n, s in scale.items()}
        frames = [*frames, *new]
    return history


def describe(metrics: dict[str, Any], k: int) -> str:
    """One line about a round."""
    text = f"round {k}: {metrics['n_labels']} labels"
    if "force_mae" in metrics:
        per_atom = 1000 * metrics["energy_mae_per_atom"]
        text += f", test force MAE {1000 * metrics['force_mae']:.1f} meV/Å, energy MAE {per_atom:.2f} meV/atom"
    return text


def _model(path: Path, frames: list[Frame], fit: Fit, scale: dict[str, float] | None) -> Model:
    """Fitted, or read back; its uncertainty is scaled by the errors on the newest labels before they were learned."""

    def make(path: Path) -> None:
        model = fit(frames)
        grade: Any = model.grade
        if scale:
            grade = dataclasses.replace(grade, **{f"{n}_scale": np.asarray(s) for n, s in scale.items()})
        save(path, model.potential, model.params, {"n_frames": len(frames)}, {GRADE: grade})

    _stage(path, make)
    potential, params = load(path)
    grade: Any = load_grades(path)[GRADE]
    return Model(potential, params, grade)


def _measure(path: Path, model: Model, frames: list[Frame], test: Sequence[Frame]) -> dict[str, Any]:
    def make(path: Path) -> None:
        metrics: dict[str, Any] = {"n_labels": len(frames), "force_scale": float(model.grade.forces_scale)}
        if test:
            errors = evaluate(model.potential, model.params, test)
            metrics |= {
                "energy_mae_per_atom": errors.energy_mae_per_atom,
                "force_mae": errors.force_mae,
                "force_rmse": errors.force_rmse,
            }
        _write_text(path, json.dumps(metrics, indent=1) + "\n")

    _stage(path, make)
    return json.loads(path.read_text(encoding="utf-8"))


def _stage(path: Path, make: Callable[[Path], None]) -> None:
    """Make a file that is not there yet; it appears whole or not at all."""
    if path.exists():
        return
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    make(part)
    os.replace(part, path)


def _complete(output: Path, source: Path) -> bool:
    """Whether every structure has been labelled, or has failed to be."""
    if not output.exists():
        return False
    try:
        return len(read(output)) == len(read(source))
    except DataError:  # cut off while it was written
        return False


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _write_frames(path: Path, frames: Iterable[Frame]) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(format_frame(f) for f in frames)
        file.flush()
        os.fsync(file.fileno())


def _require_same(path: Path, plan: ActivePlan, start: list[Frame]) -> None:
    """The folder is new, or was made with this plan (but for its length) from these frames."""
    from jorbit.train.fingerprint import checksum

    mine = {k: v for k, v in dataclasses.asdict(plan).items() if k not in ("rounds", "force_mae")}
    mine |= {"start": checksum(start)}
    if not path.exists():
        _stage(path, lambda part: _write_text(part, json.dumps(mine, indent=1) + "\n"))
        return
    theirs = json.loads(path.read_text(encoding="utf-8"))
    different = sorted(k for k in mine if mine[k] != theirs.get(k))
    if different:
        raise DataError(
            f"{path.parent} holds another run: it differs in {', '.join(different)}. Name another folder, or go on "
            "with the configuration that it was started with."
        )


def _shortest(frames: Sequence[Frame]) -> float:
    return min((_nearest(f.structure) for f in frames), default=np.inf)


def _sound(structure: Structure, least: float) -> bool:
    return bool(np.isfinite(structure.positions).all()) and (not np.isfinite(least) or _nearest(structure) >= least)


def _nearest(structure: Structure) -> float:
    """Shortest distance of two atoms, nearest images included, Å."""
    r = np.asarray(structure.positions, dtype=np.float64)
    separation = displacements(r[:, None] - r[None, :], make_lattice(structure.cell, structure.pbc))
    distance = np.linalg.norm(separation, axis=-1) + np.where(np.eye(len(r), dtype=bool), np.inf, 0.0)
    return float(distance.min()) if len(r) > 1 else np.inf
