"""The check for mixed units names the mix-up, and stays silent where it cannot know."""

import dataclasses

import numpy as np
import pytest

from jorbit.core.structure import Frame, Labels, Structure
from jorbit.core.units import BOHR, HARTREE, KCAL_MOL, KJ_MOL
from jorbit.datasets import read
from jorbit.datasets.checks import energy_force_slope, unit_suspicion


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    return read("ethanol_gfn2")[:400]


def changed(frames: list[Frame], energy: float = 1.0, forces: float = 1.0, length: float = 1.0) -> list[Frame]:
    """The frames as a file would hold them that mixes units: labels and positions times these factors."""
    return [
        Frame(
            structure=dataclasses.replace(frame.structure, positions=frame.structure.positions * length),
            labels=dataclasses.replace(
                frame.labels, energy=frame.labels.energy * energy, forces=frame.labels.forces * forces
            ),
        )
        for frame in frames
    ]


@pytest.mark.parametrize(
    ("factors", "words"),
    [
        ({"energy": 1 / KCAL_MOL}, "energies in kcal/mol and forces in eV/Å"),
        ({"energy": 1 / KJ_MOL}, "energies in kJ/mol and forces in eV/Å"),
        ({"energy": 1 / HARTREE}, "energies in Hartree and forces in eV/Å"),
        ({"forces": 1 / KCAL_MOL}, "energies in eV and forces in kcal/mol/Å"),
        ({"forces": BOHR / HARTREE}, "energies in eV and forces in Hartree/bohr"),
        ({"forces": BOHR}, "positions in Å and forces per bohr"),
        ({"length": 1 / BOHR}, "positions in bohr and forces per Å"),
        ({"energy": 1 / 9}, "energies per atom"),
        ({"forces": -1.0}, "gradients instead of forces"),
        ({"forces": -1 / KCAL_MOL}, "sign is flipped as well"),
        ({"energy": 7.0}, "different units, or from different calculations"),
    ],
)
def test_a_mix_up_is_named(frames, factors, words):
    assert words in unit_suspicion(changed(frames, **factors))


def test_consistent_labels_raise_no_suspicion_in_any_unit(frames):
    assert unit_suspicion(frames) is None
    assert unit_suspicion(changed(frames, energy=1 / KCAL_MOL, forces=1 / KCAL_MOL)) is None
    assert unit_suspicion(read("bn_gfn1")) is None


def test_turning_the_molecules_changes_nothing(frames):
    rng = np.random.default_rng(0)
    turned = []
    for frame in frames:
        rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        rotation *= np.linalg.det(rotation)
        turned.append(
            Frame(
                structure=dataclasses.replace(frame.structure, positions=frame.structure.positions @ rotation + 3.0),
                labels=dataclasses.replace(frame.labels, forces=frame.labels.forces @ rotation),
            )
        )
    assert energy_force_slope(turned).slope == pytest.approx(energy_force_slope(frames).slope, rel=1e-6)


def test_nothing_is_said_where_nothing_can_be_known(frames):
    assert unit_suspicion([]) is None
    assert unit_suspicion(frames[:5]) is None
    assert (
        unit_suspicion([dataclasses.replace(f, labels=dataclasses.replace(f.labels, forces=None)) for f in frames])
        is None
    )
    rng = np.random.default_rng(1)
    noise = [
        dataclasses.replace(frame, labels=dataclasses.replace(frame.labels, energy=float(energy)))
        for frame, energy in zip(frames, rng.normal(size=len(frames)) * 30, strict=True)
    ]
    assert unit_suspicion(noise) is None
    assert unit_suspicion([frames[0]] * 50) is None


def test_a_wire_along_any_axis_is_compared_through_its_images():
    """One periodic direction, whose vector stands in the first row of the cell and points along z."""
    rng = np.random.default_rng(0)
    rest = np.array([[0.0, 0.0, 0.2], [0.3, 0.0, 2.1], [0.0, 0.4, 3.9]])
    found = []
    for _ in range(60):
        moved = 0.1 * rng.normal(size=(3, 3))
        moved -= moved.mean(axis=0)
        images = np.zeros((3, 3))
        images[:, 2] = 6.0 * rng.integers(-1, 2, size=3)
        structure = Structure(
            positions=rest + moved + images,
            numbers=np.array([6, 1, 1]),
            cell=np.array([[0.0, 0.0, 6.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
            pbc=np.array([True, False, False]),
        )
        found.append(Frame(structure=structure, labels=Labels(energy=0.5 * (moved**2).sum(), forces=-moved)))
    check = energy_force_slope(found)
    assert check.slope == pytest.approx(1.0, abs=1e-6) and check.correlation > 0.999
