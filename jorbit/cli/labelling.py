"""`jorbit label`: reference energies and forces from GFN-xTB."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from jorbit.cli.console import Interrupted, check_writable, err, out, progress_bar


def label(
    source: Annotated[str, typer.Argument(metavar="IN", help="Structures: a file, or the name of a data set.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write them (.xyz or .extxyz).")],
    method: Annotated[str, typer.Option(help="gfn2 (molecules) or gfn1 (also crystals, at the Gamma point).")] = "gfn2",
) -> None:
    r"""Label structures with GFN-xTB: energy (eV), forces (eV/Å) and, for crystals, stress (eV/Å³).

    Every frame is written as soon as it is done. The same command started again after Ctrl-C, or a crash, goes on
    where it stopped. Needs the extra [bold]label[/]: pip install 'jorbit\[label]'.

    Example: [bold]jorbit label in.xyz --method gfn2 -o out.xyz[/]
    """
    from jorbit.datasets.label import label_file

    check_writable(output)
    try:
        with progress_bar() as bar:
            task = bar.add_task("label", total=None)
            report = label_file(
                source, output, method, progress=lambda done, total: bar.update(task, completed=done, total=total)
            )
    except KeyboardInterrupt as stop:
        raise Interrupted(f"{output} holds the frames done so far; the same command goes on from there.") from stop
    if report.n_failed:
        err().print(
            f"[yellow]Warning:[/] {report.n_failed} frames stay without labels (label_error in the file says why)."
        )
    kept = f", {report.n_kept} were there already" if report.n_kept else ""
    out().print(f"{report.n_labelled} frames labelled{kept}: {escape(str(output))}")
