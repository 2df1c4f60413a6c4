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
    terms, new = [], {}
    for name, term in zip(potential.names, potential.terms, strict=True):
        method: Any = getattr(term, "refined", None)
        if method is not None:
            term, new[name] = method(params[name], parents, neighbors)
        elif hasattr(term, "n_species"):
            raise ConfigError(
                f"The term {name!r} has parameters for each species but no method `refined`, so it cannot start from "
                "those of the elements. Fit it with orbits from the beginning."
            )
        else:
            new[name] = params[name]
        terms.append(term)
    return Potential(terms=tuple(terms), species=species), new
