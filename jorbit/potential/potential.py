"""A potential is a sum of terms over one species table."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError, MissingInputError
from jorbit.core.graph import Graph
from jorbit.core.ops import sum_over_structures
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import ChecksStructures, OrbitReference, Params, Term
from jorbit.core.registry import Registry
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph
from jorbit.models import MODELS
from jorbit.potential.labelling import label_structures
from jorbit.terms import TERMS


def component_registry(cls: type) -> tuple[Registry, str]:
    """The seam a term's class is registered in, and its name there."""
    for registry in (MODELS, TERMS):
        try:
            return registry, registry.name_of(cls)
        except ConfigError:
            continue
    raise ConfigError(
        f"{cls.__module__}.{cls.__qualname__} is in no table: add one line to MODELS or TERMS, or an entry point "
        'in "jorbit.models" or "jorbit.terms".'
    )


@dataclasses.dataclass(frozen=True)
class Potential:
    """E = sum over terms of sum over atoms of the term's atomic energies, in eV.

    Frozen and hashable: equal potentials share compiled functions. Terms run in order; each sees what the ones
    before it produced. Energies add, charges and features replace.

    Attributes:
        terms: models and physics terms.
        species: which elements (and orbits) the potential knows.
        orbits: the structure its orbits belong to; labels structures that carry none. Potentials that differ in nothing
            else are equal, since they compute the same.

    Example:
        >>> from jorbit.terms.reference_energy import ReferenceEnergy
        >>> table = SpeciesTable.from_numbers([1, 8])
        >>> Potential(terms=(ReferenceEnergy(n_species=2),), species=table).names
        ('reference_energy',)
    """

    terms: tuple[Term, ...]
    species: SpeciesTable
    orbits: OrbitReference | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """A name per term, unique: the registered name, with _2, _3, ... where it repeats."""
        names: list[str] = []
        for term in self.terms:
            name = component_registry(type(term))[1]
            n = sum(known == name or known.startswith(f"{name}_") for known in names)
            names.append(name if n == 0 else f"{name}_{n + 1}")
        return tuple(names)

    @property
    def cutoffs(self) -> tuple[float, ...]:
        """Distinct cutoffs the terms ask for, ascending, Å."""
        wanted = {t.needs.cutoff for t in self.terms} | {inner for t in self.terms for inner in t.needs.inner}
        return tuple(sorted({float(cutoff) for cutoff in wanted if cutoff is not None}))

    @property
    def reach(self) -> float | None:
        """How far, Å, the energy of one atom looks: cutoff times layers of messages. None: at the whole structure.

        A part of a larger system that is cut out with this much around it has the right energies inside.
        """
        farthest, before = 0.0, 0.0
        for term in self.terms:
            if term.needs.layers is None:
                return None
            own = (term.needs.cutoff or 0.0) * term.needs.layers
            farthest = max(farthest, own + (before if term.needs.upstream else 0.0))
            before = farthest
        return farthest

    @property
    def needs_float64(self) -> bool:
        """Whether a term refuses other precisions."""
        return any(t.needs.float64 for t in self.terms)

    @property
    def selective(self) -> tuple[ChecksStructures, ...]:
        """The terms, and descriptors of terms, that are not for every structure."""
        parts = [part for term in self.terms for part in (term, getattr(term, "descriptor", None))]
        return tuple(part for part in parts if isinstance(part, ChecksStructures))

    def graph(self, structures: Structure | Sequence[Structure], *, dtype: jax.typing.DTypeLike | None = None) -> Graph:
        """The padded graph of some structures with the neighbours this potential needs."""
        structures = [structures] if isinstance(structures, Structure) else structures
        return build_graph(self.labelled(structures), self.species, self.cutoffs, dtype=dtype)

    def labelled(self, structures: Iterable[Structure]) -> list[Structure]:
        """The structures with the orbits this potential tells apart.

        A potential without orbits ignores those of a structure. One with orbits assigns them to structures that have
        none; labels that a structure brings along are kept when there are as many of each as there must be.

        Raises:
            OrbitError: a structure that is not what the orbits belong to, or no reference to assign them by.
            StructureError: a term, or the descriptor of one, is not for this structure.
        """
        structures = list(structures)
        for part in self.selective:
            for structure in structures:
                part.check_structure(structure)
        return label_structures(structures, self.species, self.orbits)

    def init(self, key: Array, graph: Graph) -> Params:
        """Initial parameters, a dictionary with one entry per term."""
        params, upstream = {}, _nothing(graph)
        for k, (name, term) in enumerate(zip(self.names, self.terms, strict=True)):
            self._check_upstream(k, upstream)
            params[name] = term.init(jax.random.fold_in(key, k), graph, upstream)
            if k + 1 < len(self.terms):
                upstream = _passed_on(self, k, params[name], graph, upstream)
        return params

    def outputs(self, params: Params, graph: Graph) -> AtomOutputs:
        """Per-atom energies (and charges, features) of all terms together.

        Matrix products run at the full precision of their type: recent GPUs and TPUs would round float32 factors to 10
        or 8 bits otherwise, and forces with them.
        """
        upstream = _nothing(graph)
        with jax.default_matmul_precision("highest"):
            for k, name in enumerate(self.names):
                if name not in params:
                    raise MissingInputError(f"The parameters hold {sorted(params)}, but the potential needs {name!r}.")
                upstream = self._after(k, params[name], graph, upstream)
        return upstream

    def energy(self, params: Params, graph: Graph) -> Float[Array, " structures"]:
        """Energy of each structure, eV; 0 for padding."""
        return sum_over_structures(self.outputs(params, graph).energy, graph)

    def _after(self, k: int, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        """What the first k + 1 terms make together, from what the first k made."""
        self._check_upstream(k, upstream)
        new = self.terms[k].apply(as_dtype(params, graph.positions.dtype), graph, upstream)
        return _combine(upstream, new, graph)

    def _check_upstream(self, k: int, upstream: AtomOutputs) -> None:
        for field in self.terms[k].needs.upstream:
            if getattr(upstream, field) is None:
                raise MissingInputError(
                    f"The term {self.names[k]!r} needs {field} of each atom, but no earlier term produced any. "
                    f"Put a term that predicts {field} before it."
                )


_passed_on = jax.jit(Potential._after, static_argnums=(0, 1))


def _nothing(graph: Graph) -> AtomOutputs:
    return AtomOutputs(energy=jnp.zeros_like(graph.positions[:, 0]))


def _combine(before: AtomOutputs, new: AtomOutputs, graph: Graph) -> AtomOutputs:
    return AtomOutputs(
        energy=before.energy + jnp.where(graph.atom_mask, new.energy, 0.0),
        charges=before.charges if new.charges is None else new.charges,
        dipoles=before.dipoles if new.dipoles is None else new.dipoles,
        features=before.features if new.features is None else new.features,
    )


def as_dtype(params: Params, dtype: jnp.dtype) -> Params:
    """Float parameters in the dtype of the positions, so that nothing is promoted behind the user's back."""

    def cast(leaf: Any) -> Array:
        leaf = jnp.asarray(leaf)
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, params)
