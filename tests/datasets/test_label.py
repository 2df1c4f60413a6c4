"""Labelling with tblite: physics, restart after a kill, clear refusals."""

import dataclasses
import sys

import numpy as np
import pytest
from ase.calculators.calculator import Calculator

from jorbit.core.errors import DataError, MissingInputError
from jorbit.core.structure import Frame, Labels
from jorbit.datasets import read
from jorbit.datasets.extxyz import write_extxyz
from jorbit.datasets.label import ERROR_KEY, LabelReport, label, label_file
from jorbit.datasets.label_calculator import label_with
from jorbit.testing import systems


@pytest.fixture(scope="module")
def molecules():
    return [dataclasses.replace(frame, labels=Labels()) for frame in read("ethanol_gfn2")[:4]]


@pytest.fixture
def source(tmp_path, molecules):
    write_extxyz(tmp_path / "in.xyz", molecules)
    return tmp_path / "in.xyz"


def test_labels_are_those_of_the_shipped_set(molecules):
    pytest.importorskip("tblite")
    shipped = read("ethanol_gfn2")
    for index, frame in enumerate(label(molecules)):
        # the SCF's own convergence, with another build of its libraries
        assert frame.labels.energy == pytest.approx(shipped[index].labels.energy, abs=1e-5)
        np.testing.assert_allclose(frame.labels.forces, shipped[index].labels.forces, atol=1e-3)
        assert frame.info["label_method"] == "GFN2-xTB"


def test_forces_are_minus_the_slope_of_the_energy(molecules):
    pytest.importorskip("tblite")
    frame = next(label(molecules[:1], "gfn1"))
    moved = []
    for step in (2e-3, -2e-3):
        positions = frame.structure.positions.copy()
        positions[2, 0] += step
        moved.append(dataclasses.replace(frame, structure=dataclasses.replace(frame.structure, positions=positions)))
    plus, minus = (moved_frame.labels.energy for moved_frame in label(moved, "gfn1"))
    assert frame.labels.forces[2, 0] == pytest.approx(-(plus - minus) / 4e-3, abs=1e-3)  # truncation, h = 0.002 Å


@pytest.mark.parametrize("cut", [0.0, 0.001, 0.3, 0.62, 0.999, 1.0])
def test_a_killed_run_goes_on_where_it_stopped(tmp_path, source, cut):
    pytest.importorskip("tblite")
    output, seen = tmp_path / "out.xyz", []
    assert label_file(source, output) == LabelReport(4, 0, 0)
    whole = output.read_bytes()
    output.write_bytes(whole[: int(cut * len(whole))])  # what a kill leaves behind
    report = label_file(source, output, progress=lambda done, total: seen.append((done, total)))
    assert output.read_bytes() == whole
    assert report.n_kept + report.n_labelled == 4 and report.n_kept == int(4 * cut + 1e-9)
    assert seen == [(done, 4) for done in range(max(report.n_kept, 1), 5)]


def test_an_output_of_something_else_is_left_alone(tmp_path, source, molecules):
    pytest.importorskip("tblite")
    output = tmp_path / "out.xyz"
    label_file(source, output)
    before = output.read_bytes()
    with pytest.raises(DataError, match="labelled with GFN2-xTB, wanted GFN1-xTB"):
        label_file(source, output, "gfn1")
    write_extxyz(tmp_path / "other.xyz", molecules[::-1])
    with pytest.raises(DataError, match="is not frame 0 of the input"):
        label_file(tmp_path / "other.xyz", output)
    write_extxyz(tmp_path / "fewer.xyz", molecules[:2])
    with pytest.raises(DataError, match="has 4 frames, the input only 2"):
        label_file(tmp_path / "fewer.xyz", output)
    assert output.read_bytes() == before
    notes = tmp_path / "notes.xyz"
    notes.write_text("my notes\n")
    with pytest.raises(DataError, match="not an xyz file that jorbit wrote"):
        label_file(source, notes)
    assert notes.read_text() == "my notes\n"


def test_outputs_that_cannot_be_appended_to_are_refused(tmp_path, source):
    pytest.importorskip("tblite")
    with pytest.raises(DataError, match="ending in .xyz or .extxyz"):
        label_file(source, tmp_path / "out.xyz.xz")
    with pytest.raises(DataError, match="same file"):
        label_file(source, source)
    with pytest.raises(DataError, match="Unknown method 'pm7'"):
        label_file(source, tmp_path / "out.xyz", "pm7")


def test_a_frame_that_does_not_converge_keeps_its_place_without_labels(tmp_path, molecules, monkeypatch):
    tblite_ase = pytest.importorskip("tblite.ase")
    calculate = tblite_ase.TBLite.calculate

    def failing(self, atoms=None, *args, **kwargs):
        if abs(atoms.positions[0, 0] - molecules[1].structure.positions[0, 0]) < 1e-9:
            raise RuntimeError("SCF not\nconverged")
        return calculate(self, atoms, *args, **kwargs)

    monkeypatch.setattr(tblite_ase.TBLite, "calculate", failing)
    write_extxyz(tmp_path / "in.xyz", molecules)
    report = label_file(tmp_path / "in.xyz", tmp_path / "out.xyz")
    assert report == LabelReport(4, 0, 1)
    frames = read(tmp_path / "out.xyz")
    assert [frame.labels.energy is None for frame in frames] == [False, True, False, False]
    assert frames[1].info[ERROR_KEY] == "SCF not converged"


def test_without_tblite_the_message_says_what_to_install(molecules, monkeypatch):
    monkeypatch.setitem(sys.modules, "tblite.ase", None)
    with pytest.raises(MissingInputError, match=r"pip install 'jorbit\[label\]'"):
        next(label(molecules))


def test_frames_labelled_by_any_calculator_go_on_where_a_kill_stopped_them(tmp_path, source):
    output = tmp_path / "out.xyz"
    assert label_with(source, output, Springs) == 4
    whole = output.read_bytes()
    output.write_bytes(whole[: len(whole) // 2])
    assert label_with(source, output, Springs) == 3
    assert output.read_bytes() == whole
    write_extxyz(tmp_path / "other.xyz", read(source)[::-1])
    with pytest.raises(DataError, match="is not frame 0 of the input"):
        label_with(tmp_path / "other.xyz", output, Springs)


def test_a_calculator_is_asked_for_the_stress_of_a_crystal(tmp_path):
    """Some compute it only when it is wanted."""
    write_extxyz(tmp_path / "in.xyz", [Frame(structure=s) for s in (systems.triclinic_crystal(), systems.slab())])
    label_with(tmp_path / "in.xyz", tmp_path / "out.xyz", Springs)
    crystal, slab = read(tmp_path / "out.xyz")
    np.testing.assert_allclose(crystal.labels.stress, np.diag([1.0, 2.0, 3.0]) * 1e-3)
    assert slab.labels.stress is None and slab.labels.energy is not None


class Springs(Calculator):
    """Atoms held at the origin; the stress is made up, and given on demand."""

    implemented_properties = ("energy", "forces", "stress")

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": float((atoms.positions**2).sum()), "forces": -2.0 * atoms.positions}
        if "stress" in properties:
            self.results["stress"] = np.array([1.0, 2.0, 3.0, 0.0, 0.0, 0.0]) * 1e-3
