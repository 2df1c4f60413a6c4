"""One energy per species: E_i = e0[species_i], the energies of the isolated atoms or a fit to compositions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import DesignRows, Needs, Params


@dataclasses.dataclass(frozen=True)
class ReferenceEnergy:
    """E_i = e0[species_i].

    Attributes:
        n_species: rows of the species table.

    Example:
        >>> ReferenceEnergy(n_species=2).n_parameters
        2
    """

    n_species: int

    @classmethod
    def tiny(cls, n_species: int = 2) -> "ReferenceEnergy":
        return cls(n_species=n_species)

    @property
    def needs(self) -> Needs:
        return Needs()

    @property
    def n_parameters(self) -> int:
        return self.n_species

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        return {"energies": jnp.zeros(self.n_species, graph.positions.dtype)}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        return AtomOutputs(energy=params["energies"][graph.species])

    def design(self, graph: Graph) -> DesignRows:
        count = jax.nn.one_hot(graph.species, self.n_species, dtype=graph.positions.dtype)
        count = jnp.where(graph.atom_mask[:, None], count, 0.0).sum(axis=0)
        zeros = jnp.zeros((graph.n_atoms, 3, self.n_species), count.dtype)
        return DesignRows(energy=count, forces=zeros, virial=zeros[:3])

    def unflatten(self, vector: np.ndarray) -> Params:
        return {"energies": np.asarray(vector)}

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["ReferenceEnergy", Params]:
        """The same energies over more species: each with that of the row it comes from."""
        return ReferenceEnergy(n_species=len(parents)), {"energies": np.asarray(params["energies"])[np.array(parents)]}

    def prior_scale(self) -> np.ndarray:
        """Zero: reference energies are not shrunk towards anything."""
        return np.zeros(self.n_species)
