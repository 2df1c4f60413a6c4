"""Which atoms a jax-md script is about: atomic numbers and rows of the species table, said in one of three ways."""

from typing import Any

import numpy as np

from jorbit.core.errors import ConfigError, MissingInputError, UnknownSpeciesError
from jorbit.core.structure import Structure
from jorbit.potential.potential import Potential


def atoms_of_structure(
    potential: Potential, species: Any, numbers: Any, structure: Structure, charge: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Atomic numbers, species rows and total charge of a structure, whose orbits are assigned where there are any."""
    if species is not None or numbers is not None:
        raise ConfigError("Give the atoms once: structure=, or species= and numbers=.")
    labelled = potential.labelled([structure.check()])[0]
    rows = potential.species.index(labelled.numbers, labelled.orbits)
    return np.asarray(labelled.numbers, dtype=np.int64), rows, charge or structure.charge


def atoms_by_name(potential: Potential, species: Any, numbers: Any) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers and species rows, each from the other when only one is given."""
    if species is None and numbers is None:
        raise MissingInputError(
            "to_jax_md needs to know the elements: pass numbers=atoms.numbers (atomic numbers), or species= (rows of "
            "the potential's species table)."
        )
    table = potential.species
    if species is None:
        numbers = np.asarray(numbers, dtype=np.int64).reshape(-1)
        if table.has_orbits:
            raise MissingInputError(
                f"The potential tells orbits apart ({', '.join(table.names)}), and atomic numbers do not say which is "
                "which. Pass structure= (its atoms are labelled), or species= (rows of the species table)."
            )
        return numbers, table.index(numbers)
    species = np.asarray(species, dtype=np.int32).reshape(-1)
    if ((species < 0) | (species >= len(table))).any():
        raise UnknownSpeciesError(
            f"species holds rows {sorted(set(species.tolist()))}, but the table has rows 0..{len(table) - 1} "
            f"({', '.join(table.names)}). Atomic numbers go into numbers=."
        )
    from_table = np.array(table.numbers, dtype=np.int64)[species]
    if numbers is not None and (np.asarray(numbers).reshape(-1).tolist() != from_table.tolist()):
        raise UnknownSpeciesError("species and numbers name different elements: pass one of them, or make them agree.")
    return from_table, species
