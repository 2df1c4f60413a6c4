"""The page about orbits shows what the result holds."""

import json
import re

import numpy as np
import pytest

import jorbit
from jorbit.core.structure import Structure
from jorbit.report.figures import save_figure
from jorbit.report.orbits import (
    draw_classes,
    draw_levels,
    draw_structure,
    interactive_view,
    orbit_color,
    orbit_sections,
)
from jorbit.report.theme import DARK, LIGHT


@pytest.fixture(scope="module")
def salt():
    """Rock salt, 8 atoms, rattled."""
    a = 5.64
    sites = np.array([(i, j, k) for i in range(2) for j in range(2) for k in range(2)])
    rng = np.random.default_rng(0)
    return jorbit.find_orbits(
        Structure(
            positions=sites * a / 2 + 0.05 * rng.normal(size=(8, 3)),
            numbers=np.where(sites.sum(axis=1) % 2, 17, 11),
            cell=a * np.eye(3),
            pbc=np.ones(3, dtype=bool),
        )
        for _ in range(60)
    )


def test_sections_and_figures(salt):
    sections = orbit_sections(salt)
    assert [s.title for s in sections] == ["Structure", "Orbits", "Classes of distances", "Labels by level"]
    assert "2 labels (exact orbits) from 60 frames" in sections[1].text and "6 Cl" in sections[1].body
    for draw in (draw_structure, draw_classes, draw_levels):
        for theme in (LIGHT, DARK):
            assert save_figure(draw(salt, theme), dpi=40).startswith(b"\x89PNG")


def test_bars_and_cuts_are_the_classes_of_the_result(salt):
    figure = draw_classes(salt, LIGHT)
    shown = sorted(bar.get_height() for axes in figure.axes for bar in axes.patches)
    assert shown == sorted(c.n_pairs for c in salt.classes if c.kind != "bond")
    assert sum(c.n_pairs for c in salt.classes) == 8 * 7 // 2


def test_the_view_that_turns_holds_every_atom_in_the_color_of_its_orbit(salt):
    data = json.loads(re.search(r"const data = (\{.*?\}), canvas", interactive_view(salt)).group(1))
    assert len(data["atoms"]) == 8
    assert [atom[4] for atom in data["atoms"]] == [orbit_color(int(k)) for k in salt.labels]
    assert len(data["bonds"]) > 0


def test_colors_of_many_orbits_differ():
    assert len({orbit_color(k) for k in range(100)}) == 100


def test_warnings_are_part_of_the_page():
    few = jorbit.find_orbits(jorbit.read("ethanol_gfn2")[:2])
    assert orbit_sections(few)[-1].title == "Warnings" and "at least 50 frames" in orbit_sections(few)[-1].body
