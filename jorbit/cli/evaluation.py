"""`jorbit evaluate` and `jorbit predict`: a model file against labelled frames, and a model file on new ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import jorbit
from jorbit.cli.console import Interrupted, check_writable, err, out, progress_bar, start_jax
from jorbit.cli.inspection import versions

if TYPE_CHECKING:
    from jorbit.core.structure import Frame
    from jorbit.report.sections import Evaluation
    from jorbit.train.metrics import Metrics

MEV = 1000.0


def evaluate(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    data: Annotated[str, typer.Argument(help="Labelled frames: a file, a data set, or data-set:split.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object (eV, eV/Å, eV/Å³; null = no labels) and nothing else.")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="Also write a page with parity plots here (.html).")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Use the first frames only.")] = None,
    by_orbit: Annotated[
        bool, typer.Option("--by-orbit", help="Find the orbits of the frames and list force errors by orbit.")
    ] = False,
) -> None:
    """Compare a model with reference data: errors of energies, forces and stresses.

    Energy errors are per atom (meV/atom); force errors are over Cartesian components (meV/Å); stress errors over the
    six independent components (meV/Å³). Models with orbits, and frames that carry some, get force errors by orbit.

    Example: [bold]jorbit evaluate jorbit-quickstart/model.safetensors ethanol_gfn2:test --report errors.html[/]
    """
    start_jax()
    from jorbit.train.metrics import evaluate as measure

    if report is not None:
        check_writable(report)
    potential, params = jorbit.load(model)
    frames = read_frames(data)[:limit]
    with progress_bar(transient=True) as bar:
        task = bar.add_task("evaluate", total=len(frames))
        orbits = jorbit.find_orbits(frames) if by_orbit else None
        metrics = measure(
            potential, params, frames, lambda _, done, total: bar.update(task, completed=done), orbits=orbits
        )
    if report is not None:
        report.write_text(error_page(f"{model} on {data}", metrics), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(metrics.to_json()))
        return
    out().print(metrics_table(metrics), soft_wrap=False)
    if report is not None:
        out().print(f"Plots: {escape(str(report))}")


def predict(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    source: Annotated[str, typer.Argument(metavar="IN", help="Structures: a file, or the name of a data set.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write them (.xyz, .extxyz, also .gz, .xz).")],
) -> None:
    """Write structures with predicted energies (eV), forces (eV/Å) and, for full cells, stresses (eV/Å³).

    Charges of atoms (e) are written when the model predicts them. The output is extxyz, which `ase.io.read` and
    `jorbit.read` read back with all digits. Labels in the input are replaced. Ctrl-C keeps the frames that are done.

    Example: [bold]jorbit predict jorbit-quickstart/model.safetensors in.xyz -o out.xyz[/]
    """
    start_jax()
    from jorbit.datasets.extxyz import write_extxyz

    check_writable(output)
    potential, params = jorbit.load(model)
    frames = read_frames(source)
    interrupted: list[bool] = []
    with progress_bar() as bar:
        task = bar.add_task("predict", total=len(frames))

        def results() -> Iterator["Frame"]:
            n_done = 0
            try:
                for frame in frames:
                    yield with_prediction(potential, params, frame)
                    n_done += 1
                    bar.advance(task)
            except KeyboardInterrupt:
                if not n_done:  # nothing to keep: an old file of that name stays
                    raise
                interrupted.append(True)

        n = write_extxyz(output, results())
    if interrupted:
        raise Interrupted(f"{output} holds the first {n} of {len(frames)} frames.")
    out().print(f"{n} frames with predictions: {escape(str(output))}")


def read_frames(name: str) -> list["Frame"]:
    """Frames of a file or data set; a warning on stderr when their energies and forces contradict each other."""
    from jorbit.datasets.checks import unit_suspicion

    frames = jorbit.read(name)
    suspicion = unit_suspicion(frames)
    if suspicion:
        err().print(f"[yellow]Warning:[/] {escape(f'{name}: {suspicion}')}")
    return frames


def with_prediction(potential: Any, params: Any, frame: "Frame") -> "Frame":
    """The frame with predicted labels in place of its own."""
    import dataclasses

    import numpy as np

    from jorbit.core.structure import Labels

    result = jorbit.predict(potential, params, frame)
    labels = Labels(
        energy=float(result.energy[0]),
        forces=np.asarray(result.forces),
        stress=np.asarray(result.stress)[0] if frame.structure.pbc.all() else None,
        charges=None if result.charges is None else np.asarray(result.charges),
    )
    return dataclasses.replace(frame, labels=labels)


def in_milli(value: float | None) -> str:
    """A value in eV printed in meV, with three significant digits or more; a dash when there is none."""
    if value is None:
        return "-"
    return f"{MEV * value:.0f}" if abs(MEV * value) >= 1000 else f"{MEV * value:.3g}"


def metrics_table(metrics: "Metrics") -> Table:
    """Errors of one model, and of its forces by element and by orbit."""
    table = Table(title=f"{metrics.n_frames} frames, {metrics.n_atoms} atoms", title_justify="left")
    for name, justify in (("", "left"), ("MAE", "right"), ("RMSE", "right"), ("unit", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    rows = [
        ("energy", metrics.energy_mae_per_atom, metrics.energy_rmse_per_atom, "meV/atom"),
        ("forces", metrics.force_mae, metrics.force_rmse, "meV/Å"),
        ("stress", metrics.stress_mae, metrics.stress_rmse, "meV/Å³"),
    ]
    by_element = metrics.force_errors_by_element()
    for element, errors in by_element.items() if len(by_element) > 1 else ():
        rows.insert(-1, (f"  on {element}", errors["force_mae"], errors["force_rmse"], "meV/Å"))
    by_orbit = metrics.force_errors_by_orbit()
    rows += [(f"  on orbit {n}", e["force_mae"], e["force_rmse"], "meV/Å") for n, e in by_orbit.items()]
    for name, mae, rmse, unit in rows:
        if mae is not None:
            table.add_row(name, in_milli(mae), in_milli(rmse), unit)
    if not table.row_count:
        table.add_row("no labels in these frames", "-", "-", "")
    return table


def for_report(metrics: "Metrics") -> "Evaluation":
    """The arrays that parity plots are made of."""
    from jorbit.core.species import SYMBOLS
    from jorbit.report import Evaluation

    return Evaluation(
        energy_reference=metrics.energy_reference / metrics.energy_atoms,
        energy_predicted=metrics.energy_predicted / metrics.energy_atoms,
        forces_reference=metrics.force_reference,
        forces_predicted=metrics.force_predicted,
        symbols=[SYMBOLS[int(z)] for z in metrics.force_numbers],
        orbits=[f"{SYMBOLS[int(z)]}{k}" for z, k in zip(metrics.force_numbers, metrics.force_orbits, strict=True)]
        if (metrics.force_orbits >= 0).any()
        else (),
    )


def error_page(title: str, metrics: "Metrics") -> str:
    """A self-contained HTML page with the errors of one model on one data set."""
    from jorbit.report import error_section, evaluation_sections, render_page

    rows = [
        ["energy, meV/atom", in_milli(metrics.energy_mae_per_atom), in_milli(metrics.energy_rmse_per_atom)],
        ["force component, meV/Å", in_milli(metrics.force_mae), in_milli(metrics.force_rmse)],
        ["stress component, meV/Å³", in_milli(metrics.stress_mae), in_milli(metrics.stress_rmse)],
    ]
    sections = [error_section(["", "MAE", "RMSE"], rows, "A dash means that the data have no such labels.")]
    lead = f"{metrics.n_frames} frames, {metrics.n_atoms} atoms."
    return render_page(title, lead, sections + evaluation_sections(for_report(metrics)), versions())
