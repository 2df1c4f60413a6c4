"""A liquid whose g(r) is wrong is corrected until it is right: gradients of ensemble averages, by reweighting.

The target is the g(r) of argon. The model is argon with atoms too small (3.3 instead of 3.4 Å) plus a flexible pair
term, a linear ACE of body order two, whose coefficients are fitted to the g(r) alone: no energies, no forces.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk

import jorbit
from jorbit.core.units import BOLTZMANN
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.linear_ace import LinearACE
from jorbit.simulate import run
from jorbit.simulate.differentiable import Reweighting, pair_histograms
from jorbit.terms.lennard_jones import LennardJones

N_STEPS, N_ROUNDS = (int(x) for x in sys.argv[1:]) if sys.argv[1:] else (6000, 8)
TEMPERATURE, R_MAX, BINS = 120.0, 6.5, 65
table = jorbit.SpeciesTable.from_numbers([18])
pair = LinearACE(n_species=1, cutoff=6.0, max_degree=(10,))
truth = jorbit.Potential((LennardJones(sigma=3.4, cutoff=6.0, onset=4.5),), table)
model = jorbit.Potential((LennardJones(sigma=3.3, cutoff=6.0, onset=4.5), pair), table)
atoms = bulk("Ar", "fcc", a=5.75, cubic=True) * (3, 3, 3)
start = from_ase(atoms)


def liquid(potential, params, seed):
    """Decorrelated frames of a run at constant temperature, and each frame's g(r)."""
    frames = []
    options = dict(integrator="nvt_langevin", friction=0.005, temperature=TEMPERATURE, timestep=5.0, seed=seed)
    run(
        potential, params, start, n_steps=N_STEPS, record_every=50, block_size=500, progress=False,
        observers=[lambda block: frames.extend(block.at(k) for k in range(len(block))) and None], **options,
    )  # fmt: skip
    frames = frames[len(frames) // 4 :]
    return frames, pair_histograms(frames, R_MAX, BINS)


@jax.jit
def residual(c, graphs, reference, g, target):
    """What is missing in g(r) with coefficients c, and how many frames still speak for them."""
    ensemble = Reweighting(model, graphs, reference, BOLTZMANN * TEMPERATURE)
    params = {"lennard_jones": {}, "linear_ace": {"coefficients": c}}
    return ensemble.average(params, g) - target, ensemble.effective_frames(params)


slopes_of = jax.jit(jax.jacrev(lambda *a: residual(*a)[0]))
jax.config.update("jax_enable_x64", True)
target = jnp.asarray(liquid(truth, {"lennard_jones": {}}, 0)[1].mean(axis=0))
coefficients = jnp.zeros((1, pair.n_functions))
for k in range(N_ROUNDS):
    params = {"lennard_jones": {}, "linear_ace": {"coefficients": coefficients}}
    frames, g = liquid(model, params, k + 1)
    made = Reweighting.of(model, params, frames, BOLTZMANN * TEMPERATURE, dtype="float64")
    data = made.graphs, made.reference, jnp.asarray(g), target
    miss, _ = residual(coefficients, *data)
    print(f"round {k}: mean square error of g {float(jnp.mean(miss**2)):.5f}")
    slopes = slopes_of(coefficients, *data).reshape(BINS, -1)
    if k == 0:  # a derivative of an ensemble average, and its finite difference
        line = 1e-4 * np.random.default_rng(0).normal(size=coefficients.shape)
        ends = [float(jnp.sum(residual(coefficients + s * line, *data)[0] ** 2)) for s in (1e-3, -1e-3)]
        exact = float(2 * miss @ (slopes @ line.ravel()))
        print(f"slope {exact:.6e}, finite difference {(ends[0] - ends[1]) / 2e-3:.6e}")
    # The step of Gauss and Newton, damped until the frames still speak for the new coefficients.
    normal = slopes.T @ slopes
    for damping in 10.0 ** np.arange(-4, 4) * float(jnp.trace(normal)) / len(normal):
        step = jnp.linalg.solve(normal + damping * jnp.eye(len(normal)), slopes.T @ miss)
        moved = coefficients - step.reshape(coefficients.shape)
        then, worth = residual(moved, *data)
        if worth > 0.3 * len(frames) and jnp.sum(then**2) < jnp.sum(miss**2):
            coefficients = moved
            break
