"""How the error of an active learning run falls with its labels."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jorbit.report.figures import _matplotlib
from jorbit.report.html import Section, picture, table
from jorbit.report.theme import LIGHT, Theme

Curve = Sequence[Mapping[str, Any]]


def draw_label_curves(curves: Mapping[str, Curve], *, theme: Theme = LIGHT) -> Any:
    """Force error on the test frames against the number of labels, on logarithmic axes.

    Args:
        curves: name -> rounds with n_labels and force_mae (eV/Å).
        theme: colours.

    Returns:
        A matplotlib Figure.
    """
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(6.4, 4.2), layout="constrained")
        axes = figure.subplots()
        for k, (name, curve) in enumerate(curves.items()):
            color = theme.many[k % len(theme.many)]
            points = [(c["n_labels"], 1e3 * c["force_mae"]) for c in curve if c.get("force_mae") is not None]
            if points:
                axes.loglog(*zip(*points, strict=True), "o-", color=color, label=name, markersize=4)
        axes.set(xlabel="labelled structures", ylabel="force MAE on test frames (meV/Å)")
        if len(curves) > 1:
            axes.legend()
    return figure


def active_section(curves: Mapping[str, Curve]) -> Section:
    """The figure, and the rounds as a table."""
    rows = [
        [
            name,
            str(c["n_labels"]),
            *("-" if c.get(k) is None else f"{1e3 * c[k]:.3g}" for k in ("energy_mae_per_atom", "force_mae")),
            "-" if c.get("force_scale") is None else f"{c['force_scale']:.2f}",
        ]
        for name, curve in curves.items()
        for c in curve
    ]
    draw = functools.partial(draw_label_curves, curves)
    headers = ["", "labels", "energy MAE (meV/atom)", "force MAE (meV/Å)", "scale of the deviations"]
    text = (
        "Each round explores with the newest model, chooses structures that it knows little about and that differ from "
        "each other, labels and refits. Errors are on frames that are never learned from. The scale is the factor by "
        "which predicted deviations were multiplied, found on the labels of the round before."
    )
    has_errors = any(c.get("force_mae") is not None for curve in curves.values() for c in curve)
    figure = picture(lambda theme: draw(theme=theme), "Error against number of labels") if has_errors else ""
    return Section("Error against labels", text, figure + table(headers, rows))
