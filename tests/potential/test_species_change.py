"""Fine-tuning on other elements: twins, and elements that are dropped."""

import jax
import numpy as np
import pytest

from jorbit import Potential, SpeciesTable, Structure
from jorbit.core.errors import ConfigError
from jorbit.descriptors.acsf import ACSF
from jorbit.models import MODELS
from jorbit.models.charges import Charges
from jorbit.potential.refine import refine
from jorbit.potential.species_change import change_species
from jorbit.terms.fixed_charges import FixedCharges
from jorbit.terms.multipoles import Multipoles
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


def test_charges_and_moments_given_by_symbol_hold_for_twins(x64):
    """Sulfur in the place of oxygen has its charges, in every kind of bond; what was given for sulfur itself stays."""
    table, twins = SpeciesTable.from_numbers([1, 8]), {"S": "O", "F": "H"}
    ions = Potential((FixedCharges(n_species=2, charges={"O": -0.8, "H": 0.3}),), table)
    params = {"fixed_charges": {"shifts": np.array([0.01, -0.02])}}
    bonds = Multipoles(charges={"O": -0.8, "H": 0.4}, dipoles={"OH": 0.2}, quadrupoles={"HO": -0.1}, cutoff=5.0)
    moments = Potential((bonds,), table)

    def found(numbers):
        """Charges, and moments, in a molecule like water."""
        s = Structure(positions=systems.water().positions, numbers=np.array(numbers))
        charges = changed_ions.outputs(new, changed_ions.graph(s)).charges
        return np.asarray(charges), jax.tree.leaves(changed_moments.terms[0].moments(changed_moments.graph(s)))

    changed_ions, new = change_species(ions, params, twins)
    changed_moments = change_species(moments, {"multipoles": {}}, twins)[0]
    wanted = found([8, 1, 1])
    assert abs(wanted[0][0] + 0.7) < 0.2 and all(np.abs(m).max() > 0.01 for m in wanted[1])
    for numbers in ([16, 1, 1], [16, 9, 1], [8, 9, 9]):
        jax.tree.map(np.testing.assert_array_equal, found(numbers), wanted)
    own = Potential((FixedCharges(n_species=2, charges={"O": -0.8, "H": 0.4, "S": -0.3}),), table)
    changed = change_species(own, params, {"S": "O"})[0]
    assert dict(changed.terms[0].charges) == {"O": -0.8, "H": 0.4, "S": -0.3}


@pytest.mark.parametrize("name", ["gap", "charges"])
def test_features_made_for_other_species_are_refused(name, x64):
    """Their rows, points and weights would be read as those of other elements."""
    table = SpeciesTable.from_numbers([1, 8, 14])
    term = Charges(n_species=3, descriptor=ACSF.tiny(3)) if name == "charges" else MODELS.load(name).tiny(3)
    potential = Potential((term,), table)
    params = potential.init(jax.random.key(0), potential.graph(systems.water(), dtype=np.float64))
    for change in (
        lambda: change_species(potential, params, {"S": "O"}, keep=["H", "O"]),
        lambda: refine(potential, params, SpeciesTable(((1, 0), (1, 1), (8, 0), (14, 0)))),
    ):
        with pytest.raises(ConfigError, match="other species"):
            change()
    replaced, same = change_species(potential, params, {"Ge": "Si"}, keep=["H", "O"])
    assert replaced.species.names == ("H", "O", "Ge")
    assert jax.tree.all(jax.tree.map(np.array_equal, same, dict(params)))
