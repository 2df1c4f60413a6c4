"""Tables of the ladder on rMD17 and of random methane, in Markdown."""

import math
import statistics

from result_tables import conditions, number, table


def ladder(data: dict) -> str:
    """Rungs of the ladder, one table for each molecule, number of frames and budget."""
    groups: dict[tuple, list[dict]] = {}
    for row in data["rows"]:
        key = (row["molecule"], row["n_train"], row["budget_processor_minutes"], row["size"])
        groups.setdefault(key, []).append(row)
    blocks = []
    for (molecule, n_train, minutes, size), members in groups.items():
        rows = [
            [
                row["model"] + (f" (seed {row['seed']})" if row["seed"] else ""),
                number(row["force_mae_mev_per_angstrom"]),
                number(row["energy_mae_mev"]),
                f"{row['n_parameters']:,}",
                number(row["fit_seconds"]["cpu_s"], 2),
                number(row["us_per_atom"]),
            ]
            for row in sorted(members, key=lambda row: row["force_mae_mev_per_angstrom"])
        ]
        headers = ["model", "force MAE, meV/Å", "energy MAE, meV", "parameters", "training, processor s", "µs/atom"]
        published = ", ".join(f"{name} {force:g}" for name, (_, force) in members[0]["published"].items())
        blocks.append(
            f"**The ladder on rMD17 {molecule}**: {n_train} training frames, {members[0]['n_test']} test frames, "
            f"{minutes:g} minute(s) of processor time for each network ({size} models; kernels and linear models take "
            f"what they take). µs/atom: processor time of energy and forces of 16 molecules, networks in float32, the "
            f"others in float64. Published force MAE with 950 + 50 frames and no such limit: {published} "
            f"(arXiv:2206.07697, Table 1).\n\n{table(headers, rows)}\n\n"
            f"Measured {conditions(members[-1]['environment'])}."
        )
    return "\n\n".join(blocks)


def methane(data: dict) -> str:
    """Energy errors of random methane by set of invariants and number of structures; one table for each labelling."""
    systems = dict.fromkeys(row["system"] for row in data["rows"])
    return "\n\n".join(
        _methane(data["what"], name, [row for row in data["rows"] if row["system"] == name]) for name in systems
    )


def _methane(what: str, system: str, members: list[dict]) -> str:
    sizes = sorted({row["n_train"] for row in members})
    found: dict[str, dict[int, list[float]]] = {}
    for row in members:
        found.setdefault(row["model"], {}).setdefault(row["n_train"], []).append(row["energy_rmse_kcal_mol"])
    stored = {row["model"]: row["stored_as_paper_energy_rmse_kcal_mol"] for row in members}
    public = any(stored.values())
    rows = []
    for model, points in found.items():
        own = [" / ".join(number(x) for x in sorted(points.get(n, []))) or "-" for n in sizes]
        own += [slope(points)] if len(sizes) > 1 else []
        rows.append([model, *own, *([number(stored[model].get(n)) for n in ("1000", "10000")] if public else [])])
    headers = ["set", *[f"{n:,} structures" for n in sizes], *(["slope"] if len(sizes) > 1 else [])]
    headers += ["1,000 *", "10,000 *"] if public else []
    budgets = ", ".join(f"{m:g}" for m in sorted({row["budget_processor_minutes"] for row in members}))
    notes = [
        "Slope: of the logarithm of the median error against the logarithm of the number of structures."
        if len(sizes) > 1
        else "",
        'Columns with a star: from a data file labelled "paper" beside the code of an author (arXiv:2503.23515 shows '
        "curves and prints no table); trained until done, on forces as well."
        if public
        else "",
        "Own labels and own geometries: not errors on the public set." if "GFN2" in system else "",
        f"Measured {conditions(members[-1]['environment'])}.",
    ]
    return (
        f"**{system.replace('random CH4', 'Random methane')}**: {what}: {budgets} minute(s). Energy RMSE, kcal/mol, of "
        f"1000 other structures; one number for each seed.\n\n{table(headers, rows)}\n\n"
        + "\n\n".join(note for note in notes if note)
    )


def slope(points: dict[int, list[float]]) -> str:
    """Exponent of error ~ structures^slope, by least squares over the sizes; a dash for one size."""
    if len(points) < 2:
        return "-"
    x = [math.log(n) for n in points]
    y = [math.log(statistics.median(errors)) for errors in points.values()]
    return f"{statistics.linear_regression(x, y).slope:.2f}"
