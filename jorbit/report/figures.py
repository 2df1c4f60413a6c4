"""The figures: parity with an error strip, error by element, energy conservation.

Every function builds a matplotlib Figure from arrays and a Theme; nothing touches pyplot or a display.
"""

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jorbit.core.errors import MissingInputError
from jorbit.report.theme import LIGHT, Theme

MANY_POINTS = 400  # from here on points are coloured by how many lie at the same place


def _matplotlib() -> Any:
    try:
        import matplotlib
        import matplotlib.colors
        import matplotlib.figure
        import matplotlib.ticker
    except ImportError as error:
        raise MissingInputError(
            f"Figures need matplotlib, which cannot be imported ({error}). Install it with: pip install matplotlib"
        ) from error
    return matplotlib


def save_figure(figure: Any, dpi: int = 130) -> bytes:
    """PNG bytes of a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


def point_density(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """log10 of the number of points in each point's cell of a 60 x 60 grid.

    Example:
        >>> point_density(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0])).round(2).tolist()
        [0.3, 0.3, 0.0]
    """
    counts, x_edges, y_edges = np.histogram2d(x, y, bins=60)
    i = np.clip(np.searchsorted(x_edges, x, side="right") - 1, 0, 59)
    j = np.clip(np.searchsorted(y_edges, y, side="right") - 1, 0, 59)
    return np.log10(counts[i, j])


def _scatter(axes: Any, x: np.ndarray, y: np.ndarray, density: np.ndarray | None, theme: Theme) -> Any:
    if density is None:
        return axes.scatter(x, y, s=12, alpha=0.75, linewidths=0, color=theme.lines[0], rasterized=True)
    colors = _matplotlib().colors.LinearSegmentedColormap.from_list("density", theme.density)
    order = np.argsort(density)
    return axes.scatter(x[order], y[order], s=6, c=density[order], cmap=colors, linewidths=0, rasterized=True)


def draw_parity(
    reference: Float[np.ndarray, " points"],
    predicted: Float[np.ndarray, " points"],
    *,
    quantity: str,
    plural: str,
    unit: str,
    error_unit: str,
    error_factor: float = 1000.0,
    theme: Theme = LIGHT,
) -> Any:
    """Predicted against reference, and the error against reference below it on a finer scale.

    Args:
        reference, predicted: values in `unit`.
        quantity, plural: what one of them is called on the axes, and all of them in the title.
        unit: of the values.
        error_unit: unit of the errors, `error_factor` times smaller: 1000 and "meV" for values in eV.
        error_factor: error in error_unit = factor * (predicted - reference).
        theme: colours.

    Returns:
        A matplotlib Figure with MAE and RMSE in its title.
    """
    error = error_factor * (predicted - reference)
    mae, rmse = np.abs(error).mean(), np.sqrt((error**2).mean())
    density = point_density(reference, error) if len(reference) >= MANY_POINTS else None
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(5.2, 6.0), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
        low, high = min(reference.min(), predicted.min()), max(reference.max(), predicted.max())
        margin = 0.04 * (high - low or 1.0)
        line = (low - margin, high + margin)
        top.plot(line, line, color=theme.text, linewidth=0.8, alpha=0.6, zorder=0)
        points = _scatter(top, reference, predicted, density, theme)
        _scatter(bottom, reference, error, density, theme)
        bottom.axhline(0.0, color=theme.text, linewidth=0.8, alpha=0.6, zorder=0)
        limit = 1.1 * max(np.abs(error).max(), 1e-12)
        bottom.set_ylim(-limit, limit)
        top.set(xlim=line, ylim=line, ylabel=f"predicted {quantity} ({unit})")
        bottom.set(xlabel=f"reference {quantity} ({unit})", ylabel=f"error ({error_unit})")
        top.set_title(f"{len(error):,} {plural}\nMAE {mae:.3g} {error_unit}, RMSE {rmse:.3g} {error_unit}")
        if density is not None:
            bar = figure.colorbar(points, ax=top, pad=0.02, aspect=30, label="points at the same place")
            ticks = np.arange(0, np.floor(density.max()) + 1)
            bar.set_ticks(ticks.tolist(), labels=[f"{10**t:,.0f}" for t in ticks])
            bar.outline.set_visible(False)
    return figure


def draw_element_errors(
    mae: Mapping[str, float], rmse: Mapping[str, float], counts: Mapping[str, int], *, unit: str, theme: Theme = LIGHT
) -> Any:
    """MAE and RMSE of the force components of each element, as bars.

    Args:
        mae, rmse: error by element symbol, in `unit`.
        counts: number of atoms behind each bar.
        unit: of the errors.
        theme: colours.
    """
    names = list(mae)
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(6.4, 1.5 + 0.55 * len(names)), layout="constrained")
        axes = figure.subplots()
        rows = np.arange(len(names), dtype=float)
        axes.barh(rows - 0.19, [mae[n] for n in names], height=0.36, color=theme.lines[0], label="MAE")
        axes.barh(rows + 0.19, [rmse[n] for n in names], height=0.36, color=theme.lines[1], label="RMSE")
        for offset, values in ((-0.19, mae), (0.19, rmse)):
            for row, name in zip(rows, names, strict=True):
                axes.annotate(
                    f"{values[name]:.3g}", (values[name], row + offset), (4, 0), textcoords="offset points", va="center"
                )
        axes.set_yticks(rows, [f"{n}  ({counts[n]:,} atoms)" for n in names])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.set_xlim(0, 1.15 * max([*mae.values(), *rmse.values(), 1e-12]))
        axes.set(xlabel=f"error of a force component ({unit})", title="Force error by element")
        axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, borderaxespad=0.1)
    return figure


def draw_conservation(
    time: Float[np.ndarray, " steps"],
    potential: Float[np.ndarray, " steps"],
    kinetic: Float[np.ndarray, " steps"],
    *,
    n_atoms: int,
    drift: str,
    theme: Theme = LIGHT,
) -> Any:
    """Potential, kinetic and total energy against time, and the total alone on a finer scale.

    Args:
        time: ps.
        potential, kinetic: eV, of the whole system.
        n_atoms: energies are shown per atom.
        drift: slope of the total energy with its unit, for the title.
        theme: colours.
    """
    per_atom = 1000.0 / n_atoms
    total = potential + kinetic
    change = 1000.0 * per_atom * (total - total[0])  # micro-eV per atom
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(7.2, 5.2), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(1.6, 1))
        curves = (("potential", potential - potential[0]), ("kinetic", kinetic), ("total", total - potential[0]))
        for (name, values), color in zip(curves, theme.lines, strict=True):
            top.plot(time, per_atom * values, color=color, linewidth=1.3, label=name)
        top.set(ylabel="energy (meV/atom)")
        top.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1)
        bottom.plot(time, change, color=theme.lines[2], linewidth=1.0)
        if len(time) > 2:
            slope, start = np.polyfit(time, change, 1)
            bottom.plot(time, start + slope * time, color=theme.text, linewidth=1.0, linestyle="--", label="linear fit")
            bottom.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1)
        bottom.set_title(f"Drift of the total energy: {drift}")
        bottom.set(xlabel="time (ps)", ylabel="change of total (µeV/atom)")
    return figure
