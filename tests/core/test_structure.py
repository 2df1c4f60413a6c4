"""Structures that no model could make sense of are refused with a reason."""

import dataclasses

import numpy as np
import pytest

from jorbit.core.errors import StructureError, UnknownSpeciesError
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.core.structure import Structure
from jorbit.testing import systems

CRYSTAL = systems.triclinic_crystal()


def changed(**changes) -> Structure:
    """The crystal with fields replaced, unchecked as a user without annotations would build it."""
    structure = object.__new__(Structure)
    for field in dataclasses.fields(Structure):
        object.__setattr__(structure, field.name, changes.get(field.name, getattr(CRYSTAL, field.name)))
    return structure


def spoiled(array: np.ndarray, value: float) -> np.ndarray:
    array = array.copy()
    array.flat[4] = value
    return array


@pytest.mark.parametrize("name", ["water", "ethanol", "rattled_silicon", "triclinic_crystal", "slab", "single_atom"])
def test_good_structures_pass(name):
    structure = getattr(systems, name)()
    assert structure.check() is structure


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": np.zeros((0, 3)), "numbers": np.zeros(0, int)}, "has no atoms"),
        ({"positions": spoiled(CRYSTAL.positions, np.nan)}, "NaN or infinite, first atom 1"),
        ({"positions": spoiled(CRYSTAL.positions, np.inf)}, "NaN or infinite"),
        ({"positions": np.zeros((3, 2))}, r"got \(3, 2\) and \(3,\)"),
        ({"positions": np.zeros(9)}, "Wanted positions"),
        ({"numbers": np.array([14, 8])}, r"got \(3, 3\) and \(2,\)"),
        ({"numbers": np.array([14, 8, 0])}, "must lie in 1..118"),
        ({"numbers": np.array([14, 8, 119])}, "must lie in 1..118"),
        ({"cell": np.zeros((3, 3))}, "need lattice vectors"),
        ({"cell": np.zeros(3)}, "Wanted a cell"),
        ({"cell": spoiled(CRYSTAL.cell, np.nan)}, "cell holds NaN"),
        ({"cell": np.array([[2.0, 0, 0], [0, 2, 0], [2, 2, 0]])}, "singular"),
        ({"cell": CRYSTAL.cell[[1, 0, 2]]}, "left-handed"),
        ({"pbc": np.array([True, True])}, "Wanted a cell"),
        ({"cell": np.ones((3, 3)), "pbc": np.array([True, True, False])}, "parallel"),
        ({"orbits": np.array([0, 1])}, "Wanted orbits"),
        ({"charge": np.nan}, "total charge is nan"),
    ],
)
def test_a_bad_structure_says_what_is_wrong(changes, message):
    with pytest.raises(StructureError, match=message):
        changed(**changes).check()


def test_whole_numbers_as_periodicity_mean_yes_and_no():
    """pbc = [1, 1, 1] must not pick rows of the cell."""
    assert changed(pbc=np.array([1, 1, 1])).check()


def test_symbols_are_where_their_atomic_number_says():
    assert len(SYMBOLS) == 119
    assert [SYMBOLS[z] for z in (1, 6, 14, 26, 79, 92, 118)] == ["H", "C", "Si", "Fe", "Au", "U", "Og"]


def test_a_species_table_is_one_row_per_element_and_orbit():
    ethanol = systems.ethanol()
    table = SpeciesTable.from_structures([ethanol])
    assert table.rows == ((1, 0), (6, 0), (8, 0)) and table.names == ("H", "C", "O")
    orbits = np.array([0, 1, 0, 0, 0, 0, 1, 1, 2])
    fine = SpeciesTable.from_structures([dataclasses.replace(ethanol, orbits=orbits)])
    assert fine.names == ("H0", "H1", "H2", "C0", "C1", "O")
    assert fine.index(ethanol.numbers, orbits).tolist() == [3, 4, 5, 0, 0, 0, 1, 1, 2]


def test_an_element_the_model_does_not_know_is_named():
    table = SpeciesTable.from_numbers([1, 8])
    with pytest.raises(UnknownSpeciesError, match=r"knows H, O, but the structure holds C, Si"):
        table.index(np.array([1, 14, 6]))


def test_an_unknown_orbit_is_named():
    with pytest.raises(UnknownSpeciesError, match=r"holds H \(orbit 3\)"):
        SpeciesTable(((1, 0), (1, 1))).index(np.array([1]), np.array([3]))


def test_a_table_of_elements_does_not_look_at_orbits():
    assert SpeciesTable.from_numbers([1]).index(np.array([1]), np.array([3])).tolist() == [0]
