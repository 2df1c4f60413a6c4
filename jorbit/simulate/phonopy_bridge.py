"""To and from phonopy (extra `[phonons]`): exact force constants for it, forces for its displaced cells.

phonopy displaces atoms and takes forces from elsewhere; here second derivatives are exact and nothing is displaced.
Both meet in the force constants, whose atoms and cells the two order differently.
"""

from typing import Any

import ase
import ase.data
import numpy as np
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.potential.potential import Potential
from jorbit.simulate.ase_calculator import Calculator
from jorbit.simulate.phonons import Phonons, phonons_of

_SAME_PLACE = 1e-3  # Å


def to_phonopy(found: Phonons) -> Any:
    """A `phonopy.Phonopy` with the same cell, supercell, masses and force constants.

    Args:
        found: of `jorbit.simulate.phonons.phonons`.

    Returns:
        Ready for `run_mesh`, `run_band_structure`, `save`, ...

    Raises:
        ConfigError: phonopy is not installed.
    """
    phonon = _phonopy().Phonopy(
        _cell(found.structure, found.masses),
        supercell_matrix=np.diag(found.repeats),
        primitive_matrix=np.eye(3),
        is_symmetry=False,
        log_level=0,
    )
    ours = _order(found, np.asarray(phonon.supercell.positions))
    phonon.force_constants = np.ascontiguousarray(found.constants[:, :, ours].transpose(0, 2, 1, 3))
    return phonon


def from_phonopy(phonon: Any) -> Phonons:
    """The force constants of a `phonopy.Phonopy`, for bands, states and heat capacities here.

    Args:
        phonon: with force constants, the unit cell as primitive cell, and a supercell of whole repeats.

    Raises:
        ConfigError: other cells, or no force constants yet.
    """
    matrix, unit = np.asarray(phonon.supercell_matrix), phonon.unitcell
    if phonon.force_constants is None:
        raise ConfigError("phonopy has no force constants yet: give it forces and call produce_force_constants().")
    if np.any(matrix != np.diag(np.diag(matrix))) or len(phonon.primitive) != len(unit):
        raise ConfigError(
            "Wanted a supercell of whole repeats and the unit cell as primitive cell: make the Phonopy with "
            "supercell_matrix=[n1, n2, n3] and primitive_matrix=numpy.eye(3)."
        )
    structure = Structure(
        positions=np.array(unit.positions),
        numbers=np.array(unit.numbers),
        cell=np.array(unit.cell),
        pbc=np.ones(3, bool),
    )
    repeats = (int(matrix[0, 0]), int(matrix[1, 1]), int(matrix[2, 2]))
    n = structure.n_atoms
    empty = phonons_of(structure, np.zeros((n, 3, n * int(np.prod(repeats)), 3)), repeats)
    ours = _order(empty, np.asarray(phonon.supercell.positions))
    theirs = np.asarray(phonon.force_constants)
    if len(theirs) == len(ours):  # not compact: a row for every atom of the supercell
        theirs = theirs[[int(np.flatnonzero(ours == k)[0]) for k in range(n)]]
    else:
        first = ours[np.asarray(phonon.primitive.p2s_map)]
        if not np.array_equal(first, np.arange(n)):
            raise ConfigError("The compact force constants belong to other atoms than those of the first cell.")
    constants = np.zeros((n, 3, len(ours), 3))
    constants[:, :, ours] = theirs.transpose(0, 2, 1, 3)
    return phonons_of(structure, constants, repeats, np.array(unit.masses))


def set_forces(potential: Potential, params: Params, phonon: Any) -> None:
    """Compute the forces that phonopy asks for, and hand them to it.

    After `phonon.generate_displacements()`; then call `phonon.produce_force_constants()`.

    Args:
        potential: sum of terms.
        params: its parameters.
        phonon: a `phonopy.Phonopy` with displacements.

    Raises:
        ConfigError: no displacements.
    """
    wanted = phonon.supercells_with_displacements
    if not wanted:
        raise ConfigError("phonopy has no displaced supercells: call generate_displacements() first.")
    calculator, forces = Calculator((potential, params)), []
    for cell in wanted:
        atoms = ase.Atoms(
            numbers=cell.numbers, positions=cell.positions, cell=cell.cell, pbc=True, calculator=calculator
        )
        forces.append(atoms.get_forces())
    phonon.forces = np.array(forces)


def _order(found: Phonons, positions: np.ndarray) -> np.ndarray:
    """For each atom of phonopy's supercell, which atom of ours it is."""
    s, repeats = found.structure, np.array(found.repeats)
    cells = np.array(list(np.ndindex(*found.repeats)))
    mine = (s.positions[None] + (cells @ s.cell)[:, None]).reshape(-1, 3)
    inverse = np.linalg.inv(s.cell * repeats[:, None])
    between = (positions[:, None] - mine[None]) @ inverse
    distances = np.linalg.norm((between - np.round(between)) @ np.linalg.inv(inverse), axis=-1)
    nearest = distances.argmin(axis=1)
    if distances.min(axis=1).max() > _SAME_PLACE or len(set(nearest.tolist())) != len(mine):
        raise ConfigError("The atoms of phonopy's supercell are not those of repeated unit cells.")
    return nearest


def _cell(structure: Structure, masses: Float[np.ndarray, " atoms"] | None) -> Any:
    _phonopy()
    from phonopy.structure.atoms import PhonopyAtoms

    return PhonopyAtoms(
        symbols=[ase.data.chemical_symbols[z] for z in structure.numbers],
        positions=np.asarray(structure.positions),
        cell=np.asarray(structure.cell),
        masses=ase.data.atomic_masses[structure.numbers] if masses is None else masses,
    )


def _phonopy() -> Any:
    try:
        import phonopy
    except ImportError as error:
        raise ConfigError("This needs the package phonopy: pip install 'jorbit[phonons]'.") from error
    return phonopy
