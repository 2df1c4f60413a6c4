"""Exchanges of unlike atoms against the Boltzmann weights of all arrangements, and jax-md's own with our lists."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import simulate, smap, space
from simulated_systems import argon, argon_crystal, random_ace

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.core.structure import Structure
from jorbit.simulate.swap_monte_carlo import hybrid_swap_mc

SITES = np.array([[0.0, 0, 0], [1.9, 0, 0], [0, 2.1, 0], [0.2, 0.1, 2.0], [1.8, 1.9, 0.3]])
NUMBERS = np.array([12, 12, 8, 8, 8])


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_arrangements_have_their_boltzmann_weights():
    potential, params = random_ace()
    energies = {}
    for places in itertools.combinations(range(5), 2):
        numbers = np.full(5, 8)
        numbers[list(places)] = 12
        energies[places] = jorbit.predict(potential, params, Structure(positions=SITES, numbers=numbers)).energy
    levels = np.array([float(np.squeeze(e)) for e in energies.values()])
    kT = float(levels.std())
    weights = np.exp(-(levels - levels.min()) / kT)
    weights = weights / weights.sum()

    displacement, shift = space.free()
    neighbor_fn, energy_fn = jorbit.to_jax_md(potential, params, displacement, None, numbers=NUMBERS)
    R = jnp.asarray(SITES)
    init, apply = hybrid_swap_mc(energy_fn, shift, 0.01, kT, md_steps=0, n_swaps=3)
    state = init(jax.random.key(0), R, neighbor=neighbor_fn.allocate(R, extra_capacity=4), mass=20.0)

    def block(state, _):
        state = apply(state)
        return state, state.position[:2]  # where the two magnesium atoms are

    n_blocks = 3000
    state, seen = jax.jit(lambda s: jax.lax.scan(block, s, None, length=n_blocks))(state)
    at = np.argmin(np.linalg.norm(np.asarray(seen)[:, :, None] - SITES, axis=-1), axis=-1)
    found = np.array([np.mean(np.all(np.sort(at, axis=1) == places, axis=1)) for places in energies])
    assert found.sum() == pytest.approx(1.0)
    assert int(state.n_tried) == 3 * n_blocks and 0 < int(state.n_accepted) < 3 * n_blocks
    # A third as many independent samples would scatter by 0.015.
    np.testing.assert_allclose(found, weights, atol=0.04)
    assert weights.max() > 2 * weights.min()
    # The state is whole: sorted back, the atoms sit on the sites, and forces are those of their places.
    assert set(np.argmin(np.linalg.norm(np.asarray(state.position)[:, None] - SITES, axis=-1), axis=1)) == set(range(5))
    here = jorbit.predict(potential, params, Structure(positions=np.asarray(state.position), numbers=NUMBERS))
    np.testing.assert_allclose(state.dynamics.force, here.forces, atol=1e-10)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
def test_jax_mds_own_runs_with_our_lists():
    # Its energies are of pairs with diameters; the lists are those of a potential with a cutoff beyond theirs.
    # In a box of twice cutoff and skin at least: jax-md takes one image of each neighbour.
    atoms = argon_crystal((3, 3, 3), rattle=0.05)
    displacement, shift = space.periodic(float(atoms.cell[0, 0]))
    neighbor_fn, _ = jorbit.to_jax_md(*argon(), displacement, float(atoms.cell[0, 0]), numbers=atoms.numbers)

    def soft(r, sigma):
        x = jnp.where(r < 1.25 * sigma, 1.0 - r / (1.25 * sigma), 0.0)
        return 0.1 * x**2

    R = jnp.asarray(atoms.positions)
    sigma = jnp.where(jnp.arange(len(R)) % 2 == 0, 3.2, 3.8)
    init, apply = simulate.hybrid_swap_mc((displacement, shift), soft, neighbor_fn, 0.5, 0.004, t_md=5.0, N_swap=20)
    state = jax.jit(apply)(init(jax.random.key(0), R, sigma))
    assert sorted(np.asarray(state.sigma)) == sorted(np.asarray(sigma))
    assert not np.array_equal(state.sigma, sigma)  # some were exchanged
    pairs = smap.pair_neighbor_list(soft, space.metric(displacement), sigma=lambda a, b: 0.5 * (a + b))
    at, box = np.asarray(state.md.position), float(atoms.cell[0, 0])
    between = at[:, None] - at[None]
    distances = np.linalg.norm(between - box * np.round(between / box), axis=-1) + 100.0 * np.eye(len(at))
    means = 0.5 * (np.asarray(state.sigma)[:, None] + np.asarray(state.sigma)[None])
    expected = 0.5 * float(np.sum(soft(distances, means)))
    assert float(pairs(state.md.position, state.neighbor, sigma=state.sigma)) == pytest.approx(expected, rel=1e-9)


def test_one_kind_of_atoms_is_refused():
    _, shift = space.free()
    _, energy_fn = jorbit.to_jax_md(*argon(), space.free()[0], None, numbers=[18, 18])
    with pytest.raises(ConfigError, match="one kind"):
        hybrid_swap_mc(energy_fn, shift, 1.0, 0.01, md_steps=1, n_swaps=1)
