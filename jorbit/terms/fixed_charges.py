"""One charge per species: the input of electrostatics where no model predicts charges."""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.ops import neutralized
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.core.species import SYMBOLS


@dataclasses.dataclass(frozen=True)
class FixedCharges:
    """q_i = q[species_i], shifted alike for all atoms of a structure until they add up to its total charge. No energy.

    The charges are parameters: they stay as given in a closed-form fit, and are trained by gradients unless frozen.

    Attributes:
        n_species: rows of the species table.
        charges: symbol -> charge, e, such as {"Na": 1.0, "Cl": -1.0}; elements that are not named start at 0.

    Example:
        >>> FixedCharges(n_species=2, charges={"O": -0.8, "H": 0.4}).charges
        (('H', 0.4), ('O', -0.8))
    """

    n_species: int
    charges: Mapping[str, float | int] | tuple[tuple[str, float | int], ...] = ()

    def __post_init__(self) -> None:
        given = dict(self.charges)
        unknown = sorted(set(given) - set(SYMBOLS[1:]))
        if unknown:
            raise ConfigError(f"charges wants symbols of elements, such as {{'Na': 1.0, 'Cl': -1.0}}, got {unknown}.")
        object.__setattr__(self, "charges", tuple(sorted((k, float(v)) for k, v in given.items())))

    @classmethod
    def tiny(cls, n_species: int = 2) -> "FixedCharges":
        return cls(n_species=n_species, charges={"H": 0.4, "O": -0.6, "Si": 1.2})

    @property
    def needs(self) -> Needs:
        return Needs(layers=None)  # charges of a structure are shifted to add up to its total charge

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Shifts of the charges of each species with respect to `charges`: zero."""
        return {"shifts": jnp.zeros(self.n_species, graph.positions.dtype)}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        table = np.zeros(len(SYMBOLS))
        numbers: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS)}
        for symbol, charge in dict(self.charges).items():
            table[numbers[symbol]] = charge
        charges = jnp.asarray(table, graph.positions.dtype)[graph.numbers] + params["shifts"][graph.species]
        return AtomOutputs(energy=jnp.zeros_like(charges), charges=neutralized(charges, graph))

    def with_twins(self, twins: tuple[tuple[str, str], ...]) -> "FixedCharges":
        """The same, where other elements have the charges of known ones: pairs (new symbol, known symbol)."""
        known = dict(self.charges)
        return dataclasses.replace(self, charges={new: known[old] for new, old in twins if old in known} | known)

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["FixedCharges", Params]:
        """The same charges over more species."""
        shifts = np.asarray(params["shifts"])[np.array(parents)]
        return dataclasses.replace(self, n_species=len(parents)), {"shifts": shifts}
