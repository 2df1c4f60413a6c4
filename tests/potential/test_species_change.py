"""Fine-tuning on other elements: twins, and elements that are dropped."""

import jax
import numpy as np
import pytest

from jorbit import Potential, SpeciesTable, Structure
from jorbit.core.errors import ConfigError
from jorbit.models import MODELS
from jorbit.potential.species_change import change_species
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.testing import systems
from jorbit.testing.term_contract import perturbed


def energy(potential, params, numbers):
    water = systems.water()
    s = Structure(positions=water.positions, numbers=np.array(numbers))
    return float(jax.jit(potential.energy)(params, potential.graph(s, dtype=np.float64))[0])


@pytest.mark.parametrize("name", ["ani", "schnet"])
def test_a_new_element_is_the_twin_of_a_known_one_and_dropped_ones_change_nothing(name, x64):
    model = MODELS.load(name).tiny(3)
    potential = Potential((ReferenceEnergy(n_species=3), model), SpeciesTable.from_numbers([1, 8, 14]))
    graph = potential.graph(systems.water(), dtype=np.float64)
    params = perturbed(jax.jit(potential.init)(jax.random.key(0), graph))
    wanted = energy(potential, params, [8, 1, 1])
    other, new = change_species(potential, params, {"S": "O"}, keep=["H", "O"])
    assert other.species.names == ("H", "O", "S") and other.terms[1].n_species == 3
    for numbers in ([8, 1, 1], [16, 1, 1]):
        assert energy(other, new, numbers) == pytest.approx(wanted, rel=1e-12)
    assert energy(other, new, [8, 16, 1]) == pytest.approx(energy(potential, params, [8, 8, 1]), rel=1e-12)


def test_symbols_are_checked(x64):
    potential = Potential((ReferenceEnergy(n_species=2),), SpeciesTable.from_numbers([1, 8]))
    params = {"reference_energy": {"energies": np.zeros(2)}}
    for adopted, keep, message in (
        ({"S": "Cl"}, None, "does not know 'Cl'"),
        ({"O": "H"}, None, "Wanted new elements"),
        ({"Xx": "H"}, None, "Wanted new elements"),
        ({}, ["N"], "does not know 'N'"),
    ):
        with pytest.raises(ConfigError, match=message):
            change_species(potential, params, adopted, keep)
