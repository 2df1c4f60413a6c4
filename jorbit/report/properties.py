"""Figures of crystals: phonon bands with their density of states, energy against volume."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jorbit.report.figures import _matplotlib
from jorbit.report.theme import LIGHT, Theme


def draw_bands(
    distances: Float[np.ndarray, " points"],
    frequencies: Float[np.ndarray, "points modes"],
    labels: Sequence[tuple[float, str]],
    states: tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]] | None = None,
    theme: Theme = LIGHT,
) -> Any:
    """Bands (THz) along a path, with the density of states beside them.

    Args:
        distances: along the path.
        frequencies: THz; imaginary ones are negative.
        labels: (distance, name) of the special points.
        states: (THz, states per THz).
        theme: colours.
    """
    figure = _matplotlib().figure.Figure(figsize=(7.0, 4.2), layout="constrained", facecolor=theme.background)
    widths = [4, 1] if states is not None else [1]
    axes = figure.subplots(1, len(widths), sharey=True, squeeze=False, width_ratios=widths)[0]
    axes[0].plot(distances, frequencies, color=theme.lines[0], lw=1.2)
    for at, _ in labels:
        axes[0].axvline(at, color=theme.grid, lw=0.8, zorder=0)
    axes[0].axhline(0.0, color=theme.grid, lw=0.8, zorder=0)
    axes[0].set_xticks([at for at, _ in labels], ["Γ" if name == "G" else name for _, name in labels])
    axes[0].set_xlim(float(distances[0]), float(distances[-1]))
    axes[0].set_ylabel("frequency (THz)", color=theme.text)
    if states is not None:
        axes[1].fill_betweenx(states[0], states[1], color=theme.lines[0], alpha=0.4, lw=0)
        axes[1].set_xlabel("states per THz", color=theme.text)
    _dress(axes, theme)
    return figure


def draw_equation_of_state(
    volumes: Float[np.ndarray, " points"],
    energies: Float[np.ndarray, " points"],
    curve: tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]],
    title: str,
    theme: Theme = LIGHT,
) -> Any:
    """Computed energies (eV) at volumes (Å^3), and the fitted curve."""
    figure = _matplotlib().figure.Figure(figsize=(5.5, 4.0), layout="constrained", facecolor=theme.background)
    axes = figure.subplots()
    axes.plot(*curve, color=theme.lines[0], lw=1.4)
    axes.plot(volumes, energies, "o", color=theme.lines[1], ms=5)
    axes.set_xlabel("volume (Å³)", color=theme.text)
    axes.set_ylabel("energy (eV)", color=theme.text)
    axes.set_title(title, color=theme.text, fontsize=10)
    _dress([axes], theme)
    return figure


def draw_directional_modulus(
    angles: Float[np.ndarray, " angles"],
    planes: dict[str, Float[np.ndarray, " angles"]],
    title: str,
    theme: Theme = LIGHT,
) -> Any:
    """A modulus (GPa) against the direction within planes: one closed curve per plane, by name."""
    figure = _matplotlib().figure.Figure(figsize=(5.0, 5.0), layout="constrained", facecolor=theme.background)
    axes = figure.add_subplot(projection="polar")
    for k, (name, values) in enumerate(planes.items()):
        axes.plot(angles, values, color=theme.lines[k % len(theme.lines)], lw=1.6, label=name)
    axes.set_rmin(0.0)
    axes.set_title(title, color=theme.text, fontsize=10)
    axes.legend(loc="lower right", fontsize=8, frameon=False, labelcolor=theme.text)
    _dress([axes], theme)
    return figure


def _dress(axes: Any, theme: Theme) -> None:
    for one in axes:
        one.set_facecolor(theme.background)
        one.tick_params(colors=theme.text)
        for side in one.spines.values():
            side.set_color(theme.grid)
