"""`jorbit orbits`: a table for people, JSON for programs, labels in the file, a page with pictures."""

import json

import numpy as np
import pytest

import jorbit
from jorbit.datasets.extxyz import write_extxyz
from jorbit.orbits import OrbitResult


@pytest.fixture(scope="module")
def trajectory(tmp_path_factory):
    path = tmp_path_factory.mktemp("orbits") / "ethanol.extxyz"
    write_extxyz(path, jorbit.read("ethanol_gfn2")[:100])
    return path


def test_table_files_and_page(run, trajectory, tmp_path):
    labelled, saved, page = tmp_path / "labelled.extxyz", tmp_path / "orbits.json", tmp_path / "orbits.html"
    result = run("orbits", trajectory, "-o", labelled, "--save", saved, "--report", page, "--feasible")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    assert ["H2", "H", "3", "6-8", "C0", rows[3][-1]] == rows[3]
    assert ["C0", "C", "1", "0", "C1,", "3", "H2", rows[4][-1]] == rows[4]
    for text in ("6 orbits of 9 atoms", "group order 12", "stability 1.000", "labels by level 3 5 6", "feasible"):
        assert text in result.stdout
    frames = jorbit.read(str(labelled))
    orbits = OrbitResult.from_json(saved)
    assert len(frames) == 100
    for frame in (frames[0], frames[-1]):
        np.testing.assert_array_equal(frame.structure.orbits, orbits.structure_orbits)
    assert jorbit.SpeciesTable.from_structures(f.structure for f in frames).names == orbits.names
    text = page.read_text()
    assert text.count("data:image/png;base64,") == 4 and "orbit-view" in text  # two pictures, light and dark
    assert "http" not in text.replace("http://www.w3.org", "")  # nothing is fetched


def test_json_has_exactly_the_promised_keys(run, trajectory):
    result = run("orbits", trajectory, "--json", "--level", 1)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == {"n_atoms", "n_orbits", "labels", "group_order", "level", "exact", "stability", "warnings"}
    assert (found["n_atoms"], found["n_orbits"], found["level"], found["exact"]) == (9, 5, 1, False)
    assert len(found["labels"]) == 9 and found["warnings"] == []


@pytest.mark.parametrize(("mode", "n_orbits"), [("species", 3), ("identity", 9), ("bond", 6)])
def test_modes(run, trajectory, mode, n_orbits):
    assert json.loads(run("orbits", trajectory, "--mode", mode, "--json").stdout)["n_orbits"] == n_orbits


def test_failures_are_messages(run, trajectory, tmp_path):
    result = run("orbits", trajectory, "--mode", "magic")
    assert result.exit_code == 1 and "mode must be one of" in result.output
    missing = run("orbits", trajectory, "-o", tmp_path / "no" / "where.extxyz")
    assert missing.exit_code == 1 and "no directory" in missing.output
    mixed = tmp_path / "mixed.extxyz"
    frames = jorbit.read("ethanol_gfn2")[:1]
    water = jorbit.Frame(structure=jorbit.Structure(positions=np.eye(3), numbers=np.array([8, 1, 1])))
    write_extxyz(mixed, [*frames, water])
    other = run("orbits", mixed)
    assert other.exit_code == 1 and "frame 1 (3 atoms) holds other atoms" in other.output
