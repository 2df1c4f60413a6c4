"""Results of benchmarks as parts of a page: a table of every file, and figures where there is a curve to see."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from jorbit.report.benchmark_curves import COSTS, ERRORS, TRAINING_FRAMES, Curves, find_curves, front
from jorbit.report.benchmark_figures import draw_curves, not_drawn
from jorbit.report.html import Section, picture, table

MOST_COLUMNS, MOST_ROWS = 12, 200
OPEN_ROWS = 12  # longer tables are folded
# Columns that say what a row is about come first, then errors and costs.
NAMES = ("key", "name", "case", "molecule", "system", "set", "element", "tool", "model", "row", "calculator", "dtype")
COLUMNS = tuple(column for table_of in (ERRORS, COSTS) for columns in table_of.values() for column in columns)


def benchmark_sections(results: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> list[Section]:
    """One section for each file of results.

    Args:
        results: contents of the files by name: "what", "rows" (dictionaries) and perhaps "environment".
        titles: heading by name; the name itself where there is none.
    """
    sections = []
    for name, data in results.items():
        rows = [_flat(row) for row in _rows(data)]
        body = _figures(benchmark_curves(data)) + _table(rows)
        sections.append(
            Section(titles.get(name, name.replace("_", " ")), f"{data.get('what', '')} {when_measured(data)}", body)
        )
    return sections


def benchmark_curves(data: Mapping[str, Any]) -> list[Curves]:
    """What can be drawn of one file of results."""
    return find_curves([{**_flat(row), "published": row.get("published")} for row in _rows(data)])


def _rows(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = data.get("rows", [])
    if isinstance(rows, Mapping):
        return [{"name": key, **value} for key, value in rows.items()]
    return [dict(row) for row in rows]


def when_measured(data: Mapping[str, Any]) -> str:
    """Dates of the rows and load of the machine, in brackets; "" where nothing is recorded."""
    found = [data.get("environment", data), *(row.get("environment", {}) for row in _rows(data))]
    dates = sorted(e["date"][:10] for e in found if isinstance(e, Mapping) and "date" in e)
    if not dates:
        return ""
    loads = [e["load_average"][0] for e in found if isinstance(e, Mapping) and e.get("load_average")]
    busy = f", load average {_range([f'{x:g}' for x in (min(loads), max(loads))])}" if loads else ""
    return f"(measured {_range([dates[0], dates[-1]])}{busy})"


def _range(ends: Sequence[str]) -> str:
    """The first and the last, or the one that both are."""
    return " to ".join(dict.fromkeys(ends))


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
    first = (*NAMES, *TRAINING_FRAMES, *COLUMNS)
    columns.sort(key=lambda c: first.index(c) if c in first else len(first))  # stable: the rest keeps its order
    shown, hidden = columns[:MOST_COLUMNS], columns[MOST_COLUMNS:]
    body = table([c.replace("_", " ") for c in shown], [[_cell(row.get(c)) for c in shown] for row in rows[:MOST_ROWS]])
    left_out = []
    if hidden:
        left_out.append(f"{len(hidden)} more columns")
    if len(rows) > MOST_ROWS:
        left_out.append(f"{len(rows) - MOST_ROWS} more rows")
    body += f'<p class="lead">In the file: {" and ".join(left_out)}.</p>' if left_out else ""
    if len(rows) <= OPEN_ROWS:
        return body
    return f"<details><summary>The {len(rows)} rows</summary>{body}</details>"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _figures(curves: Sequence[Curves]) -> str:
    """Error against cost, learning curves and scaling, where the rows hold them; and who is on the fronts."""
    parts = []
    for one in curves:
        drawn = picture(lambda theme, of=one: draw_curves(of, theme=theme), f"{one.y_label} against {one.x_label}")
        left_out = not_drawn(one)
        note = f" Not drawn: {', '.join(left_out)}." if left_out else ""
        parts.append(f'<p class="lead">{html.escape(_reading(one) + note)}</p><div class="figures">{drawn}</div>')
    fronts = [c for c in curves if c.kind == "front"]
    if fronts:
        parts.append(_front_table(fronts))
    return "".join(parts)


def _reading(curves: Curves) -> str:
    if curves.kind == "front":
        return f"{curves.y_label} against {curves.x_label}; the line joins the rows that no other beats in both."
    if curves.kind == "learning":
        return (
            f"{curves.y_label} against {curves.x_label}: the best row of each number of frames, or the median over "
            "seeds with the smallest and the largest."
        )
    return "Time per atom against atoms: a level line is linear; N^p is the fitted growth of the whole."


def _front_table(fronts: Sequence[Curves]) -> str:
    """The rows on the fronts, by name."""
    rows = [
        [panel.title, curves.x_label, ", ".join(dict.fromkeys((label, p.name))).strip(", "), _cell(p.x), _cell(p.y)]
        for curves in fronts
        for panel in curves.panels
        for p in front([q for points in panel.series.values() for q in points])
        for label in (next(name for name, points in panel.series.items() if p in points),)
    ]
    drawn = table(["on the front", "cost", "row", "of cost", fronts[0].y_label], rows[:MOST_ROWS])
    return f"<details><summary>The {len(rows)} rows on the fronts</summary>{drawn}</details>"
