"""What the page of benchmarks draws: fronts that nothing beats, medians over seeds, growth with the number of atoms."""

import itertools
from typing import Any

import numpy as np
import pytest

from jorbit.report.benchmark_curves import Point, exponent, find_curves, front
from jorbit.report.benchmark_figures import draw_curves
from jorbit.report.benchmarks import benchmark_sections


def point(x: float, y: float) -> Point:
    return Point(x, y, (y, y), "")


def test_no_point_beats_one_of_the_front_and_every_other_point_is_beaten():
    values = np.random.default_rng(0).integers(1, 12, (60, 2))
    points = [point(float(x), float(y)) for x, y in values]
    best = front(points)

    def beats(a: Point, b: Point) -> bool:
        return a.x <= b.x and a.y <= b.y and (a.x, a.y) != (b.x, b.y)

    assert not any(beats(a, b) for a, b in itertools.product(points, best))
    on_it = {(p.x, p.y) for p in best}
    assert {(p.x, p.y) for p in points if not any(beats(q, p) for q in points)} == on_it


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0])
def test_the_growth_of_the_whole_is_found_from_costs_per_atom(power):
    sizes = np.array([10.0, 100.0, 4000.0])
    assert np.isclose(exponent([point(n, 3.0 * n ** (power - 1.0)) for n in sizes]), power)


def errors(model: str, n_train: int, force_mae: float, **more: Any) -> dict:
    return {"molecule": "ethanol", "model": model, "n_train": n_train, "force_mae": force_mae, **more}


def curves_of(rows: list[dict], kind: str) -> list:
    return [c for c in find_curves(rows) if c.kind == kind]


def test_seeds_are_one_point_with_their_spread_and_of_other_rows_the_best_counts():
    rows = [errors("seeds", n, e / n, seed=s) for n in (10, 100) for s, e in enumerate((1.0, 5.0, 2.0))]
    rows += [errors("sizes", n, e / n, n_parameters=k) for n in (10, 100) for k, e in ((7, 3.0), (70, 4.0))]
    (learning,) = curves_of(rows, "learning")
    (panel,) = learning.panels
    assert (panel.title, learning.y_label) == ("ethanol", "force MAE, meV/Å")
    lines = {label: [(p.x, p.y, p.spread) for p in points] for label, points in panel.series.items()}
    assert np.allclose([p[:2] for p in lines["seeds"]], [(10, 200.0), (100, 20.0)])  # medians; eV/Å to meV/Å
    assert np.allclose([p[2] for p in lines["seeds"]], [(100.0, 500.0), (10.0, 50.0)])
    assert np.allclose([p[:2] for p in lines["sizes"]], [(10, 300.0), (100, 30.0)])


def test_rows_with_other_settings_are_no_seeds_of_one_another():
    """Two seeds with much time, and one with little, which is worse: the median is over the two."""
    rows = [errors("a", n, e / n, seed=s, budget_processor_minutes=m, key=f"{n} {s} {m}", epochs=7 * m + s)
            for n in (10, 100) for s, m, e in ((0, 10.0, 1.0), (1, 10.0, 3.0), (0, 1.0, 9.0))]  # fmt: skip
    ((panel,),) = [c.panels for c in curves_of(rows, "learning")]
    (line,) = panel.series.values()
    assert np.allclose([(p.y, *p.spread) for p in line], [(200.0, 100.0, 300.0), (20.0, 10.0, 30.0)])


def test_every_cost_that_varies_gives_a_front_and_units_agree():
    rows = [
        {"element": "Si", "tool": t, "n_features": n, "us_per_atom": c, "fit_seconds wall_s": 7.0} | error
        for t, n, c, error in (
            ("a", 5, 1.0, {"force_mae_mev_per_angstrom": 100.0}),
            ("b", 50, 3.0, {"force_mae": 0.05}),
            ("c", 60, 2.0, {"force_mae_meV_A": 70.0}),
        )
    ]
    found = {c.x_label: c.panels[0] for c in curves_of(rows, "front")}
    assert list(found) == ["µs per atom", "features"]  # all trained for the same time
    points = {label: (p.x, p.y) for label, (p,) in found["features"].series.items()}
    assert points == {"a": (5, 100.0), "b": (50, 50.0), "c": (60, 70.0)}
    assert not curves_of(rows[:2], "front"), "two rows are no front"


def test_models_that_learned_from_more_frames_have_a_front_of_their_own():
    rows = [
        errors(m, n, e / n, n_parameters=k) for n in (10, 100) for m, e, k in (("a", 9, 5), ("b", 5, 50), ("c", 1, 500))
    ]
    (fronts,) = curves_of(rows, "front")
    found = {p.title: front(q for points in p.series.values() for q in points) for p in fronts.panels}
    assert {title: len(points) for title, points in found.items()} == {
        "ethanol, 10 frames": 3,
        "ethanol, 100 frames": 3,
    }


def test_published_errors_are_levels_of_the_error_that_is_drawn():
    rows = [errors(m, 950, 0.01 * k, n_parameters=k, published={"MACE": [0.4, 2.1]}) for k, m in enumerate("abc", 1)]
    (fronts,) = curves_of(rows, "front")
    assert fronts.panels[0].published == {"MACE": 2.1}
    page = benchmark_sections({"ladder": {"what": "", "rows": rows}}, {})[0].body
    assert "<picture>" in page and "against parameters" in page and "MACE" not in page  # levels are no column


def test_a_row_without_numbers_or_with_failures_spoils_nothing():
    rows = [errors("a", n, 1.0 / n, n_parameters=n) for n in (10, 20, 40)]
    bad = [{"tool": "peer", "failed": "no wheel"}, errors("a", 80, float("nan")), errors("b", 20, 0.0)]
    assert find_curves(rows + bad) == find_curves(rows)
    assert not find_curves(bad)


def test_cost_against_atoms_is_drawn_on_logarithmic_axes_with_its_growth():
    rows = [{"tool": t, "n_atoms": n, "us_per_atom": c} for t, c in (("a", 2.0), ("b", 3.0)) for n in (10, 1000)]
    (scaling,) = find_curves(rows)
    figure = draw_curves(scaling)
    axes = figure.axes[0]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert [line.get_label() for line in axes.get_lines()] == ["a  (N^1.00)", "b  (N^1.00)"]
    assert np.array_equal(axes.get_lines()[0].get_xydata(), [(10, 2.0), (1000, 2.0)])
