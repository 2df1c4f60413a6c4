"""Diffusion constants as functions of parameters: fitted to, and differentiated exactly.

A transport coefficient is a mean over trajectories that start in the canonical ensemble. Parameters act on it twice:
they change how likely each start is (weights, as in `jorbit.simulate.differentiable.Reweighting`) and how it moves on
(differentiated through every step). Weights alone would take the motion of the old parameters for that of the new.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import ase.data
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError, SimulationError, StructureError
from jorbit.core.protocols import Params
from jorbit.core.pytree import pytree, static
from jorbit.core.structure import Structure
from jorbit.core.units import FS
from jorbit.potential.potential import Potential
from jorbit.simulate.differentiable import Reweighting, trajectory
from jorbit.simulate.integrators import thermal_momenta
from jorbit.simulate.jax_md import EnergyFunction, functions_for


@pytree
class ShortTrajectories:
    """Frames of a run at constant temperature and volume, each the start of a short trajectory at constant energy.

    Trajectories must be long enough for velocities to forget their start and, for gradients, short enough not to be
    chaotic: one to three picoseconds for liquids. Made by `ShortTrajectories.of`; an argument of compiled functions.

    Attributes:
        energy_fn: (positions, neighbor=, params=) -> energy, eV.
        neighbors: list for it, or None where it needs none.
        positions: of the starts, Å. momenta: of the starts, sqrt(amu eV).
        masses: amu.
        reference: energies of the starts with the parameters they were made with, eV.
        kT: eV.
        timestep: fs. n_steps: of each trajectory. segment: steps between two records.

    Example:
        >>> springs = lambda r, neighbor, params: 0.5 * params * jnp.sum(r**2)  # frequency sqrt(k / m)
        >>> still = jnp.zeros((1, 1, 3))
        >>> moving = ShortTrajectories(
        ...     energy_fn=springs, neighbors=None, positions=still, momenta=still + 1.0, masses=jnp.ones((1, 1)),
        ...     reference=jnp.zeros(1), kT=1.0, timestep=0.01 / FS, n_steps=100, segment=50,
        ... )
        >>> print(np.round(moving.displacements(1.0)[1], 2))  # 3 sin(t)^2
        [0.69 2.12]

    References:
        Thaler, Zavadlav, Nat. Commun. 12, 6884 (2021), for the weights. Frenkel, Smit, Understanding Molecular
        Simulation, 2nd ed., section 4.4, for Einstein's relation.
    """

    energy_fn: Callable = static()
    neighbors: Any
    positions: Float[Array, "frames atoms 3"]
    momenta: Float[Array, "frames atoms 3"]
    masses: Float[Array, "atoms 1"]
    reference: Float[Array, " frames"]
    kT: Any
    timestep: float = static()
    n_steps: int = static()
    segment: int = static()

    @classmethod
    def of(
        cls,
        potential: Potential,
        params: Params,
        frames: Sequence[Structure],
        kT: float,
        *,
        timestep: float = 1.0,
        n_steps: int = 1000,
        segment: int = 20,
        masses: Any = None,
        skin: float = 1.0,
        seed: int = 0,
    ) -> "ShortTrajectories":
        """From decorrelated frames of a run, with random velocities. In JAX's default float type: use float64.

        Args:
            potential: sum of terms.
            params: those the frames were made with.
            frames: of one system and one cell.
            kT: of the run, eV.
            timestep: fs. n_steps: of each trajectory, a multiple of `segment`.
            segment: steps between two records of positions, and between two checkpoints of the way back.
            masses: [atoms], amu; those of the elements when not given.
            skin: of the neighbour lists, Å.
            seed: of the velocities.

        Raises:
            ConfigError: numbers of steps that do not fit each other, or fewer than four records.
            StructureError: no frames, or frames of more than one system or cell.
            SimulationError: frames with energies that are not finite.
        """
        if segment < 1 or n_steps % segment or n_steps < 4 * segment or not timestep > 0:
            raise ConfigError(
                f"Wanted a time step above 0 and n_steps of four or more whole segments, got {timestep} fs and "
                f"{n_steps} steps in segments of {segment}."
            )
        if not frames:
            raise StructureError("Wanted frames to start from, got none.")
        dtype = jnp.zeros(()).dtype
        neighbor_fn, energy_fn = functions_for(potential, params, frames[0], skin=skin, capacity_multiplier=1.5)
        known = ase.data.atomic_masses[frames[0].numbers] if masses is None else np.asarray(masses)
        if known.shape != (frames[0].n_atoms,):
            raise StructureError(f"Wanted masses [{frames[0].n_atoms}] in amu, got an array {known.shape}.")
        zero = jnp.zeros((1, frames[0].n_atoms, 3), dtype)
        empty = cls(
            energy_fn=energy_fn,
            neighbors=neighbor_fn.allocate(jnp.asarray(frames[0].positions, dtype)),
            positions=zero,
            momenta=zero,
            masses=jnp.asarray(known, dtype)[:, None],
            reference=zero[:, 0, 0],
            kT=kT,
            timestep=float(timestep),
            n_steps=n_steps,
            segment=segment,
        )
        return empty.restarted(params, frames, seed)

    def restarted(self, params: Params, frames: Sequence[Structure], seed: int = 0) -> "ShortTrajectories":
        """The same with frames of another run, made with `params`: nothing is compiled again.

        Args:
            params: of the new frames.
            frames: of the same system; as many as before, or compiled functions are compiled once more.
            seed: of the velocities.

        Raises:
            StructureError: no frames, or frames of another system or cell.
            SimulationError: frames with energies that are not finite.
        """
        if not frames:
            raise StructureError("Wanted frames to start from, got none.")
        for frame in frames:
            _check_same(frame, frames[0].numbers, frames[0].cell)
            if isinstance(self.energy_fn, EnergyFunction):  # with the cell and the atoms of the first run
                _check_same(frame, self.energy_fn.numbers, self.energy_fn.cell)
        dtype = self.positions.dtype
        keys = jax.random.split(jax.random.key(seed), len(frames))
        momenta = jax.vmap(lambda key: thermal_momenta(key, self.masses, self.kT))(keys)
        positions = jnp.asarray(np.stack([f.positions for f in frames]), dtype)
        none = jnp.zeros(len(frames), dtype)
        made = dataclasses.replace(self, positions=positions, momenta=momenta.astype(dtype), reference=none)
        reference = _energies(made, params)
        bad = np.flatnonzero(~np.isfinite(np.asarray(reference)))
        if bad.size:
            raise SimulationError(
                f"The energies of {bad.size} of {len(frames)} frames are not finite, first that of frame {bad[0]}: the "
                "run blew up, or atoms are so much denser there than in the first frame of all that the neighbour list "
                "overflows. Look at these frames, or leave them out."
            )
        return dataclasses.replace(made, reference=reference)

    @property
    def times(self) -> Float[np.ndarray, " records"]:
        """Of the records, fs."""
        return self.timestep * self.segment * np.arange(1, self.n_steps // self.segment + 1)

    @property
    def ensemble(self) -> Reweighting:
        """The starts, as a model of the ensembles of other parameters."""
        return Reweighting(_Starts(self.energy_fn, self.neighbors), self.positions, self.reference, self.kT)

    def displacements(self, params: Params, atoms: Any = None) -> tuple[Array, Float[Array, " records"]]:
        """Mean squared displacement with these parameters, with exact derivatives.

        Args:
            params: of the potential; near those of the frames (see `effective_frames`).
            atoms: indices of those that count; all when not given.

        Returns:
            Times (fs) and the mean squared displacement since the start (Å^2). NaN when a neighbour list overflowed.
        """

        def one(start: tuple[Array, Array]) -> Float[Array, " records"]:
            positions, momenta = start
            _, _, kept = trajectory(
                lambda p, r, lists=None: -jax.grad(self.energy_fn)(r, neighbor=lists, params=p),
                params,
                positions,
                momenta,
                self.masses,
                dt=self.timestep * FS,
                n_steps=self.n_steps,
                segment=self.segment,
                neighbors=_updated(self.neighbors, positions),
            )
            moved = (kept - positions)[:, slice(None) if atoms is None else np.asarray(atoms)]
            return jnp.mean(jnp.sum(moved**2, axis=-1), axis=-1)

        curves = jax.lax.map(jax.checkpoint(one), (self.positions, self.momenta))
        return jnp.asarray(self.times, curves.dtype), self.ensemble.average(params, curves)

    def diffusion_constant(self, params: Params, atoms: Any = None) -> Float[Array, ""]:
        """Slope of the mean squared displacement in the second half of the trajectories over 6, Å^2/fs (0.1 cm^2/s).

        Args:
            params: of the potential.
            atoms: indices of those that count; all when not given.
        """
        times, curve = self.displacements(params, atoms)
        half = len(self.times) // 2
        late = times[half:] - times[half:].mean()
        return jnp.sum(late * curve[half:]) / jnp.sum(late**2) / 6.0

    def effective_frames(self, params: Params) -> Float[Array, ""]:
        """How many starts the weights are worth; make new frames when they are few."""
        return self.ensemble.effective_frames(params)


def _check_same(frame: Structure, numbers: np.ndarray, cell: np.ndarray) -> None:
    if not np.array_equal(frame.numbers, numbers):
        raise StructureError("Wanted frames of one system, with its atoms in one order.")
    repeats = np.asarray(frame.pbc, bool)
    if not np.allclose(frame.cell[repeats], cell[repeats], rtol=1e-6):
        raise StructureError(
            "Wanted frames of one cell: run at constant volume, and make new ShortTrajectories for another cell."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class _Starts:
    """What Reweighting asks for energies: graphs are positions here."""

    energy_fn: Callable
    neighbors: Any

    def energy(self, params: Params, positions: Array) -> Array:
        return self.energy_fn(positions, neighbor=_updated(self.neighbors, positions), params=params)[None]


def _updated(neighbors: Any, positions: Array) -> Any:
    return None if neighbors is None else neighbors.update(positions)


@jax.jit
def _energies(made: ShortTrajectories, params: Params) -> Float[Array, " frames"]:
    return made.ensemble.energies(params)
