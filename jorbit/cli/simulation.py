"""`jorbit md` and `jorbit relax`: molecular dynamics and minimisation with a model file."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.markup import escape

import jorbit
from jorbit.cli.console import check_writable, err, leaving, out, progress_bar, start_jax
from jorbit.cli.evaluation import with_prediction
from jorbit.cli.inspection import versions
from jorbit.cli.safety import watch_of
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.units import GPA

if TYPE_CHECKING:
    from jorbit.core.structure import Frame
    from jorbit.report import Section
    from jorbit.simulate.molecular_dynamics import SimulationResult

START_HELP = "Where to start: a file with structures, or the name of a data set."
INDEX_HELP = "Which frame of START; -1 is the last."


def md(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    start: Annotated[str, typer.Argument(help=START_HELP)],
    ensemble: Annotated[
        Literal["nve", "nvt_langevin", "nvt_nose_hoover", "temp_csvr", "brownian", "npt_langevin", "npt_nose_hoover"],
        typer.Option(help="Constant energy, a thermostat (nvt_, temp_csvr, brownian), or constant pressure (npt_)."),
    ] = "nve",
    temperature: Annotated[
        float, typer.Option(min=0.0, help="K; of the thermostat and the initial velocities.")
    ] = 300.0,
    timestep: Annotated[float, typer.Option(help="fs.")] = 0.5,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of steps; or give --ps.")] = None,
    ps: Annotated[
        float | None, typer.Option(help="Simulated time in ps; 1 when neither this nor --steps is given.")
    ] = None,
    every: Annotated[int, typer.Option(min=1, help="Steps between two frames of the trajectory.")] = 10,
    output: Annotated[Path, typer.Option("-o", "--output", help="Trajectory (.extxyz, or .h5 for H5MD).")] = Path(
        "md.extxyz"
    ),
    index: Annotated[int, typer.Option(help=INDEX_HELP)] = 0,
    seed: Annotated[int, typer.Option(help="Of the initial velocities and the Langevin noise.")] = 0,
    precision: Annotated[
        Literal["float64", "mixed", "float32"],
        typer.Option(help="mixed: forces in float32, all else in float64; in float32 energies drift."),
    ] = "float64",
    pressure: Annotated[float, typer.Option(help="GPa, for npt_; positive when the surroundings press.")] = 0.0,
    cell: Annotated[
        Literal["isotropic", "orthorhombic", "full"],
        typer.Option(help="What npt_langevin changes: the volume, three lengths, or angles too."),
    ] = "full",
    friction: Annotated[float, typer.Option(help="1/fs, of Langevin and Brownian dynamics.")] = 0.01,
    damping_time: Annotated[float, typer.Option(help="fs, of nvt_nose_hoover and temp_csvr.")] = 100.0,
    barostat_time: Annotated[float, typer.Option(help="fs, period of the cell.")] = 1000.0,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="stress, rdf, msd or vacf; may be given several times. Goes into --results."),
    ] = None,
    results: Annotated[
        Path | None, typer.Option(help="Energies, temperatures, volumes and what --measure asks for (.npz).")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint of an earlier run, if there is one.")
    ] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Where to go on from; default: OUTPUT with the suffix .checkpoint.")
    ] = None,
    checkpoint_every: Annotated[float, typer.Option(min=0.0, help="Seconds between two checkpoints.")] = 60.0,
    report: Annotated[
        Path | None, typer.Option(help="Also write a page with the energies against time (.html).")
    ] = None,
    stop_above: Annotated[
        float | None, typer.Option(help="Stop where the uncertainty or grade in MODEL is larger (eV; grades: no unit).")
    ] = None,
    record_above: Annotated[float | None, typer.Option(help="Keep structures where it is larger.")] = None,
    record_to: Annotated[Path, typer.Option(help="Where to keep them (.extxyz).")] = Path("uncertain.extxyz"),
    watch: Annotated[
        str | None, typer.Option(help="Which of those in MODEL: deviation, selection or distance; default: the first.")
    ] = None,
    quantity: Annotated[
        str | None, typer.Option(help="energy (deviation of the total, eV), forces (largest, eV/Å) or atoms.")
    ] = None,
) -> None:
    """Run molecular dynamics in jax-md and write a trajectory that ASE reads.

    The trajectory holds positions (Å), momenta, forces (eV/Å), energies (eV) and times (fs). Ctrl-C keeps all frames
    written so far. The same command with --resume goes on from where a run was killed, and ends in the same bits; with
    more --ps it makes a finished run longer.

    Example: [bold]jorbit md model.safetensors start.xyz --ensemble nvt_langevin --temperature 500 --ps 10[/]
    """
    n_steps = _number_of_steps(steps, ps, timestep)
    checkpoint = output.with_suffix(".checkpoint") if checkpoint is None else checkpoint
    if measure and results is None:
        results = output.with_suffix(".npz")
    for path in (output, checkpoint, report):
        if path is not None:
            check_writable(path)
    if results is not None:
        check_writable(results, ".npz")
    if record_above is not None:
        check_writable(record_to)
    start_jax()
    potential, params = jorbit.load(model)
    watched = watch_of(model, stop_above, record_above, record_to, watch, quantity)
    frame = read_start(start, index)
    with leaving(output, checkpoint):
        result = jorbit.simulate.run(
            potential,
            params,
            frame.structure,
            integrator=ensemble,
            n_steps=n_steps,
            timestep=timestep,
            temperature=temperature,
            friction=friction,
            damping_time=damping_time,
            pressure=pressure * GPA,
            barostat_time=barostat_time,
            cell=cell,
            record_every=min(every, n_steps),
            measure=measure or (),
            trajectory=output,
            dtype=precision,
            checkpoint=checkpoint,
            checkpoint_every=checkpoint_every,
            resume=resume,
            watch=watched,
            seed=seed,
            progress=out().is_terminal,
        )
    from jorbit.report import drift_text
    from jorbit.simulate.orbit_watch import summarize

    picoseconds = result.n_steps * timestep / 1000
    speed = picoseconds / 1000 / (result.seconds / 86400)
    console = out()
    console.print(
        f"{picoseconds:g} ps, {result.n_steps} steps in {result.seconds:.1f} s: {speed:.3g} ns/day with compilation"
    )
    if ensemble != "brownian":
        console.print(f"temperature   {result.temperatures.mean():.0f} K on average")
    if ensemble.startswith("npt"):
        console.print(
            f"volume        {result.volumes.mean():.2f} Å³ on average, {result.volumes[-1]:.2f} Å³ at the end"
        )
    if result.stresses is not None:
        console.print(f"pressure      {result.pressures.mean() / GPA:.3g} GPa on average")
    if ensemble == "nve":
        console.print(f"energy drift  {drift_text(result.drift, result.drift_error)}")
    console.print(f"trajectory    {escape(str(output))} ({len(result.times)} frames)")
    if results is not None:
        result.save(results)
        console.print(f"results       {escape(str(results))}")
    if result.watched is not None:
        worst = result.watched.values.max() if len(result.watched.values) else 0.0
        console.print(f"{watched.watched + ' watched':<14} {worst:.3g} {result.watched.unit} at most".rstrip())
        if record_above is not None:
            console.print(f"kept          {escape(str(record_to))} ({result.watched.n_frames} structures)")
    if result.stopped:
        err().print(f"[yellow]Stopped:[/] {escape(result.stopped)}")
    if result.orbit_events:
        err().print(f"[yellow]Warning:[/] {escape(summarize(result.orbit_events))}")
    if report is not None:
        report.write_text(_energy_page(f"{model} from {start}", result), encoding="utf-8")
        console.print(f"report        {escape(str(report))}")


def relax(
    model: Annotated[Path, typer.Argument(help="Model file (.safetensors).")],
    start: Annotated[str, typer.Argument(help=START_HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", help="The relaxed structure (.extxyz).")] = Path(
        "relaxed.extxyz"
    ),
    cell: Annotated[bool, typer.Option("--cell", help="Relax the cell as well as the atoms.")] = False,
    fmax: Annotated[float, typer.Option(help="Stop when no force is larger than this, eV/Å.")] = 0.01,
    steps: Annotated[int, typer.Option(min=1, help="Stop after this many steps.")] = 1000,
    trajectory: Annotated[Path | None, typer.Option(help="Also write every step here (.extxyz).")] = None,
    index: Annotated[int, typer.Option(help=INDEX_HELP)] = 0,
) -> None:
    """Move atoms (and with --cell the cell) to the nearest energy minimum.

    The output holds the relaxed structure with its energy (eV), forces (eV/Å) and stress (eV/Å³). The exit code is 1
    when it is not converged; the structure is written all the same.

    Example: [bold]jorbit relax model.safetensors start.xyz --fmax 0.001 -o relaxed.xyz[/]
    """
    from jorbit.datasets.extxyz import write_extxyz

    for path in (output, trajectory):
        if path is not None:
            check_writable(path)
    start_jax()
    potential, params = jorbit.load(model)
    frame = read_start(start, index)
    if cell and not frame.structure.pbc.all():
        raise ConfigError("--cell needs a structure that repeats in all three directions. Leave it off for a molecule.")
    with leaving(*([] if trajectory is None else [trajectory])), progress_bar(transient=True) as bar:
        task = bar.add_task("relax", total=steps)

        def show(step: int, energy: float, max_force: float) -> None:
            bar.update(task, completed=step, description=f"{energy:.4f} eV, largest force {max_force:.4f} eV/Å")

        result = jorbit.simulate.relax(
            potential,
            params,
            frame.structure,
            max_force=fmax,
            max_steps=steps,
            relax_cell=cell,
            trajectory=trajectory,
            on_step=show,
        )
    relaxed = dataclasses.replace(frame, structure=result.structure)
    write_extxyz(output, [with_prediction(potential, params, relaxed)])
    console = out()
    console.print(f"energy         {result.energies[0]:.6f} eV before, {result.energies[-1]:.6f} eV after")
    console.print(f"largest force  {result.max_force:.2g} eV/Å after {result.n_steps} steps")
    if result.structure.pbc.all():
        before, after = frame.structure.volume, result.structure.volume
        console.print(f"volume         {before:.4f} Å³ before, {after:.4f} Å³ after")
        console.print(f"pressure       {-result.stress.trace() / 3 / GPA:.4g} GPa after")
    console.print(f"structure      {escape(str(output))}")
    if not result.converged:
        err().print(f"[yellow]Not converged.[/] Raise --steps, or go on from {escape(str(output))}.")
        raise typer.Exit(1)


def read_start(name: str, index: int) -> "Frame":
    """One frame of a file or data set.

    Raises:
        DataError: there is no frame of that index.
    """
    frames = jorbit.read(name)
    if not -len(frames) <= index < len(frames):
        raise DataError(f"{name} has {len(frames)} frames, so --index must lie in 0..{len(frames) - 1}; got {index}.")
    return frames[index]


def _number_of_steps(steps: int | None, ps: float | None, timestep: float) -> int:
    if not timestep > 0:
        raise ConfigError(f"Wanted a time step above 0 fs, got {timestep:g}.")
    if steps is not None and ps is not None:
        raise ConfigError("Give the length of the run once: either --steps or --ps.")
    if steps is not None:
        return steps
    wanted = 1000 * (1.0 if ps is None else ps) / timestep
    if not wanted < 1e15:  # NaN, too
        raise ConfigError(f"Wanted a length of the run, --ps, that has an end; got {ps:g}.")
    if round(wanted) < 1:
        raise ConfigError(f"{ps:g} ps are less than one step of {timestep:g} fs. Simulate longer.")
    return round(wanted)


def energy_section(result: "SimulationResult") -> "Section":
    """Energies against time, for a report."""
    from jorbit.report import conservation_section

    return conservation_section(
        result.times / 1000,
        result.potential_energies,
        result.kinetic_energies,
        n_atoms=result.structure.n_atoms,
        drift=result.drift,
        drift_error=result.drift_error,
    )


def _energy_page(title: str, result: "SimulationResult") -> str:
    from jorbit.report import render_page

    lead = f"{result.n_steps} steps, {result.structure.n_atoms} atoms."
    return render_page(title, lead, [energy_section(result)], versions())
