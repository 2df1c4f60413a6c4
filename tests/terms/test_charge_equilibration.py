"""Charge equilibration against the closed solution of two atoms, its own conditions, and two solvers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import COULOMB
from jorbit.potential import Potential, predict
from jorbit.terms.charge_equilibration import TABLE, ChargeEquilibration

pytestmark = pytest.mark.usefixtures("x64")
SPECIES = SpeciesTable.from_numbers([1, 3, 8, 17])
ZEROS = {"electronegativity_shifts": np.zeros(4), "log_hardness_factors": np.zeros(4)}
PARAMS = {"charge_equilibration": ZEROS}


def potential_of(**options) -> Potential:
    common = dict(n_species=4, cutoff=5.0, accuracy=1e-8, max_length=6.0, background="uniform")
    return Potential(terms=(ChargeEquilibration(**(common | options)),), species=SPECIES)


def lithium_chloride(distance: float, charge: float) -> Structure:
    positions = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, distance]])
    return Structure(positions=positions, numbers=np.array([3, 17]), charge=charge)


def oxide_crystal(charge: float = 0.0) -> Structure:
    cell = np.array([[4.1, 0.0, 0.0], [0.9, 4.4, 0.0], [-0.6, 0.8, 4.7]])
    fractional = np.array([[0.0, 0.1, 0.0], [0.5, 0.5, 0.3], [0.3, 0.8, 0.7], [0.8, 0.3, 0.6]])
    numbers = np.array([3, 8, 1, 17])
    return Structure(positions=fractional @ cell, numbers=numbers, cell=cell, pbc=np.ones(3, bool), charge=charge)


def test_two_atoms_have_the_charges_and_energy_of_the_closed_solution():
    potential = potential_of()
    structures = [lithium_chloride(d, q) for d in (1.5, 2.02, 4.0) for q in (0.0, 1.0)]
    found = predict(potential, PARAMS, potential.graph(structures))
    (x1, j1), (x2, j2) = TABLE["Li"], TABLE["Cl"]
    w1, w2 = (COULOMB / (np.sqrt(np.pi) * j) for j in (j1, j2))
    for k, s in enumerate(structures):
        r, total = s.positions[1, 2], s.charge
        x = r / 5.0
        switch = 1 - 28 * x**6 + 48 * x**7 - 21 * x**8
        j12 = COULOMB / r * (1 - (1 - erf(r / np.sqrt(2 * (w1**2 + w2**2)))) * switch)
        q = (x2 - x1 + total * (j2 - j12)) / (j1 + j2 - 2 * j12)
        energy = x1 * q + x2 * (total - q) + j1 * q * q / 2 + j2 * (total - q) ** 2 / 2 + j12 * q * (total - q)
        np.testing.assert_allclose(found.charges[2 * k : 2 * k + 2], [q, total - q], atol=1e-10)
        assert found.energy[k] == pytest.approx(energy, abs=1e-9)
    assert found.charges[0] > 0.3  # lithium gives, chlorine takes


@pytest.mark.slow
def test_in_a_crystal_charges_make_the_energy_least_and_both_solvers_find_them():
    crystal = oxide_crystal(charge=1.0)
    direct = potential_of(solver="direct")
    one = predict(direct, PARAMS, crystal)
    other = predict(potential_of(solver="iterative", tolerance=1e-11), PARAMS, crystal)
    assert one.charges.sum() == pytest.approx(1.0, abs=1e-10)
    np.testing.assert_allclose(other.charges, one.charges, atol=1e-8)
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-6)
    np.testing.assert_allclose(other.stress, one.stress, atol=1e-8)
    # dE/dX_i = q_i at the minimum, since everything else is stationary (Hellmann and Feynman).
    graph = direct.graph(crystal)

    def energy(shifts):
        params = {"charge_equilibration": {**ZEROS, "electronegativity_shifts": shifts}}
        return direct.energy(params, graph).sum()

    by_species = np.asarray(jax.grad(energy)(jnp.zeros(4)))
    order = [1, 2, 0, 3]  # rows of Li, O, H, Cl
    np.testing.assert_allclose(by_species[order], one.charges, atol=1e-9)


@pytest.mark.slow
def test_far_apart_atoms_share_charge_that_a_molecule_does_not_feel():
    # The known fault of the method: charge flows at any distance. Documented, so kept an eye on.
    found = predict(potential_of(), PARAMS, lithium_chloride(200.0, 0.0))
    (x1, j1), (x2, j2) = TABLE["Li"], TABLE["Cl"]
    assert found.charges[0] == pytest.approx((x2 - x1) / (j1 + j2 - 2 * COULOMB / 200.0), abs=1e-6)


def test_what_cannot_be_equalised_is_refused_with_advice():
    plain = potential_of(background="none")
    with pytest.raises(StructureError, match="background='uniform'"):
        predict(plain, PARAMS, oxide_crystal(charge=1.0))
    silver = dataclasses.replace(lithium_chloride(2.0, 0.0), numbers=np.array([47, 17]))
    with pytest.raises(StructureError, match="electronegativities="):
        predict(plain, PARAMS, silver)
    with pytest.raises(ConfigError, match="hardness must be positive"):
        ChargeEquilibration(n_species=1, hardnesses={"Ag": -1.0})
