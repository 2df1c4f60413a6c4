"""The linear problem behind a potential: which parameters are columns, which labels are rows."""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Capacity, LinearTerm, Params
from jorbit.core.structure import Frame, Structure
from jorbit.graphs.batching import build_graph
from jorbit.potential.potential import Potential
from jorbit.potential.predict import predict
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.accumulate import Accumulator
from jorbit.train.buckets import frame_capacities
from jorbit.train.held_rows import HeldRows
from jorbit.train.metrics import VOIGT
from jorbit.train.progress import Report
from jorbit.train.statistics import References, compositions


@dataclasses.dataclass(frozen=True)
class FitWeights:
    """Weights of the kinds of labels in a closed-form fit: they multiply errors, and what matters are their ratios.

    The misfit is the sum of (energy / sqrt(atoms) * error in eV)^2, (forces * error in eV/Å)^2 and
    (stress * volume / sqrt(atoms) * error in eV/Å^3)^2, each times the weight w of the label in its frame's `Labels`:
    rows are scaled by sqrt(w), so a frame of weight 2 is the frame twice. One error per atom costs the same in cells of
    all sizes, and a stress counts as the virial, an energy. Off-diagonal stresses stand in the tensor twice and count
    twice: the fit does not depend on how the crystal is turned.

    These weights are relative inverse standard deviations, within the square: 30 counts 900 times as much as 1.
    Those of `LossWeights` (training by gradients) multiply mean squared errors, and are other numbers for that reason.
    Weights of labels mean the same in both, and in Gaussian processes: they multiply squared errors.

    Attributes:
        energy, forces, stress: 0 leaves the kind out.
    """

    energy: float = 30.0
    forces: float = 1.0
    stress: float = 1.0

    def __post_init__(self) -> None:
        values = (self.energy, self.forces, self.stress)
        if not all(math.isfinite(v) and v >= 0 for v in values):
            raise ConfigError(f"Weights must be finite and not negative, got {self}.")


class Rows(NamedTuple):
    """One kind of rows of one frame: x_k, y_k, w_k."""

    design: Float[np.ndarray, "rows parameters"]
    targets: Float[np.ndarray, " rows"]
    weights: Float[np.ndarray, " rows"]


def _stacked_design(terms: tuple[LinearTerm, ...], graph: Graph) -> tuple[jax.Array, jax.Array, jax.Array]:
    rows = [term.design(graph) for term in terms]
    virial = jnp.concatenate([r.virial for r in rows], axis=-1)
    return (
        jnp.concatenate([r.energy for r in rows]),
        jnp.concatenate([r.forces for r in rows], axis=-1).reshape(3 * graph.n_atoms, -1),
        jnp.stack([virial[a, b] for a, b in VOIGT]),
    )


_design = counted_jit(_stacked_design, "design", static_argnums=0)


@dataclasses.dataclass(frozen=True, eq=False)
class LinearProblem:
    """Columns of the fit of a potential: the parameters of its linear terms, then the free reference energies.

    Attributes:
        potential: the whole sum of terms.
        references: reference energies that are subtracted first, and the directions in which they may still change.
        fixed_params: parameters of the terms that are not linear, which stay as they are.
    """

    potential: Potential
    references: References
    fixed_params: Params

    @functools.cached_property
    def linear(self) -> dict[str, LinearTerm]:
        """The terms whose parameters are solved for, without ReferenceEnergy."""
        return {n: t for n, t in _named(self.potential) if is_linear(t) and not isinstance(t, ReferenceEnergy)}

    @functools.cached_property
    def fixed(self) -> Potential | None:
        """The terms that are subtracted from the labels, or None."""
        terms = tuple(t for t in self.potential.terms if not is_linear(t))
        return Potential(terms=terms, species=self.potential.species) if terms else None

    @property
    def n_free_references(self) -> int:
        return self.references.directions.shape[1]

    @functools.cached_property
    def n_parameters(self) -> int:
        return sum(t.n_parameters for t in self.linear.values()) + self.n_free_references

    def prior_scale(self) -> Float[np.ndarray, " parameters"]:
        """Of all columns; reference energies are not penalised."""
        scales = [np.asarray(t.prior_scale(), dtype=np.float64) for t in self.linear.values()]
        return np.concatenate([*scales, np.zeros(self.n_free_references)])

    def params(self, coefficients: Float[np.ndarray, " parameters"]) -> Params:
        """Parameters of the whole potential, float64."""
        result: dict[str, Any] = dict(self.fixed_params)
        start = 0
        with jax.enable_x64(True):
            for name, term in self.linear.items():
                result[name] = term.unflatten(coefficients[start : start + term.n_parameters])
                start += term.n_parameters
            energies = self.references.energies + self.references.directions @ coefficients[start:]
            for name, term in _named(self.potential):
                if isinstance(term, ReferenceEnergy):
                    result[name] = term.unflatten(energies)
        return result

    def launch(self, structure: Structure, capacity: Capacity) -> tuple[Any, Any]:
        """Start computing the design rows of one structure; returns without waiting for them."""
        with jax.enable_x64(True):
            cutoffs, table = self.potential.cutoffs, self.potential.species
            graph = build_graph(structure, table, cutoffs, capacity=capacity, dtype=jnp.float64)
            design = _design(tuple(self.linear.values()), graph) if self.linear else None
            known = None if self.fixed is None else predict(self.fixed, self.fixed_params, graph)
        return design, known

    def collect(self, structure: Structure, launched: tuple[Any, Any]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Wait for launched rows: design and known part of energy [1], forces [3 atoms] and stress [6]; no padding."""
        n, volume = structure.n_atoms, structure.volume
        design, known = launched
        free = compositions([structure], self.potential.species)
        parts = [np.zeros((1, 0)), np.zeros((3 * n, 0)), np.zeros((6, 0))]
        if design is not None:
            energy, forces, virial = (np.asarray(x) for x in design)
            parts = [energy[None], forces[: 3 * n], virial / volume if volume > 0 else virial]
        if self.n_free_references:
            width = self.n_free_references
            more = [free @ self.references.directions, np.zeros((3 * n, width)), np.zeros((6, width))]
            parts = [np.concatenate(pair, axis=1) for pair in zip(parts, more, strict=True)]
        offset = [free @ self.references.energies, np.zeros(3 * n), np.zeros(6)]
        if known is not None:
            offset[0] = offset[0] + np.asarray(known.energy)[:1]
            offset[1] = np.asarray(known.forces)[:n].reshape(-1)
            offset[2] = np.array([np.asarray(known.stress)[0][a, b] for a, b in VOIGT])
        return parts, offset

    def rows(self, frame: Frame, launched: tuple[Any, Any], weights: FitWeights) -> dict[str, Rows]:
        """The rows of one frame, scaled by the roots of the weights of its labels; what has none is left out."""
        structure, labels = frame.structure, frame.labels
        design, offset = self.collect(structure, launched)
        n, volume = structure.n_atoms, structure.volume
        result = {}
        if labels.energy is not None and (w := weights.energy * math.sqrt(labels.energy_weight) / math.sqrt(n)) > 0:
            result["energy"] = Rows(design[0], labels.energy - offset[0], np.full(1, w))
        each = weights.forces * np.sqrt(np.broadcast_to(np.asarray(labels.forces_weight, dtype=np.float64), n))
        if labels.forces is not None and (each > 0).any():
            result["forces"] = Rows(design[1], labels.forces.reshape(-1) - offset[1], np.repeat(each, 3))
        w = weights.stress * math.sqrt(labels.stress_weight) * volume / math.sqrt(n)
        if labels.stress is not None and w > 0:
            stress = np.array([0.5 * (labels.stress[a, b] + labels.stress[b, a]) for a, b in VOIGT])
            twice = np.array([1.0 if a == b else math.sqrt(2.0) for a, b in VOIGT])
            result["stress"] = Rows(design[2], stress - offset[2], w * twice)
        return result


def is_linear(term: Any) -> bool:
    """Whether a term offers design rows."""
    return isinstance(term, LinearTerm)


def _named(potential: Potential) -> Iterator[tuple[str, Any]]:
    return zip(potential.names, potential.terms, strict=True)


def gather(
    problem: LinearProblem,
    frames: Sequence[Frame],
    system: Accumulator | HeldRows,
    weights: FitWeights,
    report: Report,
    stage: str = "design",
    stopped: Callable[[], bool] = lambda: False,
) -> tuple[dict[str, int], int]:
    """Stream the rows of all frames into `system`; memory does not grow with the number of frames.

    The next frame's rows are computed (and its neighbours searched) while the last one's are taken in.

    Args:
        stopped: asked after each frame; True ends the loop there.

    Returns:
        Number of rows of each kind, and number of frames taken in.
    """
    counts = {"energy": 0, "forces": 0, "stress": 0}
    taken = 0
    for frame in frames:
        _check_labels(frame)
    capacities = frame_capacities([f.structure for f in frames], problem.potential.cutoffs)
    ahead: tuple[Any, Any] | None = None
    for k, frame in enumerate(frames):
        launched = problem.launch(frame.structure, capacities[k]) if ahead is None else ahead
        more = k + 1 < len(frames)
        ahead = problem.launch(frames[k + 1].structure, capacities[k + 1]) if more else None
        for kind, rows in problem.rows(frame, launched, weights).items():
            system.add(rows.design, rows.targets, rows.weights, source=f"frame {k} ({kind})")
            counts[kind] += int((rows.weights > 0).sum())
        taken = k + 1
        report(stage, taken, len(frames))
        if stopped():
            break
    return counts, taken


def _check_labels(frame: Frame) -> None:
    labels, n = frame.labels, frame.structure.n_atoms
    forces = labels.forces
    if forces is not None and forces.shape != (n, 3):
        raise DataError(f"Wanted forces [{n}, 3] for a structure of {n} atoms, got {forces.shape}.")
    if np.shape(labels.forces_weight) not in ((), (n,)):
        raise DataError(
            f"Wanted one forces_weight, or one per atom, for a structure of {n} atoms, got "
            f"{np.shape(labels.forces_weight)}."
        )
    for kind in ("energy_weight", "forces_weight", "stress_weight"):
        weight = np.asarray(getattr(labels, kind), dtype=np.float64)
        if not (np.isfinite(weight) & (weight >= 0)).all():
            raise DataError(f"Weights of labels must be finite and not negative, got {kind} = {weight}.")
