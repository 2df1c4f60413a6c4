"""The shipped sets: what they contain, in which order, and that energies, forces and stress belong together."""

import json
import subprocess
import sys

import numpy as np
import pytest

from jorbit.core.protocols import Dataset
from jorbit.core.structure import Frame
from jorbit.datasets import DATASETS, load_dataset
from jorbit.datasets.checks import energy_force_slope, unit_suspicion
from jorbit.datasets.npz import load_arrays
from jorbit.datasets.shipped import FOLDER

SHIPPED = {"ethanol_gfn2": 2000, "bn_gfn1": 300}


@pytest.fixture(scope="module", params=SHIPPED)
def data(request):
    return load_dataset(request.param)


def test_sizes_and_labels_are_as_advertised(data):
    assert len(data) == SHIPPED[data.name] and isinstance(data, Dataset)
    for frame in data:
        frame.structure.check()
        assert np.isfinite(frame.labels.energy) and np.isfinite(frame.labels.forces).all()
        assert (frame.labels.stress is not None) == frame.structure.pbc.all()
        assert frame.info["temperature"] in (300.0, 600.0, 1000.0)
    assert set(data.isolated_energies) == set(data[0].structure.numbers.tolist())
    assert data.citation and data.licence and data.source
    assert sorted([*data.splits["train"], *data.splits["test"]]) == list(range(len(data)))


def test_the_order_is_the_same_every_time(data):
    again = load_dataset(data.name)
    for one, other in zip(data, again, strict=True):
        assert one.labels.energy == other.labels.energy
        np.testing.assert_array_equal(one.structure.positions, other.structure.positions)


def test_any_beginning_of_the_set_holds_all_temperatures(data):
    first = [frame.info["temperature"] for frame in list(data)[:60]]
    assert min(first.count(temperature) for temperature in (300.0, 600.0, 1000.0)) >= 8


def test_no_frame_occurs_twice(data):
    energies = np.array([frame.labels.energy for frame in data])
    assert len(np.unique(energies)) == len(energies)


def test_forces_are_minus_the_slope_of_the_energies(data):
    check = energy_force_slope(data.frames)
    # the trapezoidal rule between the closest frames: anharmonic motion leaves a few per cent
    assert check.slope == pytest.approx(1.0, abs=0.1) and check.correlation > 0.97
    assert unit_suspicion(data.frames) is None


def test_forces_add_up_to_zero(data):
    for frame in data:
        assert abs(frame.labels.forces.sum(axis=0)).max() < 1e-8  # eV/Å, rounding of the reference code


def strain_between(a: Frame, b: Frame) -> np.ndarray:
    """The symmetric strain that leads from the cell of a to the cell of b."""
    gradient = np.linalg.solve(a.structure.cell, b.structure.cell) - np.eye(3)
    return (gradient + gradient.T) / 2


def test_stress_is_the_slope_of_the_energy_with_strain():
    """Between frames of different cells: E_b - E_a + work of the forces ≈ V (σ_a + σ_b) / 2 : ε."""
    frames = [frame for frame in load_dataset("bn_gfn1") if frame.info["temperature"] == 300.0]
    left, right = [], []
    for a, b in zip(frames[:-1], frames[1:], strict=True):
        if a.info["trajectory"] == b.info["trajectory"]:
            continue
        strain = strain_between(a, b)
        inside = b.structure.positions @ np.linalg.solve(b.structure.cell, a.structure.cell) - a.structure.positions
        inside -= inside.mean(axis=0)
        work = -0.5 * ((a.labels.forces + b.labels.forces) * inside).sum()
        volume = (a.structure.volume + b.structure.volume) / 2
        left.append(b.labels.energy - a.labels.energy - work)
        right.append(0.5 * volume * ((a.labels.stress + b.labels.stress) * strain).sum())
    assert len(left) > 20
    slope = np.dot(left, right) / np.dot(right, right)
    assert slope == pytest.approx(1.0, abs=0.1)  # anharmonic motion and finite strain, up to 3 %
    assert np.corrcoef(left, right)[0, 1] > 0.97


def test_stresses_are_symmetric_and_vary():
    stresses = np.array([frame.labels.stress for frame in load_dataset("bn_gfn1")])
    np.testing.assert_allclose(stresses, stresses.transpose(0, 2, 1), atol=1e-12)
    assert (stresses.std(axis=0) > 0.01).all()  # eV/Å^3; shear components included
    cells = np.array([frame.structure.cell for frame in load_dataset("bn_gfn1")])
    assert len(np.unique(cells.round(6), axis=0)) == 10  # nine strained cells and the cubic one


def test_nothing_that_failed_the_guard_was_kept(data):
    arrays = load_arrays(FOLDER / f"{data.name}.npz")
    about = json.loads(str(arrays["about"]))
    kept, recipe = about["largest_kept"], about["recipe"]
    assert kept["jump"] <= recipe["max_jump"] and kept["scratch"] <= 1e-3
    assert kept["force_error"] <= 1e-3 and kept["stress_error"] <= 1e-4
    assert about["n_sampled"] - about["n_dropped"] >= SHIPPED[data.name]


def test_together_they_are_small():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.npz")) < 4e6


def test_importing_the_room_opens_no_connection_and_imports_no_heavy_package():
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise RuntimeError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import jorbit.datasets\n"
        "heavy = [m for m in ('jax', 'ase', 'tblite', 'urllib.request') if m in sys.modules]\n"
        "assert not heavy, heavy\n"
        "import jorbit.datasets.public, jorbit.datasets.label, jorbit.datasets.checks\n"
        "assert len(jorbit.datasets.load_dataset('ethanol_gfn2')) == 2000\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_every_row_of_the_table_leads_to_a_loader(name):
    assert callable(DATASETS.load(name))
