"""Integrators by name, ready for one system, and what run() has to know about each."""

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
from jorbit.simulate.barostat import npt_langevin
from jorbit.simulate.velocity_rescaling import temp_csvr

INTEGRATORS = (
    "nve",
    "nvt_langevin",
    "nvt_nose_hoover",
    "temp_csvr",
    "brownian",
    "npt_langevin",
    "npt_nose_hoover",
)


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What a system is coupled to.

    Attributes:
        n_atoms: of the system.
        kT: eV.
        friction: of Langevin and Brownian dynamics, 1/fs.
        damping_time: of Nosé-Hoover chains and of velocity rescaling, fs.
        pressure: eV/Å^3, positive when the surroundings press.
        barostat_time: period of the cell, fs.
        cell: what may change under pressure, for `npt_langevin`.
    """

    n_atoms: int
    kT: float
    friction: float = 0.01
    damping_time: float = 100.0
    pressure: float = 0.0
    barostat_time: float = 1000.0
    cell: str = "full"

    @property
    def kT_of_resting_centre(self) -> float:
        """For thermostats of jax-md that count 3 N degrees of freedom where the centre of mass rests and 3 N - 3 move.

        They hold the kinetic energy at 3 N kT / 2: with this kT it is right for 3 N - 3.
        """
        return self.kT * (self.n_atoms - 1) / self.n_atoms if self.n_atoms > 1 else self.kT


class ForcesWithEnergy:
    """Forces of an energy_fn, for integrators of jax-md's kind, that remember the energy they came with.

    While a step is traced, `energy` is that of the positions where forces were computed last. It costs nothing there,
    where another evaluation for a record takes a third of a step.

    Args:
        energy_fn: jax-md's contract.
    """

    def __init__(self, energy_fn: Callable[..., Array]):
        self.energy_fn = energy_fn
        self.energy: Any = None

    def __call__(self, position: Array, **kwargs: Any) -> Array:
        """eV/Å."""
        self.energy, slope = jax.value_and_grad(lambda r: self.energy_fn(r, **kwargs))(position)
        return -slope


@dataclasses.dataclass(frozen=True, eq=False)
class Integrator:
    """An integrator for one system.

    Attributes:
        init: (key, position, mass, momenta, **neighbor or box) -> state.
        apply: (state, **keywords) -> state.
        changes_cell: positions are fractional, and states have a box.
        forces: what `apply` calls once, where it ends, without anything compiled between the two; None: not known.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    changes_cell: bool
    forces: ForcesWithEnergy | None = None

    def box(self, state: Any) -> Array | None:
        """Lattice vectors as columns, Å; None for a fixed cell."""
        if not self.changes_cell:
            return None
        if hasattr(state, "box"):
            return state.box
        from jax_md import simulate

        return simulate.npt_box(state)


def make_integrator(
    integrator: str | Callable, energy_fn: Callable, timestep: float, surroundings: Surroundings
) -> Integrator:
    """Give an integrator its energy, time step and surroundings.

    Args:
        integrator: one of `INTEGRATORS`, or a function of jax-md's kind: `(energy_fn, shift_fn, dt)` or
            `(energy_fn, shift_fn, dt, kT)` -> (init_fn, apply_fn); when init_fn has a `box`, positions are fractional.
        energy_fn: jax-md's contract.
        timestep: fs.
        surroundings: temperature, pressure and couplings.

    Raises:
        ConfigError: an unknown name.
    """
    from jax_md import simulate

    if callable(integrator):
        return _foreign(integrator, energy_fn, timestep * FS, surroundings.kT)
    if integrator not in INTEGRATORS:
        raise ConfigError(
            f"There is no integrator called {integrator!r}. Known: {', '.join(INTEGRATORS)}, or a function."
        )
    s, dt = surroundings, timestep * FS
    fixed: Any = _shift
    flexible: Any = _fractional_shift
    tau, gamma, resting = s.damping_time * FS, s.friction / FS, s.kT_of_resting_centre
    if integrator == "npt_langevin":
        pair = npt_langevin(
            energy_fn, flexible, dt, s.pressure, s.kT, gamma, tau=s.barostat_time * FS, cell=s.cell, box_gamma=gamma
        )
        return Integrator(*pair, changes_cell=True)
    if integrator == "npt_nose_hoover":
        chains: dict[str, Any] = dict(
            barostat_kwargs=dict(tau=s.barostat_time * FS), thermostat_kwargs=dict(tau=s.damping_time * FS)
        )
        pair = simulate.npt_nose_hoover(energy_fn, flexible, dt, s.pressure, resting, **chains)
        return Integrator(*pair, changes_cell=True)
    if integrator == "brownian":
        start, apply = simulate.brownian(energy_fn, fixed, dt, s.kT, gamma=gamma)
        return Integrator(lambda key, r, mass, **_: start(key, r, mass=mass), apply, changes_cell=False)
    forces: Any = ForcesWithEnergy(energy_fn)
    start, apply = {
        "nve": lambda: simulate.nve(forces, fixed, dt),
        "nvt_langevin": lambda: simulate.nvt_langevin(forces, fixed, dt, s.kT, gamma=gamma),
        "nvt_nose_hoover": lambda: simulate.nvt_nose_hoover(forces, fixed, dt, resting, tau=tau),
        "temp_csvr": lambda: temp_csvr(forces, fixed, dt, s.kT, tau),
    }[integrator]()
    return Integrator(start, inspect.unwrap(apply), changes_cell=False, forces=forces)


def _foreign(integrator: Callable, energy_fn: Callable, dt: float, kT: float) -> Integrator:
    arguments = (kT,) if "kT" in inspect.signature(integrator).parameters else ()

    def shift(r: Array, dr: Array, box: Any = None, **_: Any) -> Array:
        return _shift(r, dr) if box is None else _fractional_shift(r, dr, box)

    init, apply = integrator(energy_fn, shift, dt, *arguments)
    changes_cell = "box" in inspect.signature(init).parameters
    return Integrator(lambda *a, **k: init(*a, **k), apply, changes_cell=changes_cell)


def _shift(r: Array, dr: Array, **_: Any) -> Array:
    return r + dr


def _fractional_shift(r: Array, dr: Array, box: Array, **_: Any) -> Array:
    return r + jnp.matmul(dr, jnp.linalg.inv(box).T, precision="highest")


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
