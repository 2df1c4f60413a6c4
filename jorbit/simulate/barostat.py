"""Constant pressure for cells that may change their shape: a barostat in the form of jax-md's integrators.

jax-md 0.2.29 has one barostat, of isotropic cells, whose conserved quantity wanders. (In fractional coordinates its
step moves atoms by R (exp(x) - 1) once more although the box has already carried them along.) Here the conserved
quantity is kept to second order in the time step.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.pytree import pytree


@pytree
class FlexibleCellState:
    """State of `npt_langevin`.

    Attributes:
        position: fractional.
        momentum: sqrt(amu eV).
        force: eV/Å.
        mass: amu.
        box: lattice vectors as columns, Å.
        box_momentum: conjugate to the strain of the box; symmetric.
        box_mass: inertia of the box, eV times the square of jax-md's unit of time.
        virial: -dE/dε, eV; symmetric.
        rng: key of the random numbers.
    """

    position: Float[Array, "atoms 3"]
    momentum: Float[Array, "atoms 3"]
    force: Float[Array, "atoms 3"]
    mass: Float[Array, "atoms 1"]
    box: Float[Array, "3 3"]
    box_momentum: Float[Array, "3 3"]
    box_mass: Float[Array, ""]
    virial: Float[Array, "3 3"]
    rng: Array

    @property
    def velocity(self) -> Array:
        """Å sqrt(eV / amu)."""
        return self.momentum / self.mass


def npt_langevin(
    energy_fn: Callable[..., Array],
    shift_fn: Callable[..., Array],
    dt: float,
    pressure: Any,
    kT: Any,
    gamma: float,
    *,
    box_gamma: float | None = None,
    tau: float | None = None,
    cell: str = "full",
) -> tuple[Callable, Callable]:
    """Constant pressure and temperature, with a cell that may change volume or shape.

    Equations of motion of Martyna, Tobias and Klein for a flexible cell h (columns) with strain rate u = G / W,

        r' = p/m + u r,   p' = F - u p - (tr u / 3N) p,   h' = u h,
        G' = V (P_int - P) + sum(p^2/m) / 3N,

    and Langevin thermostats on p and G as Quigley and Probert do. u is symmetric, so the cell never rotates. Each step
    is kick, drift, noise, drift, kick with one evaluation of forces and virial; without friction the conserved
    quantity (`npt_langevin_invariant`) is kept to second order in dt. Samples exp(-(H + P V) / kT): volumes with weight
    V^N for free particles.

    Use it as any integrator of jax-md with fractional coordinates: `state = init_fn(key, R, box=box, mass=mass,
    neighbor=neighbors)`, then `neighbors = neighbors.update(state.position, box=state.box)` and
    `state = apply_fn(state, neighbor=neighbors)`. `pressure=` and `kT=` may be given to `apply_fn` to change them.

    Args:
        energy_fn: takes (R, box=, perturbation=, ...), as that of `to_jax_md`.
        shift_fn: of `space.periodic_general(box, fractional_coordinates=True)`.
        dt: time step.
        pressure: positive when the surroundings press.
        kT: temperature.
        gamma: friction of the atoms, 1 / time.
        box_gamma: friction of the box; `gamma` when not given.
        tau: period of the box, which sets its inertia W = (N + 1) kT tau^2; 1000 dt when not given.
        cell: "isotropic" (the volume changes), "orthorhombic" (three lengths) or "full" (lengths and angles).

    Returns:
        (init_fn, apply_fn).

    Raises:
        ConfigError: an unknown `cell`.

    Example:
        >>> from jax_md import space
        >>> box = 20.0 * jnp.eye(3)
        >>> _, shift = space.periodic_general(box, fractional_coordinates=True)
        >>> init_fn, apply_fn = npt_langevin(lambda R, **_: 0.0 * R.sum(), shift, 0.01, 1e-4, 0.025, 0.1)
        >>> state = init_fn(jax.random.key(0), jnp.full((4, 3), 0.5), box=box, mass=1.0)
        >>> apply_fn(state).box.shape
        (3, 3)

    References:
        Martyna, Tobias, Klein, J. Chem. Phys. 101, 4177 (1994). Quigley, Probert, J. Chem. Phys. 120, 11432 (2004).
        Leimkuhler, Matthews, Appl. Math. Res. Express 2013, 34 (2013).
    """
    if cell not in ("isotropic", "orthorhombic", "full"):
        raise ConfigError(f'Wanted cell="isotropic", "orthorhombic" or "full", got {cell!r}.')
    friction = gamma if box_gamma is None else box_gamma
    period = 1000.0 * dt if tau is None else tau

    def evaluate(position: Array, box: Array, **kwargs: Any) -> tuple[Array, Array]:
        def energy(r: Array, perturbation: Array) -> Array:
            return energy_fn(r, box=box, perturbation=perturbation, **kwargs)

        gradient, slope = jax.grad(energy, argnums=(0, 1))(position, jnp.eye(3, dtype=position.dtype))
        return -gradient, -0.5 * (slope + slope.T)

    def init_fn(
        key: Array, R: Array, box: Any, mass: Any = 1.0, momenta: Array | None = None, **kwargs: Any
    ) -> FlexibleCellState:
        temperature = kwargs.pop("kT", kT)
        box = jnp.asarray(box, R.dtype)
        box = box if box.ndim == 2 else box * jnp.eye(3, dtype=R.dtype)
        masses = jnp.broadcast_to(jnp.reshape(jnp.asarray(mass, R.dtype), (-1, 1)), (len(R), 1))
        key, atoms, walls = jax.random.split(key, 3)
        if momenta is None:
            momenta = jnp.sqrt(masses * temperature) * jax.random.normal(atoms, R.shape, R.dtype)
        box_mass = jnp.asarray((len(R) + 1) * temperature * period**2, R.dtype)
        noise = jnp.sqrt(box_mass * temperature) * jax.random.normal(walls, (3, 3), R.dtype)
        force, virial = evaluate(R, box, **kwargs)
        return FlexibleCellState(
            position=R,
            momentum=momenta,
            force=force,
            mass=masses,
            box=box,
            box_momentum=allowed_strain(noise, cell),
            box_mass=box_mass,
            virial=virial,
            rng=key,
        )

    def kick(state: FlexibleCellState, time: float, target: Any) -> FlexibleCellState:
        n_atoms = len(state.position)
        volume = jnp.abs(jnp.linalg.det(state.box))
        unit = jnp.eye(3, dtype=state.position.dtype)

        def push(p: Array) -> Array:
            flow = jnp.matmul((p / state.mass).T, p, precision="highest") + state.virial
            flow = flow + (jnp.trace(flow - state.virial) / (3 * n_atoms) - target * volume) * unit
            return allowed_strain(flow, cell)

        p, g = state.momentum, state.box_momentum
        g = g + 0.5 * time * push(p)
        rate = g / state.box_mass
        shrink = symmetric_exponential(-0.5 * time * (rate + jnp.trace(rate) / (3 * n_atoms) * unit))
        p = jnp.matmul(p, shrink, precision="highest") + time * state.force
        p = jnp.matmul(p, shrink, precision="highest")
        g = g + 0.5 * time * push(p)
        return dataclasses.replace(state, momentum=p, box_momentum=g)

    def drift(state: FlexibleCellState, time: float) -> FlexibleCellState:
        half = symmetric_exponential(0.5 * time * state.box_momentum / state.box_mass)
        middle = jnp.matmul(half, state.box, precision="highest")
        position = shift_fn(state.position, time * state.momentum / state.mass, box=middle)
        return dataclasses.replace(state, position=position, box=jnp.matmul(half, middle, precision="highest"))

    def heat(state: FlexibleCellState, temperature: Any) -> FlexibleCellState:
        key, atoms, walls = jax.random.split(state.rng, 3)
        p, g, dtype = state.momentum, state.box_momentum, state.position.dtype
        keep, keep_box = jnp.exp(jnp.asarray(-gamma * dt, dtype)), jnp.exp(jnp.asarray(-friction * dt, dtype))
        noise = jnp.sqrt((1 - keep**2) * state.mass * temperature) * jax.random.normal(atoms, p.shape, dtype)
        box_noise = jnp.sqrt((1 - keep_box**2) * state.box_mass * temperature) * jax.random.normal(walls, (3, 3), dtype)
        return dataclasses.replace(
            state, momentum=keep * p + noise, box_momentum=keep_box * g + allowed_strain(box_noise, cell), rng=key
        )

    def apply_fn(state: FlexibleCellState, **kwargs: Any) -> FlexibleCellState:
        temperature, target = kwargs.pop("kT", kT), kwargs.pop("pressure", pressure)
        state = drift(kick(state, 0.5 * dt, target), 0.5 * dt)
        state = drift(heat(state, temperature), 0.5 * dt)
        force, virial = evaluate(state.position, state.box, **kwargs)
        state = dataclasses.replace(state, force=force, virial=virial)
        return kick(state, 0.5 * dt, target)

    return init_fn, apply_fn


def npt_langevin_invariant(
    energy_fn: Callable[..., Array], state: FlexibleCellState, pressure: Any, **kwargs: Any
) -> Float[Array, ""]:
    """What `npt_langevin` conserves without friction: E + sum(p^2 / 2m) + P V + |G|^2 / 2W."""
    potential = energy_fn(state.position, box=state.box, **kwargs)
    kinetic = 0.5 * jnp.sum(state.momentum**2 / state.mass)
    volume = jnp.abs(jnp.linalg.det(state.box))
    return potential + kinetic + pressure * volume + 0.5 * jnp.sum(state.box_momentum**2) / state.box_mass


def allowed_strain(matrix: Float[Array, "3 3"], cell: str) -> Float[Array, "3 3"]:
    """The part of a matrix that strains the cell in the way allowed (an orthogonal projection)."""
    if cell == "full":
        return 0.5 * (matrix + matrix.T)
    unit = jnp.asarray(np.eye(3), matrix.dtype)
    return matrix * unit if cell == "orthorhombic" else jnp.trace(matrix) / 3 * unit


def symmetric_exponential(matrix: Float[Array, "3 3"]) -> Float[Array, "3 3"]:
    """exp of a symmetric matrix by scaling and squaring; exact to rounding for norms below one.

    A polynomial, because strains per step are tiny and a 3x3 eigenvalue routine costs more than all the rest.
    """
    small = matrix / 16
    unit = jnp.asarray(np.eye(3), matrix.dtype)
    result = unit
    for k in range(8, 0, -1):
        result = unit + jnp.matmul(small, result, precision="highest") / k
    for _ in range(4):
        result = jnp.matmul(result, result, precision="highest")
    return result
