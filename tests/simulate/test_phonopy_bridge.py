"""phonopy and jorbit find the same frequencies, each by its own means, and read each other's force constants."""

import numpy as np
import pytest
from ase.build import bulk
from simulated_systems import structure_of

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.potential import Potential
from jorbit.simulate import relax
from jorbit.simulate.phonons import phonons
from jorbit.simulate.phonopy_bridge import from_phonopy, set_forces, to_phonopy
from jorbit.terms.lennard_jones import LennardJones

phonopy = pytest.importorskip("phonopy")
from phonopy.structure.atoms import PhonopyAtoms  # noqa: E402

ARGON = Potential((LennardJones(cutoff=6.0, onset=4.5),), SpeciesTable.from_numbers([18])), {"lennard_jones": {}}
POINTS = np.array([[0.0, 0, 0], [0.5, 0, 0], [0.21, 0.33, 0.07], [0.5, 0.5, 0.25]])


@pytest.fixture(scope="module")
def hexagonal():
    return relax(*ARGON, structure_of(bulk("Ar", "hcp", a=3.76, c=6.14)), relax_cell=True, max_force=1e-6).structure


@pytest.fixture(scope="module")
def ours(hexagonal):
    return phonons(*ARGON, hexagonal, repeats=(3, 3, 2))


def test_phonopys_displacements_find_our_exact_frequencies(ours, hexagonal):
    cell = PhonopyAtoms(["Ar", "Ar"], cell=hexagonal.cell, positions=hexagonal.positions, masses=[39.948] * 2)
    theirs = phonopy.Phonopy(cell, supercell_matrix=[3, 3, 2], primitive_matrix=np.eye(3))
    with pytest.raises(ConfigError, match="force constants"):
        from_phonopy(theirs)
    with pytest.raises(ConfigError, match="generate_displacements"):
        set_forces(*ARGON, theirs)
    theirs.generate_displacements(distance=0.005)
    set_forces(*ARGON, theirs)
    theirs.produce_force_constants()
    theirs.run_qpoints(POINTS)
    expected = theirs.qpoints.frequencies
    np.testing.assert_allclose(ours.frequencies(POINTS)[1:], expected[1:], rtol=2e-4)
    # And with its force constants our bands are its bands.
    np.testing.assert_allclose(from_phonopy(theirs).frequencies(POINTS)[1:], expected[1:], rtol=1e-6)


def test_our_force_constants_have_the_same_bands_and_heat_capacity_there(ours):
    theirs = to_phonopy(ours)
    theirs.run_qpoints(POINTS)
    expected = theirs.qpoints.frequencies
    np.testing.assert_allclose(ours.frequencies(POINTS)[1:], expected[1:], rtol=1e-6)
    np.testing.assert_allclose(expected[0, :3], 0.0, atol=1e-3)
    theirs.run_mesh([8, 8, 8], is_gamma_center=False)
    theirs.run_thermal_properties(temperatures=[40.0])
    joule = theirs.thermal_properties.heat_capacity[0]  # J / K / mol of cells
    assert ours.heat_capacity(40.0, 8) == pytest.approx(joule / 96485.332, rel=2e-3)
    back = from_phonopy(to_phonopy(ours))
    np.testing.assert_allclose(back.constants, ours.constants, atol=1e-12)
    assert back.repeats == ours.repeats


def test_masses_of_isotopes_come_and_go(ours, hexagonal):
    """Half the mass, the frequencies times the root of two, on both sides."""
    light = PhonopyAtoms(["Ar", "Ar"], cell=hexagonal.cell, positions=hexagonal.positions, masses=[39.948 / 2] * 2)
    theirs = phonopy.Phonopy(light, supercell_matrix=[3, 3, 2], primitive_matrix=np.eye(3), is_symmetry=False)
    theirs.force_constants = to_phonopy(ours).force_constants
    found = from_phonopy(theirs)
    np.testing.assert_allclose(found.frequencies(POINTS)[1:], np.sqrt(2) * ours.frequencies(POINTS)[1:], rtol=1e-6)
    again = to_phonopy(found)
    again.run_qpoints(POINTS)
    np.testing.assert_allclose(again.qpoints.frequencies[1:], found.frequencies(POINTS)[1:], rtol=1e-6)
