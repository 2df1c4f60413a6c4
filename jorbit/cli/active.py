"""`jorbit active`: explore, select, label, refit."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

import jorbit
from jorbit.cli.console import INTERRUPTED, err, out, start_jax
from jorbit.cli.inspection import versions
from jorbit.core.errors import DataError

if TYPE_CHECKING:
    from jorbit.core.structure import Structure
    from jorbit.train.active import Model
    from jorbit.train.active_config import ActiveConfig


def _print_example(value: bool) -> bool:
    if value:
        from jorbit.train.active_config import EXAMPLE

        typer.echo(EXAMPLE, nl=False)
        raise typer.Exit
    return value


def active(
    config: Annotated[Path, typer.Argument(help="YAML file; --example prints one to start from.")],
    example: Annotated[
        bool, typer.Option("--example", callback=_print_example, is_eager=True, help="Print a commented configuration.")
    ] = False,
) -> None:
    """Learn from few labels: molecular dynamics finds structures that the model is unsure of, and they are labelled.

    Each round leaves its files in a folder of its own. The same command started again after Ctrl-C, or a crash, goes on
    with the first stage that is not done. With label: {method: file} it stops after choosing: label selected.xyz with
    any code, save the result as labelled.xyz beside it, and start the command again.

    Writes model.safetensors (the newest model, with its uncertainty), report.html and report.txt into the folder.

    Example: [bold]jorbit active --example > active.yaml && jorbit active active.yaml[/]
    """
    start_jax()
    from jorbit.train.active import Waiting, describe, run_active
    from jorbit.train.active_config import fitter, load_active_config, start_frames

    settings = load_active_config(config)
    split = start_frames(settings)
    folder, console = Path(settings.output), out()
    try:
        history = run_active(
            folder,
            split.train,
            settings.plan,
            fit=fitter(settings, split.train),
            explore=explorer(settings),
            label=labeller(settings),
            test=split.test,
            tell=lambda line: console.print(escape(line)),
        )
    except Waiting as waiting:
        console.print(f"[bold]Waiting for labels.[/] {escape(str(waiting))}")
        return
    except KeyboardInterrupt:
        err().print(f"[yellow]Stopped.[/] The same command goes on from {escape(str(folder))}.")
        raise typer.Exit(INTERRUPTED) from None
    newest = folder / f"round_{len(history) - 1:03d}" / "model.safetensors"
    shutil.copyfile(newest, folder / "model.safetensors")
    (folder / "report.txt").write_text("\n".join(describe(m, k) for k, m in enumerate(history)) + "\n")
    from jorbit.report import render_page
    from jorbit.report.active import active_section

    lead = f"{config}: from {history[0]['n_labels']} to {history[-1]['n_labels']} labels."
    page = render_page("Active learning", lead, [active_section({"active": history})], versions())
    (folder / "report.html").write_text(page, encoding="utf-8")
    console.print(f"Model:  {escape(str(folder / 'model.safetensors'))}")
    console.print(f"Report: {escape(str(folder / 'report.html'))}")


def explorer(config: "ActiveConfig") -> Callable[["Model", list["Structure"], int], list["Structure"]]:
    """What finds candidates: dynamics with the newest model, or a file."""
    import numpy as np

    settings = config.explore

    def pool(model: Any, starts: list, k: int) -> list:
        taken = {np.asarray(s.positions).tobytes() for s in starts}
        found = [f.structure for f in jorbit.read(str(settings.pool))]
        return [s for s in found if np.asarray(s.positions).tobytes() not in taken]

    def dynamics(model: Any, starts: list, k: int) -> list:
        from jorbit.simulate.exploration import explore
        from jorbit.simulate.watchman import Watch

        rng = np.random.default_rng([config.seed, k])
        watch = Watch(
            model.grade,
            stop_above=settings.stop_above,
            bias_height=settings.bias_height,
            bias_width=settings.bias_width,
        )
        walks = explore(
            model.potential,
            model.params,
            [starts[i] for i in rng.integers(len(starts), size=len(settings.temperatures))],
            watch,
            temperatures=settings.temperatures,
            n_steps=settings.steps,
            every=settings.every,
            timestep=settings.timestep,
            seed=config.seed + 1000 * k,
        )
        return [s for walk in walks for s in walk.structures]

    return pool if settings.pool else dynamics


def labeller(config: "ActiveConfig") -> Callable[[Path, Path], None]:
    """What labels a file: GFN-xTB, an ASE calculator, or somebody else."""
    settings = config.label

    def by_hand(source: Path, output: Path) -> None:
        from jorbit.train.active import Waiting

        if not output.exists():
            raise Waiting(
                f"Label the structures of {source} (energies and forces, in the same order), save them as {output}, "
                "and start the same command again."
            )
        asked, given = jorbit.read(str(source)), jorbit.read(str(output))
        if len(asked) != len(given):
            raise DataError(f"{output} has {len(given)} structures, {source} has {len(asked)}: wanted all of them.")

    def by_calculator(source: Path, output: Path) -> None:
        from jorbit.datasets.label_calculator import label_with, make_calculator

        label_with(source, output, make_calculator(str(settings.calculator), settings.options))

    def by_xtb(source: Path, output: Path) -> None:
        from jorbit.datasets.label import label_file

        label_file(source, output, str(settings.method))

    if settings.calculator is not None:
        return by_calculator
    return by_hand if settings.method == "file" else by_xtb
