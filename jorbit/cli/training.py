"""`jorbit train`: a fit described by a YAML file."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from jorbit.cli.console import INTERRUPTED, err, leaving, out, progress_bar, start_jax
from jorbit.cli.evaluation import metrics_table
from jorbit.cli.training_report import plan_of, print_plan, write_page


def _print_example(value: bool) -> bool:
    if value:
        from jorbit.train.config import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        raise typer.Exit
    return value


def _print_schema(value: bool) -> bool:
    if value:
        from jorbit.train.config import json_schema

        typer.echo(json.dumps(json_schema(), indent=2))
        raise typer.Exit
    return value


def train(
    config: Annotated[Path, typer.Argument(help="YAML file; --example prints one to start from.")],
    example: Annotated[
        bool, typer.Option("--example", callback=_print_example, is_eager=True, help="Print a commented configuration.")
    ] = False,
    schema: Annotated[
        bool,
        typer.Option("--schema", callback=_print_schema, is_eager=True, help="Print its JSON schema."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Networks: go on from the newest checkpoint of an interrupted run.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Networks: print size, memory and time of the first steps, and stop.")
    ] = False,
    distributed: Annotated[
        bool, typer.Option("--distributed", help="Networks: be one of several processes (Slurm, MPI, ...) of one run.")
    ] = False,
    coordinator: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Of the first process, where no scheduler tells.")
    ] = None,
    processes: Annotated[int | None, typer.Option(help="How many there are.")] = None,
    process: Annotated[int | None, typer.Option(help="Which this is, from 0.")] = None,
) -> None:
    """Fit a potential as a YAML file says: data, terms, fit options, output.

    The whole file is checked before any work starts. Writes the model file and, beside it, <name>.metrics.json with
    the errors in eV and eV/Å. Ctrl-C fits the frames seen so far; a second one gives up.

    Networks are trained by gradients: <name>.run holds log.jsonl and the checkpoints that --resume goes on from, and
    <name>.report.html shows learning curves and errors. Ctrl-C keeps the best parameters so far.

    Example: [bold]jorbit train --example > train.yaml && jorbit train train.yaml[/]
    """
    start_jax()
    from jorbit.train.config import load_config
    from jorbit.train.parallel import join_processes, writes_files
    from jorbit.train.run import train as run_training

    if distributed or coordinator is not None:
        join_processes(coordinator, processes, process)

    settings = load_config(config)
    model = Path(settings.output)
    with leaving(model), progress_bar() as bar:
        tasks: dict[str, Any] = {}

        def show(stage: str, done: int, total: int) -> None:
            name = stage.partition(":")[0]  # what follows the colon changes from step to step
            if name not in tasks:
                tasks[name] = bar.add_task(stage, total=total)
            bar.update(tasks[name], completed=done, total=total, description=stage)

        if dry_run:
            plan = plan_of(settings, show)
        else:
            result = run_training(settings, progress=show, resume=resume)
    if dry_run:
        print_plan(plan)
        return
    if not writes_files():
        return
    for note in result.report.notes:
        err().print(f"[yellow]Note:[/] {escape(note)}")
    console = out()
    console.print(escape(str(_without_errors(result.report))))
    for name, metrics in result.metrics.items():
        console.print(_titled(metrics_table(metrics), name), soft_wrap=False)
    console.print(f"Model: {escape(str(result.path))}")
    if page := write_page(result):
        console.print(f"Learning curves and errors: {escape(str(page))}")
    if result.interrupted:
        err().print(f"[yellow]Stopped early.[/] {escape(str(result.path))} is usable: it is the best that there was.")
        raise typer.Exit(INTERRUPTED)


def _without_errors(report: Any) -> Any:
    """A report without what the tables and notes below say better."""
    if hasattr(report, "training"):
        return dataclasses.replace(report, training=None, notes=())
    return dataclasses.replace(report, notes=())


def _titled(table: Table, part: str) -> Table:
    table.title = f"{part}: {table.title}"
    return table
