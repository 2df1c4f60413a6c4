"""How a training went: losses, errors and learning rate against the epoch."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from jorbit.report.figures import _matplotlib
from jorbit.report.html import Section, picture
from jorbit.report.theme import LIGHT, Theme

ERRORS = (("energy_rmse", "energy, meV/atom"), ("forces_rmse", "forces, meV/Å"), ("stress_rmse", "stress, meV/Å³"))


def draw_learning_curves(history: Sequence[Mapping[str, Any]], *, theme: Theme = LIGHT) -> Any:
    """Training and validation loss, validation errors, and the learning rate; all on logarithmic axes.

    Args:
        history: one mapping per epoch with epoch, loss and learning_rate; and "validation": a mapping with loss and
            RMSEs in eV/atom, eV/Å and eV/Å^3.
        theme: colours.

    Returns:
        A matplotlib Figure.
    """
    epochs = [h["epoch"] for h in history]
    checked = [h for h in history if "validation" in h]
    matplotlib = _matplotlib()
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(7.2, 7.0), layout="constrained")
        losses, errors, rates = figure.subplots(3, 1, sharex=True, height_ratios=(1.5, 1.5, 0.7))
        losses.plot(epochs, [h["loss"] for h in history], color=theme.lines[0], label="training")
        if checked:
            values = [h["validation"]["loss"] for h in checked]
            losses.plot([h["epoch"] for h in checked], values, color=theme.lines[1], label="validation")
        for (key, label), color in zip(ERRORS, theme.lines, strict=True):
            points = [(h["epoch"], 1e3 * h["validation"][key]) for h in checked if key in h["validation"]]
            if points:
                errors.plot(*zip(*points, strict=True), color=color, label=label)
        rates.plot(epochs, [h["learning_rate"] for h in history], color=theme.lines[0])
        for axes in (losses, errors, rates):
            axes.set_yscale("log")
        for axes in (losses, errors):
            if axes.get_lines():
                axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, borderaxespad=0.1)
        losses.set(ylabel="loss")
        errors.set(ylabel="validation RMSE")
        rates.set(ylabel="learning rate", xlabel="epoch")
    return figure


def learning_curves_section(history: Sequence[Mapping[str, Any]]) -> Section:
    """The learning curves with their explanation."""
    draw = functools.partial(draw_learning_curves, history)
    return Section(
        "Learning curves",
        "The training loss is the mean over the steps of an epoch, with the parameters as they were at each step; the "
        "validation loss is measured at its end, with the averaged parameters that are kept, and so may lie below. A "
        "validation loss that rises while the training loss falls means that frames are being learned by heart.",
        picture(lambda theme: draw(theme=theme), "Losses, validation errors and learning rate against the epoch"),
    )
