"""fit_sgdml(): a kernel model of one molecule from a few hundred frames with forces, in closed form."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import solve_triangular

from jorbit.basis.inverse_distances import pair_permutations
from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.models.sgdml import SGDML, predict_geometries
from jorbit.orbits import OrbitResult
from jorbit.potential.potential import Potential
from jorbit.train.factor import SingularSystemError
from jorbit.train.kernel_matrix import Geometry, Tiles, kernel_matrix
from jorbit.train.large_matrices import cholesky
from jorbit.train.memory import GIB, memory_budget
from jorbit.train.metrics import compare
from jorbit.train.progress import Progress, Report, reporting
from jorbit.train.sgdml_iterative import IterativeOptions, solve_iteratively
from jorbit.train.sgdml_labels import ForceLabels, labels_of, refuse_duplicates
from jorbit.train.sgdml_permutations import choose_permutations
from jorbit.train.sgdml_report import SGDMLReport, energy_notes
from jorbit.train.sgdml_search import SIGMAS, Search, Solution, end_notes, forget_search, options_for, search_sigma

_HELD_OUT = 0.1  # of the frames, to choose σ when there are no validation frames
_MOST_HELD_OUT = 200
_PANEL = 1024  # columns of the factor that are worked on at once
_DUPLICATE = 1e-9  # relative distance of descriptors below which two frames are one


class SGDMLResult(NamedTuple):
    """What `fit_sgdml` returns: unpack it, or use the names."""

    potential: Potential
    params: Params
    report: SGDMLReport


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    """One fit: what is solved for every σ.

    Attributes:
        term: the model.
        labels: of the training frames.
        tiles: blocks of the kernel matrix.
        regularization: what is added to its diagonal.
        use_energies: energies are labels too.
    """

    term: SGDML
    labels: ForceLabels
    tiles: Tiles
    regularization: float
    use_energies: bool

    @property
    def n_frames(self) -> int:
        return len(self.labels.positions)

    @property
    def n_rows(self) -> int:
        return self.tiles.geometry.n_rows + (self.n_frames if self.use_energies else 0)

    def targets(self) -> tuple[Float[np.ndarray, " rows"], float]:
        """Labels in units of their standard deviation, and that."""
        y = self.labels.forces.ravel()
        if self.use_energies and self.labels.energies is not None:
            y = np.concatenate([y, self.labels.energies - self.labels.energies.mean()])
        scale = float(y.std())
        if not scale > 0:
            raise DataError("All forces are equal: there is nothing to learn. Were labels lost when the file was made?")
        return y / scale, scale

    def params(self, alphas: Float[np.ndarray, " rows"], sigma: float) -> dict[str, Any]:
        """Parameters of the model that these coefficients make, its energies on those of the training frames."""
        geometry = self.tiles.geometry
        n, scale = geometry.n_rows, self.targets()[1]
        center = geometry.x.mean(axis=0)
        params: dict[str, Any] = {
            "points": geometry.x - center,
            "center": center,
            "weights": geometry.pushed(alphas[:n].reshape(self.labels.forces.shape)),
            "permutations": self.tiles.permutations,
            "sigma": np.array(sigma),
            "scale": np.array(scale),
            "constant": np.array(0.0),
        }
        energies = self.labels.energies
        if self.use_energies and energies is not None:
            return params | {"energy_weights": np.array(alphas[n:]), "constant": np.array(energies.mean())}
        if energies is not None:
            known = np.isfinite(energies)
            predicted = predict_geometries(self.term, params, self.labels.positions[known])[0]
            params["constant"] = np.array((energies[known] - predicted).mean())
        return params


def fit_sgdml(
    frames: Iterable[Frame],
    *,
    validation: Iterable[Frame] | None = None,
    sigma: float | Sequence[float] | None = None,
    permutations: str | Int[np.ndarray, "permutations atoms"] | Sequence[Sequence[int]] = "feasible",
    orbits: OrbitResult | None = None,
    regularization: float = 1e-10,
    use_energies: bool = False,
    images: str = "exact",
    solver: str = "auto",
    memory: float | None = None,
    iterative: IterativeOptions = IterativeOptions(),  # noqa: B008 (frozen)
    max_permutations: int = 100,
    seed: int = 0,
    progress: Progress = None,
) -> SGDMLResult:
    """Learn one molecule, or one periodic cell, from its forces: a symmetric gradient-domain kernel model.

    Solves (K + λ) α = F for the covariances K of all force components of the training frames, in float64. Accurate from
    a few hundred frames; time grows with the third power of frames x atoms, memory with the second.

    Args:
        frames: of one system with its atoms in one order, with forces (eV/Å); a few hundred. Energies fix the constant,
            those of some frames as well. All forces weigh the same.
        validation: frames that choose σ by their force error. Without them, a seeded tenth of the frames (at most 200)
            is held out for the choice and used then, too.
        sigma: length scale of the kernel; several to choose from; None: a search on the logarithmic grid from 5 to 500.
        permutations: what is symmetric: "none", "feasible", "topological" (never worse where it was measured, and
            slower), "budget:P", "translations", or an array; see
            `jorbit.train.sgdml_permutations.choose_permutations`.
        orbits: what `jorbit.find_orbits` returned for these frames; errors are listed by them.
        regularization: λ.
        use_energies: fit energies as well as forces; energies otherwise are the integral of forces.
        images: of periodic pairs: "exact", or "round" to reproduce models that round fractional coordinates.
        solver: "cholesky"; "iterative" (conjugate gradients, for what does not fit into memory); "auto" takes the first
            that fits.
        memory: GiB to use; four fifths of what is free when not given.
        iterative: tolerance, checkpoint and resumption of the iterative solver, which fits forces only.
        max_permutations: a larger group is replaced by a subgroup.
        seed: of the frames held out.
        progress: None, True for a bar, or a function (stage, done, total).

    Returns:
        (potential, params, report): used, saved and simulated as any other potential. Ctrl-C while the iterative solver
        works ends the fit, and a search for σ with it: the best model so far is returned, and the report says so.

    Raises:
        DataError: frames of different molecules or cells, without forces, or there twice.
        StructureError: two atoms at one place.
        SingularSystemError: the kernel matrix cannot be factorised; says what to change.
        ConfigError: options that contradict each other, permutations that are no group, too little memory.

    Example:
        >>> import jorbit
        >>> frames = jorbit.read("ethanol_gfn2")
        >>> potential, params, report = fit_sgdml(frames[:40], sigma=20.0)
        >>> len(params["sgdml"]["permutations"])
        6

    References:
        Chmiela, Tkatchenko, Sauceda, Poltavsky, Schütt, Müller, Sci. Adv. 3, e1603015 (2017); Chmiela, Sauceda, Müller,
        Tkatchenko, Nat. Commun. 9, 3887 (2018).
    """
    frames = list(frames)
    if not frames:
        raise DataError("There are no frames to fit. Is the data file empty, or the limit 0?")
    if solver not in ("auto", "cholesky", "iterative"):
        raise ConfigError(f"solver must be 'auto', 'cholesky' or 'iterative', got {solver!r}.")
    if not regularization > 0:
        raise ConfigError(f"regularization must be positive, got {regularization!r}.")
    candidates = _candidates(sigma)
    before, started = compilations(), time.perf_counter()
    term = SGDML.of(frames[0].structure.check(), images)
    if term.n_atoms < 2:
        raise DataError("A single atom has no distances to learn from.")
    labels = labels_of(frames, term)
    valid = None if validation is None else labels_of(list(validation), term, "validation")
    if use_energies and (labels.energies is None or not np.isfinite(labels.energies).all()):
        raise DataError("use_energies=True needs an energy in every frame. Leave it out, or add the energies.")
    group, notes = choose_permutations(permutations, labels.structures, orbits=orbits, most=max_permutations)
    everything = _problem(term, labels, group, regularization, use_energies)
    seconds = {"permutations": time.perf_counter() - started}
    budget = memory_budget(memory)

    with reporting(progress) as report:
        started = time.perf_counter()
        problem, search = everything, None
        if len(candidates) > 1:
            if valid is None:
                problem, valid = _held_out(everything, seed)
            search = _search(problem, valid, candidates, sigma is None, solver, budget, iterative, report)
            notes = (*notes, *end_notes(search, candidates, iterative))
        stopped = search is not None and search.stopped_at is not None
        if stopped and problem is not everything:
            notes = (*notes, f"It was fitted without the {len(frames) - problem.n_frames} frames held out to choose σ.")
        fitted = problem if stopped else everything
        best = candidates[0] if search is None else search.sigma
        if search is not None and fitted is problem:
            solution = search.solution
        else:
            solution = _solve(everything, best, solver, budget, iterative, report)
        reached = solution.residual is None or solution.residual <= iterative.tolerance
        if search is not None and reached and not stopped:
            forget_search(iterative, candidates)
        seconds["solve"] = time.perf_counter() - started

        params = {"sgdml": fitted.params(solution.alphas, best)}
        potential = Potential(terms=(term,), species=SpeciesTable.from_numbers(term.numbers))
        started, training = time.perf_counter(), None
        if not stopped:
            energies, forces = predict_geometries(term, params["sgdml"], labels.positions)
            training = compare(frames, energies, forces, orbits=orbits)
        seconds["evaluate"] = time.perf_counter() - started

    after = compilations()
    n_forces = fitted.tiles.geometry.n_rows
    summary = SGDMLReport(
        n_frames=fitted.n_frames,
        n_rows=fitted.n_rows,
        n_permutations=len(group),
        sigma=best,
        sigma_search={} if search is None else search.errors,
        regularization=regularization,
        use_energies=use_energies,
        images=images,
        solver=solution.solver,
        iterations=solution.iterations,
        residual=solution.residual,
        seed=seed,
        training=training,
        seconds=seconds,
        compilations={name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)},
        notes=(*notes, *solution.notes, *(() if training is None else energy_notes(training))),
        alphas=solution.alphas[:n_forces],
        energy_alphas=solution.alphas[n_forces:] if use_energies else None,
        interrupted=stopped or not reached,
    )
    return SGDMLResult(potential, params, summary)


def _problem(term: SGDML, labels: ForceLabels, group: np.ndarray, regularization: float, use_energies: bool) -> Problem:
    geometry = Geometry(term, labels.positions)
    refuse_duplicates(geometry.x, np.asarray(pair_permutations(group)), _DUPLICATE)
    return Problem(term, labels, Tiles(geometry, group), regularization, use_energies)


def _held_out(problem: Problem, seed: int) -> tuple[Problem, ForceLabels]:
    """The problem without a seeded part of its frames, and that part."""
    labels, n = problem.labels, len(problem.labels.positions)
    if n < 3:
        raise DataError("σ is chosen by held-out frames, and there are fewer than three. Give sigma, or validation.")
    order = np.random.default_rng(seed).permutation(n)
    out = np.sort(order[: min(max(1, round(_HELD_OUT * n)), _MOST_HELD_OUT)])

    def part(chosen: np.ndarray) -> ForceLabels:
        energies = None if labels.energies is None else labels.energies[chosen]
        energies = None if energies is None or np.isnan(energies).all() else energies
        kept = [labels.structures[k] for k in chosen]
        return ForceLabels(kept, labels.positions[chosen], labels.forces[chosen], energies)

    rest = part(np.setdiff1d(np.arange(n), out))
    geometry = Geometry(problem.term, rest.positions)
    tiles = Tiles(geometry, problem.tiles.permutations)
    return dataclasses.replace(problem, labels=rest, tiles=tiles), part(out)


def _candidates(sigma: float | Sequence[float] | None) -> list[float]:
    values = SIGMAS if sigma is None else (sigma,) if isinstance(sigma, int | float) else tuple(sigma)
    if not values or not all(isinstance(v, int | float) and v > 0 and math.isfinite(v) for v in values):
        raise ConfigError(f"sigma must be a positive number, several of them, or None, got {sigma!r}.")
    return sorted(float(v) for v in values)


def _search(
    problem: Problem,
    valid: ForceLabels,
    candidates: list[float],
    downhill: bool,
    solver: str,
    budget: float,
    iterative: IterativeOptions,
    report: Report,
) -> Search:
    """The σ with the smallest error of validation forces, eV/Å. Geometry and compiled functions are those of all."""

    def attempt(sigma: float) -> tuple[Solution, float]:
        solution = _solve(problem, sigma, solver, budget, options_for(iterative, sigma), report)
        forces = predict_geometries(problem.term, problem.params(solution.alphas, sigma), valid.positions)[1]
        return solution, float(np.sqrt(((forces - valid.forces) ** 2).mean()))

    return search_sigma(candidates, attempt, report, downhill=downhill)


def closed_form_bytes(n_rows: int) -> float:
    """Memory of the kernel matrix, factorised in place, and of the panels worked on."""
    return 8.0 * n_rows * n_rows + 3 * 8.0 * _PANEL * n_rows


def _iterate(problem: Problem, sigma: float, budget: float, iterative: IterativeOptions, report: Report) -> Solution:
    if problem.use_energies:
        raise ConfigError("The iterative solver fits forces only: leave out use_energies, or take solver='cholesky'.")
    y = problem.targets()[0]
    found = solve_iteratively(problem.tiles, y, sigma, problem.regularization, budget, iterative, report)
    note = f"The iteration stopped at a residual of {found.residual:.2g} and not at {iterative.tolerance:.2g}"
    if found.stopped:
        note += ", at Ctrl-C. Go on from a checkpoint (resume)."
    else:
        note += (
            ": frames may be too much alike, or sigma too small. Go on with more memory or n_inducing, from a "
            "checkpoint (resume)."
        )
    notes = (*found.notes, *(() if found.converged else (note,)))
    return Solution(found.alphas, "iterative", found.n_steps, found.residual, notes, found.stopped)


def _solve(
    problem: Problem, sigma: float, solver: str, budget: float, iterative: IterativeOptions, report: Report
) -> Solution:
    needed = closed_form_bytes(problem.n_rows)
    if solver == "iterative" or (solver == "auto" and needed > budget and not problem.use_energies):
        return _iterate(problem, sigma, budget, iterative, report)
    if needed > budget:
        most = int(math.sqrt(budget / 8.0) / (3 * problem.term.n_atoms))
        raise ConfigError(
            f"The kernel matrix of {problem.n_rows} force components needs {needed / GIB:.1f} GiB, and "
            f"{budget / GIB:.1f} GiB may be used. Take solver='iterative' (forces only), at most {most} frames, or "
            "give more memory (memory=..., in GiB)."
        )
    return Solution(_closed_form(problem, sigma, lambda done, n: report("kernel", done, n)), "cholesky", None, None)


def _closed_form(problem: Problem, sigma: float, report: Callable[[int, int], None]) -> Float[np.ndarray, " rows"]:
    matrix = kernel_matrix(problem.tiles, sigma, with_energies=problem.use_energies, report=report)
    matrix[np.diag_indices_from(matrix)] += problem.regularization
    bad = cholesky(matrix)
    if bad is not None:
        frame = bad // (3 * problem.term.n_atoms)
        raise SingularSystemError(
            f"The kernel matrix is not positive definite at row {bad} (frame {frame}) for σ = {sigma:.4g} and "
            f"λ = {problem.regularization:.3g}: frames are too much alike for this σ. Take a smaller sigma, a larger "
            "regularization (1e-8, say), or frames that are further apart."
        )
    y = problem.targets()[0]
    half = solve_triangular(matrix, y, lower=True, check_finite=False)
    return solve_triangular(matrix, half, lower=True, trans=1, check_finite=False)
