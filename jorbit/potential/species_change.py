"""Fine-tuning a model on other elements than those it knows."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import Params
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.potential.potential import Potential
from jorbit.potential.refine import over_species


def change_species(
    potential: Potential, params: Params, adopted: Mapping[str, str], keep: Sequence[str] | None = None
) -> tuple[Potential, Params]:
    """A potential that knows other elements: each new one starts as a twin of one that is known already.

    What was given by symbol (charges, moments) holds for the twins, too: `with_twins` of such terms. Tables of physics
    (`zbl`, `dispersion`, `charge_equilibration`) are those of the new element.

    Args:
        potential: over elements (orbits belong to one system: make it without them).
        params: its parameters.
        adopted: symbol of a new element -> symbol of the known one whose parameters it starts from.
        keep: symbols of the known elements that stay; None keeps all. Dropping the others makes the model smaller.

    Returns:
        The potential and its parameters; energies of structures of the kept elements are what they were.

    Raises:
        ConfigError: unknown symbols, a potential with orbits, or a term that cannot do it; says which.

    Example:
        >>> import numpy as np
        >>> from jorbit.terms.reference_energy import ReferenceEnergy
        >>> known = Potential((ReferenceEnergy(n_species=2),), SpeciesTable.from_numbers([1, 17]))
        >>> start = {"reference_energy": {"energies": np.array([-13.6, -12520.0])}}
        >>> more, params = change_species(known, start, {"Br": "Cl"}, keep=["H"])
        >>> more.species.names, params["reference_energy"]["energies"].tolist()
        (('H', 'Br'), [-13.6, -12520.0])
    """
    known = potential.species.names
    if potential.species.has_orbits:
        raise ConfigError(f"Wanted a potential of elements, got one with the orbits {', '.join(known)} of one system.")
    stay = list(known) if keep is None else list(keep)
    for symbol in (*stay, *adopted.values()):
        if symbol not in known:
            raise ConfigError(f"The model does not know {symbol!r}. It knows {', '.join(known)}.")
    for symbol in adopted:
        if symbol in known or symbol not in SYMBOLS[1:]:
            raise ConfigError(f"Wanted new elements, got {symbol!r}; the model knows {', '.join(known)}.")
    numbers = {symbol: z for z, symbol in enumerate(SYMBOLS)}
    species = SpeciesTable.from_numbers([numbers[symbol] for symbol in (*stay, *adopted)])
    parents = tuple(known.index(adopted.get(symbol, symbol)) for symbol in species.names)
    twins = tuple(sorted(adopted.items()))
    terms: tuple[Any, ...] = potential.terms
    terms = tuple(term.with_twins(twins) if hasattr(term, "with_twins") else term for term in terms)
    changed = dataclasses.replace(potential, terms=terms)
    return over_species(changed, params, species, parents, "orbits")
