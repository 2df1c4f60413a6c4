"""A fitted Atomic Cluster Expansion conserves energy over picoseconds, on the shipped data.

Velocity Verlet does not conserve the total energy H but, up to fourth order in the step, the shadow energy

    H + dt^2 (v.V''.v / 12 - F.F/m / 24).

H wanders around it by about 0.06 meV/atom as energy moves between stiff and soft vibrations, which hides drifts below
1e-3 meV/atom/ps over 10 ps. A force that is not the derivative of the energy, a jump at the cutoff or a missed
neighbour changes both alike, and shows in the shadow energy long before it shows in H.

Reference: Hairer, Lubich and Wanner, Acta Numerica 12, 399 (2003).
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.data import atomic_masses
from jax_md import simulate

import jorbit
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.core.units import FS
from jorbit.datasets import load_dataset
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.simulate import observables, run
from jorbit.simulate.jax_md import functions_for
from jorbit.terms.reference_energy import ReferenceEnergy

RECORD_EVERY = 5


def total_and_shadow_energies(
    potential: Potential, params: dict, start: Structure, velocities: np.ndarray, timestep: float, n_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """H and the shadow energy of an NVE run, eV."""
    neighbor_fn, energy_fn = functions_for(potential, params, start, skin=0.5, capacity_multiplier=1.5)
    mass = jnp.asarray(atomic_masses[start.numbers])[:, None]
    dt = float(np.float32(timestep * FS))  # jax-md rounds its step to float32

    def fresh(position, neighbor, **kwargs):
        return energy_fn(position, neighbor=neighbor.update(position))

    init_fn, apply_fn = simulate.nve(fresh, lambda r, dr, **_: r + dr, dt)
    position = jnp.asarray(start.positions)
    neighbors = neighbor_fn.allocate(position)
    momenta = jnp.asarray(velocities) * mass / FS
    state = init_fn(jax.random.key(0), position, kT=0.0, mass=mass, neighbor=neighbors, momenta=momenta)

    def step(_, carry):
        state, neighbors = carry
        state = apply_fn(state, neighbor=neighbors)
        return state, neighbors.update(state.position)

    def record(carry, _):
        state, neighbors = carry = jax.lax.fori_loop(0, RECORD_EVERY, step, carry)
        energy, gradient = jax.value_and_grad(energy_fn)(state.position, neighbor=neighbors)
        v = state.momentum / mass
        _, curvature = jax.jvp(lambda r: jax.grad(energy_fn)(r, neighbor=neighbors), (state.position,), (v,))
        total = energy + observables.kinetic_energy(state.momentum, mass)
        return carry, (total, jnp.sum(v * curvature) / 12 - jnp.sum(gradient**2 / mass) / 24)

    @jax.jit
    def whole(state, neighbors):
        return jax.lax.scan(record, (state, neighbors), None, length=n_steps // RECORD_EVERY)

    (_, neighbors), (total, correction) = whole(state, neighbors)
    assert not neighbors.did_buffer_overflow
    return np.asarray(total), np.asarray(total + dt**2 * correction)


def test_the_shadow_energy_of_an_oscillator_is_conserved_where_its_energy_is_not():
    # m = k = 1: velocity Verlet conserves p^2 + x^2 (1 - dt^2 / 4) exactly.
    dt, x, p = 0.3, 1.0, 0.2
    energies, shadows = [], []
    for _ in range(200):
        p -= 0.5 * dt * x
        x += dt * p
        p -= 0.5 * dt * x
        energies.append(0.5 * p * p + 0.5 * x * x)
        shadows.append(energies[-1] + dt**2 * (p * p / 12 - x * x / 24))
    assert np.ptp(shadows) < 0.05 * np.ptp(energies)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "n_frames", "cutoff", "timestep", "n_steps"),
    [("ethanol_gfn2", 100, 4.0, 0.5, 20000), ("bn_gfn1", 40, 3.5, 1.0, 5000)],
)
def test_the_energy_of_a_fitted_potential_does_not_drift(
    name: str, n_frames: int, cutoff: float, timestep: float, n_steps: int, x64: None
):
    frames = load_dataset(name)
    frames = [frames[int(i)] for i in np.random.default_rng(0).permutation(len(frames))[:n_frames]]
    table = SpeciesTable.from_structures(frame.structure for frame in frames)
    ace = LinearACE(n_species=len(table), cutoff=cutoff, max_degree=(8, 6))
    potential = Potential(terms=(ReferenceEnergy(n_species=len(table)), ace), species=table)
    potential, params, _ = jorbit.fit(frames, potential)

    warm = run(
        potential,
        params,
        frames[0].structure,
        integrator="nvt_langevin",
        friction=0.02,
        n_steps=2000,
        timestep=timestep,
        temperature=300.0,
        progress=False,
    )
    total, shadow = total_and_shadow_energies(potential, params, warm.structure, warm.velocities, timestep, n_steps)
    n_atoms = frames[0].structure.n_atoms
    times = timestep * RECORD_EVERY * np.arange(1, len(total) + 1)
    (raw, raw_error), (drift, error) = (observables.energy_drift(times, e, n_atoms) for e in (total, shadow))
    print(
        f"\n{name}: {n_steps * timestep / 1000:g} ps, {n_atoms} atoms, total energy {raw:.1e} ± {raw_error:.1e}, "
        f"shadow energy {drift:.1e} ± {error:.1e} meV/atom/ps; spread {1e3 * total.std() / n_atoms:.2g} and "
        f"{1e3 * shadow.std() / n_atoms:.2g} meV/atom"
    )
    assert abs(drift) < 1e-4 + 2 * error
    assert error < 1e-4  # fine enough to see a drift of the size that is excluded
    assert abs(raw) < 5e-3  # H itself, which wanders
