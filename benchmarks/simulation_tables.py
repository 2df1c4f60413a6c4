"""Tables of molecular dynamics: what a step costs, and what long runs showed."""

from result_tables import conditions, conditions_of_rows, number, table


def md(data: dict) -> str:
    """Steps of molecular dynamics, and what the run loop adds to energies and forces."""
    headers = [
        "",
        "atoms",
        "float type",
        "µs/atom/step",
        "more than a call, %",
        "more than a compiled loop, %",
        "ns/day",
    ]
    rows = []
    for row in data["rows"]:
        for dtype in ("float32", "float64"):
            if f"{dtype}_run_us_per_atom_step" not in row:
                continue
            rows.append(
                [
                    row["name"],
                    f"{row['atoms']:,}",
                    dtype,
                    number(row[f"{dtype}_run_us_per_atom_step"]),
                    number(row.get(f"{dtype}_overhead_percent")),
                    number(row.get(f"{dtype}_overhead_over_loop_percent")),
                    number(row[f"{dtype}_ns_per_day_at_1fs"]),
                ]
            )
    relaxed = next((row for row in data["rows"] if "relax_many_cpu_s_again" in row), None)
    notes = ""
    if relaxed:
        notes = (
            f"\n\n{relaxed['name'][0].upper()}{relaxed['name'][1:]}: {number(relaxed['relax_many_cpu_s_again'])} s "
            f"all at once, {number(relaxed['one_by_one_cpu_s_again'])} s one by one."
        )
    return (
        "**Molecular dynamics**: CPU time of one thread; what a step of `jorbit.simulate.run` costs more than energy "
        "and forces, called from Python or in a compiled loop. Networks have random weights. ns/day at 1 fs."
        f"\n\n{table(headers, rows)}{notes}\n\nMeasured {conditions_of_rows(data['rows'])}."
    )


def soak(data: dict) -> str:
    """Long runs, in sentences."""
    rows = {row["name"]: row for row in data["rows"]}
    lines = []
    for name, row in rows.items():
        if "memory_MiB_at_the_end" in row:
            lines.append(
                f"{name}: {row['steps']:,} steps in {number(row['minutes'])} minutes; "
                f"{number(row['memory_MiB_after_a_tenth'], 4)} MiB after a tenth of them and "
                f"{number(row['memory_MiB_at_the_end'], 4)} at the end, compiled {row['compilations']} time(s), "
                f"{number(row['mean_temperature_K'], 4)} K on average, total energy "
                f"{number(row['slope_of_total_energy_meV_per_atom_per_ns'], 2)} ± {number(row['its_error'], 2)} "
                "meV/atom/ns."
            )
        elif "drift_meV_per_atom_per_ps" in row:
            lines.append(
                f"{name}: {row['steps']:,} steps of {row['timestep_fs']} fs, "
                f"{number(row['drift_meV_per_atom_per_ps'], 2)} ± {number(row['its_error'], 2)} meV/atom/ps."
            )
        elif "kills" in row:
            different = ", ".join(row["arrays_different"]) or "none"
            lines.append(
                f"{name}: killed {row['kills']} times on {row['steps']:,} steps; of {row['arrays_compared']} arrays "
                f"{different} different from a run that was not. Measured {conditions(row['environment'])}."
            )
        elif "stretches" in row:
            lines.append(
                f"{name}: {row['overflows']} overflows in {row['blocks']} blocks; {row['stretches_in_the_same_bits']} "
                f"of {row['stretches']} stretches of three blocks in the same bits as with much room."
            )
    bullets = "\n".join(f"* {line}" for line in lines)
    return f"**Long runs**\n\n{bullets}\n\nMeasured {conditions(data['environment'])}."
