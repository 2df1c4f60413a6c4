"""Conversion factors against independent tables."""

import ase.units
import pytest
import scipy.constants

from jorbit.core import units


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        (units.HARTREE, ase.units.Hartree),
        (units.BOHR, ase.units.Bohr),
        (units.KCAL_MOL, ase.units.kcal / ase.units.mol),
        (units.KJ_MOL, ase.units.kJ / ase.units.mol),
        (units.GPA, ase.units.GPa),
        (units.KBAR, 1e3 * ase.units.bar),
        (units.BOLTZMANN, ase.units.kB),
        (units.FS, ase.units.fs),
    ],
)
def test_factors_agree_with_ase(mine, theirs):
    # ASE's tables are of 2014: the Boltzmann constant has changed by 3.4e-7 since.
    assert mine == pytest.approx(theirs, rel=1e-6)


def test_factors_follow_from_the_constants_of_nature():
    c = scipy.constants
    assert units.HARTREE == pytest.approx(c.physical_constants["Hartree energy in eV"][0], rel=1e-9)
    assert units.BOHR == pytest.approx(1e10 * c.physical_constants["Bohr radius"][0], rel=1e-9)
    assert units.COULOMB == pytest.approx(c.e / (4 * c.pi * c.epsilon_0) * 1e10, rel=1e-9)
    assert units.BOLTZMANN == pytest.approx(c.k / c.e, rel=1e-9)
    assert units.ATOMIC_MASS == pytest.approx(c.atomic_mass, rel=1e-9)


def test_the_tables_know_the_names_users_write():
    assert units.ENERGY_UNITS["kcal/mol"] == pytest.approx(0.0433641, rel=1e-6)
    assert units.LENGTH_UNITS["bohr"] == pytest.approx(0.529177, rel=1e-6)
