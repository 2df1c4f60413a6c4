"""Moments in the frame of bonds: what they are, what they make, and what is refused."""

import dataclasses

import jax
import numpy as np
import pytest

from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import COULOMB
from jorbit.potential import Potential
from jorbit.potential.predict import predict
from jorbit.terms.multipoles import Multipoles
from jorbit.testing import systems

SPECIES = SpeciesTable.from_numbers([1, 8])
WATER = Multipoles(dipoles={"OH": 0.2}, quadrupoles={"OH": 0.3}, bond_cutoff=2.0, cutoff=6.0)


def test_moments_of_water_point_along_its_axis(x64):
    potential = Potential((WATER,), SPECIES)
    half, bond = np.deg2rad(52.25), 0.9572
    hydrogens = bond * np.array([[np.sin(half), np.cos(half), 0.0], [-np.sin(half), np.cos(half), 0.0]])
    water = Structure(positions=np.vstack([np.zeros(3), hydrogens]), numbers=np.array([8, 1, 1]))
    moments = WATER.moments(potential.graph(water))
    x = bond / 2.0
    fade = 1 - x**12 * (91 - 168 * x + 78 * x**2)  # p = 12
    np.testing.assert_allclose(moments.dipoles[0], [0, 0.4 * np.cos(half) * fade, 0], atol=1e-12)
    diagonal = 0.3 * fade * np.array([3 * np.sin(half) ** 2 - 1, 3 * np.cos(half) ** 2 - 1, -1])
    np.testing.assert_allclose(moments.quadrupoles[0], np.diag(diagonal), atol=1e-12)
    assert not np.any(moments.dipoles[1:]) and abs(np.trace(moments.quadrupoles[0])) < 1e-12


@pytest.mark.slow
def test_two_far_dipoles_have_the_energy_of_the_textbook_and_the_cutoff_ends_it(x64):
    # Two hydroxyls, head to tail: -2 mu^2 / r^3, but for what a quadrupole would add.
    only = Multipoles(dipoles={"OH": 0.3}, bond_cutoff=1.9, cutoff=8.0)
    short = dataclasses.replace(only, method="cutoff")
    energies = []
    for term in (only, short):
        potential, found = Potential((term,), SPECIES), []
        for r in (6.0, 500.0):
            positions = np.array([[0.0, 0, 0], [0, 0, 0.9], [0, 0, r], [0, 0, r + 0.9]])
            pair = Structure(positions=positions, numbers=np.array([8, 1, 8, 1]))
            found.append(float(predict(potential, {"multipoles": {}}, pair).energy[0]))
        energies.append(found[0] - found[1])
    x = 0.9 / 1.9
    mu = 0.3 * (1 - x**12 * (91 - 168 * x + 78 * x**2))
    wanted = -2 * COULOMB * mu**2 / 6.0**3
    assert energies[0] == pytest.approx(wanted * (1 - (6.0 / 500.0) ** 3), rel=1e-8)
    x = 6.0 / 8.0
    assert energies[1] == pytest.approx(wanted * (1 - 28 * x**6 + 48 * x**7 - 21 * x**8), rel=1e-6)


def test_what_cannot_be_summed_or_understood_is_refused():
    with pytest.raises(ConfigError, match="'OH': 0.1"):
        Multipoles(dipoles={"O": 0.1})
    with pytest.raises(ConfigError, match="bond_cutoff"):
        Multipoles(bond_cutoff=7.0, cutoff=6.0)
    potential = Potential((WATER,), SPECIES)
    cell = dict(cell=8.0 * np.eye(3), pbc=np.ones(3, bool))
    with pytest.raises(StructureError, match="background='uniform'"):
        potential.labelled([dataclasses.replace(systems.water(), charge=1.0, **cell)])
    with pytest.raises(StructureError, match=r"max_length=\d+ or more"):
        potential.labelled([dataclasses.replace(systems.water(), cell=30.0 * np.eye(3), pbc=np.ones(3, bool))])
    # Without periodic images there is nothing to neutralise.
    assert potential.labelled([dataclasses.replace(systems.water(), charge=1.0)])
    assert jax.tree.leaves(potential.init(jax.random.key(0), potential.graph(systems.water()))) == []
