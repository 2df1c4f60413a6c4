"""Replicas on eight devices are the replicas of one device. Run as a script, this file computes on all devices."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from jorbit.core.errors import ConfigError
from jorbit.simulate.replicas import over_replicas

HERE = pathlib.Path(__file__).parent


def simulate(devices, together: bool) -> np.ndarray:
    """Positions, momenta and potential energies of ten argon clusters after 25 steps of Langevin dynamics."""
    import jax
    import jax.numpy as jnp
    from jax_md import simulate, space

    import jorbit
    from jorbit.core.units import BOLTZMANN, FS

    sys.path.insert(0, str(HERE))
    from simulated_systems import argon, argon_crystal

    potential, params = argon()
    atoms = argon_crystal((1, 1, 1))
    displacement, shift = space.free()
    neighbor_fn, energy_fn = jorbit.to_jax_md(
        potential, params, displacement, None, numbers=atoms.numbers, capacity_multiplier=2.0
    )
    start = jnp.asarray(atoms.positions)
    lists = neighbor_fn.allocate(start)
    init, apply = simulate.nvt_langevin(energy_fn, shift, 4 * FS, 0.0, gamma=0.02 / FS)

    def replica(key, kT):
        state = init(key, start, mass=jnp.full((len(start), 1), 39.95), kT=kT, neighbor=lists)

        def step(_, carry):
            state, lists = carry
            lists = lists.update(state.position)
            return apply(state, neighbor=lists, kT=kT), lists

        state, last = jax.lax.fori_loop(0, 25, step, (state, lists))
        return jnp.concatenate([state.position, state.momentum]), energy_fn(state.position, neighbor=last)

    keys = jax.random.split(jax.random.key(0), 10)
    found, energies = over_replicas(replica, devices=devices, together=together)(
        keys, BOLTZMANN * jnp.linspace(10, 60, 10)
    )
    return np.concatenate([np.asarray(found).reshape(10, -1), np.asarray(energies)[:, None]], axis=1)


@pytest.mark.slow
def test_eight_devices_give_the_numbers_of_one(tmp_path):
    flags = "--xla_force_host_platform_device_count=8 --xla_cpu_multi_thread_eigen=false"
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    file = tmp_path / "found.npz"
    done = subprocess.run([sys.executable, __file__, str(file)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(file) as found:
        assert int(found["n_devices"]) == 8
        np.testing.assert_array_equal(found["many"], found["one"])
        np.testing.assert_allclose(found["together"], found["one"], rtol=0, atol=1e-11)
        energies = found["one"][:, -1]
    assert np.ptp(energies) > 1e-3  # the replicas differ


def test_arguments_must_agree_on_the_number_of_replicas():
    with pytest.raises(ConfigError, match="leading axis"):
        over_replicas(lambda x, y: x + y)(np.zeros(3), np.zeros(4))


if __name__ == "__main__":
    import jax

    everything = jax.devices()
    np.savez(
        sys.argv[1],
        n_devices=len(everything),
        many=simulate(everything, False),
        one=simulate(everything[:1], False),
        together=simulate(everything, True),
    )
