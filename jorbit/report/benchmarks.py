"""Results of benchmarks as parts of a page: a table of every file, and figures where there is a curve to see."""

from collections.abc import Mapping, Sequence
from typing import Any

from jorbit.report.figures import _matplotlib
from jorbit.report.html import Section, picture, table
from jorbit.report.theme import LIGHT, Theme

MOST_COLUMNS, MOST_ROWS = 12, 60
# Columns that say what a row is about come first.
NAMES = ("key", "name", "case", "molecule", "system", "set", "element", "tool", "model", "row", "calculator", "dtype")


def benchmark_sections(results: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> list[Section]:
    """One section for each file of results.

    Args:
        results: contents of the files by name: "what", "rows" (dictionaries) and perhaps "environment".
        titles: heading by name; the name itself where there is none.
    """
    sections = []
    for name, data in results.items():
        rows = [_flat(row) for row in _rows(data)]
        body = _figures(rows) + _table(rows)
        sections.append(
            Section(titles.get(name, name.replace("_", " ")), f"{data.get('what', '')} {_when(data)}", body)
        )
    return sections


def _rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = data.get("rows", [])
    if isinstance(rows, Mapping):
        return [{"name": key, **value} for key, value in rows.items()]
    return [dict(row) for row in rows]


def _when(data: Mapping[str, Any]) -> str:
    """Dates, versions and load of the environments that are recorded."""
    found = [data.get("environment", data), *(row.get("environment", {}) for row in _rows(data))]
    dates = sorted(e["date"][:10] for e in found if isinstance(e, Mapping) and "date" in e)
    if not dates:
        return ""
    loads = [e["load_average"][0] for e in found if isinstance(e, Mapping) and e.get("load_average")]
    busy = f", load average {min(loads):g} to {max(loads):g}" if loads else ""
    return f"(measured {dates[0]}{f' to {dates[-1]}' if dates[-1] != dates[0] else ''}{busy})"


def _flat(row: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Numbers and names of nested dictionaries, with joined keys; environments and lists are left to the file."""
    flat: dict[str, Any] = {}
    for key, value in row.items():
        if key in ("environment", "versions", "options", "peer", "key") and (prefix or key != "key"):
            continue
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key} ")
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            flat[f"{prefix}{key}"] = value
    return flat


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    columns.sort(key=lambda c: NAMES.index(c) if c in NAMES else len(NAMES))  # stable: the rest keeps its order
    shown, hidden = columns[:MOST_COLUMNS], columns[MOST_COLUMNS:]
    body = table([c.replace("_", " ") for c in shown], [[_cell(row.get(c)) for c in shown] for row in rows[:MOST_ROWS]])
    left_out = []
    if hidden:
        left_out.append(f"{len(hidden)} more columns")
    if len(rows) > MOST_ROWS:
        left_out.append(f"{len(rows) - MOST_ROWS} more rows")
    return body + (f'<p class="lead">In the file: {" and ".join(left_out)}.</p>' if left_out else "")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figures(rows: Sequence[Mapping[str, Any]]) -> str:
    """Time per atom against the number of atoms, one line for each tool, where there is such a thing."""
    for column in ("us_per_atom", "us_per_atom model", "us_per_atom model cpu"):
        lines: dict[str, dict[int, float]] = {}
        for row in rows:
            if column in row and "n_atoms" in row:
                label = ", ".join(str(row[c]) for c in ("tool", "dtype", "n_functions") if c in row)
                lines.setdefault(label, {})[row["n_atoms"]] = row[column]
        lines = {label: points for label, points in lines.items() if len(points) > 1}
        if lines:
            drawn = picture(lambda theme, of=lines: draw_scaling(of, theme=theme), "Time per atom")
            return f'<div class="figures">{drawn}</div>'
    return ""


def draw_scaling(lines: Mapping[str, Mapping[int, float]], *, theme: Theme = LIGHT) -> Any:
    """Microseconds per atom against the number of atoms: what is linear in atoms is a level line.

    Args:
        lines: label -> {atoms: µs per atom}.
        theme: colours.

    Returns:
        A matplotlib Figure.
    """
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(7.2, 4.2), layout="constrained")
        axes = figure.subplots()
        for k, (label, points) in enumerate(lines.items()):
            sizes = sorted(points)
            color, style = theme.lines[k % len(theme.lines)], "-" if k < len(theme.lines) else "--"
            axes.loglog(sizes, [points[n] for n in sizes], marker="o", linestyle=style, color=color, label=label)
        axes.set(xlabel="atoms", ylabel="µs per atom")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize="small")
    return figure
