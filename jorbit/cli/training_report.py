"""What `jorbit train` shows of a training by gradients: its cost before, learning curves and errors after."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape
from rich.table import Table

from jorbit.cli.console import out
from jorbit.cli.evaluation import for_report
from jorbit.cli.inspection import versions

if TYPE_CHECKING:
    from jorbit.train.config import TrainConfig
    from jorbit.train.dry_run import DryRun
    from jorbit.train.run import TrainResult

MIB = 2.0**20


def plan_of(config: "TrainConfig", report: Any) -> "DryRun":
    """The dry run of a configuration.

    Raises:
        ConfigError: a potential that is fitted in closed form.
    """
    from jorbit.core.errors import ConfigError
    from jorbit.train.dry_run import dry_run
    from jorbit.train.gradient_config import GradientConfig
    from jorbit.train.orbit_config import attach_orbits
    from jorbit.train.prepare import plan_of_heads
    from jorbit.train.run import data_of_heads, read_split, starting_point, together, trains_by_gradient

    split, _ = attach_orbits(config.orbits, read_split(config.data))
    others = {} if config.heads is None else {name: read_split(data) for name, data in config.heads.data.items()}
    potential, initial = starting_point(config, together(split, others))
    if not trains_by_gradient(config, potential):
        raise ConfigError("--dry-run is for networks; this potential is linear and fitted in closed form.")
    settings = GradientConfig() if config.gradient is None else config.gradient.build()
    if config.heads is None:
        return dry_run(potential, split.train, split.valid, settings, initial, report)
    frames, validation, plan = plan_of_heads(data_of_heads(config.heads, split, others), config.heads.own)
    return dry_run(potential, frames, validation, settings, initial, report, plan)


def print_plan(plan: "DryRun") -> None:
    """Model size, buckets, memory and time on stdout."""
    console = out()
    sizes = Table(title=f"{plan.n_parameters:,} trained parameters, {plan.n_fixed:,} fixed", title_justify="left")
    sizes.add_column("parameter")
    sizes.add_column("shape", justify="right")
    for name, shape in plan.parameters.items():
        sizes.add_row(escape(name), " x ".join(map(str, shape)) or "1")
    console.print(sizes, soft_wrap=False)
    table = Table(title="Batches: one compilation per row", title_justify="left")
    headers = ("frames", "batches", "per batch", "atoms", "slots", "compile s", "step ms", "temp MiB")
    for header in headers:
        table.add_column(header, justify="right")
    for b in plan.buckets:
        temporary = "?" if b["temporary_bytes"] is None else f"{b['temporary_bytes'] / MIB:.1f}"
        slots = ", ".join(map(str, b["n_slots"])) or "-"
        counts = (b["n_frames"], b["batches"], b["structures"], b["n_atoms"])
        table.add_row(*map(str, counts), slots, f"{b['compile_s']:.1f}", f"{1e3 * b['step_s']:.1f}", temporary)
    console.print(table, soft_wrap=False)
    console.print(
        f"Memory: frames {plan.data_bytes / MIB:.1f} MiB, parameters with moments and averages "
        f"{plan.state_bytes / MIB:.1f} MiB, and the temporary arrays of one step at a time."
    )
    total = plan.epochs * plan.seconds_per_epoch
    console.print(
        f"Time: {plan.seconds_per_epoch:.2f} s per epoch, {total / 60:.1f} min for {plan.epochs} epochs, without "
        "validation and compilation."
    )


def write_page(result: "TrainResult") -> Path | None:
    """<name>.report.html beside the model; None for a fit in closed form."""
    from jorbit.train.gradient_report import GradientReport

    report = result.report
    if not isinstance(report, GradientReport) or not report.history:
        return None
    from jorbit.report import Section, evaluation_sections, learning_curves_section, render_page, table

    sections = [learning_curves_section(report.history)]
    part = next((name for name in ("test", "valid") if name in result.metrics), None)
    for name in (n for n in result.metrics if part is not None and n.partition("/")[0] == part):
        # "test" is that of the main head, "test/ccsd" another's
        of_head = f" ({name})" if result.heads else ""
        found = [*evaluation_sections(for_report(result.metrics[name])), _worst(result, name)]
        sections += [dataclasses.replace(section, title=f"{section.title}{of_head}") for section in found]
    rows = [
        ["terms", ", ".join(result.potential.names)],
        ["parameters", f"{report.n_parameters:,} trained, {report.n_fixed:,} fixed"],
        ["frames", f"{report.n_frames:,} to train on, {report.n_validation:,} to validate"],
        ["steps", f"{report.n_steps:,} in {len(report.history)} epochs"],
        *[[stage, f"{seconds:.1f} s"] for stage, seconds in report.seconds.items()],
        ["waiting for data", f"{100 * report.waiting_share:.0f} % of the training time"],
        *[["note", note] for note in report.notes],
    ]
    sections.append(Section("The training", "How the parameters were found.", table(["", ""], rows)))
    path = result.path.with_name(f"{result.path.stem}.report.html")
    lead = f"{', '.join(result.potential.names)}, trained on {report.n_frames:,} frames."
    path.write_text(render_page(f"Training of {result.path.name}", lead, sections, versions()), encoding="utf-8")
    return path


def _worst(result: "TrainResult", part: str) -> Any:
    import numpy as np

    from jorbit.report import Section, table

    metrics = result.metrics[part]
    error = (metrics.energy_predicted - metrics.energy_reference) / metrics.energy_atoms
    order = np.argsort(-np.abs(error))[:10]
    rows = [[str(metrics.energy_frames[k]), str(metrics.energy_atoms[k]), f"{1e3 * error[k]:+.2f}"] for k in order]
    text = f"The frames of the part {part!r} whose energies are farthest off; numbers count from 0 within it."
    return Section("Worst structures", text, table(["frame", "atoms", "energy error, meV/atom"], rows))
