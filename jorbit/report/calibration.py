"""Are errors as large as an uncertainty says? Reliability, and error against predicted deviation."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from jorbit.report.figures import _matplotlib
from jorbit.report.html import Section, picture, table
from jorbit.report.theme import LIGHT, Theme

_GROUPS = 12  # of equally many labels


def draw_calibration(
    errors: Float[np.ndarray, " labels"],
    deviations: Float[np.ndarray, " labels"],
    observed: Float[np.ndarray, " levels"],
    *,
    quantity: str,
    unit: str,
    theme: Theme = LIGHT,
) -> Any:
    """Left: share of errors inside central intervals against the share that should be. Right: error against deviation.

    Args:
        errors, deviations: predicted minus reference, and predicted standard deviations, in `unit`.
        observed: shares at equally spaced levels from 0 to 1.
        quantity: for the title.
        unit: of errors and deviations.
        theme: colours.

    Returns:
        A matplotlib Figure. On the right, groups of equally many labels: root mean square error against root mean
        square deviation. Calibrated groups lie on the diagonal.
    """
    levels = np.linspace(0.0, 1.0, len(observed))
    order = np.argsort(deviations)
    groups = [g for g in np.array_split(order, _GROUPS) if len(g)]
    rms = lambda values: [float(np.sqrt(np.mean(values[g] ** 2))) for g in groups]  # noqa: E731
    x, y = rms(deviations), rms(errors)
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(8.4, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes in (left, right):
            axes.grid(visible=True)
        left.plot((0, 1), (0, 1), color=theme.text, linewidth=0.8, alpha=0.6)
        left.fill_between(levels, levels, observed, color=theme.lines[0], alpha=0.25, linewidth=0)
        left.plot(levels, observed, color=theme.lines[0])
        left.set(xlabel="expected share of errors inside", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
        left.set_title(f"{quantity}: {len(errors):,} labels")
        ends = (min(x + y), max(x + y))
        right.loglog(ends, ends, color=theme.text, linewidth=0.8, alpha=0.6)
        right.loglog(x, y, "o-", color=theme.lines[1], markersize=4)
        right.set(xlabel=f"predicted deviation ({unit})", ylabel=f"root mean square error ({unit})")
        right.set_title("groups of equally many labels")
    return figure


def calibration_section(found: Mapping[str, Any]) -> Section:
    """Numbers and figures of the calibration of energies and forces.

    Args:
        found: name -> `jorbit.train.calibration.Calibration`.
    """
    rows, pictures = [], []
    for name, c in found.items():
        numbers = (c.ratio, c.nll, c.miscalibration_area, c.rank_correlation)
        rows.append([f"{name} ({c.unit})", f"{len(c.errors):,}", f"{c.scale:.3g}", *(f"{v:.3g}" for v in numbers)])
        draw = functools.partial(draw_calibration, c.errors, c.deviations, c.observed, quantity=c.quantity, unit=c.unit)
        pictures.append(picture(lambda theme, draw=draw: draw(theme=theme), f"Calibration of {name}"))
    headers = ["", "labels", "scale", "error / deviation", "NLL", "miscalibration area", "rank correlation"]
    text = (
        "Errors on frames that the fit has not seen, beside the standard deviations predicted for them. Calibrated: "
        "the root mean square of error over deviation is 1, and the curves lie on the diagonals. The miscalibration "
        "area is the coloured one, 0 to 0.5. The rank correlation says whether larger errors were expected to be "
        "larger; a scale does not change it."
    )
    return Section("Calibration", text, table(headers, rows) + f'<div class="figures">{"".join(pictures)}</div>')
