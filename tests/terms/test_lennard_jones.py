"""Lennard-Jones against its formula and against ASE's."""

import ase
import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones as AseLennardJones

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import from_ase
from jorbit.potential import Potential, predict
from jorbit.terms.lennard_jones import LennardJones

pytestmark = pytest.mark.usefixtures("x64")


def potential_of(term: LennardJones) -> tuple[Potential, dict]:
    return Potential(terms=(term,), species=SpeciesTable.from_numbers([18])), {"lennard_jones": {}}


@pytest.mark.parametrize("distance", [1.0, 2 ** (1 / 6), 1.7, 2.2, 2.9])
def test_a_pair_has_the_energy_and_force_of_the_formula(distance: float):
    epsilon, onset, cutoff = 0.7, 2.0, 2.5
    potential, params = potential_of(LennardJones(epsilon=epsilon, sigma=1.0, cutoff=cutoff, onset=onset))
    pair = Structure(positions=np.array([[0.0, 0, 0], [0, 0, distance]]), numbers=np.array([18, 18]))

    def energy(r: float) -> float:
        x = np.clip((r - onset) / (cutoff - onset), 0, 1)
        return 4 * epsilon * (r**-12 - r**-6) * (1 - 10 * x**3 + 15 * x**4 - 6 * x**5)

    found = predict(potential, params, pair)
    assert found.energy[0] == pytest.approx(energy(distance), abs=1e-12)
    slope = (energy(distance + 1e-5) - energy(distance - 1e-5)) / 2e-5
    np.testing.assert_allclose(
        found.forces, [[0, 0, slope], [0, 0, -slope]], atol=1e-6
    )  # differences: third derivative * step^2


def test_before_the_switch_begins_it_is_ases_lennard_jones():
    # Neighbours at 3.7 Å and 5.3 Å and nothing again before 6.4 Å: the switch from 6 to 6.3 Å touches no pair.
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    atoms.rattle(0.02, seed=0)
    cutoff, epsilon, sigma = 6.2, 0.0103, 3.4
    atoms.calc = AseLennardJones(sigma=sigma, epsilon=epsilon, rc=cutoff)
    n_pairs = 32 * 18 / 2
    shift = 4 * epsilon * ((sigma / cutoff) ** 12 - (sigma / cutoff) ** 6)  # ASE shifts every pair to 0 at rc
    potential, params = potential_of(LennardJones(epsilon=epsilon, sigma=sigma, cutoff=6.3, onset=6.0))
    found = predict(potential, params, from_ase(atoms))
    assert found.energy[0] == pytest.approx(atoms.get_potential_energy() + n_pairs * shift, abs=1e-10)
    np.testing.assert_allclose(found.forces, atoms.get_forces(), atol=1e-11)
    np.testing.assert_allclose(found.stress[0], atoms.get_stress(voigt=False), atol=1e-12)


def test_the_curvature_is_continuous_where_the_switch_begins_and_ends():
    term = LennardJones(epsilon=1.0, sigma=1.0, cutoff=2.5, onset=2.0)
    potential, params = potential_of(term)
    h = 1e-4

    def slope(r: float) -> float:
        pair = Structure(positions=np.array([[0.0, 0, 0], [0, 0, r]]), numbers=np.array([18, 18]))
        return float(predict(potential, params, pair).forces[0, 2])

    for place in (term.onset, term.cutoff):
        left, right = (slope(place) - slope(place - h)) / h, (slope(place + h) - slope(place)) / h
        assert left == pytest.approx(right, abs=0.05)  # third derivative of about 100 times h
    assert slope(term.cutoff + h) == 0.0


def test_ase_atoms_far_apart_do_not_interact():
    potential, params = potential_of(LennardJones())
    assert predict(potential, params, from_ase(ase.Atoms("Ar2", [[0, 0, 0], [0, 0, 8.0]]))).energy[0] == 0.0


def test_a_switch_that_begins_behind_the_cutoff_is_refused():
    """It would take every pair away: a potential of zero that looks like any other."""
    for cutoff in (5.0, 6.0):
        with pytest.raises(ConfigError, match="three quarters"):
            LennardJones(cutoff=cutoff)
