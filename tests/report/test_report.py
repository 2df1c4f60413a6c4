"""Reports: one file that needs nothing else, with figures that show the numbers they were given."""

import base64
import html.parser
import re

import numpy as np
import pytest

from jorbit.report import (
    Evaluation,
    conservation_section,
    draw_conservation,
    draw_element_errors,
    draw_parity,
    drift_text,
    error_section,
    evaluation_sections,
    render_page,
    save_figure,
    table,
)
from jorbit.report.figures import point_density
from jorbit.report.theme import DARK, LIGHT

PNG = b"\x89PNG\r\n\x1a\n"


def evaluation(n_frames: int = 30) -> Evaluation:
    rng = np.random.default_rng(0)
    energy, forces = rng.normal(-30.0, 0.05, n_frames), rng.normal(0, 1, (9 * n_frames, 3))
    return Evaluation(
        energy_reference=energy,
        energy_predicted=energy + 0.001,
        forces_reference=forces,
        forces_predicted=forces + rng.normal(0, 0.03, forces.shape),
        symbols=["C", "C", "O", *"HHHHHH"] * n_frames,
    )


@pytest.fixture(scope="module")
def page() -> str:
    time = np.linspace(0.0, 1.0, 50)
    kinetic = 0.3 + 0.1 * np.sin(20 * time)
    sections = [
        error_section(["model", "MAE"], [["<script>alert(1)</script>", "1.0"]], "Less is better & cheaper."),
        *evaluation_sections(evaluation()),
        conservation_section(time, -kinetic, kinetic, n_atoms=9, drift=1e-5, drift_error=2e-5),
    ]
    return render_page("Errors of <my> model", "A sentence.", sections, {"jorbit": "1.2.3"})


class Checker(html.parser.HTMLParser):
    """Collects references, and complains about tags that are not closed."""

    VOID = ("meta", "img", "source", "br")

    def __init__(self):
        super().__init__()
        self.open, self.references, self.images, self.scripts = [], [], 0, 0

    def handle_starttag(self, tag, attrs):
        self.references += [value for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]
        self.images += tag == "img"
        self.scripts += tag == "script"
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


def test_page_refers_to_nothing_outside_itself(page):
    checker = Checker()
    checker.feed(page)
    assert checker.references and all(r.startswith("data:image/png;base64,") for r in checker.references)
    assert "@import" not in page and "url(" not in page and "http" not in re.sub(r"base64,[^\"]+", "", page)


def test_page_is_well_formed_and_text_cannot_become_code(page):
    checker = Checker()
    checker.feed(page)
    assert checker.open == [] and checker.scripts == 0
    assert "&lt;script&gt;" in page and "<title>Errors of &lt;my&gt; model</title>" in page


def test_page_embeds_every_figure_for_light_and_dark(page):
    checker = Checker()
    checker.feed(page)
    assert checker.images == 4  # energies, forces, elements, conservation
    assert page.count('media="(prefers-color-scheme: dark)"') == 4
    for data in re.findall(r'base64,([^"]+)"', page):
        assert base64.b64decode(data, validate=True).startswith(PNG)


def test_page_names_versions_and_units(page):
    assert "jorbit 1.2.3" in page and "eV" in page and "positive under tension" in page


def test_parity_title_holds_the_errors():
    reference = np.linspace(-1, 1, 10)
    error = np.array([0.003] * 9 + [0.03])
    figure = draw_parity(
        reference, reference + error, quantity="force component", plural="components", unit="eV/Å", error_unit="meV/Å"
    )
    mae, rmse = 1000 * error.mean(), 1000 * np.sqrt((error**2).mean())
    assert figure.axes[0].get_title(loc="left") == f"10 components\nMAE {mae:.3g} meV/Å, RMSE {rmse:.3g} meV/Å"


def test_parity_colours_by_density_only_where_points_overlap():
    few, many = np.linspace(0, 1, 20), np.linspace(0, 1, 2000)
    options = dict(quantity="energy", plural="energies", unit="eV", error_unit="meV")
    assert len(draw_parity(few, few, **options).axes) == 2  # no colour bar
    assert len(draw_parity(many, many + 1e-3, **options).axes) == 3


def test_point_density_counts_points_in_one_place():
    x = np.array([0.0] * 10 + [1.0])
    np.testing.assert_allclose(10 ** point_density(x, x), [10] * 10 + [1])


def test_points_of_one_value_can_be_drawn():
    one = np.zeros(500)
    assert save_figure(
        draw_parity(one, one, quantity="energy", plural="energies", unit="eV", error_unit="meV")
    ).startswith(PNG)


def test_element_errors_are_the_bars():
    figure = draw_element_errors({"H": 2.0, "O": 4.0}, {"H": 3.0, "O": 8.0}, {"H": 6, "O": 1}, unit="meV/Å")
    assert sorted(bar.get_width() for bar in figure.axes[0].patches) == [2.0, 3.0, 4.0, 8.0]


def test_without_energies_only_forces_are_shown():
    forces = np.zeros((3, 3))
    predicted = np.array([[0.003, 0, 0], [0, 0, 0], [0.0, 0.0, 0.012]])
    data = Evaluation(
        energy_reference=np.zeros(0),
        energy_predicted=np.zeros(0),
        forces_reference=forces,
        forces_predicted=predicted,
        symbols=["H", "H", "O"],
    )
    sections = evaluation_sections(data)
    assert [s.title for s in sections] == ["Predicted against reference", "Error by element"]
    assert sections[0].body.count("<img") == 1  # no energies, so no parity plot of energies


def test_without_labels_there_is_nothing_to_plot():
    empty = Evaluation(
        energy_reference=np.zeros(0),
        energy_predicted=np.zeros(0),
        forces_reference=np.zeros((0, 3)),
        forces_predicted=np.zeros((0, 3)),
        symbols=[],
    )
    assert evaluation_sections(empty) == []


def test_conservation_shows_the_total_as_the_sum():
    time = np.linspace(0, 1, 20)
    kinetic, potential = 0.2 + 0.1 * np.cos(9 * time), -5 - 0.1 * np.cos(9 * time)
    figure = draw_conservation(time, potential, kinetic, n_atoms=2, drift="none")
    curves = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    np.testing.assert_allclose(curves["total"], curves["potential"] + curves["kinetic"])
    assert np.ptp(curves["total"]) < 1e-9 < np.ptp(curves["kinetic"])


def test_drift_is_printed_with_error_and_unit():
    assert drift_text(1.23e-5, 4.5e-6) == "+1.2e-05 ± 5e-06 meV/atom/ps"


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_every_colour_stands_out_from_its_page(theme):
    """WCAG contrast ratio of at least 3 for lines and text, and at least 1.5 for the faintest point density."""

    def luminance(color: str) -> float:
        channels = np.array([int(color[k : k + 2], 16) for k in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    def contrast(color: str) -> float:
        a, b = sorted((luminance(color), luminance(theme.background)))
        return (b + 0.05) / (a + 0.05)

    assert min(contrast(c) for c in (*theme.lines, theme.text)) >= 3
    assert min(contrast(c) for c in theme.density) >= 1.5


def test_tables_escape_what_they_print():
    assert "&lt;b&gt;" in table(["a & b"], [["<b>"]]) and "a &amp; b" in table(["a & b"], [])
