"""Stillinger-Weber silicon against the paper, closed forms, the literature, and jax-md's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

import jorbit
from jorbit.core.species import SpeciesTable
from jorbit.graphs.ase_atoms import from_ase
from jorbit.potential import Potential
from jorbit.simulate import relax
from jorbit.simulate.elasticity import elastic_constants
from jorbit.simulate.phonons import phonons
from jorbit.terms.stillinger_weber import StillingerWeber

TERM = StillingerWeber()
SILICON = Potential((TERM,), SpeciesTable.from_numbers([14])), {"stillinger_weber": {}}
TO_THZ = 15.633302  # sqrt(eV / Å^2 / amu) / 2 pi


@pytest.fixture(scope="module")
def crystal():
    found = relax(*SILICON, from_ase(bulk("Si", "diamond", a=5.40)), relax_cell=True, max_force=1e-7)
    return found.structure


def test_the_crystal_is_that_of_the_literature(crystal):
    # Angles are tetrahedral, so that the bond sits at the minimum of the pairs, which is at 2^(1/6) sigma, -epsilon.
    a = np.cbrt(4 * crystal.volume)
    assert a * np.sqrt(3) / 4 == pytest.approx(2 ** (1 / 6) * TERM.sigma, rel=1e-6)
    assert a == pytest.approx(5.431, abs=5e-4)
    assert float(jorbit.predict(*SILICON, crystal).energy[0]) / 2 == pytest.approx(-2 * TERM.epsilon, rel=1e-6)


@pytest.mark.slow
def test_elastic_constants_are_those_of_the_literature(crystal):
    # 151.4, 76.4 and 56.4 GPa: what LAMMPS documents for this potential (examples/ELASTIC, Si.sw).
    found = elastic_constants(*SILICON, crystal)
    expected = {(0, 0): 151.4, (0, 1): 76.4, (3, 3): 56.4}
    for place, value in expected.items():
        assert found.gpa[place] == pytest.approx(value, rel=0.005)
    assert found.bulk_modulus / 0.00624150907 == pytest.approx(101.4, rel=0.005)


def test_the_optical_phonon_has_its_closed_form(crystal):
    """Sublattices against each other by u: pairs V'' 4/3 u^2 / 2, angles 2 lambda eps d^2 (4 / 3 r)^2 8/3 u^2."""
    r = 2 ** (1 / 6) * TERM.sigma

    def pair(r):
        x = r / TERM.sigma
        return TERM.epsilon * TERM.a * (TERM.b * x**-4 - 1) * np.exp(1 / (x - TERM.reach))

    h = 1e-4
    stiffness = (pair(r + h) - 2 * pair(r) + pair(r - h)) / h**2
    decay = np.exp(TERM.gamma / (2 ** (1 / 6) - TERM.reach))
    bending = TERM.lambda_ * TERM.epsilon * decay**2 * 16 / (9 * r**2) * 8 / 3
    constant = 4 / 3 * stiffness + 4 * bending  # d2E / du2 of a cell: two atoms, half the reduced mass each
    expected = np.sqrt(constant / (28.085 / 2)) * TO_THZ
    found = phonons(*SILICON, crystal, repeats=(3, 3, 3)).frequencies(np.zeros((1, 3)))[0]
    np.testing.assert_allclose(found, [0, 0, 0, expected, expected, expected], atol=2e-3)


@pytest.mark.slow
def test_energies_and_forces_are_those_of_jax_md():
    atoms = bulk("Si", "diamond", a=5.43, cubic=True) * (2, 2, 2)
    atoms.rattle(0.25, seed=0)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        from jax_md import energy, space

        displacement, _ = space.periodic(float(atoms.cell[0, 0]))
        theirs = energy.stillinger_weber(
            displacement, sigma=TERM.sigma, A=TERM.a, B=TERM.b, lam=TERM.lambda_, gamma=TERM.gamma, epsilon=TERM.epsilon
        )
        r = jnp.asarray(atoms.positions)
        value, slope = float(theirs(r)), -np.asarray(jax.grad(theirs)(r))
        mine = jorbit.predict(*SILICON, from_ase(atoms))
    assert float(mine.energy[0]) == pytest.approx(value, rel=1e-7)  # a third is rounded to float32 there
    np.testing.assert_allclose(mine.forces, slope, atol=1e-5)
    assert np.abs(slope).max() > 1.0
