"""What the energies of a fitted potential are linear in: features per atom, and which coefficient each belongs to.

E = sum over atoms i of phi_i . c[columns of the block of i]. Linear models have one block per species, the last layer
of a network and a Gaussian process have one for all.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import KernelTerm, LinearTerm, Params
from jorbit.potential.potential import Potential, as_dtype
from jorbit.terms.reference_energy import ReferenceEnergy

_TOGETHER = 32  # columns whose derivatives are taken at once


@runtime_checkable
class FeatureRows(Protocol):
    """Features phi of atoms, as functions of a graph. Frozen and hashable; `params` are those of the potential.

    Attributes:
        columns: [blocks, features]: index of the coefficient of each feature of an atom of each block.
        n_columns: number of coefficients.
    """

    @property
    def columns(self) -> Int[np.ndarray, "blocks features"]: ...

    @property
    def n_columns(self) -> int: ...

    def atoms(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms features"]: ...

    def block(self, graph: Graph) -> Int[Array, " atoms"]: ...

    def forces(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms 3 columns"]: ...


@dataclasses.dataclass(frozen=True)
class SpeciesRows:
    """Invariants of linear terms, with coefficients of each species, and reference energies that are free.

    Attributes:
        shape: number of invariants of each linear term.
        directions: [species][free]: what the energy of an atom of each species gains from each free reference energy.
    """

    shape: tuple[int, ...]
    directions: tuple[tuple[float, ...], ...]

    @classmethod
    def of(cls, potential: Potential, directions: Float[np.ndarray, "species free"]) -> "SpeciesRows":
        """The columns of a closed-form fit, in the order of the solver.

        Raises:
            ConfigError: a linear term whose invariants are not known.
        """
        shape = tuple(term.descriptor.n_features for term in _linear(potential).values())
        return cls(shape, tuple(map(tuple, np.asarray(directions, dtype=np.float64).tolist())))

    @property
    def n_columns(self) -> int:
        return len(self.directions) * sum(self.shape) + len(self.directions[0])

    @property
    def columns(self) -> Int[np.ndarray, "blocks features"]:
        n_species, free = len(self.directions), len(self.directions[0])
        parts, start = [], 0
        for width in self.shape:
            parts.append(start + np.arange(n_species * width).reshape(n_species, width))
            start += n_species * width
        parts.append(np.broadcast_to(start + np.arange(free), (n_species, free)))
        return np.concatenate(parts, axis=1)

    def atoms(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms features"]:
        invariants = [term.descriptor(graph) for term in _linear(potential).values()]
        free = jnp.asarray(np.array(self.directions), graph.positions.dtype)[graph.species]
        return jnp.where(graph.atom_mask[:, None], jnp.concatenate([*invariants, free], axis=1), 0.0)

    def block(self, graph: Graph) -> Int[Array, " atoms"]:
        return graph.species

    def forces(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms 3 columns"]:
        rows = [term.design(graph).forces for term in _linear(potential).values()]
        free = jnp.zeros((graph.n_atoms, 3, len(self.directions[0])), graph.positions.dtype)
        return jnp.concatenate([*rows, free], axis=-1)


def _linear(potential: Potential) -> dict[str, Any]:
    terms: dict[str, Any] = {}
    for name, term in zip(potential.names, potential.terms, strict=True):
        if isinstance(term, LinearTerm) and not isinstance(term, ReferenceEnergy):
            descriptor = getattr(term, "descriptor", None)
            if descriptor is None or term.n_parameters % descriptor.n_features:
                raise ConfigError(f"The linear term {name!r} does not say which descriptor it is linear in.")
            terms[name] = term
    return terms


@dataclasses.dataclass(frozen=True)
class LastLayerRows:
    """Derivatives of the energies of atoms with respect to parameters in which they are linear.

    Attributes:
        paths: "term/collection/name" of those parameters.
        sizes: how many numbers each holds.
    """

    paths: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def n_columns(self) -> int:
        return sum(self.sizes)

    @property
    def columns(self) -> Int[np.ndarray, "blocks features"]:
        return np.arange(self.n_columns)[None]

    def vector(self, params: Params) -> Float[Array, " columns"]:
        """The chosen parameters, one after the other."""
        leaves = {path_of(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(params)}
        return jnp.concatenate([jnp.ravel(jnp.asarray(leaves[p])) for p in self.paths])

    def replaced(self, params: Params, vector: Float[Array, " columns"]) -> Params:
        """The parameters with others in their place."""
        parts = dict(zip(self.paths, jnp.split(vector, np.cumsum(self.sizes)[:-1]), strict=True))

        def leaf(path: Any, old: Any) -> Any:
            new = parts.get(path_of(path))
            return old if new is None else new.reshape(jnp.shape(old)).astype(jnp.asarray(old).dtype)

        return jax.tree_util.tree_map_with_path(leaf, params)

    def atoms(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms features"]:
        # Only what follows the last layer depends on its parameters: the network itself is computed once, whatever
        # the number of tangents.
        params = as_dtype(params, graph.positions.dtype)
        start = self.vector(params)
        return jax.jacfwd(lambda v: potential.outputs(self.replaced(params, v), graph).energy)(start)

    def block(self, graph: Graph) -> Int[Array, " atoms"]:
        return jnp.zeros_like(graph.species)

    def forces(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms 3 columns"]:
        return _forces_by_reverse(lambda moved: self.atoms(potential, params, moved).sum(axis=0), graph)


@dataclasses.dataclass(frozen=True)
class KernelRows:
    """Covariances with the sparse points of the Gaussian processes of a potential.

    Attributes:
        names: terms of the potential. sizes: their numbers of points.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def n_columns(self) -> int:
        return sum(self.sizes)

    @property
    def columns(self) -> Int[np.ndarray, "blocks features"]:
        return np.arange(self.n_columns)[None]

    def _models(self, potential: Potential) -> Mapping[str, KernelTerm]:
        terms: dict[str, Any] = dict(zip(potential.names, potential.terms, strict=True))
        return {name: terms[name] for name in self.names}

    def atoms(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms features"]:
        params = as_dtype(params, graph.positions.dtype)
        models = self._models(potential)
        return jnp.concatenate([m.atom_rows(params[n], graph) for n, m in models.items()], axis=-1)

    def own(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms kernels"]:
        """Covariance of each atom with itself."""
        models = self._models(potential)
        return jnp.stack([m.own_covariance(params[n], graph) for n, m in models.items()], axis=-1)

    def block(self, graph: Graph) -> Int[Array, " atoms"]:
        return jnp.zeros_like(graph.species)

    def forces(self, potential: Potential, params: Params, graph: Graph) -> Float[Array, "atoms 3 columns"]:
        params = as_dtype(params, graph.positions.dtype)
        return jnp.concatenate([m.design(params[n], graph).forces for n, m in self._models(potential).items()], axis=-1)


def energy_row(rows: FeatureRows, potential: Potential, params: Params, graph: Graph) -> Float[Array, " columns"]:
    """The row whose product with all coefficients is the energy of a graph of one structure."""
    features, columns = rows.atoms(potential, params, graph), rows.columns
    if len(columns) == 1:
        sums = features.sum(axis=0, keepdims=True)
    else:  # per block first: adding atoms one by one into columns takes a CPU longer than the features do
        member = (rows.block(graph)[None, :] == np.arange(len(columns), dtype=np.int32)[:, None]).astype(features.dtype)
        sums = jnp.matmul(member, features, precision="highest")
    if np.array_equal(columns, np.arange(rows.n_columns)[None]):
        return sums[0]
    return jnp.zeros(rows.n_columns, features.dtype).at[columns].add(sums)


def path_of(path: Any) -> str:
    """term/collection/name of a parameter."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _forces_by_reverse(total: Any, graph: Graph) -> Float[Array, "atoms 3 columns"]:
    """Minus the derivative of all columns, some at a time: memory does not grow with their number."""
    row, pull = jax.vjp(lambda r: total(dataclasses.replace(graph, positions=r)), graph.positions)
    by_column = jax.lax.map(lambda v: pull(v)[0], jnp.eye(row.size, dtype=row.dtype), batch_size=_TOGETHER)
    return -jnp.moveaxis(by_column, 0, -1)


def linear_parameters(
    potential: Potential, params: Params, graph: Graph, fixed: tuple[str, ...] = (), tolerance: float = 1e-4
) -> LastLayerRows:
    """The parameters of a network's last layer, found by trying: the energies of atoms are linear in them together.

    Those that the computation meets last are tried first: of two layers between which nothing bends, only the later one
    is free to change. Reference energies are left out.

    Args:
        potential: sum of terms.
        params: its parameters.
        graph: any one that holds all species.
        fixed: paths that do not count.
        tolerance: curvature that counts as none, relative to the change of the energies.

    Raises:
        ConfigError: there are none.
    """
    references = [n for n, t in zip(potential.names, potential.terms, strict=True) if isinstance(t, ReferenceEnergy)]
    params = jax.tree.map(np.asarray, as_dtype(params, graph.positions.dtype))
    leaves = [(path_of(p), np.asarray(leaf)) for p, leaf in jax.tree_util.tree_leaves_with_path(params)]
    energies = jax.jit(lambda p: potential.outputs(p, graph).energy)
    rng, at_rest = np.random.default_rng(0), np.asarray(energies(params), dtype=np.float64)
    met = _first_use(lambda p: potential.outputs(p, graph).energy, params)
    moves = {
        path: rng.normal(size=leaf.shape) * (0.3 * np.sqrt(np.mean(np.square(leaf, dtype=np.float64))) + 0.1)
        for path, leaf in leaves
        if leaf.dtype.kind == "f" and path not in fixed and path.split("/")[0] not in references
    }

    def moved(chosen: list[str], sign: float) -> np.ndarray:
        def leaf(path: Any, old: Any) -> Any:
            if path_of(path) not in chosen:
                return old
            return np.asarray(old + sign * moves[path_of(path)], dtype=np.asarray(old).dtype)

        return np.asarray(energies(jax.tree_util.tree_map_with_path(leaf, params)), dtype=np.float64) - at_rest

    def is_linear(chosen: list[str]) -> bool:
        up, down = moved(chosen, 1.0), moved(chosen, -1.0)
        size = np.abs(up - down).max()
        return bool(size > 1e-12 and np.abs(up + down).max() < tolerance * size)

    found: list[str] = []
    for path in sorted(moves, key=lambda p: (-met[p], moves[p].size, p)):
        if is_linear([path]) and is_linear([*found, path]):
            found.append(path)
    if not found:
        raise ConfigError(
            f"None of the parameters of {', '.join(potential.names)} enters the energies linearly: there is no last "
            "layer. Use an ensemble, or a distance to the training set."
        )
    return LastLayerRows(tuple(found), tuple(int(moves[p].size) for p in found))


def _first_use(function: Any, params: Params) -> dict[str, int]:
    """How many operations go before the first that reads each parameter."""
    program = jax.make_jaxpr(function)(params).jaxpr
    first: dict[Any, int] = {}
    for k, equation in enumerate(program.eqns):
        for variable in equation.invars:
            if not hasattr(variable, "val"):  # a number written into the program
                first.setdefault(variable, k)
    paths = [path_of(p) for p, _ in jax.tree_util.tree_leaves_with_path(params)]
    return {p: first.get(v, -1) for p, v in zip(paths, program.invars, strict=True)}
