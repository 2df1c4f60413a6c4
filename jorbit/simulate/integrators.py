"""Integrators by name: jax-md's, ready for one potential, and what run() has to know about each."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.units import FS

INTEGRATORS = ("nve", "nvt_langevin", "nvt_nose_hoover")


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What a system is coupled to.

    Attributes:
        kT: eV.
        friction: of Langevin dynamics, 1/fs.
        damping_time: of the Nosé-Hoover chain, fs.
    """

    kT: float
    friction: float
    damping_time: float


def make_integrator(integrator: str | Callable, surroundings: Surroundings) -> Callable:
    """A function (energy_fn, shift_fn, dt) -> (init_fn, apply_fn) of jax-md's kind, dt in units of `1 / FS` fs.

    Raises:
        ConfigError: an unknown name.
    """
    from jax_md import simulate

    kT = surroundings.kT
    if callable(integrator):
        own: Callable = integrator
        takes_temperature = "kT" in inspect.signature(own).parameters
        return (lambda e, s, dt: own(e, s, dt, kT)) if takes_temperature else own
    if integrator == "nve":
        return simulate.nve
    if integrator == "nvt_langevin":
        return lambda e, s, dt: simulate.nvt_langevin(e, s, dt, kT, gamma=surroundings.friction / FS)
    if integrator == "nvt_nose_hoover":
        return lambda e, s, dt: simulate.nvt_nose_hoover(e, s, dt, kT, tau=surroundings.damping_time * FS)
    raise ConfigError(f"There is no integrator called {integrator!r}. Known: {', '.join(INTEGRATORS)}, or a function.")


def thermal_momenta(key: Array, mass: Float[Array, "atoms 1"], kT: Any) -> Float[Array, "atoms 3"]:
    """Momenta of the Maxwell-Boltzmann distribution with the centre of mass at rest, sqrt(amu eV).

    jax-md takes the mean momentum from every atom alike, which makes light atoms too hot (about 400 K where
    300 K were wanted for ethanol); the centre of mass rests when each atom gives up its mass times the mean velocity.

    Args:
        key: of the random numbers.
        mass: amu.
        kT: eV.
    """
    momenta = jnp.sqrt(mass * kT) * jax.random.normal(key, (len(mass), 3), mass.dtype)
    if len(mass) == 1:
        return momenta
    return momenta - mass * (momenta.sum(axis=0, keepdims=True) / mass.sum())
