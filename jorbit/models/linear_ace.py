"""Linear Atomic Cluster Expansion: an energy that is linear in the invariants, fitted by one solve."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from jorbit.basis.channel_expansion import expand_channels
from jorbit.basis.symmetric_products import invariants_jvp, linear_combination
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import DesignRows, Needs, Params
from jorbit.descriptors.ace import ACE

CPU_CHUNK = 128  # atoms whose pair products fit in a core's cache together


@dataclasses.dataclass(frozen=True)
class LinearACE:
    """E_i = c[species_i] . B_i, with B_i the invariants of `jorbit.descriptors.ace.ACE`.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        max_degree: limit on the total degree n + l of products of nu = 1, 2, ... factors; its length is the correlation
            order (body order minus one), at most 4. Or one such row for each central species: what is kept for atoms
            of that species. Where all atoms see each other, most clusters can be described from any of their atoms,
            and functions are best spent on those with the most neighbours.
        l_max: highest l.
        family, envelope, bond_lengths: see `jorbit.basis.radial.RadialBasis`.
        max_factors: at most this many factors of each neighbour species in a product (None = no limit): the largest
            number of neighbours of that species is enough, since more only give powers of the same functions. Or one
            such row for each central species.
        smoothness: exponent of the prior: functions that oscillate faster are expected to have smaller coefficients.
        n_radial: radial functions per neighbour species; None = as many as max_degree leaves room for.
        channel_of: channel of each neighbour species, 0, 1, ...; None = one of its own for each. With orbits as species
            and elements as channels, every orbit has its own coefficients and sees elements around it: few parameters.
        features: only these of all invariants (ascending indices), None = all; see `jorbit.descriptors.pruned`. What no
            chosen invariant needs is not computed, neither here nor in the rows of a fit.

    Example:
        >>> LinearACE(n_species=1, max_degree=(8,)).n_parameters
        9

    References:
        Drautz, Phys. Rev. B 99, 014104 (2019); Kovács et al., J. Chem. Theory Comput. 17, 7696 (2021).
    """

    n_species: int
    cutoff: float = 5.0
    max_degree: tuple[int, ...] | tuple[tuple[int, ...], ...] = (12, 8, 6)
    l_max: int = 6
    family: str = "chebyshev"
    envelope: str = "quadratic"
    bond_lengths: float | tuple[tuple[float, ...], ...] = 1.5
    max_factors: tuple[int, ...] | tuple[tuple[int, ...], ...] | None = None
    smoothness: float = 2.0
    n_radial: int | None = None
    channel_of: tuple[int, ...] | None = None
    features: tuple[int, ...] | None = None

    @classmethod
    def tiny(cls, n_species: int = 2) -> "LinearACE":
        return cls(n_species=n_species, cutoff=3.0, max_degree=(3, 3, 2, 2), l_max=2)

    def __post_init__(self) -> None:
        for name in ("max_degree", "max_factors"):
            rows = getattr(self, name)
            if _by_species(rows) and (len(rows) != self.n_species or not all(isinstance(r, tuple) for r in rows)):
                raise ConfigError(
                    f"{name} needs one row for all atoms, such as (12, 8, 6), or one for each of the {self.n_species} "
                    f"central species, got {rows}."
                )

    @property
    def descriptor(self) -> ACE:
        """The descriptor this model is linear in: what all central species need together."""
        return ACE(
            n_species=self.n_species,
            cutoff=self.cutoff,
            max_degree=_largest(self.max_degree),
            l_max=self.l_max,
            family=self.family,
            envelope=self.envelope,
            bond_lengths=self.bond_lengths,
            max_factors=None if self.max_factors is None else _largest(self.max_factors),
            n_radial=self.n_radial,
            channel_of=self.channel_of,
            features=self.features,
        )

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def n_functions(self) -> int:
        """Invariants per central atom."""
        return self.descriptor.n_features

    @property
    def n_parameters(self) -> int:
        return self.n_species * self.n_functions

    @property
    def kept(self) -> Bool[np.ndarray, "species functions"] | None:
        """Which functions atoms of each species have; None = all. Coefficients of the others are not used."""
        if not _by_species(self.max_degree) and not _by_species(self.max_factors):
            return None
        degrees = self.max_degree if _by_species(self.max_degree) else (self.max_degree,) * self.n_species
        factors = self.max_factors if _by_species(self.max_factors) else (self.max_factors,) * self.n_species
        space = self.descriptor.space
        return np.array([space.within(d, f) for d, f in zip(degrees, factors, strict=True)])  # type: ignore[arg-type]

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Zero coefficients: an unfitted linear model predicts nothing."""
        return {"coefficients": jnp.zeros((self.n_species, self.n_functions), graph.positions.dtype)}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        space, basis = self.descriptor.space, self.descriptor.atomic_basis
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        species_j = gather_neighbors(graph.species, neighbors)
        coefficients = params["coefficients"]
        if (kept := self.kept) is not None:
            coefficients = jnp.where(kept, coefficients, 0.0)

        def energies(vectors: Array, species_i: Array, species_j: Array, mask: Array, present: Array) -> Array:
            atomic = basis(vectors, species_i, species_j, mask, space)
            chosen = jax.nn.one_hot(species_i, self.n_species, dtype=vectors.dtype).T * present[None, :]
            return linear_combination(space, atomic, coefficients, chosen)

        present = graph.atom_mask.astype(vectors.dtype)
        inputs = (vectors, graph.species, species_j, neighbors.mask, present)
        block = graph.n_atoms if graph.n_atoms <= 2 * CPU_CHUNK else CPU_CHUNK
        # Energies computed again in the reverse pass: twice as fast for 1000 functions, since memory is what is short.
        return AtomOutputs(energy=map_atom_blocks(energies, inputs, block))

    def design(self, graph: Graph) -> DesignRows:
        """Rows whose product with the flat coefficients is energy, forces and dE/dε of a one-structure graph.

        Loops over atoms: the derivatives of one atom's invariants with respect to its pair vectors are added to the
        rows of the two atoms of each pair. Memory O(atoms * parameters). Where central species have functions of their
        own, each has a loop that computes no others.
        """
        kept = self.kept
        if kept is None:
            energy, forces, virial = self._rows(graph, self.descriptor, None)
        else:
            parts = []
            for z, columns in enumerate(kept):
                if not columns.any():
                    raise ConfigError(f"The limits leave atoms of species {z} no function at all: raise max_degree.")
                own = self.descriptor.restricted(np.flatnonzero(columns).tolist())
                where = np.where(columns, np.cumsum(columns) - 1, own.n_features)  # the last one is a column of zeros
                spread = [jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, 1)])[..., where] for x in self._rows(graph, own, z)]
                parts.append(spread)
            energy, forces, virial = (jnp.stack(x, axis=-2) for x in zip(*parts, strict=True))
        return DesignRows(
            energy=energy.reshape(-1),
            forces=forces.reshape(graph.n_atoms, 3, -1),
            virial=virial.reshape(3, 3, -1),
        )

    def _rows(self, graph: Graph, descriptor: ACE, only: int | None) -> tuple[Array, Array, Array]:
        """Energy, forces, virial of every function: [..., species, functions], or of one species [..., functions]."""
        space, basis = descriptor.space, descriptor.atomic_basis
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        species_j = gather_neighbors(graph.species, neighbors)
        columns, dtype = space.n_features, vectors.dtype
        shape = (self.n_species, columns) if only is None else (columns,)

        def add(rows: tuple[Array, Array, Array], i: Array) -> tuple[Array, Array, Array]:
            energy, forces, virial = rows
            here = (vectors[i][None], graph.species[i][None], species_j[i][None], neighbors.mask[i][None])
            atomic = basis(*here, space)
            tangent = basis.tangents(vectors[i], graph.species[i], species_j[i], neighbors.mask[i], space)
            values, derivatives = invariants_jvp(space, atomic, tangent)
            present = graph.atom_mask[i].astype(dtype)
            pulls = present * derivatives.T.reshape(-1, 3, columns)  # [slots, 3, functions]
            of = (graph.species[i],) if only is None else ()
            energy = energy.at[(*of, ...)].add(present * values)
            forces = forces.at[(neighbors.index[i], slice(None), *of)].add(-pulls)
            forces = forces.at[(i, slice(None), *of)].add(pulls.sum(axis=0))
            virial = virial.at[(slice(None), slice(None), *of)].add(jnp.einsum("sa,sbf->abf", vectors[i], pulls))
            return energy, forces, virial

        def step(rows: tuple[Array, Array, Array], i: Array) -> tuple[tuple[Array, Array, Array], None]:
            if only is None:
                return add(rows, i), None
            return jax.lax.cond(graph.species[i] == only, add, lambda rows, _: rows, rows, i), None

        leading = ((), (graph.n_atoms, 3), (3, 3))
        energy, forces, virial = (jnp.zeros((*axes, *shape), dtype) for axes in leading)
        start = (energy, forces, virial)
        return jax.lax.scan(step, start, jnp.arange(graph.n_atoms))[0]

    def unflatten(self, vector: np.ndarray) -> Params:
        """Parameters from the flat vector the solver works with."""
        if np.size(vector) != self.n_parameters:
            raise ConfigError(f"Wanted {self.n_parameters} coefficients, got {np.size(vector)}.")
        return {"coefficients": np.asarray(vector).reshape(self.n_species, self.n_functions)}

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["LinearACE", Params]:
        """The same energies over more species: every new species starts as the one it comes from.

        Args:
            params: of this model.
            parents: species of this model that each new one comes from.
            neighbors: "orbits" tells new species apart as neighbours as well: each product of densities becomes a sum
                of products (`jorbit.basis.channel_expansion`). "elements" keeps the densities as they are.
        """
        chosen = list(parents)
        bonds = self.bond_lengths
        if not isinstance(bonds, int | float):
            bonds = tuple(map(tuple, np.asarray(bonds)[np.ix_(chosen, chosen)].tolist()))
        coefficients = np.asarray(params["coefficients"], dtype=np.float64)[chosen]
        if self.kept is not None:
            coefficients = np.where(self.kept[chosen], coefficients, 0.0)
        own = range(self.n_species) if self.channel_of is None else self.channel_of
        channel_of = tuple(int(own[p]) for p in parents)
        degrees, most = (
            tuple(rows[p] for p in chosen) if rows is not None and _by_species(rows) else rows
            for rows in (self.max_degree, self.max_factors)
        )
        common = dataclasses.replace(
            self, n_species=len(parents), bond_lengths=bonds, max_degree=degrees, max_factors=most
        )
        if neighbors == "elements":
            return dataclasses.replace(common, channel_of=channel_of), {"coefficients": coefficients}
        if channel_of == tuple(range(self.n_species)):  # nothing is finer: the same bits
            return self, {"coefficients": coefficients}
        if most is not None:
            rows = [[row[c] for c in channel_of] for row in np.atleast_2d(most).tolist()]
            most = tuple(map(tuple, rows)) if _by_species(most) else tuple(rows[0])
        fine = dataclasses.replace(common, channel_of=None, max_factors=most, features=None)
        expansion = expand_channels(self.descriptor.space, fine.descriptor.space, channel_of)
        if self.features is not None:
            kept, position = np.unique(expansion.fine, return_inverse=True)
            fine = dataclasses.replace(fine, features=tuple(kept.tolist()))
            expansion = expansion._replace(fine=position.reshape(-1))
        return fine, {"coefficients": expansion.apply(coefficients, fine.n_functions)}

    def prior_scale(self) -> Float[np.ndarray, " parameters"]:
        """Inverse prior standard deviation of each coefficient: 1 + sum over factors of n^p + l^p."""
        space = self.descriptor.space
        n, l = np.maximum(space.radial, 0), np.maximum(space.angular, 0)  # noqa: E741
        scale = 1.0 + (n**self.smoothness + l**self.smoothness).sum(axis=1)
        return np.tile(scale, self.n_species)


def _by_species(rows: tuple | None) -> bool:
    return rows is not None and any(isinstance(row, tuple) for row in rows)


def _largest(rows: tuple) -> tuple[int, ...]:
    """Limits that hold for all species."""
    if not _by_species(rows):
        return rows
    return tuple(max(k) for k in itertools.zip_longest(*rows, fillvalue=0))
