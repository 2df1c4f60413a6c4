"""`jorbit convert`: models of other packages as model files of jorbit."""

import inspect
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from jorbit.cli.console import check_writable, err, out, start_jax


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Model file of another package.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write it (.safetensors).")],
    source: Annotated[
        str | None, typer.Option("--from", help="mace, hippynn, torchani, schnetpack, sgdml. Default: recognised.")
    ] = None,
    to: Annotated[
        str | None,
        typer.Option("--to", help="The other way: sgdml writes a file of that package, from a model or from frames."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="head=NAME (mace), member=0 (torchani), elements=H,O (schnetpack), energy_unit=kcal/mol.",
        ),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Open the file although it is a pickle, which can run code.")
    ] = False,
) -> None:
    r"""Turn a model of another package into a model file that every command and jax-md can use.

    Model files of PyTorch packages are pickles: [bold]opening one can run any code[/] that its author put there, so
    they are opened with [bold]--trust[/] only. What is written holds numbers and options, and is safe to open and
    to share. The package that wrote the file must be installed: pip install 'jorbit\[convert]'.

    Example: [bold]jorbit convert mace.model -o mace.safetensors --trust[/]
    """
    import hashlib

    import jax
    import numpy as np

    from jorbit.convert import CONVERTERS
    from jorbit.convert import convert as converted
    from jorbit.convert.foreign import guess_source
    from jorbit.potential.artefact import save

    start_jax()
    check_writable(output)
    if to is not None:
        from jorbit.convert.sgdml import export_sgdml
        from jorbit.core.errors import ConfigError

        if to != "sgdml":
            raise ConfigError(
                f"--to knows sgdml only, got {to!r}. Model files of jorbit are what is written without it."
            )
        out().print(f"{escape(str(output))}: {escape(export_sgdml(str(file), output))}.")
        return
    source = source or guess_source(file, tuple(CONVERTERS))
    if trust:
        err().print(f"[yellow]Note:[/] a pickle can run code; {escape(str(file))} is trusted.")
    potential, params = converted(file, source, trust=trust, **_parsed(settings or [], CONVERTERS.load(source)))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    save(output, potential, params, {"converted": {"from": source, "file": file.name, "sha256": digest}})
    n_parameters = sum(np.size(leaf) for leaf in jax.tree.leaves(params))
    elements = ", ".join(potential.species.names)
    out().print(
        f"{escape(str(output))}: {' + '.join(potential.names)}, {n_parameters:,} parameters, for {elements}. "
        "It opens without running code."
    )


def _parsed(settings: list[str], converter: Callable[..., Any]) -> dict[str, str | int | float]:
    """NAME=VALUE, with numbers where the converter takes numbers."""
    from jorbit.core.errors import ConfigError

    known = inspect.signature(converter).parameters
    parsed: dict[str, str | int | float] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(f"Wanted --set NAME=VALUE, got {setting!r}.")
        annotation = known[name].annotation if name in known else str
        kinds = typing.get_args(annotation) or (annotation,)
        number = int if int in kinds else float if float in kinds else None
        try:
            parsed[name] = value if number is None else number(value)
        except ValueError as error:
            if str not in kinds:
                raise ConfigError(f"Wanted --set {name}=NUMBER, got {value!r}.") from error
            parsed[name] = value
    return parsed
