"""The script that makes random methane: labels of tblite, frames that are dropped, a run that was killed."""

import dataclasses
import importlib
import json
from pathlib import Path

import numpy as np
import pytest

from jorbit import read
from jorbit.core.structure import Labels
from jorbit.datasets.label import ERROR_KEY

SCRIPTS = Path(__file__).parents[2] / "benchmarks" / "data"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("make_methane")


def test_three_frames_carry_what_tblite_says_and_a_killed_run_goes_on(script, tmp_path):
    pytest.importorskip("tblite")
    from ase import Atoms
    from tblite.ase import TBLite

    path = script.make(tmp_path, 3, seed=1)
    frames, whole = read(path), path.read_bytes()
    assert len(frames) == 3 and json.loads(path.with_suffix(".json").read_text())["n_kept"] == 3
    for frame in frames:
        atoms = Atoms("CH4", frame.structure.positions)
        atoms.calc = TBLite(method="GFN2-xTB", accuracy=0.1, verbosity=0)
        assert abs(atoms.get_potential_energy() - frame.labels.energy) < 1e-5
        np.testing.assert_allclose(frame.labels.forces, atoms.get_forces(), atol=1e-3)
        distances = atoms.get_all_distances()
        assert distances[0].max() <= 3.0 and distances[np.triu_indices(5, 1)].min() >= 0.5
        assert not frame.structure.positions[0].any()
    (labelled,) = (tmp_path / "parts").glob("labelled_*")
    labelled.write_bytes(labelled.read_bytes()[:-700])  # what a kill leaves behind
    path.unlink()
    assert script.make(tmp_path, 3, seed=1, blocks=(0, 1)) is None and not path.exists()
    assert script.make(tmp_path, 3, seed=1).read_bytes() == whole


def test_hydrogens_fill_the_ball(script):
    positions = np.array([p for p, _ in script.geometries(0, 0, 500)])
    r = np.linalg.norm(positions[:, 1:], axis=2)
    # uniform in a ball: (r/R)^3 uniform, mean 1/2, standard error 0.2887 / sqrt(2000) = 0.0065; 0.5 Å takes 0.5 % away
    assert abs(((r / 3.0) ** 3).mean() - 0.505) < 0.02
    directions = positions[:, 1:] / r[..., None]
    assert np.abs(directions.mean(axis=(0, 1))).max() < 4 * (1 / 3) ** 0.5 / 2000**0.5
    again = np.array([p for p, _ in script.geometries(0, 0, 200)])
    np.testing.assert_array_equal(again, positions[:200])  # more frames are the same and some more
    assert not np.isclose(next(script.geometries(0, 1, 1))[0][1:], positions[0, 1:]).any()


def test_frames_that_jump_or_have_no_labels_are_dropped(script):
    rng = np.random.default_rng(0)
    force = rng.normal(size=(5, 3))  # an energy that is linear in the positions
    triple = [
        dataclasses.replace(
            frame, labels=Labels(energy=-float((force * frame.structure.positions).sum()), forces=force)
        )
        for frame in script.triples(0, 0, 1)
    ]
    assert script.judge(*triple) is None
    for place in (1, 2):
        other = list(triple)
        energy = triple[place].labels.energy + 1e-3  # eV: another solution on one side
        other[place] = dataclasses.replace(
            triple[place], labels=dataclasses.replace(triple[place].labels, energy=energy)
        )
        assert script.judge(*other) == "SCF jumps"
    for place in range(3):
        other = list(triple)
        other[place] = dataclasses.replace(triple[place], labels=Labels(), info={ERROR_KEY: "SCF not converged"})
        assert script.judge(*other) == "SCF not converged"
