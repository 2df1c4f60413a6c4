"""The benchmarks on molecules and random methane: what is split, compared and shown is what is said."""

import importlib
import types
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
ENVIRONMENT = {"date": "2026-11-22T00:00:00+00:00", "cores": 2}


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def test_no_molecule_is_trained_on_and_tested(script):
    bench = script("bench_molecules")
    group = bench.groups([f"mol{k // 8}" for k in range(8 * 66)])
    tested = []
    for fold in range(5):
        parts = bench.split(group, fold, None, 0)
        molecules = [set(group[part].tolist()) for part in parts]
        assert sum(len(part) for part in parts) == 8 * 66 and set().union(*molecules) == set(range(66))
        assert all(a.isdisjoint(b) for a, b in zip(molecules, molecules[1:] + molecules[:1], strict=True))
        tested += list(parts[2])
        some = bench.split(group, fold, 80, 0)  # fewer frames are fewer dimers, and those first ones
        assert len(set(group[some[0]].tolist())) == 10 and np.array_equal(some[0], parts[0][:80])
    assert sorted(tested) == list(range(8 * 66))


def test_relative_energies_know_no_constant_of_a_dimer(script):
    reference = np.array([-5.0, -6.0, -5.5, 10.0, 9.0])
    group, step = np.array([3, 3, 3, 7, 7]), np.array([2, 0, 1, 0, 1])
    wrong = np.array([1.0, 1.0, 1.0, -4.0, -4.0]) + np.array([0.0, 0.3, -0.6, 0.5, 0.0])
    errors = types.SimpleNamespace(energy_reference=reference, energy_predicted=reference + wrong)
    relative = script("bench_molecules").relative_mae(errors, group, step)
    assert np.isclose(relative, (0.3 + 0.6 + 0.5) / 3)  # against the last step of each: 2 and 1


def test_the_slope_of_a_power_law_is_its_exponent(script):
    tables = script("ladder_tables")
    assert tables.slope({n: [c * 50.0 * n**-0.5 for c in (0.5, 1, 3)] for n in (1000, 8000, 90000)}) == "-0.50"
    assert tables.slope({1000: [1.0]}) == "-"
    rows = [
        {
            "system": system,
            "model": "hop14",
            "n_train": n,
            "energy_rmse_kcal_mol": 1e4 / n,
            "budget_processor_minutes": 2.0,
            "stored_as_paper_energy_rmse_kcal_mol": {"1000": 13.39} if system == "random CH4" else {},
            "environment": ENVIRONMENT,
        }
        for system in ("random CH4", "random CH4, GFN2-xTB, energies")
        for n in (1000, 10000)
    ]
    public, own = tables.methane({"what": "errors", "rows": rows}).split("**Random methane, GFN2-xTB, energies**")
    assert "| hop14 | 10 | 1 | -1.00 | 13.4 | - |" in public and "with a star" in public
    assert "| hop14 | 10 | 1 | -1.00 |\n" in own and "star" not in own and "not errors on the public set" in own


def test_published_rows_say_on_what_they_were_measured(script):
    published = script("bench_molecules").PUBLISHED
    row = {
        "model": "hipnn",
        "fold": 0,
        "seed": 0,
        "n_train": 5114,
        "budget_processor_minutes": 1.0,
        "n_parameters": 12345,
        "energy_mae_kcal_mol": 2.0,
        "energy_mae_mev": 86.73,
        "elements_only_mae_kcal_mol": 9.0,
        "environment": ENVIRONMENT,
    }
    forces = {"relative_mae_kcal_mol": 1.5, "force_mae_kcal_mol_per_angstrom": 4.25}
    rows = [row | {"set": name, "published_kcal_mol": published[name]} for name in ("qm7", "qm9")]
    rows.append(row | forces | {"set": "s66x8", "published_kcal_mol": published["s66x8"]})
    text = script("molecule_tables").molecules({"what": "errors", "rows": rows})
    assert text.count("hipnn (fold 0) | 2 | 86.7 |") == 3 and "| 2 | 86.7 | 1.5 | 4.25 | 5,114 | 1 | 12,345 |" in text
    lines = [line for line in text.splitlines() if "*published" in line]
    assert len(lines) == 5 and all(("OTHER DATA" in line) or ("recalled, not verified" in line) for line in lines)
