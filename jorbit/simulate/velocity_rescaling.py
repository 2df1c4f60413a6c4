"""Stochastic velocity rescaling, in the form of jax-md's integrators."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.pytree import pytree


@pytree
class VelocityRescalingState:
    """State of `temp_csvr`: Å, sqrt(amu eV), eV/Å, amu."""

    position: Float[Array, "atoms 3"]
    momentum: Float[Array, "atoms 3"]
    force: Float[Array, "atoms 3"]
    mass: Float[Array, "atoms 1"]
    rng: Array

    @property
    def velocity(self) -> Array:
        """Å sqrt(eV / amu)."""
        return self.momentum / self.mass


def temp_csvr(
    energy_fn: Callable[..., Array], shift_fn: Callable[..., Array], dt: float, kT: Any, tau: float
) -> tuple[Callable, Callable]:
    """Constant temperature by random rescaling of the velocities, so that their energy has its canonical distribution.

    After each step of velocity Verlet the kinetic energy K of the 3 N - 3 motions about the centre of mass becomes

        K' = c K + s (R1^2 + S) + 2 R1 sqrt(c s K),   c = exp(-dt / tau),   s = (1 - c) kT / 2,

    R1 normal and S the sum of 3 N - 4 squared normal numbers. jax-md's own function counts 3 N motions, which is too
    hot by N / (N - 1) when the centre of mass rests.

    Args:
        energy_fn: jax-md's contract; a function that gives forces will do as well.
        shift_fn: of `jax_md.space`.
        dt: time step.
        kT: temperature; `kT=` in `apply_fn` changes it.
        tau: time constant of the kinetic energy, in the unit of dt.

    Returns:
        (init_fn, apply_fn).

    Example:
        >>> init_fn, apply_fn = temp_csvr(lambda R, **_: 0.0 * R.sum(), lambda R, dR, **_: R + dR, 0.01, 0.025, 1.0)
        >>> state = init_fn(jax.random.key(0), jnp.zeros((4, 3)), mass=1.0)
        >>> apply_fn(state).position.shape
        (4, 3)

    References:
        Bussi, Donadio, Parrinello, J. Chem. Phys. 126, 014101 (2007), eq. A7.
    """
    from jax_md import quantity

    force_fn = quantity.canonicalize_force(energy_fn)

    def init_fn(
        key: Array, R: Array, mass: Any = 1.0, momenta: Array | None = None, **kwargs: Any
    ) -> VelocityRescalingState:
        temperature = kwargs.pop("kT", kT)
        masses = jnp.broadcast_to(jnp.reshape(jnp.asarray(mass, R.dtype), (-1, 1)), (len(R), 1))
        key, start = jax.random.split(key)
        if momenta is None:
            momenta = jnp.sqrt(masses * temperature) * jax.random.normal(start, R.shape, R.dtype)
            momenta = momenta - _of_the_centre(momenta, masses) if len(R) > 1 else momenta
        return VelocityRescalingState(position=R, momentum=momenta, force=force_fn(R, **kwargs), mass=masses, rng=key)

    def apply_fn(state: VelocityRescalingState, **kwargs: Any) -> VelocityRescalingState:
        temperature = kwargs.pop("kT", kT)
        p = state.momentum + 0.5 * dt * state.force
        position = shift_fn(state.position, dt * p / state.mass, **kwargs)
        force = force_fn(position, **kwargs)
        p = p + 0.5 * dt * force
        key, first, others = jax.random.split(state.rng, 3)
        centre = _of_the_centre(p, state.mass) if len(p) > 1 else jnp.zeros_like(p)
        n_motions = 3 * len(p) - (3 if len(p) > 1 else 0)
        factor = _factor(first, others, p - centre, state.mass, temperature, n_motions, dt / tau)
        return VelocityRescalingState(
            position=position, momentum=centre + factor * (p - centre), force=force, mass=state.mass, rng=key
        )

    return init_fn, apply_fn


def _of_the_centre(momenta: Float[Array, "atoms 3"], masses: Float[Array, "atoms 1"]) -> Float[Array, "atoms 3"]:
    return masses * (jnp.sum(momenta, axis=0, keepdims=True) / jnp.sum(masses))


def _factor(
    first: Array, others: Array, momenta: Array, masses: Array, kT: Any, n_motions: int, ratio: float
) -> Float[Array, ""]:
    """What the momenta are multiplied with."""
    dtype = momenta.dtype
    kinetic = 0.5 * jnp.sum(momenta * momenta / masses)
    safe = jnp.where(kinetic > 0, kinetic, 1.0)
    c = jnp.exp(jnp.asarray(-ratio, dtype))
    s = 0.5 * (1.0 - c) * kT
    normal = jax.random.normal(first, dtype=dtype)
    squares = 2.0 * jax.random.gamma(others, 0.5 * (n_motions - 1), dtype=dtype)
    new = c * safe + s * (normal**2 + squares) + 2.0 * normal * jnp.sqrt(c * s * safe)
    sign = jnp.where(normal + jnp.sqrt(c * safe / s) >= 0, 1.0, -1.0)
    return jnp.where(kinetic > 0, sign * jnp.sqrt(new / safe), 1.0).astype(dtype)
