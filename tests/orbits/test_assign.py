"""Labels find the atoms again: shuffled, repeated, turned and moved; and refuse what does not match."""

import dataclasses

import ase.build
import numpy as np
import pytest
from orbit_systems import defect, permuted, perovskite_slab, rattled, sheet

import jorbit
from jorbit.core.errors import StructureError
from jorbit.core.structure import Structure


@pytest.fixture(scope="module")
def ethanol() -> list[Structure]:
    return [f.structure for f in jorbit.read("ethanol_gfn2")[:200]]


def disguised(structure: Structure, seed: int) -> tuple[Structure, np.ndarray]:
    """Turned, moved, atoms shuffled; and the order of the atoms."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    order = rng.permutation(structure.n_atoms)
    positions = (structure.positions + rng.normal(size=3)) @ turn
    return permuted(dataclasses.replace(structure, positions=positions, cell=structure.cell @ turn), order), order


@pytest.mark.parametrize("index", [0, 77, 199])
def test_shuffled_molecules(ethanol, index):
    result = jorbit.find_orbits(ethanol)
    other, order = disguised(ethanol[index], index)
    np.testing.assert_array_equal(result.assign(other), result.labels[order])
    np.testing.assert_array_equal(result.label(other).orbits, result.structure_orbits[order])


def test_several_molecules_in_a_box(ethanol):
    result = jorbit.find_orbits(ethanol)
    several = Structure(
        positions=np.concatenate([s.positions + 8.0 * k for k, s in enumerate(ethanol[:3])]) % 24.0,
        numbers=np.tile(ethanol[0].numbers, 3),
        cell=24.0 * np.eye(3),
        pbc=np.ones(3, dtype=bool),
    )
    other, order = disguised(several, 0)
    np.testing.assert_array_equal(result.assign(other), np.tile(result.labels, 3)[order])


CRYSTALS = {
    "sheet": (sheet(4), 0.1, (2, 1, 1)),
    "defect": (defect(4, "N3V1"), 0.1, (2, 2, 1)),
    "low symmetry": (defect(4, "N1V1"), 0.1, (1, 2, 1)),
    "slab": (perovskite_slab(5, "CsI", 1), 0.2, (2, 3, 1)),
    "one atom": (ase.build.bulk("Cu"), 0.05, (2, 2, 2)),
}


@pytest.mark.parametrize("name", CRYSTALS)
def test_shuffled_crystals_and_supercells(name):
    atoms, sigma, repeat = CRYSTALS[name]
    result = jorbit.find_orbits(rattled(atoms, sigma, 100))
    for copies in ((1, 1, 1), repeat):
        large = rattled(atoms.repeat(copies), sigma, 1, seed=9)[0]
        other, order = disguised(large, 3)
        labels = np.tile(result.labels, int(np.prod(copies)))
        np.testing.assert_array_equal(result.assign(other), labels[order])


def test_another_choice_of_the_cell():
    result = jorbit.find_orbits(rattled(defect(4, "N3V1"), 0.1, 100))
    frame = rattled(defect(4, "N3V1"), 0.1, 1, seed=4)[0]
    skewed = dataclasses.replace(frame, cell=np.array([[1, 0, 0], [2, 1, 0], [0, 0, 1]]) @ frame.cell)
    np.testing.assert_array_equal(result.assign(skewed), result.labels)


def test_assignment_survives_json():
    result = jorbit.find_orbits(rattled(defect(4, "N3V1"), 0.1, 100))
    other, order = disguised(rattled(defect(4, "N3V1"), 0.1, 1, seed=4)[0], 1)
    again = type(result).from_json(result.to_json())
    np.testing.assert_array_equal(again.assign(other), result.labels[order])


def test_what_does_not_match_is_refused(ethanol):
    molecule = jorbit.find_orbits(ethanol)
    broken = ethanol[0].positions.copy()
    broken[int(np.flatnonzero(ethanol[0].numbers == 1)[0])] += 3.0
    with pytest.raises(StructureError, match="does not match the reference.*bonded like none of C2H6O"):
        molecule.assign(dataclasses.replace(ethanol[0], positions=broken))
    methanol = ase.build.molecule("CH3OH")
    with pytest.raises(StructureError, match="CH4O"):
        molecule.assign(Structure(positions=methanol.positions, numbers=methanol.numbers))
    ether = ase.build.molecule("CH3OCH3")  # same formula, other bonds
    with pytest.raises(StructureError, match="bonded like none"):
        molecule.assign(Structure(positions=ether.positions, numbers=ether.numbers))

    crystal = jorbit.find_orbits(rattled(defect(4, "N3V1"), 0.1, 100))
    frame = rattled(defect(4, "N3V1"), 0.1, 1)[0]
    fewer = dataclasses.replace(frame, positions=frame.positions[1:], numbers=frame.numbers[1:])
    with pytest.raises(StructureError, match="or a multiple of it"):
        crystal.assign(fewer)
    exchanged = frame.numbers.copy()
    carbon, nitrogen = (int(np.flatnonzero(frame.numbers == z)[0]) for z in (6, 7))
    exchanged[carbon], exchanged[nitrogen] = 7, 6
    with pytest.raises(StructureError, match="another phase or defect"):
        crystal.assign(dataclasses.replace(frame, numbers=exchanged))
    with pytest.raises(StructureError, match="no multiple of the cell"):
        crystal.assign(dataclasses.replace(frame, positions=frame.positions * 1.2, cell=frame.cell * 1.2))
    with pytest.raises(StructureError, match="periodic directions"):
        crystal.assign(dataclasses.replace(frame, pbc=np.zeros(3, dtype=bool), cell=np.zeros((3, 3))))


def test_orbits_by_element_and_by_atom(ethanol):
    species = jorbit.find_orbits(ethanol, mode="species")
    other, order = disguised(ethanol[3], 0)
    np.testing.assert_array_equal(species.assign(other), species.labels[order])
    with pytest.raises(StructureError, match="Si"):
        species.assign(Structure(positions=np.zeros((1, 3)), numbers=np.array([14])))
    identity = jorbit.find_orbits(ethanol, mode="identity")
    np.testing.assert_array_equal(identity.assign(ethanol[3]), identity.labels)
    with pytest.raises(StructureError, match="same order"):
        identity.assign(permuted(ethanol[3], np.arange(9)[::-1]))
    marked = jorbit.find_orbits(ethanol, initial_labels=np.arange(9) // 8)
    with pytest.raises(StructureError, match="initial_labels"):
        marked.assign(ethanol[0])
