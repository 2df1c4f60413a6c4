"""Vacancies, and paths between two minima."""

import dataclasses
from typing import Any

import ase
import numpy as np
from ase.mep import NEB
from ase.optimize import FIRE
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import from_ase, to_ase
from jorbit.potential.potential import Potential
from jorbit.simulate.ase_calculator import Calculator
from jorbit.simulate.batched_relaxation import relax_many


@dataclasses.dataclass(frozen=True, eq=False)
class Vacancy:
    """An atom taken out.

    Attributes:
        formation_energy: E(without) - E(with) (N - 1) / N, relaxed, eV; for crystals of one element.
        unrelaxed: the same with the other atoms where they were.
        structure: relaxed.
        converged: whether the relaxation is.
    """

    formation_energy: float
    unrelaxed: float
    structure: Structure
    converged: bool


def vacancy(
    potential: Potential, params: Params, structure: Structure, *, atom: int = 0, max_force: float = 0.01
) -> Vacancy:
    """Formation energy of a vacancy at constant volume.

    Args:
        potential: sum of terms.
        params: its parameters.
        structure: a relaxed supercell of a crystal of one element.
        atom: which one goes.
        max_force: of the relaxation, eV/Å.

    Raises:
        ConfigError: several elements (the energy would need a chemical potential), no cell, or no such atom.
    """
    if len(set(np.asarray(structure.numbers).tolist())) != 1 or not np.all(structure.pbc):
        raise ConfigError("A vacancy's formation energy is defined here for periodic crystals of one element.")
    n = structure.n_atoms
    if not -n <= atom < n:
        raise ConfigError(f"Wanted an atom from 0 to {n - 1}, got {atom}.")
    kept = np.arange(n) != atom % n
    rest = dataclasses.replace(
        structure,
        positions=structure.positions[kept],
        numbers=structure.numbers[kept],
        orbits=None if structure.orbits is None else structure.orbits[kept],
    )
    (whole,) = relax_many(potential, params, [structure], max_steps=0)
    (relaxed,) = relax_many(potential, params, [rest], max_force=max_force)
    reference = (n - 1) / n * whole.energies[0]
    return Vacancy(
        formation_energy=float(relaxed.energies[-1] - reference),
        unrelaxed=float(relaxed.energies[0] - reference),
        structure=relaxed.structure,
        converged=relaxed.converged,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Path:
    """A minimum-energy path.

    Attributes:
        images: structures, ends included.
        energies: eV.
        barrier: highest image above the first, eV.
        converged: whether forces across the path are below the threshold.
    """

    images: tuple[Structure, ...]
    energies: Float[np.ndarray, " images"]
    barrier: float
    converged: bool


def nudged_elastic_band(
    potential: Potential,
    params: Params,
    start: Structure,
    end: Structure,
    *,
    n_images: int = 7,
    max_force: float = 0.05,
    max_steps: int = 500,
    climb: bool = True,
) -> Path:
    """A path between two relaxed structures, with ASE's nudged elastic band (interpolated by IDPP).

    Args:
        potential: sum of terms.
        params: its parameters.
        start, end: minima with the same atoms in the same order.
        n_images: ends included.
        max_force: eV/Å.
        max_steps: give up after so many.
        climb: the highest image climbs to the saddle.

    Raises:
        ConfigError: different atoms, or fewer than three images.

    References:
        Henkelman, Uberuaga, Jónsson, J. Chem. Phys. 113, 9901 (2000).
    """
    if n_images < 3 or not np.array_equal(start.numbers, end.numbers):
        raise ConfigError("Wanted at least three images between structures with the same atoms in the same order.")
    first, last = to_ase(start), to_ase(end)
    images: list[ase.Atoms] = [first, *[first.copy() for _ in range(n_images - 2)], last]
    for image in images:
        image.calc = Calculator((potential, params))
    band = NEB(images, climb=climb, method="improvedtangent")
    band.interpolate("idpp", mic=bool(np.any(start.pbc)))
    search: Any = FIRE
    converged = bool(search(band, logfile=None).run(fmax=max_force, steps=max_steps))
    energies = np.array([image.get_potential_energy() for image in images])
    return Path(
        images=tuple(from_ase(image) for image in images),
        energies=energies,
        barrier=float(energies.max() - energies[0]),
        converged=converged,
    )
