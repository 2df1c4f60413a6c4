"""Derivatives of diffusion constants against finite differences, and against the closed form of springs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from simulated_systems import argon_crystal, structure_of

from jorbit.core.errors import ConfigError, SimulationError, StructureError
from jorbit.core.species import SpeciesTable
from jorbit.core.units import BOLTZMANN, FS
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.simulate.transport import ShortTrajectories
from jorbit.terms.lennard_jones import LennardJones

pytestmark = pytest.mark.usefixtures("x64")


def springs(position, neighbor, params):
    return 0.5 * params * jnp.sum(position**2)


def test_displacements_of_springs_have_the_derivative_of_the_closed_form():
    # One atom of 1 amu on a spring k along x: msd(t) = 2 kT / k (1 - cos(sqrt(k) t)). Its derivative with respect to k
    # needs the weights of the starts (<x^2> = kT / k) as well as the changed motion. Starts have the moments of the
    # canonical distribution that both take: x up to the fifth (Gauss-Hermite's three points), p up to the third.
    k, kT = 1.3, 0.7
    x = np.sqrt(3 * kT / k) * np.repeat([-1.0, 0, 0, 0, 0, 1], 2)
    p = np.sqrt(kT) * np.tile([-1.0, 1], 6)
    along = np.array([1.0, 0, 0])
    starts = ShortTrajectories(
        energy_fn=springs,
        neighbors=None,
        positions=jnp.asarray(x[:, None, None] * along),
        momenta=jnp.asarray(p[:, None, None] * along),
        masses=jnp.ones((1, 1)),
        reference=jnp.asarray(0.5 * k * x**2),
        kT=kT,
        timestep=0.01 / FS,
        n_steps=200,
        segment=25,
    )
    found = jax.jit(lambda k: jax.jvp(lambda q: starts.displacements(q)[1], (k,), (1.0,)))(k)
    times = starts.times * FS
    closed = jax.jvp(lambda q: 2 * kT / q * (1 - jnp.cos(jnp.sqrt(q) * times)), (k,), (1.0,))
    for ours, exact in zip(found, closed, strict=True):  # up to the error of the time step
        np.testing.assert_allclose(ours, exact, atol=1e-4 * np.abs(exact).max())
    assert float(starts.effective_frames(k)) == pytest.approx(12.0)
    late = slice(4, None)
    slope = np.polyfit(starts.times[late], closed[0][late], 1)[0] / 6
    assert float(jax.jit(starts.diffusion_constant)(k)) == pytest.approx(slope, rel=1e-3)


def argon_with_a_free_pair_term() -> tuple[Potential, dict]:
    ace = LinearACE(n_species=1, cutoff=5.0, max_degree=(4,))
    potential = Potential((LennardJones(cutoff=6.0, onset=4.5), ace), SpeciesTable.from_numbers([18]))
    coefficients = 2e-4 * np.random.default_rng(1).normal(size=(1, ace.n_functions))
    return potential, {"lennard_jones": {}, "linear_ace": {"coefficients": jnp.asarray(coefficients)}}


@pytest.mark.slow
def test_the_gradient_of_a_diffusion_constant_is_its_finite_difference_while_neighbours_change():
    potential, params = argon_with_a_free_pair_term()
    frames = [structure_of(argon_crystal((1, 1, 2), rattle=0.1)) for _ in range(3)]
    frames = [
        dataclasses.replace(f, positions=f.positions + 0.2 * np.random.default_rng(k).normal(size=f.positions.shape))
        for k, f in enumerate(frames)
    ]
    kT = 300 * BOLTZMANN
    starts = ShortTrajectories.of(potential, params, frames, kT, timestep=5.0, n_steps=100, segment=10, skin=0.3)
    direction = np.random.default_rng(2).normal(size=params["linear_ace"]["coefficients"].shape)

    @jax.jit
    @jax.value_and_grad
    def diffusion(step):
        moved = {"coefficients": params["linear_ace"]["coefficients"] + step * direction}
        return starts.diffusion_constant(params | {"linear_ace": moved}, atoms=[0, 2, 5])

    value, slope = diffusion(0.0)
    numerical = (diffusion(1e-6)[0] - diffusion(-1e-6)[0]) / 2e-6
    assert float(slope) == pytest.approx(float(numerical), rel=1e-5) and abs(slope) > 0.1 * abs(value)


def test_starts_that_make_no_sense_are_refused():
    potential, params = Potential((LennardJones(),), SpeciesTable.from_numbers([18])), {"lennard_jones": {}}
    frame = structure_of(argon_crystal((1, 1, 1)))
    with pytest.raises(ConfigError, match="whole segments"):
        ShortTrajectories.of(potential, params, [frame], 0.02, n_steps=50, segment=20)
    with pytest.raises(StructureError, match="none"):
        ShortTrajectories.of(potential, params, [], 0.02)
    with pytest.raises(StructureError, match="one cell"):
        wider = dataclasses.replace(frame, cell=1.1 * frame.cell)
        ShortTrajectories.of(potential, params, [frame, wider], 0.02)
    starts = ShortTrajectories.of(potential, params, [frame], 0.02)
    with pytest.raises(StructureError, match="another cell"):  # its functions know the cell of the first run
        starts.restarted(params, [wider])
    with pytest.raises(StructureError, match="one system"):
        starts.restarted(params, [dataclasses.replace(frame, numbers=frame.numbers + 18)])
    with pytest.raises(StructureError, match="none"):
        starts.restarted(params, [])
    with pytest.raises(SimulationError, match="not finite, first that of frame 0"):
        starts.restarted(params, [dataclasses.replace(frame, positions=frame.positions * np.nan)])
    with pytest.raises(StructureError, match="masses"):
        ShortTrajectories.of(potential, params, [frame], 0.02, masses=np.ones((4, 1)))
