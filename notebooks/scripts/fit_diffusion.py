"""A liquid that diffuses too fast is corrected until it does not: gradients of a diffusion constant.

The target is that of argon at 94.4 K and 1.374 g/cm^3, 2.43e-5 cm^2/s (Rahman, Phys. Rev. 136, A405, 1964). The model
is argon with atoms too small (3.3 instead of 3.4 Å) plus a flexible pair term, a linear ACE of body order two, whose
coefficients are fitted to that one number. Each round runs the liquid, starts short trajectories from its frames, and
differentiates their mean squared displacement: through the trajectories, and through the weights of their starts.
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
from jorbit.simulate.transport import ShortTrajectories
from jorbit.terms.lennard_jones import LennardJones

N_FRAMES, N_STEPS, N_ROUNDS = (int(x) for x in sys.argv[1:]) if sys.argv[1:] else (40, 150, 4)
TEMPERATURE, TARGET = 94.4, 2.43e-4  # K, Å^2/fs
table = jorbit.SpeciesTable.from_numbers([18])
pair = LinearACE(n_species=1, cutoff=6.0, max_degree=(6,))
model = jorbit.Potential((LennardJones(sigma=3.3, cutoff=6.0, onset=4.5), pair), table)
atoms = bulk("Ar", "fcc", a=5.78, cubic=True) * (3, 3, 3)
atoms.rattle(0.5, seed=0)  # so far from the lattice that it melts
start = from_ase(atoms)
jax.config.update("jax_enable_x64", True)


def liquid(params, seed):
    """Decorrelated frames of a run at constant temperature: one every 0.5 ps, after 5 ps."""
    frames = []
    run(
        model, params, start, integrator="nvt_langevin", friction=0.005, temperature=TEMPERATURE, timestep=5.0,
        n_steps=1000 + 100 * N_FRAMES, record_every=100, block_size=500, seed=seed, progress=False,
        observers=[lambda block: frames.extend(block.at(k) for k in range(len(block))) and None],
    )  # fmt: skip
    return frames[-N_FRAMES:]


def params_of(coefficients):
    return {"lennard_jones": {}, "linear_ace": {"coefficients": coefficients}}


options = dict(kT=BOLTZMANN * TEMPERATURE, timestep=10.0, n_steps=N_STEPS, segment=N_STEPS // 10)
value_and_slope = jax.jit(jax.value_and_grad(lambda c, made: made.diffusion_constant(params_of(c))))
worth = jax.jit(lambda made, c: made.effective_frames(params_of(c)))
coefficients, made = jnp.zeros((1, pair.n_functions)), None
for k in range(N_ROUNDS):
    params = params_of(coefficients)
    frames = liquid(params, k)
    made = made.restarted(params, frames, k) if made else ShortTrajectories.of(model, params, frames, **options)
    found, slope = value_and_slope(coefficients, made)
    print(f"round {k}: {0.1 * float(found):.3e} cm^2/s, {100 * float(found / TARGET - 1):+.1f} %")
    if k == 0:  # the derivative, and its finite difference
        line = 1e-6 * np.random.default_rng(0).normal(size=coefficients.shape)
        ends = [float(value_and_slope(coefficients + s * line, made)[0]) for s in (1, -1)]
        print(f"slope {float(jnp.sum(slope * line)):.6e}, finite difference {(ends[0] - ends[1]) / 2:.6e}")
    # Newton's step for one number, shortened until the starts still speak for the new coefficients.
    step = (TARGET - found) * slope / jnp.sum(slope**2)
    while worth(made, coefficients + step) < 0.3 * N_FRAMES:
        step = 0.7 * step
    coefficients = coefficients + step
