"""A linear ACE for one molecule: no products of more neighbours of an element than an atom can have."""

from typing import Any

from jorbit import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.models.linear_ace import LinearACE


def molecule_ace(structure: Structure, species: SpeciesTable, **options: Any) -> LinearACE:
    """A LinearACE with `max_factors` counted in the molecule, for each central element.

    Args:
        structure: the molecule.
        species: its elements, in the order of the rows of max_degree.
        options: of LinearACE; max_degree with a row for each element, or one for all.
    """
    count = {z: int((structure.numbers == z).sum()) for z in species.numbers}
    most = tuple(tuple(min(4, count[z] - (z == center)) for z in species.numbers) for center in species.numbers)
    return LinearACE(n_species=len(species), max_factors=most, **options)


def n_functions(model: LinearACE) -> int:
    """Coefficients that are fitted: functions of all central elements together."""
    return model.n_parameters if model.kept is None else int(model.kept.sum())
