"""What can be wrong with a LAMMPS instance before the first step: units, box, types, masses."""

from collections.abc import Sequence
from typing import Any

import ase.data
import numpy as np
from jaxtyping import Int

from jorbit.core.errors import ConfigError
from jorbit.core.species import SYMBOLS, SpeciesTable


def check_settings(lmp: Any) -> None:
    """Raise unless units are metal and there is a box.

    Raises:
        ConfigError: says which command is missing.
    """
    units = lmp.extract_global("units")
    if units != "metal":
        raise ConfigError(f"Wanted `units metal` (eV, Å, ps), got `units {units}`. Put it before the box is made.")
    if not lmp.extract_setting("box_exist"):
        raise ConfigError("There is no box yet: read_data or create_box comes before attach.")


def rows_of_types(species: SpeciesTable, types: Sequence[str], n_types: int) -> Int[np.ndarray, " types"]:
    """Row of the species table of each atom type.

    Args:
        species: what the model knows.
        types: names of species, or symbols of elements where the model knows one kind of atom of that element.
        n_types: how many LAMMPS has.

    Raises:
        ConfigError: another number of types, or a name that the model does not know.

    Example:
        >>> rows_of_types(SpeciesTable.from_numbers([1, 8]), ["O", "H"], 2)
        array([1, 0])
    """
    names = species.names
    if isinstance(types, str):
        types = [types]
    if len(types) != n_types:
        raise ConfigError(
            f"LAMMPS has {n_types} atom types, but types= names {len(types)}: {list(types)}. Name every type once, in "
            f"LAMMPS's order; the model knows {', '.join(names)}."
        )
    rows = []
    for k, name in enumerate(types, start=1):
        if name not in names:
            several = [n for n, z in zip(names, species.numbers, strict=True) if SYMBOLS[z] == name]
            hint = f" {name} is one of {', '.join(several)}: say which." if several else ""
            raise ConfigError(f"Atom type {k} is called {name!r}, but the model knows {', '.join(names)}.{hint}")
        rows.append(names.index(name))
    return np.array(rows)


def check_masses(lmp: Any, numbers: Sequence[int]) -> None:
    """Raise if the masses of atom types show that types were mixed up.

    Args:
        lmp: a LAMMPS instance.
        numbers: atomic number that each type is said to be.

    Raises:
        ConfigError: a type has the mass of another one's element.
    """
    masses = lmp.numpy.extract_atom("mass")
    if masses is None:  # masses of single atoms
        return
    known = {z: float(ase.data.atomic_masses[z]) for z in numbers}
    for k, z in enumerate(numbers, start=1):
        mass = float(np.ravel(masses)[k])
        nearest = min(known, key=lambda other: abs(known[other] - mass))
        if abs(known[nearest] - mass) < 0.5 * abs(known[z] - mass) and mass > 0:
            raise ConfigError(
                f"Atom type {k} is said to be {SYMBOLS[z]}, but its mass of {mass:g} is that of {SYMBOLS[nearest]}. "
                "Wanted types= in the order of LAMMPS's atom types."
            )
