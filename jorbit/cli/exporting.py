"""`jorbit export`: a model file as one compiled function that jax reads without jorbit."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import jorbit
from jorbit.cli.console import check_writable, out, start_jax
from jorbit.cli.simulation import INDEX_HELP, read_start


def export(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    structure: Annotated[
        str, typer.Argument(metavar="STRUCTURE", help="Its atoms and neighbours are the sizes of the function.")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write it.")] = Path("model.stablehlo"),
    platform: Annotated[
        list[str] | None, typer.Option(help="cpu, cuda or tpu; may be repeated. Default: cpu and cuda.")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    spare: Annotated[float, typer.Option(min=1.0, help="Room for this many times the neighbours.")] = 1.3,
    index: Annotated[int, typer.Option(help=INDEX_HELP)] = 0,
) -> None:
    r"""Compile a model into a file (StableHLO) that runs where jax is, without jorbit.

    The function takes positions, species, cell and neighbours as arrays of fixed sizes, and gives energy, energies of
    atoms, forces and stress. A description of every array is written beside it (.json). Needs pip install
    'jorbit\[export]'.

    Example: [bold]jorbit export model.safetensors start.xyz -o model.stablehlo[/]
    """
    start_jax()
    import math

    import jax

    from jorbit.core.errors import ConfigError
    from jorbit.core.protocols import Capacity
    from jorbit.graphs.batching import build_graph, capacity_for
    from jorbit.potential import export as exporting

    if dtype not in ("float32", "float64"):
        raise ConfigError(f"Wanted --dtype float32 or float64, got {dtype!r}.")
    check_writable(output)
    potential, params = jorbit.load(model)
    start = potential.labelled([read_start(structure, index).structure])[0]
    size = capacity_for([start], potential.cutoffs)
    roomy = Capacity(size.n_atoms, 1, tuple(math.ceil(spare * n) for n in size.n_slots))
    with jax.enable_x64(dtype == "float64"):
        graph = build_graph(start, potential.species, potential.cutoffs, capacity=roomy, dtype=dtype)
        about = exporting.export(potential, params, graph, output, platform or ("cpu", "cuda"))
    out().print(
        f"{escape(str(output))} ({output.stat().st_size / 1e6:.1f} MB): up to {roomy.n_atoms} atoms, "
        f"{', '.join(map(str, roomy.n_slots))} neighbours within {', '.join(f'{c:g} Å' for c in about['cutoffs'])}, "
        f"{dtype}, for {', '.join(about['platforms'])}. Its arrays are described in {escape(output.name)}.json."
    )
