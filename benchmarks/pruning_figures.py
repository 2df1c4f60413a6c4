"""Figures of the pruning study: force error against the number of features, and against cost."""

import math
import pathlib

from common import RESULTS

ORDER = ("Ni", "Cu", "Li", "Mo", "Si", "Ge")
STYLES = {
    "complete": ("complete ACE", "o"),
    "pruned": ("pruned", "D"),
    "pruned, flexible": ("pruned, flexible", "d"),
    "pruned, degree first": ("pruned, degree first", "d"),
    "low degree": ("lowest degree", "v"),
    "low cost": ("lowest cost", "^"),
    "random": ("random", "x"),
    "QR": ("QR", "+"),
    "L1": ("L1", "s"),
    "peer": ("peers", "*"),
    "published": ("published", "P"),
}


def draw(rows: list[dict]) -> list[pathlib.Path]:
    """Write pruning_features.svg and pruning_cost.svg beside the results."""
    written = []
    for name, field, label in (
        ("features", "n_features", "features"),
        ("cost", "us_per_atom", "energy + forces, one thread, µs/atom"),
    ):
        path = RESULTS / f"pruning_{name}.svg"
        figure = panel(rows, field, label)
        figure.savefig(path, metadata={"Date": None})
        written.append(path)
        print(f"written to results/{path.name}", flush=True)
    return written


def panel(rows: list[dict], field: str, label: str):  # type: ignore[no-untyped-def]
    """One axes per element; full symbols are networks, half-full quadratic, open linear readouts."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    from jorbit.report.theme import LIGHT

    rcParams["svg.fonttype"], rcParams["svg.hashsalt"] = "none", "jorbit"
    figure = Figure(figsize=(10, 6.4), layout="constrained")
    colors = {name: LIGHT.lines[k % len(LIGHT.lines)] for k, name in enumerate(STYLES)}
    seen: dict = {}
    for k, element in enumerate(ORDER):
        axes = figure.add_subplot(2, 3, k + 1)
        here = [r for r in rows if r["element"] == element and field in r and "force_mae_mev_per_angstrom" in r]
        here = [r for r in here if r["set"] in STYLES]
        for row in here:
            name, marker = STYLES[row["set"]]
            fill = {"network": "full", "quadratic": "left", "peer": "full"}.get(row["readout"], "none")
            title = name if row["set"] in ("peer", "published") else f"{name}, {row['readout']}"
            seen[title] = axes.plot(
                row[field],
                row["force_mae_mev_per_angstrom"],
                marker=marker,
                markersize=8 if row["set"] == "peer" else 6,
                linestyle="none",
                color=colors[row["set"]],
                fillstyle=fill,
            )[0]
            if row["set"] == "peer":
                axes.annotate(
                    row["tool"], (row[field], row["force_mae_mev_per_angstrom"]), fontsize=6,
                    xytext=(4, 3), textcoords="offset points",
                )  # fmt: skip
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter(NullFormatter())
        values = [r["force_mae_mev_per_angstrom"] for r in here if r["set"] not in ("leverage", "QR")]
        if values:
            axes.set_ylim(min(values) / 1.3, min(max(values), 6 * min(values)) * math.sqrt(1.5))
        axes.set_title(element, loc="left", fontsize=10)
        if k % 3 == 0:
            axes.set_ylabel("force MAE, meV/Å")
        if k >= 3:
            axes.set_xlabel(label)
    figure.legend(list(seen.values()), list(seen), loc="outside lower center", ncols=5, fontsize=7, frameon=False)
    return figure
