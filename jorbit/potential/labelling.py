"""Labels for structures before they meet a model: orbits kept or assigned."""

import collections
import dataclasses
from collections.abc import Iterable

import numpy as np

from jorbit.core.errors import OrbitError
from jorbit.core.protocols import OrbitReference
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.core.structure import Structure


def label_structures(
    structures: Iterable[Structure], species: SpeciesTable, reference: OrbitReference | None
) -> list[Structure]:
    """What `Potential.labelled` does.

    Structures of one atom order are compared with the last one that was assigned, which is much quicker than to search
    again: labels are kept while its bonds are whole.

    Args:
        structures: with or without orbits.
        species: rows (element, orbit) of the potential.
        reference: the structure that its orbits belong to, if it is known.

    Raises:
        OrbitError: a structure that does not fit.
    """
    if not species.has_orbits:
        return list(structures)
    result, last = [], None
    for structure in structures:
        if structure.orbits is not None:
            result.append(_checked(structure, reference))
            continue
        if reference is None:
            raise OrbitError(
                f"The model tells orbits apart ({', '.join(species.names)}), the structure carries none, and the model "
                "has no reference to assign them by. Label it (orbits=...), or fit the model with "
                "orbits=jorbit.find_orbits(frames)."
            )
        structure.check()
        if last is not None and np.array_equal(last.numbers, structure.numbers):
            tried = dataclasses.replace(structure, orbits=last.orbits)
            if reference.holds(tried):
                result.append(tried)
                continue
        last = dataclasses.replace(structure, orbits=np.asarray(reference.assign(structure)))
        result.append(last)
    return result


def _checked(structure: Structure, reference: OrbitReference | None) -> Structure:
    """The structure, if it holds whole copies of the reference."""
    structure.check()
    if reference is None:
        return structure
    keys = zip(structure.numbers.tolist(), np.asarray(structure.orbits).tolist(), strict=True)
    found, wanted = collections.Counter(keys), reference.counts
    copies, rest = divmod(structure.n_atoms, sum(wanted.values()))
    for key in sorted(set(found) | set(wanted)):
        if rest or found.get(key, 0) != copies * wanted.get(key, 0):
            z, orbit = key
            raise OrbitError(
                f"The structure carries {found.get(key, 0)} atoms of orbit {orbit} of {SYMBOLS[z]}, where the model's "
                f"reference of {sum(wanted.values())} atoms has {wanted.get(key, 0)}: its labels belong to another "
                "system. Take them away (orbits=None), and the model assigns its own."
            )
    return structure
