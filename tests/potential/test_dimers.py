"""A repulsion put beside a fitted model leaves it alone where atoms keep the distances of its data."""

import jax
import numpy as np
import pytest

from jorbit.core.errors import ConfigError
from jorbit.models import MODELS
from jorbit.potential import Potential
from jorbit.potential.dimers import guarded
from jorbit.testing import systems

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.slow
def test_on_the_structures_themselves_nothing_changes():
    structure = systems.water()
    model = MODELS.load("linear_ace").tiny(n_species=len(systems.SPECIES))
    potential = Potential((model,), systems.SPECIES)
    params = potential.init(jax.random.key(0), potential.graph(structure))
    params["linear_ace"]["coefficients"] = np.random.default_rng(0).normal(
        size=params["linear_ace"]["coefficients"].shape
    )
    safe, whole = guarded(potential, params, [structure])
    before = potential.energy(params, potential.graph(structure, dtype="float64"))[0]
    assert before != 0 and safe.energy(whole, safe.graph(structure, dtype="float64"))[0] == before
    with pytest.raises(ConfigError, match="call secure"):
        guarded(safe, whole, [structure])
    with pytest.raises(ConfigError, match="got none"):
        guarded(potential, params, [])
