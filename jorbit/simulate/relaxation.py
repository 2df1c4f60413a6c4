"""relax(): move atoms (and the cell) to a minimum of the energy with ASE's optimisers."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.filters import FrechetCellFilter
from ase.optimize import BFGS, FIRE
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import from_ase, to_ase
from jorbit.potential.potential import Potential
from jorbit.simulate.ase_calculator import Calculator
from jorbit.simulate.trajectory import open_for_writing

OPTIMIZERS = {"bfgs": BFGS, "fire": FIRE}


@dataclasses.dataclass(frozen=True, eq=False)
class RelaxationResult:
    """Where a relaxation ended.

    Attributes:
        structure: the last configuration.
        energies: after each step, the start included, eV.
        max_force: largest force on an atom at the end, eV/Å.
        stress: (1/V) dE/dε at the end, eV/Å^3; zeros without a full cell.
        n_steps: steps made.
        converged: whether forces (and stress) are below the threshold.
    """

    structure: Structure
    energies: Float[np.ndarray, " records"]
    max_force: float
    stress: Float[np.ndarray, "3 3"]
    n_steps: int
    converged: bool


def relax(
    potential: Potential,
    params: Params,
    structure: Structure,
    *,
    max_force: float = 0.01,
    max_steps: int = 500,
    optimizer: str = "bfgs",
    relax_cell: bool = False,
    trajectory: str | Path | None = None,
    on_step: Callable[[int, float, float], None] | None = None,
) -> RelaxationResult:
    """Relax one structure in float64.

    Args:
        potential: sum of terms.
        params: its parameters.
        structure: start.
        max_force: stop when no force is larger, eV/Å; with `relax_cell` also no generalised force on the cell.
        max_steps: give up after so many steps.
        optimizer: "bfgs" or "fire".
        relax_cell: move the lattice vectors too; needs a full periodic cell.
        trajectory: extxyz file of every step.
        on_step: called with (step, energy in eV, largest force in eV/Å).

    Raises:
        ConfigError: an unknown optimiser, or `relax_cell` without a periodic cell.
        DataError: the trajectory cannot be written.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> pair = Structure(positions=np.array([[0.0, 0, 0], [3.9, 0, 0]]), numbers=np.array([18, 18]))
        >>> relax(argon, {"lennard_jones": {}}, pair, max_force=1e-4).converged
        True
    """
    if optimizer not in OPTIMIZERS:
        raise ConfigError(f"There is no optimizer called {optimizer!r}. Known: {', '.join(OPTIMIZERS)}.")
    structure.check()
    if relax_cell and not np.all(structure.pbc):
        raise ConfigError("relax_cell needs a cell that repeats in all three directions: set pbc, or leave it off.")
    atoms = to_ase(structure)
    calculator = Calculator((potential, params))
    atoms.calc = calculator
    target: Any = FrechetCellFilter(atoms) if relax_cell else atoms
    energies: list[float] = []
    file = None if trajectory is None else open_for_writing(trajectory)
    try:
        search = OPTIMIZERS[optimizer](target, logfile=None)

        def record() -> None:
            energies.append(float(atoms.get_potential_energy()))
            if file is not None:
                frame = atoms.copy()
                frame.calc = SinglePointCalculator(frame, **calculator.results)
                ase.io.write(file, frame, format="extxyz")
                file.flush()
            if on_step is not None:
                on_step(search.nsteps, energies[-1], _largest(atoms.get_forces()))

        search.attach(record, interval=1)
        converged = bool(search.run(fmax=max_force, steps=max_steps))
    finally:
        if file is not None:
            file.close()
    volume = structure.volume
    return RelaxationResult(
        structure=from_ase(atoms),
        energies=np.array(energies),
        max_force=_largest(atoms.get_forces()),
        stress=atoms.get_stress(voigt=False) if volume > 0 else np.zeros((3, 3)),
        n_steps=int(search.nsteps),
        converged=converged,
    )


def _largest(forces: Float[np.ndarray, "atoms 3"]) -> float:
    return float(np.linalg.norm(forces, axis=1).max())
