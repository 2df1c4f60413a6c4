"""How far an atom looks: cutoffs times layers of messages, or at everything."""

import pytest

from jorbit.core.species import SpeciesTable
from jorbit.models.hipnn import HipNN
from jorbit.models.linear_ace import LinearACE
from jorbit.models.mace import MACE
from jorbit.potential import Potential
from jorbit.terms.dispersion import Dispersion
from jorbit.terms.ewald import Ewald
from jorbit.terms.fixed_charges import FixedCharges
from jorbit.terms.lennard_jones import LennardJones
from jorbit.terms.reference_energy import ReferenceEnergy

ACE = LinearACE(n_species=1, cutoff=5.0, max_degree=(4,))
SEVERAL = (MACE(n_species=1, cutoff=4.0, n_layers=3), LennardJones(cutoff=7.0, onset=6.0))


@pytest.mark.parametrize(
    ("terms", "reach"),
    [
        ((ReferenceEnergy(n_species=1),), 0.0),
        ((ReferenceEnergy(n_species=1), ACE), 5.0),
        ((HipNN(n_species=1, cutoff=5.5, n_interactions=2),), 11.0),
        (SEVERAL, 12.0),  # the farthest, not the sum: terms do not see each other
        ((Dispersion(cutoff=9.0, onset=8.0),), 18.0),  # a neighbour's C6 depends on its own neighbours
        ((ACE, FixedCharges(n_species=1), Ewald()), None),
        ((HipNN(n_species=1, total_charge=True),), None),  # charge is shared out among all atoms
    ],
)
def test_reach(terms, reach):
    assert Potential(terms=terms, species=SpeciesTable.from_numbers([14])).reach == reach
