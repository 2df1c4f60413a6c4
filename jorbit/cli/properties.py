"""`jorbit phonons`, `jorbit elastic` and `jorbit eos`: properties of crystals from a model file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

import jorbit
from jorbit.cli.console import check_writable, err, out, start_jax
from jorbit.cli.simulation import INDEX_HELP, START_HELP, read_start
from jorbit.core.errors import ConfigError
from jorbit.core.units import GPA

if TYPE_CHECKING:
    from jorbit.core.structure import Structure

MODEL_HELP = "Model file (.safetensors)."
RELAX_HELP = "Relax cell and atoms before anything is computed."


def phonons(
    model: Annotated[Path, typer.Argument(help=MODEL_HELP)],
    start: Annotated[str, typer.Argument(help=START_HELP)],
    supercell: Annotated[int, typer.Option(min=1, help="Repeats of the cell along each vector.")] = 3,
    path: Annotated[
        str | None, typer.Option(help="Special points, as in GXWKGL; that of the lattice if left out.")
    ] = None,
    points: Annotated[int, typer.Option(min=2, help="Points along the path.")] = 100,
    mesh: Annotated[int, typer.Option(min=1, help="Points per direction for the density of states.")] = 10,
    relax: Annotated[bool, typer.Option(help=RELAX_HELP)] = True,
    output: Annotated[Path, typer.Option("-o", "--output", help="Figure (.png, .pdf or .svg).")] = Path("phonons.png"),
    data: Annotated[Path | None, typer.Option(help="Also write the numbers here (.npz).")] = None,
    index: Annotated[int, typer.Option(help=INDEX_HELP)] = 0,
) -> None:
    """Phonon bands and density of states of a crystal, from the exact Hessian of a supercell.

    Frequencies are in THz; imaginary ones are negative and mean that the structure is not stable. For a molecule: its
    vibrations in 1/cm.

    Example: [bold]jorbit phonons model.safetensors si.xyz --supercell 4 -o bands.png[/]
    """
    potential, params, structure = _prepared(model, start, index, relax, output, data)
    from jorbit.simulate.phonons import phonons as compute
    from jorbit.simulate.vibrations import vibrations

    if not structure.pbc.all():
        found = vibrations(potential, params, structure)
        out().print("vibrations (1/cm)  " + " ".join(f"{x:.1f}" for x in found.vibrations))
        out().print("figure        none: bands are of cells that repeat in all three directions")
        _save(data, wave_numbers=found.wave_numbers, modes=found.modes)
        return
    result = compute(potential, params, structure, repeats=(supercell, supercell, supercell))
    try:
        bands = result.bands(path, points)
    except (KeyError, ValueError) as error:  # what ASE raises of a path that the lattice does not have
        raise ConfigError(
            f"The lattice has no path {path!r} ({error}). Wanted names of its special points, such as GXWKGL for a "
            "face-centred cell; leave --path out to see them."
        ) from error
    states = result.density_of_states(mesh)
    from jorbit.report.properties import draw_bands

    draw_bands(bands.distances, bands.frequencies, bands.labels, states).savefig(output, dpi=150)
    console = out()
    console.print(f"highest       {bands.frequencies.max():.3f} THz")
    console.print(
        f"heat capacity {result.heat_capacity(300.0, mesh) / structure.n_atoms * 1e3:.4f} meV/K per atom at 300 K"
    )
    console.print(f"figure        {escape(str(output))}")
    if bands.frequencies.min() < -0.05:
        err().print(f"[yellow]Not stable:[/] the lowest frequency is {bands.frequencies.min():.3f} THz (imaginary).")
    _save(
        data,
        points=bands.points,
        distances=bands.distances,
        frequencies=bands.frequencies,
        dos_frequency=states[0],
        dos=states[1],
    )


def elastic(
    model: Annotated[Path, typer.Argument(help=MODEL_HELP)],
    start: Annotated[str, typer.Argument(help=START_HELP)],
    relax: Annotated[bool, typer.Option(help=RELAX_HELP)] = True,
    output: Annotated[Path, typer.Option("-o", "--output", help="Figure (.png, .pdf or .svg).")] = Path("elastic.png"),
    data: Annotated[Path | None, typer.Option(help="Also write the numbers here (.npz, eV/Å³).")] = None,
    index: Annotated[int, typer.Option(help=INDEX_HELP)] = 0,
) -> None:
    """Elastic constants of a crystal with relaxed atoms (GPa), and the moduli of the polycrystal.

    The figure shows Young's modulus of the single crystal against the direction it is pulled in.

    Example: [bold]jorbit elastic model.safetensors si.xyz[/]
    """
    potential, params, structure = _prepared(model, start, index, relax, output, data)
    import numpy as np

    from jorbit.report.properties import draw_directional_modulus
    from jorbit.simulate.elasticity import elastic_constants

    found = elastic_constants(potential, params, structure)
    console = out()
    console.print("elastic constants (GPa), order xx yy zz yz xz xy, atoms relaxed")
    for row in found.gpa:
        console.print("  " + " ".join(f"{x:9.3f}" for x in row), highlight=False)
    console.print(f"bulk modulus    {found.bulk_modulus / GPA:.3f} GPa")
    console.print(f"shear modulus   {found.shear_modulus / GPA:.3f} GPa")
    console.print(f"Young's modulus {found.young_modulus / GPA:.3f} GPa, Poisson's ratio {found.poisson_ratio:.3f}")
    if not found.is_stable:
        err().print("[yellow]Not stable:[/] some small strain costs no energy.")
    angles = np.linspace(0.0, 2 * np.pi, 181)
    circle = {"xy": (0, 1), "yz": (1, 2), "zx": (2, 0)}
    planes = {}
    for name, (a, b) in circle.items():
        directions = np.cos(angles)[:, None] * np.eye(3)[a] + np.sin(angles)[:, None] * np.eye(3)[b]
        planes[name] = found.young_along(directions) / GPA
    draw_directional_modulus(angles, planes, "Young's modulus by direction (GPa)").savefig(output, dpi=150)
    console.print(f"figure          {escape(str(output))}")
    _save(data, constants=found.constants, clamped=found.clamped, stress=found.stress)


def eos(
    model: Annotated[Path, typer.Argument(help=MODEL_HELP)],
    start: Annotated[str, typer.Argument(help=START_HELP)],
    span: Annotated[float, typer.Option(help="Volumes from 1 - SPAN to 1 + SPAN of the volume given.")] = 0.08,
    points: Annotated[int, typer.Option(min=5, help="How many volumes.")] = 11,
    output: Annotated[Path, typer.Option("-o", "--output", help="Figure (.png, .pdf or .svg).")] = Path("eos.png"),
    data: Annotated[Path | None, typer.Option(help="Also write the numbers here (.npz).")] = None,
    index: Annotated[int, typer.Option(help=INDEX_HELP)] = 0,
) -> None:
    """Energy against volume with relaxed atoms: equilibrium volume, bulk modulus and its slope (Birch-Murnaghan).

    Example: [bold]jorbit eos model.safetensors si.xyz --span 0.1 -o eos.png[/]
    """
    potential, params, structure = _prepared(model, start, index, False, output, data)
    import numpy as np

    from jorbit.report.properties import draw_equation_of_state
    from jorbit.simulate.equation_of_state import equation_of_state

    found = equation_of_state(potential, params, structure, span=span, n_points=points)
    grid = np.linspace(found.volumes.min(), found.volumes.max(), 200)
    title = f"V = {found.volume:.3f} Å³, B = {found.bulk_modulus_gpa:.2f} GPa, B' = {found.bulk_modulus_slope:.2f}"
    draw_equation_of_state(found.volumes, found.energies, (grid, found.curve(grid)), title).savefig(output, dpi=150)
    console = out()
    console.print(f"volume         {found.volume:.4f} Å³ ({found.scale:.5f} of the lengths given)")
    console.print(f"energy         {found.energy:.6f} eV")
    console.print(f"bulk modulus   {found.bulk_modulus_gpa:.3f} GPa, dB/dP {found.bulk_modulus_slope:.3f}")
    console.print(f"figure         {escape(str(output))}")
    _save(data, volumes=found.volumes, energies=found.energies)


def _prepared(
    model: Path, start: str, index: int, relax: bool, figure: Path, data: Path | None
) -> tuple[Any, Any, "Structure"]:
    check_writable(figure, ".png", ".pdf", ".svg")
    if data is not None:
        check_writable(data, ".npz")
    start_jax()
    potential, params = jorbit.load(model)
    structure = read_start(start, index).structure
    if relax:
        cell = bool(structure.pbc.all())
        found = jorbit.simulate.relax(potential, params, structure, max_force=1e-4, max_steps=2000, relax_cell=cell)
        structure = found.structure
        if not found.converged:
            err().print(f"[yellow]The relaxation is not converged:[/] largest force {found.max_force:.2g} eV/Å.")
    return potential, params, structure


def _save(path: Path | None, **arrays: Any) -> None:
    if path is not None:
        import numpy as np

        np.savez(path, **arrays)  # pyright: ignore[reportArgumentType]
        out().print(f"numbers       {escape(str(path))}")
