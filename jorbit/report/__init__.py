"""Figures and self-contained HTML pages from plain arrays. The only room that imports a plotting library."""

from jorbit.report.figures import draw_conservation, draw_element_errors, draw_parity, save_figure
from jorbit.report.html import Section, picture, render_page, table
from jorbit.report.learning_curves import draw_learning_curves, learning_curves_section
from jorbit.report.sections import Evaluation, conservation_section, drift_text, error_section, evaluation_sections

__all__ = [
    "Evaluation",
    "Section",
    "conservation_section",
    "draw_conservation",
    "draw_element_errors",
    "draw_learning_curves",
    "draw_parity",
    "drift_text",
    "error_section",
    "learning_curves_section",
    "evaluation_sections",
    "picture",
    "render_page",
    "save_figure",
    "table",
]
