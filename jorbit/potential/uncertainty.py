"""How certain a fitted potential is: standard deviations of energies and forces, atom by atom, through one protocol.

Everything here is a pytree that can be passed to compiled functions, kept in a model file (`jorbit.potential.artefact`)
and watched during a simulation (`jorbit.simulate.watchman`).
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Params
from jorbit.core.pytree import pytree, static
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph, capacity_for
from jorbit.potential.feature_rows import FeatureRows, KernelRows, LastLayerRows, energy_row, path_of
from jorbit.potential.potential import Potential

_FEW = 32  # directions up to which forces are differentiated one direction at a time


class Spread(NamedTuple):
    """Standard deviations of one structure.

    Attributes:
        energy: of the whole, eV. energies: of the energy of each atom, eV. forces: of each component, eV/Å.
    """

    energy: Any
    energies: Any
    forces: Any


@runtime_checkable
class Grade(Protocol):
    """A number for each atom that grows where the training data say less; what a simulation can watch.

    `unit` is "eV" for the standard deviation of an atom's energy; "" for an extrapolation grade, which is about 1 at
    the edge of the training data.
    """

    @property
    def unit(self) -> str: ...

    def atoms(self, graph: Graph) -> Float[Array, " atoms"]: ...


@runtime_checkable
class Uncertainty(Grade, Protocol):
    """Variances of the energy (eV^2) and force components (eV^2/Å^2) of a graph of one structure.

    How the energy of a molecule is shared out among its atoms is hardly fixed by data: the standard deviations of
    atomic energies, `atoms`, may be far larger than that of their sum. Watch the sum or the forces.
    """

    @property
    def potential(self) -> Potential: ...

    @property
    def energy_scale(self) -> Any: ...

    @property
    def forces_scale(self) -> Any: ...

    def energy_variance(self, graph: Graph) -> Float[Array, ""]: ...

    def forces_variance(self, graph: Graph) -> Float[Array, "atoms 3"]: ...


@pytree
class LinearUncertainty:
    """Posterior of coefficients that energies are linear in: the variance of x . c is |H x|^2.

    Exact for linear models; for a network the Gauss-Newton posterior of its last layer, with features frozen.

    Attributes:
        potential: what is uncertain.
        rows: which features and coefficients.
        params: parameters of the potential that the features depend on ({} for linear models).
        half: H, one row per coefficient, or few random ones (`sketched`).
        energy_scale, forces_scale: factors found by calibration.

    References:
        Bigi, Chong, Ceriotti and Grasselli, Mach. Learn.: Sci. Technol. 5, 045018 (2024), for last layers.
    """

    potential: Potential = static()
    rows: FeatureRows = static()
    params: Params
    half: Float[Array | np.ndarray, "rank columns"]
    energy_scale: Float[Array | np.ndarray, ""]
    forces_scale: Float[Array | np.ndarray, ""]

    @property
    def unit(self) -> str:
        return "eV"

    def atoms(self, graph: Graph) -> Float[Array, " atoms"]:
        """Standard deviation of the energy of each atom, eV; 0 on padding."""
        features = self.rows.atoms(self.potential, self.params, graph)
        block, total = self.rows.block(graph), jnp.zeros_like(features[:, 0])
        for k, columns in enumerate(self.rows.columns):
            half = jnp.asarray(self.half, features.dtype)[:, columns]
            squares = jnp.sum(jnp.matmul(features, half.T, precision="highest") ** 2, axis=1)
            total = total + jnp.where(graph.atom_mask & (block == k), squares, 0.0)
        return _like(self.energy_scale, features) * _root(total)

    def _half_of_energy(self, graph: Graph) -> Float[Array, " rank"]:
        row = energy_row(self.rows, self.potential, self.params, graph)
        return jnp.matmul(jnp.asarray(self.half, row.dtype), row, precision="highest")

    def energy_variance(self, graph: Graph) -> Float[Array, ""]:
        half = self._half_of_energy(graph)
        return _like(self.energy_scale, half) ** 2 * jnp.sum(half**2)

    def forces_variance(self, graph: Graph) -> Float[Array, "atoms 3"]:
        dtype = graph.positions.dtype
        if self.half.shape[0] <= _FEW:
            moved = lambda r: self._half_of_energy(dataclasses.replace(graph, positions=r))  # noqa: E731
            squares = jnp.sum(jax.jacrev(moved)(graph.positions) ** 2, axis=0)
        else:
            forces = self.rows.forces(self.potential, self.params, graph).reshape(3 * graph.n_atoms, -1)
            half = jnp.asarray(self.half, dtype)
            squares = jnp.sum(jnp.matmul(half, forces.T, precision="highest") ** 2, axis=0).reshape(-1, 3)
        return jnp.asarray(self.forces_scale, dtype) ** 2 * squares

    def sketched(self, rank: int, seed: int = 0) -> "LinearUncertainty":
        """A cheaper one for simulations, from `rank` random directions, as from an ensemble of that many.

        Standard deviations then have a relative error of about 1 / sqrt(2 rank), always the same in the same place.

        Args:
            rank: how many.
            seed: of the directions.
        """
        if rank >= self.half.shape[0]:
            return self
        normal = np.random.default_rng(seed).normal(size=(rank, self.half.shape[0])) / np.sqrt(rank)
        return dataclasses.replace(self, half=normal @ np.asarray(self.half, dtype=np.float64))


@pytree
class ProcessUncertainty:
    """Variance of a sparse Gaussian process: |H k|^2 through the points, and the prior where the points do not reach.

    Attributes:
        potential, rows, params: see LinearUncertainty; `params` hold the sparse points.
        half: H of the posterior of the coefficients.
        prior_half: the same of the prior: own covariance minus |prior_half k|^2 is what the points do not see.
        deltas: prior standard deviation of each kernel, eV.
        energy_scale, forces_scale: factors found by calibration.
    """

    potential: Potential = static()
    rows: KernelRows = static()
    params: Params
    half: Float[Array | np.ndarray, "points points"]
    prior_half: Float[Array | np.ndarray, "points points"]
    deltas: Float[Array | np.ndarray, " kernels"]
    energy_scale: Float[Array | np.ndarray, ""]
    forces_scale: Float[Array | np.ndarray, ""]

    @property
    def unit(self) -> str:
        return "eV"

    def _known_and_unseen(self, graph: Graph) -> tuple[Float[Array, "atoms points"], Float[Array, " atoms"]]:
        """H k of each atom, and the variance that the points do not see."""
        k = self.rows.atoms(self.potential, self.params, graph)
        own = jnp.sum(self.rows.own(self.potential, self.params, graph) * _like(self.deltas, k)[None, :] ** 2, axis=1)
        seen = jnp.matmul(k, _like(self.prior_half, k).T, precision="highest")
        known = jnp.matmul(k, _like(self.half, k).T, precision="highest")
        unseen = jnp.maximum(own - jnp.sum(seen**2, axis=1), 0.0)
        return known, jnp.where(graph.atom_mask, unseen, 0.0)

    def atoms(self, graph: Graph) -> Float[Array, " atoms"]:
        """Standard deviation of the energy of each atom, eV; 0 on padding."""
        known, unseen = self._known_and_unseen(graph)
        return _like(self.energy_scale, known) * _root(jnp.sum(known**2, axis=1) + unseen)

    def energy_variance(self, graph: Graph) -> Float[Array, ""]:
        """What the points do not see is independent from atom to atom."""
        known, unseen = self._known_and_unseen(graph)
        return _like(self.energy_scale, known) ** 2 * (jnp.sum(known.sum(axis=0) ** 2) + unseen.sum())

    def forces_variance(self, graph: Graph) -> Float[Array, "atoms 3"]:
        """Through the points only."""
        forces = self.rows.forces(self.potential, self.params, graph).reshape(3 * graph.n_atoms, -1)
        squares = jnp.sum(jnp.matmul(forces, _like(self.half, forces).T, precision="highest") ** 2, axis=1)
        return _like(self.forces_scale, forces) ** 2 * squares.reshape(-1, 3)


@pytree
class Ensemble:
    """Several models of one form: the standard deviation of what they predict.

    Attributes:
        potential: of all of them.
        params: of the first.
        varied: path -> the parameters in which the members differ, stacked. All paths for an ordinary ensemble; those
            of the last layer for a shallow one, whose members share everything else and its cost.
        energy_scale, forces_scale: factors found by calibration.
    """

    potential: Potential = static()
    params: Params
    varied: dict[str, Any]
    energy_scale: Float[Array | np.ndarray, ""]
    forces_scale: Float[Array | np.ndarray, ""]

    @classmethod
    def of(cls, potential: Potential, members: Sequence[Params]) -> "Ensemble":
        """From the parameters of each member; what is equal in all is shared.

        Raises:
            ConfigError: fewer than two members, or members that are all alike.
        """
        leaves = [jax.tree_util.tree_leaves_with_path(m) for m in members]
        varied = {}
        for same in zip(*leaves, strict=True):
            stack = np.stack([np.asarray(leaf) for _, leaf in same])
            if (stack != stack[:1]).any():
                varied[path_of(same[0][0])] = stack
        if not varied:
            raise ConfigError(
                f"Wanted at least two members that differ, got {len(members)} with the same parameters: train them "
                "with different seeds."
            )
        one = np.ones(())
        return cls(potential=potential, params=members[0], varied=varied, energy_scale=one, forces_scale=one)

    @classmethod
    def shallow(cls, uncertainty: LinearUncertainty, n_members: int, seed: int = 0) -> "Ensemble":
        """Members drawn from the posterior of the last layer of a network: they share all but that layer.

        Args:
            uncertainty: from `jorbit.train.uncertainty.last_layer_uncertainty`.
            n_members: how many.
            seed: of the draws.

        References:
            Kellner and Ceriotti, Mach. Learn.: Sci. Technol. 5, 035006 (2024), train such members instead.
        """
        rows: Any = uncertainty.rows
        if not isinstance(rows, LastLayerRows):
            raise ConfigError(f"Wanted the uncertainty of a last layer, got one of {type(rows).__name__}.")
        params = jax.tree.map(np.asarray, uncertainty.params)
        with jax.enable_x64(True):
            mean = np.asarray(rows.vector(params), dtype=np.float64)
            normal = np.random.default_rng(seed).normal(size=(n_members, uncertainty.half.shape[0]))
            drawn = mean + normal @ np.asarray(uncertainty.half, dtype=np.float64)
            members = [jax.tree.map(np.asarray, rows.replaced(params, jnp.asarray(v))) for v in drawn]
        made = cls.of(uncertainty.potential, members)
        scales = {"energy_scale": uncertainty.energy_scale, "forces_scale": uncertainty.forces_scale}
        return dataclasses.replace(made, **scales)

    @property
    def n_members(self) -> int:
        return len(next(iter(self.varied.values())))

    @property
    def unit(self) -> str:
        return "eV"

    def member(self, k: int) -> Params:
        """Parameters of one member."""
        return self._with({path: stack[k] for path, stack in self.varied.items()})

    def _with(self, parts: dict[str, Any]) -> Params:
        return jax.tree_util.tree_map_with_path(lambda p, old: parts.get(path_of(p), old), self.params)

    def energies(self, graph: Graph) -> Float[Array, "members atoms"]:
        """Energies of atoms by each member, eV. What the members share is computed once."""
        return jax.vmap(lambda parts: self.potential.outputs(self._with(parts), graph).energy)(self.varied)

    def atoms(self, graph: Graph) -> Float[Array, " atoms"]:
        """Standard deviation of the energy of each atom, eV; 0 on padding."""
        energies = self.energies(graph)
        return _like(self.energy_scale, energies) * _root(_variance(energies))

    def energy_variance(self, graph: Graph) -> Float[Array, ""]:
        energies = self.energies(graph)
        return _like(self.energy_scale, energies) ** 2 * _variance(energies.sum(axis=1))

    def forces_variance(self, graph: Graph) -> Float[Array, "atoms 3"]:
        def energy(parts: Any, positions: Array) -> Array:
            moved = dataclasses.replace(graph, positions=positions)
            return self.potential.outputs(self._with(parts), moved).energy.sum()

        forces = jax.vmap(jax.grad(energy, argnums=1), in_axes=(0, None))(self.varied, graph.positions)
        return _like(self.forces_scale, forces) ** 2 * _variance(forces)


def energy_deviation(uncertainty: Uncertainty, graph: Graph) -> Float[Array, ""]:
    """Standard deviation of the energy of a graph of one structure, eV."""
    return _root(uncertainty.energy_variance(graph))


def forces_deviation(uncertainty: Uncertainty, graph: Graph) -> Float[Array, "atoms 3"]:
    """Standard deviations of the components of its forces, eV/Å."""
    return _root(uncertainty.forces_variance(graph))


def _all(uncertainty: Uncertainty, graph: Graph) -> Spread:
    return Spread(
        energy=energy_deviation(uncertainty, graph),
        energies=uncertainty.atoms(graph),
        forces=forces_deviation(uncertainty, graph),
    )


_spread = counted_jit(_all, "spread")
_atoms = counted_jit(lambda grade, graph: grade.atoms(graph), "grade")


def predict_spread(uncertainty: Uncertainty, structures: Sequence[Structure], *, dtype: Any = None) -> list[Spread]:
    """Standard deviations of structures, in float64 unless told otherwise.

    Example:
        >>> predict_spread(uncertainty, [structure])[0].energy  # doctest: +SKIP
    """
    return [
        Spread(float(s.energy), np.asarray(s.energies)[:n], np.asarray(s.forces)[:n])
        for s, n in _over_structures(_spread, uncertainty, uncertainty.potential, structures, dtype)
    ]


def grade_atoms(
    grade: Grade, potential: Potential, structures: Sequence[Structure], *, dtype: Any = None
) -> list[Float[np.ndarray, " atoms"]]:
    """The grade of each atom of each structure.

    Args:
        grade: an uncertainty or an extrapolation grade.
        potential: whose species and cutoffs the grade knows.
        structures: any sizes.
        dtype: float64 unless told otherwise.
    """
    return [np.asarray(g)[:n] for g, n in _over_structures(_atoms, grade, potential, structures, dtype)]


def _over_structures(function: Any, first: Any, potential: Potential, structures: Any, dtype: Any) -> Any:
    structures = potential.labelled(structures)
    if not structures:
        return
    slots: dict[int, tuple[int, ...]] = {}
    for s in structures:  # structures of one size share a compilation
        own = capacity_for([s], potential.cutoffs)
        slots[own.n_atoms] = tuple(map(max, zip(slots.get(own.n_atoms, own.n_slots), own.n_slots, strict=True)))
    with jax.enable_x64(True):
        first = jax.tree.map(jnp.asarray, first)
        for s in structures:
            own = capacity_for([s], potential.cutoffs)
            capacity = dataclasses.replace(own, n_slots=slots[own.n_atoms])
            kind = jnp.float64 if dtype is None else dtype
            graph = build_graph(s, potential.species, potential.cutoffs, capacity=capacity, dtype=kind)
            yield jax.device_get(function(first, graph)), s.n_atoms


def _root(squares: Array) -> Array:
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1.0)), 0.0)


def _variance(members: Array) -> Array:
    """Over the leading axis."""
    return jnp.sum((members - members.mean(axis=0, keepdims=True)) ** 2, axis=0) / max(len(members) - 1, 1)


def _like(value: Any, like: Array) -> Array:
    return jnp.asarray(value, like.dtype)
