"""Harmonic vibrations of molecules and cells, from the exact Hessian."""

import dataclasses
from typing import Any

import ase.data
import jax
import numpy as np
from jaxtyping import Float

from jorbit.core.errors import SimulationError, StructureError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.core.units import BOLTZMANN, FS
from jorbit.potential.derivatives import hessian
from jorbit.potential.potential import Potential

PLANCK_CM = 1.239841984e-4  # eV cm: energy of a quantum of one wave number
_SPEED_OF_LIGHT = 2.99792458e-5  # cm/fs
TO_WAVE_NUMBERS = FS / (2 * np.pi * _SPEED_OF_LIGHT)  # from angular frequencies in sqrt(eV / amu) / Å to 1/cm

_hessian = jax.jit(hessian, static_argnums=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Vibrations:
    """Normal modes at a stationary point.

    Attributes:
        wave_numbers: ascending, 1/cm; imaginary ones are negative. Free translations and rotations are near 0.
        modes: displacements of each mode, normalised with the masses: sum(m |u|^2) = 1 amu.
        structure: where they were computed.
        max_force: largest force there, eV/Å; frequencies mean something where it is small.
        n_free: motions that cost nothing: 3 translations, and 2 or 3 rotations without a cell.
    """

    wave_numbers: Float[np.ndarray, " modes"]
    modes: Float[np.ndarray, "modes atoms 3"]
    structure: Structure
    max_force: float
    n_free: int

    @property
    def vibrations(self) -> Float[np.ndarray, " vibrations"]:
        """Without the motions that cost nothing, those with the smallest wave numbers by size, 1/cm."""
        order = np.argsort(np.abs(self.wave_numbers))[self.n_free :]
        return np.sort(self.wave_numbers[order])

    @property
    def zero_point_energy(self) -> float:
        """Half a quantum of every vibration, eV.

        Raises:
            SimulationError: an imaginary frequency: not a minimum.
        """
        return 0.5 * PLANCK_CM * float(self._real().sum())

    def free_energy(self, temperature: float) -> float:
        """Helmholtz energy of the vibrations, eV, at a temperature in K.

        Raises:
            SimulationError: an imaginary frequency: not a minimum.
        """
        quanta, kT = PLANCK_CM * self._real(), BOLTZMANN * temperature
        thermal = kT * np.log1p(-np.exp(-quanta / kT)).sum() if temperature > 0 else 0.0
        return self.zero_point_energy + float(thermal)

    def _real(self) -> Float[np.ndarray, " vibrations"]:
        found = self.vibrations
        if len(found) and found[0] <= 0:
            raise SimulationError(
                f"The structure is not a minimum: a vibration has {found[0]:.4g} 1/cm (imaginary). Relax it, along "
                "that mode if forces are zero already."
            )
        return found


def vibrations(potential: Potential, params: Params, structure: Structure, *, masses: Any = None) -> Vibrations:
    """Normal modes of a relaxed structure (of a crystal: those with the period of the cell), in float64.

    Args:
        potential: sum of terms.
        params: its parameters.
        structure: relaxed; see `jorbit.simulate.relax`.
        masses: [atoms], amu; those of the elements when not given.

    Raises:
        StructureError, UnknownSpeciesError: a structure that makes no sense or is not known to the potential.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> pair = Structure(positions=np.array([[0.0, 0, 0], [3.8164, 0, 0]]), numbers=np.array([18, 18]))
        >>> bool(26 < vibrations(argon, {"lennard_jones": {}}, pair).vibrations[0] < 27)
        True
    """
    structure = potential.labelled([structure.check()])[0]
    n = structure.n_atoms
    masses = ase.data.atomic_masses[structure.numbers] if masses is None else np.asarray(masses, np.float64)
    if masses.shape != (n,):
        raise StructureError(f"Wanted masses [{n}] in amu, got an array {masses.shape}.")
    with jax.enable_x64(True):
        graph = potential.graph(structure, dtype="float64")
        second = np.asarray(_hessian(potential, params, graph), np.float64)[:n, :, :n]
        forces = np.asarray(jax.grad(lambda r: potential.energy(params, _moved(graph, r)).sum())(graph.positions))[:n]
    matrix = second.reshape(3 * n, 3 * n) / np.sqrt(np.outer(np.repeat(masses, 3), np.repeat(masses, 3)))
    squares, vectors = np.linalg.eigh(0.5 * (matrix + matrix.T))
    return Vibrations(
        wave_numbers=np.sign(squares) * np.sqrt(np.abs(squares)) * TO_WAVE_NUMBERS,
        modes=vectors.T.reshape(-1, n, 3) / np.sqrt(masses)[None, :, None],
        structure=structure,
        max_force=float(np.linalg.norm(forces, axis=1).max()),
        n_free=_n_free(structure),
    )


def _moved(graph: Any, positions: Any) -> Any:
    return dataclasses.replace(graph, positions=positions)


def _n_free(structure: Structure) -> int:
    if structure.n_atoms == 1:
        return 3
    if np.any(structure.pbc):
        return 3
    centred = structure.positions - structure.positions.mean(axis=0)
    sizes = np.linalg.svd(centred, compute_uv=False)
    return 5 if len(sizes) < 2 or sizes[1] < 1e-3 * sizes[0] else 6
