"""The verdict on orbits in networks follows from the rows; tables of networks show what rows say."""

import importlib
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def scripts(monkeypatch):
    """Modules of benchmarks/, which import each other by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("orbit_verdict"), importlib.import_module("network_tables")


def rows_of(*models):
    """(labels, size, parameters, errors of the seeds) -> rows."""
    common = {"system": "slab", "network": "mace", "n_train": 70, "budget_processor_minutes": 5.0}
    return [
        {**common, "labels": labels, "size": size, "n_parameters": n, "force_rmse_mev_per_angstrom": error}
        for labels, size, n, errors in models
        for error in errors
    ]


LARGE = ("elements", "l", 100_000, (20.0, 21.0, 22.0))
WORSE = ("elements", "xl", 200_000, (30.0, 30.5, 31.0))  # larger is not better within a budget
SMALL = ("elements", "s", 9_000, (40.0, 41.0, 42.0))


@pytest.mark.parametrize(
    ("orbits", "holds", "words"),
    [
        (("orbits", "s", 10_000, (21.4, 22.4, 23.4)), True, "holds: 10,000 parameters with orbits 22.4 ± 1 meV/Å"),
        (("orbits", "s", 10_000, (21.5, 22.5, 23.5)), False, "No model with orbits reaches it"),  # noise: sqrt(2)
        (("orbits", "m", 10_001, (10.0, 11.0, 12.0)), None, "at most a tenth of the 100,000 parameters"),
        (("orbits", "s", 10_000, (10.0,)), None, "one seed has no spread"),
    ],
)
def test_the_verdict_is_what_means_spreads_and_sizes_say(scripts, orbits, holds, words):
    verdict, _ = scripts
    (found,) = verdict.verdicts(rows_of(LARGE, WORSE, SMALL, orbits))
    assert found["holds"] is holds and words in verdict.sentence(found)
    assert found["measure"]["size"] == "l"
    assert found.get("elements_hold") in (False, None)


def test_orbits_get_no_credit_for_what_elements_do_as_well(scripts):
    verdict, _ = scripts
    good = ("elements", "s", 9_000, (21.0, 21.5, 22.0))
    (found,) = verdict.verdicts(rows_of(LARGE, good, ("orbits", "s", 9_900, (20.5, 21.0, 21.5))))
    assert found["holds"] and found["elements_hold"] and "it is not the orbits" in verdict.sentence(found)


def test_both_labels_are_compared_at_the_same_size(scripts):
    verdict, _ = scripts
    clear, close = ("orbits", "s", 9_900, (38.0, 39.0, 40.0)), ("orbits", "l", 110_000, (20.0, 20.5, 21.0))
    (found,) = verdict.verdicts(rows_of(LARGE, SMALL, clear, close))  # noise: sqrt(2) and sqrt(1.25)
    assert {pair["size"]: pair["lower"] for pair in found["same_size"]} == {"s": True, "l": False}
    assert "s, 39 ± 1 meV/Å with orbits and 41 ± 1 meV/Å with elements (lower by" in verdict.sentence(found)


def test_settings_are_not_mixed(scripts):
    verdict, _ = scripts
    other = [row | {"budget_processor_minutes": 60.0} for row in rows_of(("orbits", "s", 10_000, (1.0, 1.1, 1.2)))]
    found = verdict.verdicts([*rows_of(LARGE), *other])
    assert [v["holds"] for v in found] == [None, None] and "undecided" in verdict.sentence(found[0])


def test_tables_show_rows_and_published_errors(scripts):
    verdict, tables = scripts
    environment = {"date": "2026-11-21T12:00:00+00:00", "commit": "abc1234", "cores": 2}
    tests = {
        "300 K": {"test_frames": "a", "energy_rmse_mev": 4.321, "force_rmse_mev_per_angstrom": 12.34},
        "dihedral": {"test_frames": "b", "energy_rmse_mev": 5.678, "force_rmse_mev_per_angstrom": None},
    }
    tests["300 K"]["published"], tests["dihedral"]["published"] = {"MACE": (3.0, 8.8)}, {}
    row = {"set": "acac", "model": "schnet", "n_train": 450, "budget_processor_minutes": 10.0, "size": "small"}
    row |= {"seed": 1, "tests": tests, "n_parameters": 56065, "fit_seconds": {"cpu_s": 600.0}, "epochs": 77}
    row |= {"us_per_atom": 71.23, "environment": environment}
    lines = tables.networks({"what": "RMSE", "rows": [row]}).splitlines()
    assert "| schnet (seed 1) | 4.32 / 12.3 | 5.68 / - | 56,065 | 10 | 77 | 71.2 |" in lines
    assert "| published: MACE | 3 / 8.8 | - / - | - | - | - | - |" in lines

    rows = [r | {"environment": environment} for r in rows_of(LARGE, ("orbits", "s", 10_000, (10.0, 11.0, 12.0)))]
    said = [v | {"in_words": verdict.sentence(v)} for v in verdict.verdicts(rows)]
    data = {"what": "errors", "rows": rows, "means": verdict.means(rows), "verdicts": said}
    text = tables.orbit_networks(data | {"orbits_are_the_elements": ["CsPbBr3"]})
    assert "| slab, mace | orbits | s | 10,000 | 11 ± 1 | 3 | 70 | 5 |" in text
    assert "- slab, mace: holds" in text and "In CsPbBr3 the orbits are the elements" in text
