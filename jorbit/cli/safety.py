"""`jorbit uncertainty`: a model file learns how certain it is, calibrated on frames it has not seen."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.markup import escape
from rich.table import Table

import jorbit
from jorbit.cli.console import check_writable, out, progress_bar, start_jax
from jorbit.cli.evaluation import read_frames
from jorbit.cli.inspection import versions
from jorbit.core.errors import ConfigError

KINDS = Literal["deviation", "selection", "distance"]


def uncertainty(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    data: Annotated[str, typer.Argument(metavar="TRAIN", help="The frames that the model was fitted to.")],
    held_out: Annotated[str | None, typer.Option(help="Labelled frames it was not fitted to, to scale by.")] = None,
    kind: Annotated[
        KINDS,
        typer.Option(
            help="deviation: standard deviations (posterior of linear models, last layer of networks). selection: "
            "D-optimal extrapolation grade of linear models. distance: to the training set, in features."
        ),
    ] = "deviation",
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Where to write the model with it; default: the same file.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Of TRAIN, the first frames only.")] = None,
    report: Annotated[Path | None, typer.Option(help="Also write a page with the calibration (.html).")] = None,
) -> None:
    """Add an uncertainty or an extrapolation grade to a model file.

    With --held-out, standard deviations are scaled so that the errors there are most likely, and the numbers are
    printed: half of the held-out frames find the scale, the other half measure it. `jorbit md --stop-above` and
    `--record-above` watch what the file holds.

    Example: [bold]jorbit uncertainty model.safetensors train.xyz --held-out valid.xyz[/]
    """
    is_head = _is_head(model)
    if is_head and output is None:
        raise ConfigError(
            f"{model} is one head of a file, and an uncertainty in a file is that of its main head. Give another file "
            "with -o: it will hold this head and its uncertainty."
        )
    target = model if output is None else output
    for path in (target, report):
        if path is not None:
            check_writable(path)
    if report is not None and (held_out is None or kind != "deviation"):
        raise ConfigError("--report shows a calibration: give --held-out frames, and leave --kind at deviation.")
    start_jax()
    from jorbit.potential.artefact import info, load_grades, load_heads
    from jorbit.train.grades import distance_grade, selection_grade
    from jorbit.train.uncertainty import uncertainty_of

    potential, params = jorbit.load(model)
    provenance, grades = info(model)["provenance"], load_grades(model)
    heads = {} if is_head else load_heads(model)
    params = next(iter(heads.values()), params)  # the main one, as `save` wants it
    frames, console = read_frames(data)[:limit], out()
    found: dict[str, Any] = {}
    if kind == "deviation":
        with progress_bar(transient=True) as bar:
            task = bar.add_task(kind, total=None)
            made = uncertainty_of(
                potential, params, frames, provenance, lambda _, done, n: bar.update(task, completed=done, total=n)
            )
        if held_out is not None:
            made, found = _calibrated(made, params, read_frames(held_out))
    elif kind == "selection":
        made = selection_grade(potential, frames)
    else:
        made = distance_grade(potential, frames)
    if kind == "deviation":
        provenance = {**provenance, "calibration": {name: c.to_json() for name, c in found.items()}}
    jorbit.save(target, potential, params, provenance, {**grades, kind: made}, heads)
    if found:
        console.print(calibration_table(found), soft_wrap=False)
    elif kind == "deviation":
        console.print("Not calibrated: give --held-out frames before trusting its size.")
    console.print(f"Model with {kind}: {escape(str(target))}")
    if report is not None:
        from jorbit.report import render_page
        from jorbit.report.calibration import calibration_section

        lead = f"{model}, scaled and measured on {held_out}."
        page = render_page("Calibration", lead, [calibration_section(found)], versions())
        report.write_text(page, encoding="utf-8")
        console.print(f"Calibration: {escape(str(report))}")


def _is_head(model: Path) -> bool:
    """Whether one head of a file is asked for."""
    if "#" not in model.name:
        return False
    from jorbit.potential.head_files import split_head

    return split_head(model, None)[1] is not None


def _calibrated(made: Any, params: Any, frames: list) -> tuple[Any, dict[str, Any]]:
    import dataclasses

    from jorbit.core.errors import DataError
    from jorbit.train.calibration import calibrate, measure_calibration

    if len(frames) < 2:
        raise DataError(f"Calibration needs at least two held-out frames, got {len(frames)}.")
    scaled, scales = calibrate(made, params, frames[::2])
    measured = measure_calibration(scaled, params, frames[1::2])
    return scaled, {
        n: dataclasses.replace(c, scale=scales[n].scale if n in scales else 1.0) for n, c in measured.items()
    }


def calibration_table(found: dict[str, Any]) -> Table:
    """One line per quantity."""
    table = Table(title="Calibration on held-out frames", title_justify="left")
    for name in ("", "labels", "scale found", "error / deviation", "NLL", "miscalibration area", "rank correlation"):
        table.add_column(name, justify="right" if name else "left")
    for name, c in found.items():
        values = (c.scale, c.ratio, c.nll, c.miscalibration_area, c.rank_correlation)
        table.add_row(f"{name} ({c.unit})", f"{len(c.errors):,}", *(f"{v:.3g}" for v in values))
    return table


def watch_of(
    model: Path,
    stop_above: float | None,
    record_above: float | None,
    record_to: Path,
    kind: str | None,
    quantity: str | None,
) -> Any:
    """What `jorbit md` watches, or None.

    Raises:
        ConfigError: the model file holds no uncertainty or grade.
    """
    import numpy as np

    from jorbit.potential.artefact import load_grades
    from jorbit.simulate.watchman import Watch

    if stop_above is None and record_above is None:
        return None
    grades = load_grades(model)
    if not grades:
        raise ConfigError(
            f"{model} holds no uncertainty to watch. Add one first: jorbit uncertainty {model} TRAIN --held-out FRAMES"
        )
    name = kind or next(iter(grades))
    if name not in grades:
        raise ConfigError(f"{model} holds {', '.join(grades)}, not {name}. Add it: jorbit uncertainty --kind {name}")
    return Watch(
        grades[name],
        quantity=quantity,
        stop_above=np.inf if stop_above is None else stop_above,
        record_above=np.inf if record_above is None else record_above,
        record_to=None if record_above is None else record_to,
    )
