"""Random velocities at the start of a run have the temperature that was asked for, whatever the masses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.units import BOLTZMANN
from jorbit.simulate.integrators import thermal_momenta
from jorbit.simulate.observables import temperature

MASSES = jnp.array([12.011, 12.011, 15.999, *[1.008] * 6])[:, None]  # ethanol, amu


def draw(n: int) -> np.ndarray:
    keys = jax.random.split(jax.random.key(0), n)
    return np.asarray(jax.vmap(lambda key: thermal_momenta(key, MASSES, 300.0 * BOLTZMANN))(keys))


def test_mean_temperature_is_the_one_wanted():
    values = np.array([float(temperature(jnp.asarray(p), MASSES)) for p in draw(1000)])
    # T of 24 degrees of freedom scatters by 300 sqrt(2/24) K; five standard errors of the mean of 1000.
    assert values.mean() == pytest.approx(300.0, abs=5 * 300 * np.sqrt(2 / 24) / np.sqrt(1000))


def test_every_element_has_the_same_temperature():
    kinetic = (draw(4000) ** 2).sum(axis=2) / np.asarray(MASSES)[:, 0] / 2
    # Equipartition with the centre of mass at rest: 3/2 kT (1 - m / M), a little less for heavy atoms.
    masses = np.asarray(MASSES)[:, 0]
    expected = 1.5 * 300.0 * BOLTZMANN * (1 - masses / masses.sum())
    np.testing.assert_allclose(kinetic.mean(axis=0), expected, rtol=5 * np.sqrt(2 / 3 / 4000))


def test_the_centre_of_mass_rests():
    assert np.abs(draw(3).sum(axis=1)).max() < 1e-5  # float32 sums of momenta near 1
