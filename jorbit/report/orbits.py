"""Sections about orbits: the structure coloured by orbit, classes of distances, labels by level of refinement."""

import colorsys
import json
from collections import defaultdict
from typing import Any

import numpy as np
from jaxtyping import Float

from jorbit.core.species import SYMBOLS
from jorbit.orbits import OrbitResult
from jorbit.orbits.classes import PairClass
from jorbit.orbits.lattice import displacements, make_lattice
from jorbit.orbits.table import orbit_table, ranges
from jorbit.report.figures import _matplotlib
from jorbit.report.html import Section, picture, table
from jorbit.report.orbit_viewer import VIEWER
from jorbit.report.theme import Theme

GOLDEN_ANGLE = 0.381966
MANY_ATOMS = 40  # from here on atoms are not numbered in pictures
MAX_PANELS = 6
_SIZE = {1: 0.55}  # drawn radius by atomic number; 1 for all others


def orbit_color(index: int) -> str:
    """A colour for an orbit; neighbours in the list differ most, and three shades help where there are many."""
    red, green, blue = colorsys.hls_to_rgb((index * GOLDEN_ANGLE) % 1.0, (0.55, 0.42, 0.68)[index % 3], 0.65)
    return "#" + "".join(f"{round(255 * c):02x}" for c in (red, green, blue))


def orbit_sections(result: OrbitResult) -> list[Section]:
    """Everything a page about orbits shows."""
    parts = [_structure(result), _orbits(result)]
    if any(c.kind != "bond" for c in result.classes):
        parts.append(_classes(result))
    return [*parts, _levels(result)] + ([_warnings(result)] if result.warnings else [])


def _layout(result: OrbitResult) -> Float[np.ndarray, "atoms 3"]:
    """Mean positions turned so that the two longest axes lie in the plane of the paper; made whole along bonds."""
    reference = result.reference
    lattice = make_lattice(np.where(reference.pbc[:, None], reference.cell, np.eye(3)), reference.pbc)
    positions, seen = reference.positions.copy(), np.zeros(result.n_atoms, dtype=bool)
    for fragment in result.fragments:
        stack = [fragment.atoms[0]]
        seen[stack] = True
        while fragment.kind == "molecule" and stack:
            i = stack.pop()
            for j in np.flatnonzero(reference.bonds[i] & ~seen):
                positions[j] = positions[i] + displacements(positions[j] - positions[i], lattice)
                seen[j] = True
                stack.append(int(j))
    positions -= positions.mean(axis=0)
    return positions @ np.linalg.svd(positions, full_matrices=True)[2].T


def draw_structure(result: OrbitResult, theme: Theme) -> Any:
    """The structure seen along its shortest axis; every orbit has its colour."""
    matplotlib = _matplotlib()
    positions = _layout(result)
    span = np.ptp(positions[:, :2], axis=0)
    height = float(np.clip(6.4 * (span[1] + 2) / (span[0] + 2), 2.2, 7.0))
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(6.8, height), layout="constrained")
        axes = figure.subplots()
        for i, j in np.argwhere(np.triu(result.reference.bonds)):
            if np.linalg.norm(positions[i] - positions[j]) < 4.0:  # bonds through the walls of the cell are left out
                axes.plot(*positions[[i, j], :2].T, color=theme.text, linewidth=1.0, alpha=0.5, zorder=1)
        scale = 320.0 / max(1.0, (result.n_atoms / 20.0))
        for k in np.argsort(positions[:, 2]):
            size = scale * _SIZE.get(int(result.numbers[k]), 1.0)
            color = orbit_color(int(result.labels[k]))
            axes.scatter(*positions[k, :2], s=size, color=color, edgecolors=theme.text, linewidths=0.6, zorder=2)
            if result.n_atoms <= MANY_ATOMS:
                name = result.names[result.labels[k]]
                axes.annotate(name, positions[k, :2], (5, 5), textcoords="offset points", fontsize=8, zorder=3)
        axes.set_aspect("equal")
        axes.margins(0.08)
        axes.set_axis_off()
        axes.set_title(f"{result.n_orbits} orbits of {result.n_atoms} atoms")
    return figure


def interactive_view(result: OrbitResult) -> str:
    """HTML of a view that can be turned, with everything it needs in it."""
    positions = _layout(result)[:, [0, 2, 1]]
    atoms = [
        [*map(float, p.round(3)), 0.45 * _SIZE.get(int(z), 1.0), orbit_color(int(k)), result.names[k]]
        for p, z, k in zip(positions, result.numbers, result.labels, strict=True)
    ]
    bonds = [
        [int(i), int(j)]
        for i, j in np.argwhere(np.triu(result.reference.bonds))
        if np.linalg.norm(positions[i] - positions[j]) < 4.0
    ]
    size = float(np.linalg.norm(positions, axis=1).max()) + 1.0
    data = json.dumps({"atoms": atoms, "bonds": bonds, "size": size}).replace("<", "\\u003c")
    return VIEWER.replace("DATA", data)


def _structure(result: OrbitResult) -> Section:
    still = picture(lambda theme: draw_structure(result, theme), "Structure coloured by orbit")
    return Section(
        "Structure",
        "Atoms of one colour are interchangeable in the data. One view is along the shortest axis, the other turns.",
        f'<div class="figures">{still}{interactive_view(result)}</div>',
    )


def _orbits(result: OrbitResult) -> Section:
    exact = "exact orbits" if result.exact else "cells of colour refinement"
    stability = "not known" if result.stability is None else f"{result.stability:.3f}"
    text = (
        f"{result.n_orbits} labels ({exact}) from {result.n_frames} frames; the graph has {result.group_order:,} "
        f"automorphisms. Stability over halves and random parts of the trajectory (adjusted Rand index): {stability}. "
        "Spread: how much the distances of an atom to the others of its fragment vary."
    )
    rows = [
        [row.name, str(len(row.atoms)), ranges(row.atoms), row.surroundings, f"{row.spread:.3f}"]
        for row in orbit_table(result)
    ]
    return Section("Orbits", text, table(["orbit", "size", "atoms", "surroundings", "spread (Å)"], rows))


def draw_classes(result: OrbitResult, theme: Theme) -> Any:
    """Number of pairs in each class against its mean distance, with the cuts between classes."""
    matplotlib = _matplotlib()
    by_pair: dict[tuple[int, int], list[PairClass]] = defaultdict(list)
    for c in result.classes:
        if c.kind != "bond":
            by_pair[c.numbers].append(c)
    chosen = sorted(by_pair, key=lambda ends: -len(by_pair[ends]))[:MAX_PANELS]
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(7.2, 0.6 + 1.5 * len(chosen)), layout="constrained")
        panels = figure.subplots(len(chosen), 1, squeeze=False)[:, 0]
        for axes, ends in zip(panels, chosen, strict=True):
            for ends_of_cut, at, _ in result.cuts:
                if ends_of_cut == ends:
                    axes.axvline(at, color=theme.text, linewidth=0.6, linestyle=":", alpha=0.5)
            for kind, color in (("distance", theme.lines[0]), ("dropped", theme.lines[1])):
                mine = [c for c in by_pair[ends] if c.kind == kind]
                if mine:
                    axes.bar([c.mean for c in mine], [c.n_pairs for c in mine], 0.06, color=color, label=kind)
                    axes.hlines(
                        [c.n_pairs for c in mine],
                        [c.mean - c.spread for c in mine],
                        [c.mean + c.spread for c in mine],
                        color=color,
                        alpha=0.35,
                    )
            axes.set(ylabel="pairs", title=f"{SYMBOLS[ends[0]]}-{SYMBOLS[ends[1]]}: {len(by_pair[ends])} classes")
            axes.legend(loc="upper left", fontsize=8)
        panels[-1].set_xlabel("mean distance of the class (Å)")
    return figure


def _classes(result: OrbitResult) -> Section:
    return Section(
        "Classes of distances",
        "Mean distances of pairs of atoms that stay in place, cut where the sorted values leave a gap (dotted lines). "
        "Bars: pairs in a class; horizontal lines: how much the distance varies in time. Dropped classes vary too "
        f"much to be used. The narrowest gap is {result.separation:.2f} times the least that counts.",
        picture(lambda theme: draw_classes(result, theme), "Number of pairs by mean distance, with cuts"),
    )


def draw_levels(result: OrbitResult, theme: Theme) -> Any:
    """The label of every atom after each round of refinement, and the number of labels."""
    matplotlib = _matplotlib()
    levels = result.level_labels
    with matplotlib.rc_context(theme.rc()):
        figure = matplotlib.figure.Figure(figsize=(7.2, 1.3 + 0.32 * len(levels)), layout="constrained")
        axes = figure.subplots()
        order = np.argsort(levels[-1], kind="stable")
        colors = np.array(
            [
                [matplotlib.colors.to_rgb(orbit_color(int(_kept_color(levels, k, int(a))))) for a in order]
                for k in range(len(levels))
            ]
        )
        axes.imshow(colors, aspect="auto", interpolation="nearest")
        axes.set_yticks(
            range(len(levels)), [f"level {k}: {labels.max() + 1} labels" for k, labels in enumerate(levels)]
        )
        axes.grid(visible=False)
        axes.set(xlabel="atoms, sorted by their last label", title="Labels by level of refinement")
    return figure


def _kept_color(levels: tuple[np.ndarray, ...], level: int, atom: int) -> int:
    """Colour of a cell: that of its smallest member in the end, so that cells keep a colour while others split off."""
    cell = np.flatnonzero(levels[level] == levels[level][atom])
    return int(levels[-1][cell].min())


def _levels(result: OrbitResult) -> Section:
    return Section(
        "Labels by level",
        "Level 0 tells elements apart; every round looks one step further along the edges of the graph. A lower "
        "level is a coarser set of labels with more data for each.",
        picture(lambda theme: draw_levels(result, theme), "Labels of all atoms after each round of refinement"),
    )


def _warnings(result: OrbitResult) -> Section:
    return Section(
        "Warnings", "Read these before using the labels.", table(["warning"], [[w] for w in result.warnings])
    )
