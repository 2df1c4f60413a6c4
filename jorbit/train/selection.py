"""Which of many structures to label next: those that together tell the model most."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Params
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph
from jorbit.potential.extrapolation import DistanceGrade, farthest_points
from jorbit.potential.feature_rows import FeatureRows, energy_row
from jorbit.potential.potential import Potential
from jorbit.potential.uncertainty import Grade, LinearUncertainty, grade_atoms
from jorbit.train.buckets import frame_capacities

METHODS = ("reduction", "information", "farthest", "uncertain", "random")
_MOST_ROWS = 12  # random directions that stand for all force components of a structure
_MOST_CANDIDATES = 400  # that are compared with each other, chosen at random from more
_MOST_TARGETS = 2000  # rows over which variances are averaged


def select(
    grade: Grade,
    potential: Potential,
    structures: Sequence[Structure],
    n: int,
    method: str = "reduction",
    *,
    noise: float = 0.05,
    seed: int = 0,
) -> list[int]:
    """Indices of the structures to label, the most telling first.

    * "reduction": greedily, the structure whose labels lower the mean variance of all candidates most, given the ones
      already taken: uncertain, typical and diverse.
    * "information": the one that the posterior knows least about (D-optimal): uncertain and diverse, outliers first.
      Both are for linear models and last layers.
    * "farthest": the one with the highest grade, then always the one farthest from those taken, in mean features (needs
      a DistanceGrade).
    * "uncertain": the highest grades. "random": for comparison.

    Args:
        grade: an uncertainty or extrapolation grade.
        potential: that it belongs to.
        structures: candidates.
        n: how many; all where there are fewer.
        method: one of `METHODS`.
        noise: of labels, eV/Å: what is known better than this tells nothing new.
        seed: of random choices.

    Raises:
        ConfigError: a method that the grade does not know.

    Example:
        >>> select(uncertainty, potential, candidates, 10)  # doctest: +SKIP
    """
    structures, rng = list(structures), np.random.default_rng(seed)
    if method not in METHODS:
        raise ConfigError(f"Wanted a method in {METHODS}, got {method!r}.")
    n = min(n, len(structures))
    if n == 0 or method == "random":
        return rng.permutation(len(structures))[:n].tolist()
    if method in ("reduction", "information"):
        if not isinstance(grade, LinearUncertainty):
            raise ConfigError(
                f"{method!r} needs the uncertainty of a linear model or a last layer, got a {type(grade).__name__}: "
                "select by 'uncertain' or 'farthest'."
            )
        some = np.sort(rng.permutation(len(structures))[: max(_MOST_CANDIDATES, n)])
        greedy = _most_informative if method == "information" else _most_reducing
        rows = _half_rows(grade, [structures[k] for k in some], rng)
        return [int(some[k]) for k in greedy(rows, n, noise)]
    worst = np.array([g.max() for g in grade_atoms(grade, potential, structures)])
    if method == "farthest":
        if not isinstance(grade, DistanceGrade):
            raise ConfigError(f"'farthest' needs a DistanceGrade, got a {type(grade).__name__}.")
        means = _mean_features(grade, potential, structures)
        return farthest_points(means, n, start=int(np.argmax(worst))).tolist()
    return np.argsort(-worst, kind="stable")[:n].tolist()


def _mean_features(
    grade: DistanceGrade, potential: Potential, structures: Sequence[Structure]
) -> Float[np.ndarray, "structures features"]:
    """Mean features of the atoms of each species, scaled as the grade does."""
    structures, result = potential.labelled(structures), []
    with jax.enable_x64(True):
        for s, capacity in zip(structures, frame_capacities(structures, potential.cutoffs), strict=True):
            graph = build_graph(s, potential.species, potential.cutoffs, capacity=capacity, dtype=jnp.float64)
            species = np.asarray(graph.species)[: s.n_atoms]
            x = np.asarray(_features(grade.descriptor, graph))[: s.n_atoms] / np.asarray(grade.scales)[species]
            mine = np.eye(len(potential.species))[species]
            means = mine.T @ x / np.maximum(mine.sum(axis=0), 1.0)[:, None]
            result.append(means.reshape(-1))
    return np.stack(result)


def _half_rows(
    uncertainty: LinearUncertainty, structures: Sequence[Structure], rng: np.random.Generator
) -> list[Float[np.ndarray, "rows rank"]]:
    """H x for the energy per root atom and a few random combinations of the forces of each structure."""
    potential = uncertainty.potential
    structures = potential.labelled(structures)
    half = np.asarray(uncertainty.half, dtype=np.float64)
    scale = np.array([float(uncertainty.energy_scale)] + [float(uncertainty.forces_scale)] * _MOST_ROWS)
    result = []
    with jax.enable_x64(True):
        params = jax.tree.map(jnp.asarray, uncertainty.params)
        for s, capacity in zip(structures, frame_capacities(structures, potential.cutoffs), strict=True):
            graph = build_graph(s, potential.species, potential.cutoffs, capacity=capacity, dtype=jnp.float64)
            directions = rng.normal(size=(_MOST_ROWS, graph.n_atoms, 3))
            directions[:, s.n_atoms :] = 0.0
            directions /= np.linalg.norm(directions, axis=(1, 2), keepdims=True)  # errors as those of one component
            energy, forces = _rows(uncertainty.rows, potential, params, graph, jnp.asarray(directions))
            x = np.concatenate([np.asarray(energy)[None] / np.sqrt(s.n_atoms), np.asarray(forces)])
            result.append(scale[:, None] * (x @ half.T))
    return result


def _projected(
    rows: FeatureRows, potential: Potential, params: Params, graph: Graph, directions: Float[Array, "some atoms 3"]
) -> tuple[Float[Array, " columns"], Float[Array, "some columns"]]:
    """Row of the energy, and minus its derivative along displacements of all atoms."""

    def row(positions: Array) -> Array:
        return energy_row(rows, potential, params, dataclasses.replace(graph, positions=positions))

    along = [jax.jvp(row, (graph.positions,), (d,)) for d in directions]
    return along[0][0], jnp.stack([-slope for _, slope in along])


_rows = counted_jit(_projected, "rows along displacements", static_argnums=(0, 1))
_features = counted_jit(lambda descriptor, graph: descriptor(graph), "features", static_argnums=0)


def _most_informative(rows: Sequence[Float[np.ndarray, "rows rank"]], n: int, noise: float) -> list[int]:
    """Greedy: the largest log det(1 + Y Y^T / noise^2), and what is learned from it is taken out of all others."""
    remaining = np.stack(rows)
    taken: list[int] = []
    for _ in range(n):
        gram = np.einsum("krp,ksp->krs", remaining, remaining) / noise**2
        gain = np.linalg.slogdet(np.eye(gram.shape[1]) + gram)[1]
        gain[taken] = -np.inf
        best = int(np.argmax(gain))
        taken.append(best)
        remaining = remaining - _learned(remaining[best], noise, remaining)
    return taken


def _most_reducing(rows: Sequence[Float[np.ndarray, "rows rank"]], n: int, noise: float) -> list[int]:
    """Greedy: the largest sum over all rows z of z Y^T (Y Y^T + noise^2)^-1 Y z^T, the variance that labels take."""
    remaining = np.stack(rows)
    every = max(1, remaining.shape[0] * remaining.shape[1] // _MOST_TARGETS)
    taken: list[int] = []
    for _ in range(n):
        flat = remaining.reshape(-1, remaining.shape[2])
        cross = (flat @ flat[::every].T).reshape(*remaining.shape[:2], -1)
        gram = np.einsum("krp,ksp->krs", remaining, remaining) + noise**2 * np.eye(remaining.shape[1])
        gain = np.einsum("krt,krt->k", cross, np.linalg.solve(gram, cross))
        gain[taken] = -np.inf
        taken.append(int(np.argmax(gain)))
        remaining = remaining - _learned(remaining[taken[-1]], noise, remaining)
    return taken


def _learned(
    rows: Float[np.ndarray, "rows rank"], noise: float, of: Float[np.ndarray, "structures rows rank"]
) -> Float[np.ndarray, "structures rows rank"]:
    """What has to be taken from others when some rows are labelled with this noise."""
    _, s, vt = np.linalg.svd(rows, full_matrices=False)
    shrink = 1.0 - 1.0 / np.sqrt(1.0 + (s / noise) ** 2)
    return ((of @ vt.T) * shrink) @ vt
