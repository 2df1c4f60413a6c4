"""The command `jorbit`: global options, and one module per group of commands."""

import inspect
from collections.abc import Callable
from typing import Annotated

import typer

import jorbit
from jorbit.cli import (
    active,
    bench,
    bridges,
    conversion,
    evaluation,
    exporting,
    inspection,
    labelling,
    orbits,
    properties,
    quickstart,
    ranking,
    safety,
    simulation,
    training,
)
from jorbit.cli.console import ReadableErrors

app = typer.Typer(
    name="jorbit",
    cls=ReadableErrors,
    help="Interatomic potentials in JAX: fit them, measure them, run molecular dynamics with them.\n\n"
    "Start with: [bold]jorbit quickstart[/] (no network, no files, about a minute).\n\n"
    "Files with structures are extxyz, npz, anything ASE reads, or the name of a data set ([bold]jorbit list[/]). "
    "Units: eV, Å, fs, K; stress in eV/Å³, positive under tension.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(value: bool) -> bool:
    if value:
        typer.echo(f"jorbit {jorbit.__version__}")
        raise typer.Exit
    return value


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show Python's traceback when something fails.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Global options; `debug` is read by ReadableErrors."""


def _add(function: Callable[..., None], name: str | None = None) -> None:
    """Register a command; its docstring is the help, a line per paragraph, so that the terminal breaks the lines."""
    paragraphs = inspect.getdoc(function) or ""
    app.command(name=name, help="\n\n".join(" ".join(p.split()) for p in paragraphs.split("\n\n")))(function)


_add(quickstart.quickstart)
_add(training.train)
_add(evaluation.evaluate)
_add(evaluation.predict)
_add(simulation.md)
_add(simulation.relax)
_add(properties.phonons)
_add(properties.elastic)
_add(properties.eos)
_add(safety.uncertainty)
_add(active.active)
_add(labelling.label)
_add(conversion.convert)
_add(exporting.export)
_add(bridges.lammps)
_add(bridges.ipi)
_add(orbits.orbits)
_add(ranking.rank)
_add(inspection.list_components, "list")
_add(inspection.info)
_add(inspection.doctor)
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Entry point of the console script."""
    app()
