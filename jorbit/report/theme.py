"""Colours and sizes of figures on a light and on a dark page."""

import dataclasses
from typing import Any


@dataclasses.dataclass(frozen=True)
class Theme:
    """What a figure needs to know about the page it stands on.

    Attributes:
        background, text, grid: colours.
        lines: colours of curves, told apart in both themes and by colour-blind readers.
        many: colours of curves where there are more than three.
        density: matplotlib colour map for point density; every colour of it stands out from the background.
    """

    background: str
    text: str
    grid: str
    lines: tuple[str, ...]
    many: tuple[str, ...]
    density: tuple[str, ...]

    def rc(self) -> dict[str, Any]:
        """Settings for matplotlib.rc_context."""
        return {
            "figure.facecolor": self.background,
            "axes.facecolor": self.background,
            "savefig.facecolor": self.background,
            "text.color": self.text,
            "axes.labelcolor": self.text,
            "axes.titlecolor": self.text,
            "axes.edgecolor": self.grid,
            "xtick.color": self.text,
            "ytick.color": self.text,
            "grid.color": self.grid,
            "grid.linewidth": 0.6,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.formatter.useoffset": False,
            "legend.frameon": False,
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.titlelocation": "left",
        }


LIGHT = Theme(
    background="#ffffff",
    text="#1d2530",
    grid="#d5dae1",
    lines=("#0b62b0", "#c2510a", "#2f7d4f"),
    many=("#0b62b0", "#c2510a", "#2f7d4f", "#8e3a86", "#8a6d00", "#1797a6", "#c0365a", "#5a6472"),
    density=("#a9cbeb", "#3d86c6", "#14497f", "#071f3d"),
)
DARK = Theme(
    background="#171b21",
    text="#e3e7ec",
    grid="#39414c",
    lines=("#6cb2f5", "#f2a05e", "#7ccf9b"),
    many=("#6cb2f5", "#f2a05e", "#7ccf9b", "#d79ad0", "#e3c65b", "#6fd3df", "#f28ba6", "#aab4c0"),
    density=("#2b5a87", "#4f9add", "#a5d3ff", "#ffffff"),
)
