"""`jorbit quickstart`: from shipped data to a fitted potential, its errors, a simulation and a report."""

import shlex
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

import jorbit
from jorbit.cli.console import leaving, out, progress_bar, start_jax
from jorbit.cli.evaluation import for_report, in_milli
from jorbit.cli.inspection import versions
from jorbit.cli.simulation import energy_section

if TYPE_CHECKING:
    from jorbit.core.structure import Frame
    from jorbit.potential.potential import Potential
    from jorbit.simulate.molecular_dynamics import SimulationResult
    from jorbit.train.metrics import Metrics

DATA = "ethanol_gfn2"
N_TRAIN, N_TEST = 200, 500
CUTOFF = 4.0  # Å
ACE_DEGREES, PAIR_DEGREES = (10, 6, 4), (10,)
TIMESTEP, N_STEPS, TEMPERATURE = 0.5, 2000, 300.0  # fs, 1 ps, K
MODEL_NAMES = ("mean energy, zero forces", "pair potential", "linear ACE")


def quickstart(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder to write to; made when absent.")] = Path(
        "jorbit-quickstart"
    ),
) -> None:
    """Fit a potential to shipped data, measure it, and run molecular dynamics with it. About a minute; no network.

    Fits a linear Atomic Cluster Expansion to 200 frames of ethanol (GFN2-xTB), prints its errors on 500 held-out
    frames beside two simpler models, runs 1 ps at constant energy in jax-md, and writes model.safetensors,
    trajectory.extxyz and report.html.

    Example: [bold]jorbit quickstart --output my-first-run[/]
    """
    started = time.perf_counter()
    model, trajectory, page = (output / name for name in ("model.safetensors", "trajectory.extxyz", "report.html"))
    output.mkdir(parents=True, exist_ok=True)
    console = out()
    with leaving(model, trajectory, page):
        start_jax()
        from jorbit.report import drift_text

        train, test = load_split()
        console.print(f"[bold]Data[/]        {DATA}: {len(train)} frames to fit, {len(test)} held out")
        potential, params, report, metrics = fit_and_compare(train, test)
        console.print(
            f"[bold]Fit[/]         {report.n_parameters:,} parameters, {sum(report.n_rows.values()):,} equations"
        )
        console.print(error_table(metrics), soft_wrap=False)

        jorbit.save(model, potential, params, report.provenance() | {"data": DATA})
        potential, params = jorbit.load(model)
        console.print(f"[bold]Model[/]       saved and loaded again: {escape(str(model))}")

        start = next(frame for frame in test if frame.info["temperature"] == TEMPERATURE)
        result = jorbit.simulate.run(
            potential,
            params,
            start.structure,
            integrator="nve",
            n_steps=N_STEPS,
            timestep=TIMESTEP,
            temperature=TEMPERATURE,
            record_every=5,
            trajectory=trajectory,
            progress=console.is_terminal,
        )
        console.print(
            f"[bold]Simulation[/]  {result.n_steps * TIMESTEP / 1000:g} ps at constant energy in jax-md, mean "
            f"temperature {result.temperatures.mean():.0f} K"
        )
        console.print(f"[bold]Drift[/]       of the total energy: {drift_text(result.drift, result.drift_error)}")
        page.write_text(quickstart_page(potential, report, metrics, result), encoding="utf-8")
        console.print(f"[bold]Trajectory[/]  {escape(str(trajectory))} ({len(result.times)} frames; ASE reads it)")
        console.print(f"[bold]Report[/]      {escape(str(page))} (open it in a browser)")
    console.print(f"\nDone in {time.perf_counter() - started:.0f} s. Next:")
    for command, purpose in next_commands(output):
        console.print(f"  [bold]{escape(command)}[/]\n      {purpose}")


def load_split() -> tuple[list["Frame"], list["Frame"]]:
    """The frames to fit and the held-out ones, disjoint; the same on every machine."""
    from jorbit.train.split import random_split

    train, test = jorbit.read(f"{DATA}:train"), jorbit.read(f"{DATA}:test")
    chosen = random_split(train, train=N_TRAIN, seed=0).train, random_split(test, test=N_TEST, seed=0).test
    return list(chosen[0]), list(chosen[1])


def ace(frames: list["Frame"], max_degree: tuple[int, ...]) -> "Potential":
    """Reference energies and a linear ACE; one entry in max_degree makes it a pair potential."""
    from jorbit.models.linear_ace import LinearACE
    from jorbit.terms.reference_energy import ReferenceEnergy

    species = jorbit.SpeciesTable.from_structures(frame.structure for frame in frames)
    terms = (
        ReferenceEnergy(n_species=len(species)),
        LinearACE(n_species=len(species), cutoff=CUTOFF, max_degree=max_degree),
    )
    return jorbit.Potential(terms=terms, species=species)


def fit_and_compare(train: list["Frame"], test: list["Frame"]) -> tuple["Potential", Any, Any, dict[str, "Metrics"]]:
    """The fitted ACE (potential, params, report), and the errors of all three models on the held-out frames."""
    from jorbit.train.metrics import evaluate
    from jorbit.train.statistics import mean_energy_baseline

    with progress_bar(transient=True) as bar:

        def show(name: str) -> Any:
            """One bar for all stages of one piece of work."""
            task = bar.add_task(name)
            return lambda stage, done, total: bar.update(
                task, description=f"{name}: {stage}", completed=done, total=total
            )

        pair = jorbit.fit(train, ace(train, PAIR_DEGREES), progress=show("pair potential"))
        fitted = jorbit.fit(train, ace(train, ACE_DEGREES), progress=show("linear ACE"))
        models = (mean_energy_baseline(train), pair[:2], fitted[:2])
        metrics = {
            name: evaluate(*model, test, show(f"{name}, held-out frames"))
            for name, model in zip(MODEL_NAMES, models, strict=True)
        }
    return fitted.potential, fitted.params, fitted.report, metrics


def error_rows(metrics: dict[str, "Metrics"]) -> list[list[str]]:
    """Name, energy MAE and RMSE in meV/atom, force MAE and RMSE in meV/Å."""
    return [
        [name, *map(in_milli, (m.energy_mae_per_atom, m.energy_rmse_per_atom, m.force_mae, m.force_rmse))]
        for name, m in metrics.items()
    ]


def error_table(metrics: dict[str, "Metrics"]) -> Table:
    """The errors of the models as a table for the terminal."""
    table = Table(title=f"Errors on {N_TEST} held-out frames", title_justify="left")
    table.add_column("model")
    for name in ("energy MAE\nmeV/atom", "energy RMSE\nmeV/atom", "force MAE\nmeV/Å", "force RMSE\nmeV/Å"):
        table.add_column(name, justify="right")
    rows = error_rows(metrics)
    for row in rows:
        table.add_row(*row, style="bold" if row is rows[-1] else "")
    return table


def quickstart_page(potential: "Potential", report: Any, metrics: dict[str, "Metrics"], md: "SimulationResult") -> str:
    """report.html."""
    from jorbit.report import Section, error_section, evaluation_sections, render_page, table

    headers = ["model", "energy MAE, meV/atom", "energy RMSE, meV/atom", "force MAE, meV/Å", "force RMSE, meV/Å"]
    text = (
        f"All three were fitted to the same {N_TRAIN} frames. The first predicts the mean energy of the composition "
        "and no forces: what one has without a model. The pair potential is the same expansion without angles. Force "
        "errors are over Cartesian components."
    )
    fit_rows = [
        ["data", f"{DATA}: ethanol, GFN2-xTB, Langevin dynamics at 300, 600 and 1000 K"],
        ["terms", ", ".join(potential.names)],
        ["cutoff", f"{CUTOFF:g} Å"],
        ["degrees of the 2-, 3-, 4-body functions", ", ".join(map(str, ACE_DEGREES))],
        ["parameters", f"{report.n_parameters:,}, of which the data determine {report.effective_parameters:.0f}"],
        ["equations", f"{sum(report.n_rows.values()):,} (energies and force components)"],
        ["regularisation", f"chosen by maximising the evidence: {report.ridge:.2g}"],
    ]
    sections = [
        error_section(headers, error_rows(metrics), text),
        *evaluation_sections(for_report(metrics[MODEL_NAMES[-1]])),
        energy_section(md),
        Section("The fit", "How the linear ACE was made.", table(["", ""], fit_rows)),
    ]
    lead = f"A linear Atomic Cluster Expansion fitted to {N_TRAIN} frames of ethanol, and 1 ps of dynamics with it."
    return render_page("jorbit quickstart", lead, sections, versions())


def next_commands(output: Path) -> list[tuple[str, str]]:
    """Three commands that work as typed, with what each does."""
    found = shutil.which("jorbit")
    typed = Path(sys.argv[0])
    same = found is not None and typed.exists() and Path(found).samefile(typed)
    jorbit_command = "jorbit" if same or typed.name != "jorbit" else shlex.quote(str(typed))
    model, trajectory = (shlex.quote(str(output / name)) for name in ("model.safetensors", "trajectory.extxyz"))
    return [
        (
            f"{jorbit_command} evaluate {model} {DATA}:test",
            "errors of the model on the whole test set, element by element",
        ),
        (
            f"{jorbit_command} md {model} {trajectory} --ensemble nvt_langevin --temperature 500 --ps 2 -o md.extxyz",
            "molecular dynamics at 500 K from the first frame of the trajectory",
        ),
        (
            f"{jorbit_command} train --example > train.yaml && {jorbit_command} train train.yaml",
            "your own fit: edit train.yaml and name your data there",
        ),
    ]
