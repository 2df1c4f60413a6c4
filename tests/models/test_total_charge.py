"""Networks that read the total charge: ions of the same atoms differ, neutral molecules are as without it."""

import dataclasses

import jax
import numpy as np
import pytest

from jorbit.core.errors import ConfigError
from jorbit.models import MODELS
from jorbit.potential import Potential
from jorbit.testing import systems
from jorbit.testing.systems import SPECIES

pytestmark = pytest.mark.usefixtures("x64")
SLOW = ("painn", "hiphop", "mace")


@pytest.mark.parametrize("name", ["schnet", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_ions_differ_and_what_is_neutral_does_not_change(name: str):
    plain = MODELS.load(name).tiny(len(SPECIES))
    charged, bare = Potential((plain.clone(total_charge=True),), SPECIES), Potential((plain,), SPECIES)
    ions = [dataclasses.replace(systems.water(), charge=q) for q in (0.0, 1.0, -1.0)]
    together = charged.graph([*ions, systems.rattled_silicon()])

    @jax.jit
    def energies(key, graph):
        params = charged.init(key, graph)
        # A network without the layer and with the same parameters otherwise.
        rest = {
            name: {**params[name], "params": {k: v for k, v in params[name]["params"].items() if "charge" not in k}}
        }
        return charged.energy(params, graph), bare.energy(rest, graph)

    found, without = (np.asarray(x) for x in energies(jax.random.key(0), together))
    np.testing.assert_allclose(found[[0, 3]], without[[0, 3]], rtol=1e-12)
    np.testing.assert_allclose(without[:3], without[0], rtol=1e-12)
    assert min(abs(found[0] - found[1]), abs(found[0] - found[2]), abs(found[1] - found[2])) > 1e-6
    if name == "schnet":  # neither padding nor other structures take a part of the charge
        alone = energies(jax.random.key(0), charged.graph(ions[1]))[0]
        np.testing.assert_allclose(alone[0], found[1], rtol=1e-12)


def test_a_network_of_descriptors_says_that_it_cannot():
    potential = Potential((MODELS.load("ani").tiny(len(SPECIES)).clone(total_charge=True),), SPECIES)
    with pytest.raises(ConfigError, match="schnet, painn"):
        potential.init(jax.random.key(0), potential.graph(systems.water()))
