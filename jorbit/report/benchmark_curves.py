"""Curves in rows of results: error against cost, error against training frames, cost against atoms.

Rows are what a benchmark wrote; which of their columns are errors, costs and sizes is known by name, so that a new
benchmark which uses the same names is drawn without a line here.
"""

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Row = Mapping[str, Any]

# Columns by meaning; of several the first that a row holds. Errors: factor to meV or meV/Å.
ERRORS: dict[str, dict[str, float]] = {
    "force MAE, meV/Å": {
        f"{part}force_mae{unit}": factor
        for part in ("", "test ", "jorbit ")
        for unit, factor in (("_mev_per_angstrom", 1.0), ("_meV_A", 1.0), ("", 1e3))
    },
    "force RMSE, meV/Å": {"force_rmse_mev_per_angstrom": 1.0, "force_rmse": 1e3},
    "energy MAE, meV/atom": {"energy_mae_mev_per_atom": 1.0, "test energy_mae_per_atom": 1e3},
    "energy MAE, meV": {"energy_mae_mev": 1.0},
}
COSTS: dict[str, tuple[str, ...]] = {
    "µs per atom": ("us_per_atom", "us_per_atom_float64", "us_per_atom model", "us_per_atom model cpu"),
    "parameters": ("n_parameters", "parameters"),
    "features": ("n_features",),
    "orbits": ("n_orbits",),
    "training, processor s": ("fit_seconds cpu_s", "fit_cpu_s", "fit_processor_s"),
    "training, wall s": ("fit_seconds wall_s", "fit_wall_s", "fit_s"),
}
SCALING_COSTS = ("us_per_atom", "us_per_atom model", "us_per_atom model cpu", "us_per_atom with list")
TRAINING_FRAMES = ("n_train", "train_frames", "n_labels")
ATOMS = ("n_atoms", "atoms")
PANELS = ("molecule", "element", "system", "dataset", "set")
SERIES = ("model", "tool", "readout", "group", "scales")
SETTINGS = ("budget_processor_minutes",)  # numbers that are chosen, not measured; so are all words
MOST_SERIES = 12
FEWEST_POINTS = 3  # of a front: two rows are compared in the table


@dataclasses.dataclass(frozen=True)
class Point:
    """One row of a curve.

    Attributes:
        x, y: as the axes say.
        spread: smallest and largest y of the rows that differ in their seed only.
        name: what the row calls itself.
    """

    x: float
    y: float
    spread: tuple[float, float]
    name: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """What is drawn between one pair of axes.

    Attributes:
        title: the system, or "".
        series: points by label, ascending in x.
        published: error by name, for horizontal lines.
    """

    title: str
    series: Mapping[str, Sequence[Point]]
    published: Mapping[str, float]


@dataclasses.dataclass(frozen=True)
class Curves:
    """One figure.

    Attributes:
        kind: "front", "learning" or "scaling".
        x_label, y_label: what is on the axes.
        panels: one for each system.
    """

    kind: str
    x_label: str
    y_label: str
    panels: Sequence[Panel]


def find_curves(rows: Sequence[Row]) -> list[Curves]:
    """All figures that rows allow.

    Args:
        rows: flat rows (numbers and names), with "published" if they have it: {name: (energy error, force error)}.

    Example:
        >>> rows = [{"model": str(n), "force_mae": 1 / n, "n_parameters": n} for n in (10, 20, 30)]
        >>> [(c.kind, c.x_label, c.y_label) for c in find_curves(rows)]
        [('front', 'parameters', 'force MAE, meV/Å')]
    """
    found = []
    error = next((name for name in ERRORS if sum(error_of(row, name) is not None for row in rows) > 1), None)
    if error is not None:
        measured = [(row, value) for row in rows if (value := error_of(row, error)) is not None]
        found += [_fronts(measured, cost, error) for cost in _costs([row for row, _ in measured])]
        found.append(_learning(measured, error))
    found.append(_scaling(rows))
    return [curves for curves in found if curves.panels]


def front(points: Iterable[Point]) -> list[Point]:
    """The points that no other beats in both x and y (Pareto front), ascending in x.

    Example:
        >>> [p.name for p in front([Point(float(x), y, (y, y), str(x)) for x, y in ((1, 3.0), (2, 4.0), (3, 1.0))])]
        ['1', '3']
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: (p.x, p.y)):
        if not kept or point.y < kept[-1].y:
            kept.append(point)
    return kept


def exponent(points: Sequence[Point]) -> float:
    """p of total cost ∝ atoms^p, by least squares of the logarithms; y is cost per atom.

    Example:
        >>> round(exponent([Point(n, 1.0, (1.0, 1.0), "") for n in (10.0, 1000.0)]), 6)
        1.0
    """
    sizes, costs = np.log([p.x for p in points]), np.log([p.x * p.y for p in points])
    return float(np.polyfit(sizes, costs, 1)[0])


def error_of(row: Row, name: str) -> float | None:
    """An error of ERRORS in meV or meV/Å, if the row holds it."""
    for column, factor in ERRORS[name].items():
        if _positive(row.get(column)):
            return float(factor * row[column])
    return None


def _positive(value: Any) -> bool:
    """A finite number that has a logarithm."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.0 < value < float("inf")


def _first(row: Row, columns: Iterable[str]) -> float | None:
    return next((float(row[c]) for c in columns if _positive(row.get(c))), None)


def _costs(measured: Sequence[Row]) -> list[str]:
    """The costs that vary between rows with errors; of processor and wall seconds the one that more rows hold."""
    held = {name: [v for row in measured if (v := _first(row, columns)) is not None] for name, columns in COSTS.items()}
    processor, wall = (n for n in COSTS if n.startswith("training"))
    held[processor if len(held[wall]) > len(held[processor]) else wall] = []
    return [name for name in COSTS if len(set(held[name])) > 1]


def _panel_name(row: Row) -> str:
    if "name" in row and "/" in str(row["name"]):
        return str(row["name"]).partition("/")[0]
    return next((str(row[c]) for c in PANELS if c in row), "")


def _namer(rows: Sequence[Row]) -> Any:
    """Row -> label of its curve: the first column of SERIES that tells rows apart without making a line of each."""
    for column in SERIES:
        values = {row[column] for row in rows if column in row}
        if 1 < len(values) <= MOST_SERIES:
            return lambda row: str(row.get(column, "-"))
    names = {_without_size(row) for row in rows}
    return _without_size if len(names) <= MOST_SERIES else lambda row: ""


def _without_size(row: Row) -> str:
    name = str(row.get("name", "")).rpartition("/")[2]
    return re.sub(r",? *\d+ (labels|frames).*$", "", name)


def _row_name(row: Row) -> str:
    return next((str(row[c]) for c in ("tool", "name", "model", "group", "readout", "scales") if c in row), "")


def _panels(
    entries: Sequence[tuple[Row, float, float]], seeds: bool, title_of: Callable[[Row], str] = _panel_name
) -> list[Panel]:
    """Rows with x and y as panels with series; rows that differ in their seed alone are one point, their median."""
    series_of = _namer([row for row, _, _ in entries])
    panels: dict[str, dict[str, dict[tuple, list[tuple[Row, float]]]]] = {}
    for row, x, y in entries:
        twin = _settings(row) if seeds and "seed" in row else tuple(sorted(_known(row)))
        points = panels.setdefault(title_of(row), {}).setdefault(series_of(row), {})
        points.setdefault((x, twin), []).append((row, y))
    found = []
    for title, series in panels.items():
        published: dict[str, float] = {}
        lines: dict[str, list[Point]] = {}
        for label, points in series.items():
            for (x, _), members in points.items():
                values = [y for _, y in members]
                middle = float(np.median(values))
                lines.setdefault(label, []).append(
                    Point(x, middle, (min(values), max(values)), _row_name(members[0][0]))
                )
                published |= members[0][0].get("published") or {}
            lines[label].sort(key=lambda p: (p.x, p.y))
        found.append(Panel(title, lines, published))
    return found


def _known(row: Row) -> list[tuple[str, Any]]:
    return [(column, value) for column, value in row.items() if column != "published"]


def _settings(row: Row) -> tuple[tuple[str, Any], ...]:
    """What rows have in common that differ in their seed alone: everything chosen, and nothing measured."""
    chosen = [(k, v) for k, v in _known(row) if k in SETTINGS or (isinstance(v, str) and k not in ("key", "name"))]
    return ("seed", None), *sorted(chosen)


def _fronts(measured: Sequence[tuple[Row, float]], cost: str, error: str) -> Curves:
    """One panel for each system and number of training frames: what learned from more is no better model for that."""
    sizes: dict[str, set[float | None]] = {}
    for row, _ in measured:
        sizes.setdefault(_panel_name(row), set()).add(_first(row, TRAINING_FRAMES))

    def title(row: Row) -> str:
        name, n = _panel_name(row), _first(row, TRAINING_FRAMES)
        return name if n is None or len(sizes[name]) == 1 else f"{name}, {n:g} frames".removeprefix(", ")

    entries = [(_levels(row, error), x, y) for row, y in measured if (x := _first(row, COSTS[cost])) is not None]
    panels = []
    for panel in _panels(entries, seeds=False, title_of=title):
        points = [p for line in panel.series.values() for p in line]
        if len({p.x for p in points}) > 1 and len(points) >= FEWEST_POINTS:
            panels.append(panel)
    return Curves("front", cost, error, panels)


def _levels(row: Row, error: str) -> Row:
    """The row with the published errors of this kind alone."""
    which = {"energy MAE, meV": 0, "force MAE, meV/Å": 1}.get(error)
    given = row.get("published")
    levels = {}
    if isinstance(given, Mapping) and which is not None:
        levels = {name: float(both[which]) for name, both in given.items() if isinstance(both, Sequence)}
    return {**row, "published": levels}


def _learning(measured: Sequence[tuple[Row, float]], error: str) -> Curves:
    """The best error of every number of training frames (the median where seeds are told), series by series."""
    entries = [(_levels(row, error), n, y) for row, y in measured if (n := _first(row, TRAINING_FRAMES)) is not None]
    panels = []
    for panel in _panels(entries, seeds=True):
        lines = {}
        for label, points in panel.series.items():
            best = {p.x: p for p in sorted(points, key=lambda p: -p.y)}
            if len(best) > 1:
                lines[label] = [best[x] for x in sorted(best)]
        if lines:
            panels.append(Panel(panel.title, lines, {}))
    return Curves("learning", "training frames", error, panels)


def _scaling(rows: Sequence[Row]) -> Curves:
    found: dict[str, list[Point]] = {}
    for column in SCALING_COSTS:
        lines: dict[str, dict[float, Point]] = {}
        for row in rows:
            size = _first(row, ATOMS) or _size_in_name(row)
            if size is None or not _positive(row.get(column)):
                continue
            parts = [str(row[c]) for c in ("tool", "row", "descriptor", "kind", "dtype", "n_functions") if c in row]
            parts += [f"{row['threads']} threads"] if row.get("threads", 1) != 1 else []
            y = float(row[column])
            lines.setdefault(", ".join(parts), {})[size] = Point(size, y, (y, y), _row_name(row))
        series = {name: [points[n] for n in sorted(points)] for name, points in lines.items() if len(points) > 1}
        if len(series) > len(found):  # the column that more curves hold
            found = series
    return Curves("scaling", "atoms", "µs per atom", [Panel("", found, {})] if found else [])


def _size_in_name(row: Row) -> float | None:
    """Atoms of a system that is named after them, as "Si 1000"."""
    match = re.fullmatch(r"[A-Z][a-z]? ?(\d+)", str(row.get("system", "")))
    return float(match[1]) if match else None
