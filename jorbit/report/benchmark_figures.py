"""Figures of curves found in results of benchmarks, small multiples on logarithmic axes."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jorbit.report.benchmark_curves import Curves, Panel, Point, exponent, front
from jorbit.report.figures import _matplotlib
from jorbit.report.theme import LIGHT, Theme

MARKERS = "osD^vPX<>*hp"
MOST_PANELS, MOST_LINES = 6, 14


def draw_curves(curves: Curves, *, theme: Theme = LIGHT) -> Any:
    """One panel for each system, the same colour and marker for the same series in all.

    Args:
        curves: of kind "front" (points, and the line no point is below), "learning" or "scaling".
        theme: colours.

    Returns:
        A matplotlib Figure.
    """
    panels = list(curves.panels)[:MOST_PANELS]
    columns = min(3, len(panels))
    lines = math.ceil(len(panels) / columns)
    names = _labels(panels)[:MOST_LINES]
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        width = 3.3 * columns + 0.4 if columns > 1 else 5.0
        height = (2.7 if columns > 1 else 3.6) * lines + 0.3
        figure = matplotlib.figure.Figure(figsize=(width + 2.6, height), layout="constrained")
        axes = figure.subplots(lines, columns, squeeze=False)
        for k, place in enumerate(axes.flat):
            if k >= len(panels):
                place.set_axis_off()
                continue
            _draw_panel(place, panels[k], curves.kind, names, theme)
            place.set(xlabel=curves.x_label if k + columns >= len(panels) else "", title=panels[k].title)
            place.set_ylabel(curves.y_label if k % columns == 0 else "")
        handles: dict[str, Any] = {}
        for place in axes.flat:
            handles |= dict(zip(*reversed(place.get_legend_handles_labels()), strict=True))
        if len(handles) > 1:
            figure.legend(handles.values(), handles.keys(), loc="outside right upper", fontsize="small")
    return figure


def not_drawn(curves: Curves) -> list[str]:
    """Systems, and series of the systems that are drawn, for which there is no room in a figure."""
    panels = list(curves.panels)
    return [panel.title for panel in panels[MOST_PANELS:]] + _labels(panels[:MOST_PANELS])[MOST_LINES:]


def _labels(panels: Sequence[Panel]) -> list[str]:
    return list(dict.fromkeys(label for panel in panels for label in panel.series))


def _draw_panel(axes: Any, panel: Panel, kind: str, names: list[str], theme: Theme) -> None:
    axes.set(xscale="log", yscale="log")
    for label, points in panel.series.items():
        if label not in names:
            continue
        k = names.index(label)
        style = {"color": theme.many[k % len(theme.many)], "marker": MARKERS[k % len(MARKERS)], "markersize": 5}
        shown = f"{label}  (N^{exponent(points):.2f})" if kind == "scaling" else label or "rows"
        x, y = [p.x for p in points], [p.y for p in points]
        axes.plot(x, y, label=shown, linestyle="none" if kind == "front" else "-", linewidth=1.2, **style)
        low, high = [p.y - p.spread[0] for p in points], [p.spread[1] - p.y for p in points]
        if max(*low, *high, 0.0) > 0.0:
            axes.errorbar(x, y, yerr=(low, high), fmt="none", ecolor=style["color"], elinewidth=0.9, capsize=2)
    if kind == "front":
        best = front(_all(panel))
        axes.plot([p.x for p in best], [p.y for p in best], color=theme.text, linewidth=0.8, alpha=0.6, zorder=0)
    _draw_published(axes, panel.published, theme)
    _few_ticks(axes)


def _all(panel: Panel) -> list[Point]:
    return [p for points in panel.series.values() for p in points]


def _draw_published(axes: Any, levels: Mapping[str, float], theme: Theme) -> None:
    """Dotted lines at published errors; their names beside the axes are moved apart where they would overlap."""
    if not levels:
        return
    for value in levels.values():
        axes.axhline(value, color=theme.text, linestyle=":", linewidth=0.8, alpha=0.5, zorder=0)
    low, high = (math.log(v) for v in axes.get_ylim())
    gap, last = 0.055, -1.0
    for name, value in sorted(levels.items(), key=lambda item: item[1]):
        place = max((math.log(value) - low) / (high - low), last + gap)
        last = place
        axes.annotate(
            f"{name} {value:g}", (1.0, value), (1.03, place), xycoords=("axes fraction", "data"),
            textcoords="axes fraction", fontsize=7, va="center", annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": theme.grid, "linewidth": 0.6},
        )  # fmt: skip


def _few_ticks(axes: Any) -> None:
    """Numbers at powers of ten, at 1, 2 and 5 of less than two decades, and evenly within a factor of four."""
    ticker = _matplotlib().ticker
    for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        if high / low < 4.0:
            axis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
        else:
            short = high / low < 100.0
            axis.set_major_locator(ticker.LogLocator(base=10.0, subs=(1.0, 2.0, 5.0) if short else (1.0,), numticks=12))
        axis.set_major_formatter(ticker.FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_formatter(ticker.NullFormatter())
