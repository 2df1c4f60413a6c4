"""fit_gap(): a sparse Gaussian process of atomic energies, with variances, from energies, forces and stresses."""

import dataclasses
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.linalg import cholesky, solve_triangular

from jorbit.core.compilation import compilations, counted_jit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.graph import Graph
from jorbit.core.protocols import Capacity, KernelTerm, Params
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame, Structure
from jorbit.descriptors.soap import SOAP
from jorbit.graphs.batching import build_graph
from jorbit.models.gap import GAP
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.buckets import frame_capacities
from jorbit.train.gap_points import with_points
from jorbit.train.gap_solver import KINDS, Scales, SparseProcess, StreamedQR
from jorbit.train.metrics import VOIGT, Metrics, evaluate
from jorbit.train.progress import Progress, reporting
from jorbit.train.statistics import compositions
from jorbit.train.statistics import reference_energies as find_reference_energies

_JITTER = 1e-10  # of the covariances of sparse points: two may be nearly alike
_DOUBLED = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])  # off-diagonal stresses stand in the tensor twice


class GAPResult(NamedTuple):
    """What `fit_gap` returns: unpack it, or use the names."""

    potential: Potential
    params: Params
    report: "GAPReport"


class GAPStd(NamedTuple):
    """Predictive standard deviations of one structure.

    Attributes:
        energy: of the whole, eV. energies: of each atom, eV. forces: eV/Å, through the sparse points only.
    """

    energy: float
    energies: Float[np.ndarray, " atoms"]
    forces: Float[np.ndarray, "atoms 3"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class GAPReport:
    """Everything worth knowing about the fit of a Gaussian process.

    Attributes:
        n_frames: training frames. n_rows: labels of each kind. n_points: sparse points of each kernel.
        scales: hyper-parameters used. log_evidence: of the labels under them.
        reference_energies: element -> eV.
        training: errors on the training frames.
        posterior: gives predictive standard deviations.
        seconds: of the stages points, rows, solve, evaluate. compilations: by name.
        notes: what the user should know.
        interrupted: never; other fits can be.
    """

    n_frames: int
    n_rows: dict[str, int]
    n_points: tuple[int, ...]
    scales: Scales
    log_evidence: float
    reference_energies: dict[str, float]
    training: Metrics | None
    posterior: "GAPPosterior"
    seconds: dict[str, float]
    compilations: dict[str, int]
    notes: tuple[str, ...] = ()
    interrupted: bool = False

    def provenance(self) -> dict[str, Any]:
        """A JSON-able summary for the model file."""
        return {
            "n_frames": self.n_frames,
            "n_rows": self.n_rows,
            "n_points": list(self.n_points),
            "scales": dataclasses.asdict(self.scales),
            "log_evidence": self.log_evidence,
            "seconds": self.seconds,
        }

    def __repr__(self) -> str:
        rows = ", ".join(f"{n} {kind}" for kind, n in self.n_rows.items())
        points = " + ".join(map(str, self.n_points))
        lines = [f"GAPReport({self.n_frames} frames, {rows}, points {points}, {self.scales})"]
        lines += [] if self.training is None else [f"training: {self.training}"]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def _rows(
    models: tuple[KernelTerm, ...], params: tuple[Params, ...], graph: Graph
) -> tuple[jax.Array, jax.Array, jax.Array]:
    rows = [m.design(p, graph) for m, p in zip(models, params, strict=True)]
    virial = jnp.concatenate([r.virial for r in rows], axis=-1)
    return (
        jnp.concatenate([r.energy for r in rows])[None],
        jnp.concatenate([r.forces for r in rows], axis=-1).reshape(3 * graph.n_atoms, -1),
        jnp.stack([0.5 * (virial[a, b] + virial[b, a]) for a, b in VOIGT]),
    )


def _atoms(models: tuple[KernelTerm, ...], params: tuple[Params, ...], graph: Graph) -> tuple[jax.Array, jax.Array]:
    rows = jnp.concatenate([m.atom_rows(p, graph) for m, p in zip(models, params, strict=True)], axis=-1)
    return rows, jnp.stack([m.own_covariance(p, graph) for m, p in zip(models, params, strict=True)], axis=-1)


_design = counted_jit(_rows, "design of GAP", static_argnums=0)
_by_atom = counted_jit(_atoms, "atoms of GAP", static_argnums=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Whitening:
    """Columns of unit prior: rows of kernels times L^-T, block by block.

    Attributes:
        factors: L of each kernel.
    """

    factors: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, models: Sequence[KernelTerm], params: Sequence[Params]) -> "Whitening":
        factors = []
        for model, p in zip(models, params, strict=True):
            gram = np.asarray(model.gram(p), dtype=np.float64)
            factors.append(cholesky(gram + _JITTER * np.eye(len(gram)), lower=True))
        return cls(tuple(factors))

    @property
    def sizes(self) -> tuple[int, ...]:
        return tuple(len(f) for f in self.factors)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        parts = np.split(rows, np.cumsum(self.sizes)[:-1], axis=1)
        solved = [solve_triangular(f, part.T, lower=True).T for f, part in zip(self.factors, parts, strict=True)]
        return np.concatenate(solved, axis=1)

    def coefficients(self, whitened: np.ndarray) -> list[np.ndarray]:
        """alpha of each kernel."""
        parts = np.split(whitened, np.cumsum(self.sizes)[:-1])
        return [solve_triangular(f, part, lower=True, trans=1) for f, part in zip(self.factors, parts, strict=True)]


@dataclasses.dataclass(frozen=True, eq=False)
class GAPPosterior:
    """The fitted process with its uncertainty.

    Attributes:
        potential: the whole potential.
        models, params: the kernels.
        whitening: of their rows.
        triangle: R, with covariance (R^T R)^-1 of the whitened coefficients.
        scales: hyper-parameters.
    """

    potential: Potential
    models: tuple[KernelTerm, ...]
    params: tuple[Params, ...]
    whitening: Whitening
    triangle: np.ndarray
    scales: Scales

    def predictive_std(self, structures: Sequence[Structure]) -> list[GAPStd]:
        """Standard deviations without the noise of labels; one compilation per bucket of sizes.

        An atom unlike all sparse points has the standard deviation of the prior, delta. Of the energy of a structure,
        what the sparse points do not see is taken as independent from atom to atom.

        Example:
            >>> report.posterior.predictive_std([structure])[0].energy  # doctest: +SKIP
        """
        capacities = frame_capacities(structures, self.potential.cutoffs)
        return [self._one(s, c) for s, c in zip(structures, capacities, strict=True)]

    def _variance(self, whitened: np.ndarray) -> np.ndarray:
        return (solve_triangular(self.triangle, whitened.T, trans=1) ** 2).sum(axis=0)

    def _one(self, structure: Structure, capacity: Capacity) -> GAPStd:
        n = structure.n_atoms
        with jax.enable_x64(True):
            graph = _graph(self.potential, structure, capacity)
            _, forces, _ = _design(self.models, self.params, graph)
            rows, own = _by_atom(self.models, self.params, graph)
        atoms, own = self.whitening(np.asarray(rows)[:n]), np.asarray(own)[:n]
        blocks = np.split(atoms, np.cumsum(self.whitening.sizes)[:-1], axis=1)
        unseen = sum(
            d**2 * np.maximum(own[:, k] - (b**2).sum(axis=1), 0.0)
            for k, (d, b) in enumerate(zip(self.scales.deltas, blocks, strict=True))
        )
        energies = self._variance(atoms) + unseen
        energy = self._variance(atoms.sum(axis=0, keepdims=True))[0] + np.sum(unseen)
        components = self._variance(self.whitening(np.asarray(forces)[: 3 * n]))
        return GAPStd(float(np.sqrt(energy)), np.sqrt(energies), np.sqrt(components).reshape(n, 3))


def _graph(potential: Potential, structure: Structure, capacity: Capacity) -> Graph:
    return build_graph(structure, potential.species, potential.cutoffs, capacity=capacity, dtype=jnp.float64)


def fit_gap(
    frames: Iterable[Frame],
    models: KernelTerm | Sequence[KernelTerm] | None = None,
    *,
    delta: float | Sequence[float] = 1.0,
    sigma_energy: float = 0.001,
    sigma_forces: float = 0.05,
    sigma_virial: float = 0.05,
    optimize: bool = True,
    points: str | Sequence[str] | None = None,
    reference_energies: Any = None,
    seed: int = 0,
    progress: Progress = None,
) -> GAPResult:
    """Fit energies, forces and stresses with a sparse Gaussian process; the fitted potential knows its variance.

    Args:
        frames: labelled structures with any of the three labels. The weights of a label divide its noise variance; of
            weight 0 it is left out.
        models: one kernel, or several that add up (GAP on descriptors, TwoBodyGAP, ThreeBodyGAP). None: SOAP (n 8,
            l 6) with 500 points and zeta 4.
        delta: scale of each kernel, eV: of the energy of an atom, a pair or a triplet.
        sigma_energy: noise of energies, eV; times the square root of the number of atoms.
        sigma_forces: noise of forces, eV/Å.
        sigma_virial: noise of stress times volume, eV; times the square root of the number of atoms.
        optimize: take these four as a start, and choose those of highest marginal likelihood.
        points: how sparse points are chosen, "cur", "fps" or "kmeans" (`jorbit.train.sparse_points.sparse_points`), one
            for each kernel or for all; None: "cur" for descriptors, "fps" for distances. They are shared out over
            species in proportion to what there is of each, at least one each.
        reference_energies: as in `jorbit.fit`.
        seed: of the choice of points.
        progress: None, True for a bar, or a function (stage, done, total).

    Returns:
        (potential, params, report): a sum of ReferenceEnergy and the kernels; `report.posterior.predictive_std`.

    Raises:
        DataError: no frames, or none with labels.
        ConfigError: scales that are not positive.

    Example:
        >>> import jorbit
        >>> frames = jorbit.read("ethanol_gfn2")[:12]
        >>> soap = SOAP(n_species=3, cutoff=3.0, n_radial=3, l_max=2)
        >>> potential, params, report = fit_gap(frames, GAP(descriptor=soap, n_points=30), optimize=False)
        >>> report.n_points
        (30,)

    References:
        Bartók and Csányi, Int. J. Quantum Chem. 115, 1051 (2015); Foster et al., J. Mach. Learn. Res. 10, 857 (2009)
        (QR in sparse Gaussian processes).
    """
    frames = list(frames)
    if not frames:
        raise DataError("There are no frames to fit. Is the data file empty, or the limit 0?")
    for k, frame in enumerate(frames):
        if not isinstance(frame, Frame):
            raise DataError(f"Wanted Frames (jorbit.read gives them), got {type(frame).__name__} at index {k}.")
        frame.structure.check()
    species = SpeciesTable.from_structures(f.structure for f in frames)
    if models is None:
        models = GAP(descriptor=SOAP(n_species=len(species)), n_points=500)
    chosen = (models,) if isinstance(models, KernelTerm) else tuple(models)
    methods = (points,) * len(chosen) if points is None or isinstance(points, str) else tuple(points)
    if not chosen or len(methods) != len(chosen):
        raise ConfigError(f"Wanted kernels, and a way to choose points for all or each: {len(chosen)}, {points!r}.")
    if np.ndim(delta) and len(np.ravel(delta)) not in (1, len(chosen)):
        raise ConfigError(f"delta: wanted one scale for all kernels or one for each of {len(chosen)}, got {delta!r}.")
    deltas = tuple(np.broadcast_to(np.asarray(delta, dtype=np.float64), len(chosen)).tolist())
    scales = Scales(deltas, sigma_energy, sigma_forces, sigma_virial)
    if not all(np.isfinite(v) and v > 0 for v in (*deltas, sigma_energy, sigma_forces, sigma_virial)):
        raise ConfigError(f"Scales and noise must be positive and finite, got {scales}.")
    before, seconds = compilations(), dict[str, float]()
    references = find_reference_energies(frames, species, reference_energies)
    shift = compositions([f.structure for f in frames], species) @ references.energies
    with reporting(progress) as report, jax.enable_x64(True):
        started = time.perf_counter()
        made = [with_points(m, frames, species, by, seed) for m, by in zip(chosen, methods, strict=True)]
        gaps, gap_params = tuple(m for m, _ in made), tuple(p for _, p in made)
        potential = Potential(terms=(ReferenceEnergy(n_species=len(species)), *gaps), species=species)
        whitening = Whitening.of(gaps, gap_params)
        seconds["points"] = time.perf_counter() - started

        started = time.perf_counter()
        process = _process(potential, gaps, gap_params, whitening, frames, shift, report)
        seconds["rows"] = time.perf_counter() - started

        started = time.perf_counter()
        if optimize:
            scales = process.best(scales)
        mean, triangle = process.posterior(scales)
        coefficients = whitening.coefficients(mean)
        gap_params = tuple(p | {"coefficients": c} for p, c in zip(gap_params, coefficients, strict=True))
        seconds["solve"] = time.perf_counter() - started

    reference_name, *names = potential.names
    params = {reference_name: {"energies": references.energies}} | dict(zip(names, gap_params, strict=True))
    started = time.perf_counter()
    training = evaluate(potential, params, frames)
    seconds["evaluate"] = time.perf_counter() - started
    after = compilations()
    wanted = tuple(m.n_points for m in chosen)
    few = [f"{a} of {b}" for a, b in zip(whitening.sizes, wanted, strict=True) if a < 0.9 * b]
    notes = (f"Fewer sparse points than wanted, {', '.join(few)}: there are no others in the frames.",) if few else ()
    summary = GAPReport(
        n_frames=len(frames),
        n_rows=dict(process.n_rows),
        n_points=whitening.sizes,
        scales=scales,
        log_evidence=process.log_evidence(scales),
        reference_energies=dict(zip(species.names, map(float, references.energies), strict=True)),
        training=training,
        posterior=GAPPosterior(potential, gaps, gap_params, whitening, triangle, scales),
        seconds=seconds,
        compilations={name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)},
        notes=notes,
    )
    return GAPResult(potential, params, summary)


def _process(
    potential: Potential,
    models: tuple[KernelTerm, ...],
    params: tuple[Params, ...],
    whitening: Whitening,
    frames: Sequence[Frame],
    shift: np.ndarray,
    report: Any,
) -> SparseProcess:
    factors = {kind: StreamedQR(sum(whitening.sizes) + 1) for kind in KINDS}
    capacities = frame_capacities([f.structure for f in frames], potential.cutoffs)
    for k, (frame, capacity) in enumerate(zip(frames, capacities, strict=True)):
        n, labels = frame.structure.n_atoms, frame.labels
        graph = _graph(potential, frame.structure, capacity)
        energy, forces, virial = (np.asarray(r) for r in _design(models, params, graph))
        parts: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]] = []
        if labels.energy is not None and labels.energy_weight > 0:
            one = np.array([labels.energy_weight / n])
            parts.append(("energy", energy, np.array([labels.energy - shift[k]]), one))
        if labels.forces is not None and np.any(labels.forces_weight):
            weight = np.repeat(np.broadcast_to(labels.forces_weight, n), 3)
            parts.append(("forces", forces[: 3 * n], np.ravel(labels.forces), weight))
        if labels.stress is not None and labels.stress_weight > 0 and frame.structure.volume > 0:
            stress = np.array([labels.stress[a, b] for a, b in VOIGT]) * frame.structure.volume
            parts.append(("virial", virial, stress, labels.stress_weight / n * _DOUBLED))
        for kind, rows, targets, weight in parts:
            kept = weight > 0  # what has no weight is no label, whatever it holds
            rows, targets, weight = rows[kept], targets[kept], weight[kept]
            if not np.isfinite(targets).all():
                raise DataError(f"A label of frame {k} is NaN or infinite ({kind}). Drop it, or set its weight to 0.")
            root = np.sqrt(weight)[:, None]
            factors[kind].add(np.concatenate([whitening(rows), targets[:, None]], axis=1) * root)
        report("rows", k + 1, len(frames))
    n_rows = {kind: f.n_rows for kind, f in factors.items()}
    if not any(n_rows.values()):
        raise DataError("None of the frames has an energy, forces or a stress with a weight: nothing to learn from.")
    return SparseProcess({k: f.reduce() for k, f in factors.items()}, n_rows, whitening.sizes)
