"""`jorbit orbits`: which atoms of a trajectory are interchangeable."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import jorbit
from jorbit.cli.console import check_writable, err, out, start_jax
from jorbit.cli.evaluation import read_frames
from jorbit.cli.inspection import versions

if TYPE_CHECKING:
    from jorbit.core.structure import Frame
    from jorbit.orbits import OrbitResult


def orbits(
    source: Annotated[str, typer.Argument(metavar="TRAJECTORY", help="Frames: a file, or the name of a data set.")],
    level: Annotated[
        int | None,
        typer.Option(min=0, help="Rounds of refinement: 0 = elements, more = finer. Exact orbits if absent."),
    ] = None,
    mode: Annotated[str, typer.Option(help="auto, bond, distance, species or identity.")] = "auto",
    gap: Annotated[float, typer.Option(help="Narrowest gap between classes of distances, Å.")] = 0.10,
    max_frames: Annotated[int, typer.Option(min=1, help="Longer trajectories are thinned evenly.")] = 1000,
    feasible: Annotated[
        bool, typer.Option("--feasible", help="Also find the part of the symmetry group that the frames visit.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write the frames with their labels here (.extxyz).")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Save the orbits here (.json), for OrbitResult.from_json.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a page with pictures here (.html).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Find the orbits of a trajectory: sets of atoms that are interchangeable in the data.

    Prints the orbits with what surrounds them, the order of the symmetry group, the diversity (number of orbits), how
    stable the result is, and warnings. The file written with -o holds the column "orbit", the index of each atom's
    orbit within its element; a model fitted to it has one species for each orbit.

    Example: [bold]jorbit orbits ethanol_gfn2 --report orbits.html -o labelled.extxyz[/]
    """
    for path in (output, save, report):
        if path is not None:
            check_writable(path)
    start_jax()
    frames = read_frames(source)
    result = jorbit.find_orbits(frames, level=level, mode=mode, gap=gap, max_frames=max_frames, feasible=feasible)
    if output is not None:
        _write(output, frames, result)
    if save is not None:
        result.to_json(save)
    if report is not None:
        report.write_text(_page(source, result), encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(result.summary()))
        return
    _show(result)
    for path, what in ((output, "Labelled frames"), (save, "Orbits"), (report, "Report")):
        if path is not None:
            out().print(f"{what}: {escape(str(path))}")


def _write(path: Path, frames: "list[Frame]", result: "OrbitResult") -> None:
    from jorbit.datasets.extxyz import write_extxyz

    labels = result.structure_orbits
    write_extxyz(
        path, (dataclasses.replace(f, structure=dataclasses.replace(f.structure, orbits=labels)) for f in frames)
    )


def _page(source: str, result: "OrbitResult") -> str:
    from jorbit.report.html import render_page
    from jorbit.report.orbits import orbit_sections

    lead = f"{result.n_orbits} orbits of {result.n_atoms} atoms, from {result.n_frames} frames of {source}."
    return render_page("Orbits", lead, orbit_sections(result), versions())


def _show(result: "OrbitResult") -> None:
    from jorbit.orbits.table import orbit_table, ranges

    table = Table(box=None, padding=(0, 2), pad_edge=False)
    for name in ("orbit", "element"):
        table.add_column(name, no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("atoms", overflow="fold")
    table.add_column("surroundings", overflow="fold")
    table.add_column("spread (Å)", justify="right", no_wrap=True)
    for row in orbit_table(result):
        table.add_row(
            row.name, row.element, str(len(row.atoms)), ranges(row.atoms), escape(row.surroundings), f"{row.spread:.3f}"
        )
    console = out()
    console.print(table, soft_wrap=False)
    console.print()
    for name, text in _facts(result):
        console.print(f"[bold]{name}[/] {escape(text)}")
    for warning in result.warnings:
        err().print(f"[yellow]Warning:[/] {escape(warning)}")


def _facts(result: "OrbitResult") -> list[tuple[str, str]]:
    kind = "exact orbits" if result.exact else "cells of colour refinement"
    known = "not known: too few frames" if result.stability is None else f"{result.stability:.3f}"
    facts: list[tuple[str, Any]] = [
        ("diversity", f"{result.n_orbits} orbits of {result.n_atoms} atoms ({kind})"),
        ("labels by level", " ".join(str(labels.max() + 1) for labels in result.level_labels)),
        ("group order", f"{result.group_order:,}, {len(result.generators)} generators"),
        ("stability", f"{known} (adjusted Rand index over parts of the trajectory; 1 = always the same)"),
    ]
    if result.feasible is not None:
        order = "more than 5000" if result.feasible.order is None else f"{result.feasible.order:,}"
        facts.append(("feasible", f"order {order}, {result.feasible.n_orbits} orbits"))
    return facts
