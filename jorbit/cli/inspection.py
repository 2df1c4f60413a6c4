"""`jorbit list`, `jorbit info` and `jorbit doctor`: what there is, what a file holds, what this machine offers."""

import importlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import jorbit
from jorbit.cli.console import err, out, start_jax

if TYPE_CHECKING:
    from jorbit.core.registry import Registry

SEAMS = ("models", "terms", "descriptors", "losses", "datasets", "convert")
WATCHED = ("jax", "jaxlib", "jax-md", "numpy", "ase", "vesin", "safetensors", "flax", "matplotlib", "tblite")


def registries() -> dict[str, "Registry"]:
    """Seam -> its table, for every seam that has one."""
    from jorbit.core.registry import Registry

    found = {}
    for seam in SEAMS:
        if importlib.util.find_spec(f"jorbit.{seam}"):
            values = vars(importlib.import_module(f"jorbit.{seam}")).values()
            found.update((seam, value) for value in values if isinstance(value, Registry))
    return found


def _first_line(registry: "Registry", name: str) -> str:
    """One line about a component: its file's, as a file holds one; a function's own."""
    try:
        component = registry.load(name)
        about = inspect.getmodule(component) if inspect.isclass(component) else component
        text = inspect.getdoc(about) or inspect.getdoc(component) or "(no description)"
    except Exception as error:  # a plug-in of somebody else's may be broken; the others must still be listed
        return f"cannot be loaded: {type(error).__name__}: {error}"
    return text.splitlines()[0]


def list_components() -> None:
    """List every model, term, descriptor, loss and data set, with one line each.

    The names are those that configurations (`jorbit train`) and data arguments take. Packages can add their own.

    Example: [bold]jorbit list[/]
    """
    start_jax()
    console = out()
    for seam, registry in registries().items():
        console.print(f"[bold blue]{seam}[/]")
        console.print(_pairs_table([(name, _first_line(registry, name)) for name in sorted(registry)]), soft_wrap=False)
        console.print()


def _flat(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested dictionaries as ("a.b", "value") rows."""
    if isinstance(value, dict) and value:
        return [row for key, inner in value.items() for row in _flat(inner, f"{prefix}.{key}" if prefix else str(key))]
    if value is None or value in ([], {}):
        return []
    if isinstance(value, list):
        return [(prefix, ", ".join(map(str, value)))]
    return [(prefix, f"{value:.6g}" if isinstance(value, float) else str(value))]


def _model_rows(model: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [
        ("file", f"{model['path']} ({model['n_bytes']:,} bytes, format {model['format_version']})"),
        ("written by", f"jorbit {model['jorbit_version']}"),
        ("species", ", ".join(f"{s['symbol']}{s['orbit'] or ''}" for s in model["species"])),
        ("cutoffs", ", ".join(f"{c:g} Å" for c in model["cutoffs"]) or "none"),
        ("parameters", f"{model['n_parameters']:,}"),
    ]
    if model["heads"]:
        rows.append(("heads", f"{', '.join(model['heads'])}; FILE#HEAD asks for one, FILE alone for the first"))
    if not model["guards_short_distances"]:
        rows.append(
            (
                "[yellow]short range[/]",
                "no term keeps atoms apart below the shortest distances of the data: two that come closer may be "
                "pulled together. Put zbl or repulsion into the potential before molecular dynamics.",
            )
        )
    for term in model["terms"]:
        rows.append((f"[blue]{term['name']}[/]", f"({term['seam']} {term['component']})"))
        rows += [(f"  {key}", text) for key, text in _flat(term["options"])]
    if model["provenance"]:
        rows.append(("[blue]provenance[/]", ""))
        rows += [(f"  {key}", text) for key, text in _flat(model["provenance"])]
    return rows


def _pairs_table(rows: list[tuple[str, str]]) -> Table:
    """Names, which may carry markup, beside plain texts."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in rows:
        grid.add_row(name, escape(text))
    return grid


def info(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Show what a model file holds: terms and their options, elements, cutoffs in Å, how it was trained.

    Example: [bold]jorbit info jorbit-quickstart/model.safetensors[/]
    """
    from jorbit.potential import artefact

    start_jax()
    description = artefact.info(model)
    if as_json:
        typer.echo(json.dumps(description, indent=2))
        return
    out().print(_pairs_table(_model_rows(description)), soft_wrap=False)


def versions() -> dict[str, str]:
    """Versions of jorbit, Python and the packages whose releases matter; absent ones are left out."""
    found = {"jorbit": jorbit.__version__, "python": platform.python_version()}
    for package in WATCHED:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def doctor() -> None:
    """Check this installation: versions, devices, float type, releases with known bugs.

    The exit code is 1 when a release with a known bug is installed, and 0 otherwise.

    Example: [bold]jorbit doctor[/]
    """
    from jorbit.core.version_guard import known_bad

    start_jax()
    import jax
    import jax.numpy as jnp

    rows = list(versions().items())
    if "tblite" not in versions():
        rows.append(("tblite", "not installed; `jorbit label` needs it: pip install 'jorbit[label]'"))
    rows += [
        ("platform", platform.platform()),
        ("CPU cores", str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())),
        ("devices", ", ".join(f"{d.platform}:{d.id} ({d.device_kind})" for d in jax.devices())),
        ("float type", f"{jnp.zeros(()).dtype} in commands; in your own Python what JAX is set to, float32 by default"),
        ("data folder", os.environ.get("JORBIT_DATA", "JORBIT_DATA is not set (folder with public data sets)")),
    ]
    out().print(_pairs_table(rows), soft_wrap=False)
    bugs = known_bad()
    for bug in bugs:
        err().print(f"[bold red]Known bug:[/] {escape(str(bug))}")
    if bugs:
        raise typer.Exit(1)
    out().print("[green]No release with a known bug is installed.[/]")
