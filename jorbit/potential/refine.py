"""From elements to orbits: the same potential, with parameters of its own for each orbit."""

from typing import Any, Literal

from jorbit.basis.label_embedding import parent_rows
from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.potential.potential import Potential

Neighbors = Literal["orbits", "elements"]


def refine(
    potential: Potential, params: Params, species: SpeciesTable, *, neighbors: Neighbors = "orbits"
) -> tuple[Potential, Params]:
    """A potential over a finer species table that gives the same energies as the coarser one.

    Every orbit starts with the parameters of its element, so training goes on from a model that knows elements only (or
    from a larger data set's model). A term takes part by a method `refined(params, parents, neighbors)` that returns
    the term over more species and its parameters; terms that know nothing of species stay as they are.

    Args:
        potential: over elements.
        params: its parameters.
        species: rows (element, orbit) of the same elements.
        neighbors: "orbits" tells the orbits of neighbours apart as well; "elements" only those of the central atom,
            which needs fewer parameters (a term that does not know the difference ignores it).

    Raises:
        UnknownSpeciesError: the tables do not belong together.
        ConfigError: a term that has parameters for species and cannot be refined.

    Example:
        >>> import numpy as np
        >>> from jorbit.terms.reference_energy import ReferenceEnergy
        >>> coarse = Potential((ReferenceEnergy(n_species=2),), SpeciesTable.from_numbers([1, 8]))
        >>> fine = SpeciesTable(((1, 0), (1, 1), (8, 0)))
        >>> _, params = refine(coarse, {"reference_energy": {"energies": np.array([-13.6, -432.0])}}, fine)
        >>> params["reference_energy"]["energies"].tolist()
        [-13.6, -13.6, -432.0]
    """
    parents = tuple(parent_rows(species, potential.species).tolist())
    return over_species(potential, params, species, parents, neighbors)


def over_species(
    potential: Potential, params: Params, species: SpeciesTable, parents: tuple[int, ...], neighbors: Neighbors
) -> tuple[Potential, Params]:
    """A potential over another species table, each row of which starts with the parameters of a row of the old one.

    Args:
        potential, params: as for `refine`.
        species: the new table.
        parents: for each of its rows the old one.
        neighbors: as for `refine`.

    Raises:
        ConfigError: a term that has parameters, or features, for species and cannot take others.
    """
    terms, new = [], {}
    unchanged = parents == tuple(range(len(potential.species)))
    for name, term in zip(potential.names, potential.terms, strict=True):
        method: Any = getattr(term, "refined", None)
        if method is not None:
            term, new[name] = method(params[name], parents, neighbors)
        elif tells_species_apart(term) and not unchanged:
            raise ConfigError(
                f"The term {name!r} has parameters or features for each species and no method `refined`, so it cannot "
                "start from those of other species. Fit it on the new ones from the beginning."
            )
        else:
            new[name] = params[name]
        terms.append(term)
    return Potential(terms=tuple(terms), species=species), new


def tells_species_apart(component: Any) -> bool:
    """Whether a term, or the descriptor in one, was made for a number of species."""
    descriptor = getattr(component, "descriptor", None)
    return hasattr(component, "n_species") or (descriptor is not None and tells_species_apart(descriptor))
