"""fit(): labelled frames in, a potential with parameters and their covariance out, by one linear solve."""

import dataclasses
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.basis.label_embedding import parent_rows
from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels
from jorbit.core.protocols import CalibratedTerm, Params
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.datasets.checks import unit_suspicion
from jorbit.datasets.isolated import is_isolated_atom
from jorbit.graphs.batching import pad_labels
from jorbit.potential.dimers import secure
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.accumulate import Accumulator
from jorbit.train.closed_form import solve
from jorbit.train.design import FitWeights, LinearProblem, gather, is_linear
from jorbit.train.held_rows import HeldRows
from jorbit.train.labelled import fitted_reference, label_frames, labelled_for
from jorbit.train.metrics import evaluate
from jorbit.train.normal_equations import NormalEquations
from jorbit.train.orbit_weights import weigh_orbits
from jorbit.train.progress import Progress, interrupts, reporting
from jorbit.train.report import FitPosterior, FitReport
from jorbit.train.statistics import References
from jorbit.train.statistics import reference_energies as find_reference_energies
from jorbit.train.tsqr import TSQR

_SOLVERS = ("cholesky", "qr")
# Degrees of the default ACE, in the order in which they are tried.
_DEGREES = ((6,), (8, 3), (8, 4, 2), (10, 5, 3), (10, 6, 4), (12, 7, 5), (12, 8, 6), (12, 10, 8), (14, 12, 10, 8))
_MAX_DEFAULT_PARAMETERS = 3500
_HELD_OUT = 0.1  # of the frames, to choose the ridge when prior="validation" comes without frames


class FitResult(NamedTuple):
    """What `fit` returns: unpack it, or use the names."""

    potential: Potential
    params: Params
    report: FitReport


def fit(
    frames: Iterable[Frame],
    potential: Potential | None = None,
    *,
    orbits: Any = None,
    orbit_weights: str | None = None,
    prior: str = "bayes",
    ridge: float | None = None,
    solver: str = "cholesky",
    weights: FitWeights = FitWeights(),  # noqa: B008 (frozen)
    reference_energies: str | Mapping[str | int, float] | None = None,
    seed: int = 0,
    progress: Progress = None,
    validation: Iterable[Frame] | None = None,
    refit: bool = False,
    fixed_params: Mapping[str, Any] | None = None,
    keep_partial: bool = False,
) -> FitResult:
    """Fit all linear terms of a potential to energies, forces and stresses in closed form, in float64.

    Minimises  sum_k W_k^2 w_k (x_k.c - y_k)^2 + ridge |Gamma c|^2  where W_k is the weight of the kind of label (see
    `FitWeights`), w_k the weight of the label in its frame and Gamma each term's own `prior_scale()`. Rows are streamed
    frame by frame, so memory grows with the square of the parameters and not with the data.

    Args:
        frames: labelled structures; missing kinds of labels are fine. Isolated atoms fix reference energies.
        potential: sum of terms; a ReferenceEnergy and a LinearACE for the elements found when not given. Terms that are
            not linear stay as they are and are subtracted from the labels.
        orbits: what `jorbit.find_orbits` returned: atoms are labelled by it, the potential tells orbits apart and keeps
            what it needs to label other structures. Without it, orbits that all structures carry are used.
        orbit_weights: "equal" or "variance" weighs forces by orbit, see `weigh_orbits`; None does not.
        prior: "bayes" finds ridge and noise by maximising the evidence; "ridge" uses `ridge`; "validation" takes the
            ridge that predicts `validation` best (a seeded tenth of the frames when not given; then fitted too).
        ridge: penalty, for prior="ridge".
        solver: "cholesky" (normal equations, fast) or "qr" (slower, for ridges below 1e-15 of the largest diagonal).
        weights: of energies, forces and stresses; they multiply errors before these are squared.
        reference_energies: None (isolated atoms in the data, else a fit to compositions), "isolated", "fit", or a
            dictionary {symbol or atomic number: eV}. Fitted ones are refined together with everything else.
        seed: of the held-out frames and of the parameters of terms that are not linear.
        progress: None, True for a bar, or a function (stage, done, total).
        validation: labelled frames for prior="validation".
        refit: once the ridge is chosen, fit the frames of `validation` as well. Frames held out by the fit itself
            always are.
        fixed_params: name of a term that is not linear -> its parameters; initial ones when not given.
        keep_partial: on Ctrl-C fit the frames seen so far instead of raising, without measuring them; the report says
            so. A second Ctrl-C raises.

    Returns:
        (potential, params, report); parameters are float64 numpy arrays or what the terms make of them.

    Raises:
        DataError: no frames, no labels, labels with NaN, too few rows.
        UnknownSpeciesError: an element that the potential was not made for.
        SingularSystemError: the labels do not determine the parameters; says what to raise.
        OrbitError: a structure that is not what the orbits belong to.
        ConfigError: options that contradict each other.

    Example:
        >>> from jorbit.datasets import load_dataset
        >>> from jorbit.models.linear_ace import LinearACE
        >>> frames = list(load_dataset("ethanol_gfn2"))[:3]
        >>> small = LinearACE(n_species=3, cutoff=2.0, max_degree=(4,))
        >>> potential = Potential((ReferenceEnergy(n_species=3), small), SpeciesTable.from_numbers([1, 6, 8]))
        >>> potential, params, report = fit(frames, potential)
        >>> sorted(params)
        ['linear_ace', 'reference_energy']

    References:
        van der Oord, Dusson, Csányi, Ortner, Mach. Learn.: Sci. Technol. 1, 015004 (2020), for linear fits of ACE.
        MacKay, Neural Computation 4, 415 (1992), for the evidence.
    """
    frames = _checked(frames)
    validation = None if validation is None else _checked(validation)
    if prior not in ("bayes", "ridge", "validation"):
        raise ConfigError(f"prior must be 'bayes', 'ridge' or 'validation', got {prior!r}.")
    if solver not in _SOLVERS:
        raise ConfigError(f"solver must be one of {_SOLVERS}, got {solver!r}.")
    if validation is not None and prior != "validation":
        raise ConfigError(f"validation frames are used by prior='validation' only, and prior is {prior!r}.")
    if refit and validation is None:
        raise ConfigError("refit=True fits the frames of validation=, and there are none.")
    if orbits is not None:
        frames = label_frames(frames, orbits)
        validation = None if validation is None else label_frames(validation, orbits)
    reference = fitted_reference(frames, potential, orbits)
    potential = default_potential(frames) if potential is None else potential
    if reference is not None:
        potential = dataclasses.replace(potential, orbits=reference)
    frames = list(labelled_for(potential, frames))
    if orbit_weights is not None:
        frames = weigh_orbits(frames, orbit_weights)
    validation = None if validation is None else labelled_for(potential, validation)
    problem, training = _problem(
        potential, frames, reference_energies, fixed_params, seed, use_compositions=weights.energy > 0
    )
    before = compilations()

    held_out: list[Frame] = []
    if prior == "validation" and validation is None:
        held_out, training = _hold_out(training, seed)

    with reporting(progress) as report, interrupts(keep_partial) as stopped:
        started = time.perf_counter()
        system = _system(problem, solver)
        counts, taken = gather(problem, training, system, weights, report, stopped=stopped)
        check = None
        if prior == "validation":
            check = _holder(system, validation or held_out)
            more, _ = gather(problem, validation or held_out, check, weights, report, "validation")
        seconds = {"design": time.perf_counter() - started}

        report("solve", 0, 1)
        started = time.perf_counter()
        solution = solve(system, problem.prior_scale(), prior=prior, ridge=ridge, validation=check)
        notes = [note for note in (unit_suspicion(frames), solution.note) if note]
        if check is not None and (held_out or refit):
            if isinstance(check, HeldRows):
                check.pour_into(system)
            else:
                system.merge(check)
            counts = {kind: n + more[kind] for kind, n in counts.items()}
            solution = solve(system, problem.prior_scale(), prior="ridge", ridge=solution.ridge)
        seconds["solve"] = time.perf_counter() - started
        report("solve", 1, 1)

        params = secure(potential, problem.params(solution.coefficients))
        used = [*training[:taken], *held_out, *((validation or []) if refit else [])]
        started = time.perf_counter()
        errors = None if stopped() else evaluate(potential, params, used, report)
        seconds["evaluate"] = time.perf_counter() - started
        interrupted = stopped()

    if interrupted:
        notes.append(f"Interrupted: fitted to the first {taken} of {len(training)} frames.")
    after = compilations()
    summary = FitReport(
        n_frames=len(used),
        n_rows=counts,
        n_parameters=problem.n_parameters,
        effective_parameters=solution.effective_parameters,
        ridge=solution.ridge,
        noise=solution.noise,
        log_evidence=solution.log_evidence,
        prior=prior,
        solver=solver,
        weights=weights,
        seed=seed,
        reference_energies=_energies_by_name(problem, solution.coefficients),
        training=errors,
        seconds=seconds,
        compilations={name: n - before.get(name, 0) for name, n in after.items() if n > before.get(name, 0)},
        interrupted=interrupted,
        notes=tuple(notes),
        posterior=FitPosterior(problem, solution.posterior),
    )
    return FitResult(potential, params, summary)


def default_potential(frames: Sequence[Frame]) -> Potential:
    """ReferenceEnergy + LinearACE, as detailed as its number of parameters allows for the elements (and orbits) found.

    The number of products grows with a power of the number of species: degrees are lowered until a fit is a matter of
    minute or so (at most about 3500 parameters). Orbits have coefficients of their own and see elements around them.
    """
    from jorbit.models.linear_ace import LinearACE

    structures = [f.structure for f in frames]
    if any(s.orbits is not None for s in structures):  # a free atom has none
        structures = [f.structure for f in frames if not is_isolated_atom(f)]
    species = SpeciesTable.from_structures(structures)
    channel_of = tuple(parent_rows(species).tolist()) if species.has_orbits else None
    model = LinearACE(n_species=len(species), max_degree=_DEGREES[0], channel_of=channel_of)
    for degrees in _DEGREES[1:]:
        larger = dataclasses.replace(model, max_degree=degrees)
        if larger.n_parameters > _MAX_DEFAULT_PARAMETERS:
            break
        model = larger
    return Potential(terms=(ReferenceEnergy(n_species=len(species)), model), species=species)


def _checked(frames: Iterable[Frame]) -> list[Frame]:
    frames = list(frames)
    if not frames:
        raise DataError("There are no frames to fit. Is the data file empty, or the limit 0?")
    for k, frame in enumerate(frames):
        if not isinstance(frame, Frame):
            raise DataError(f"Wanted Frames (jorbit.read gives them), got {type(frame).__name__} at index {k}.")
    return frames


def _problem(
    potential: Potential,
    frames: list[Frame],
    given: str | Mapping[str | int, float] | None,
    fixed_params: Mapping[str, Any] | None,
    seed: int,
    *,
    use_compositions: bool,
) -> tuple[LinearProblem, list[Frame]]:
    """The columns of the fit, and the frames that are rows of it (all but the isolated atoms used as references)."""
    n_references = sum(isinstance(t, ReferenceEnergy) for t in potential.terms)
    if n_references > 1 or (n_references == 0 and given is not None):
        raise ConfigError(
            f"reference_energies={given!r} belong to one ReferenceEnergy term, but the potential has {n_references}. "
            "Put ReferenceEnergy(n_species=...) into its terms once."
        )
    species = potential.species
    if n_references:
        references = find_reference_energies(frames, species, given, use_compositions=use_compositions)
    else:
        references = References(np.zeros(len(species)), np.zeros((len(species), 0)), frozenset())
    if not any(is_linear(t) for t in potential.terms):
        raise ConfigError(
            f"None of the terms {', '.join(potential.names)} is linear in its parameters: nothing to solve."
        )
    training = [f for k, f in enumerate(frames) if k not in references.isolated]
    if not training:
        raise DataError("All frames are isolated atoms: add molecules or crystals with labels.")
    return LinearProblem(potential, references, _fixed_params(potential, training, fixed_params, seed)), training


def _fixed_params(
    potential: Potential, frames: list[Frame], given: Mapping[str, Any] | None, seed: int
) -> dict[str, Any]:
    given = dict(given or {})
    names = [n for n, t in zip(potential.names, potential.terms, strict=True) if not is_linear(t)]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ConfigError(f"fixed_params names {unknown}, but the terms that are not linear are {names}.")
    if not names or set(given) == set(names):
        return given
    with jax.enable_x64(True):
        graph = potential.graph(frames[0].structure, dtype=jnp.float64)
        initial = potential.init(jax.random.key(seed), graph)
        for name, term in zip(potential.names, potential.terms, strict=True):
            if name in names and name not in given and isinstance(term, CalibratedTerm):
                initial[name] = term.calibrate(initial[name], _graphs(potential, frames))
    return {n: given.get(n, initial[n]) for n in names}


def _graphs(potential: Potential, frames: list[Frame]) -> Iterator[tuple[Graph, BatchLabels]]:
    for frame in frames:
        graph = potential.graph(frame.structure, dtype=jnp.float64)
        yield graph, pad_labels([frame.labels], [frame.structure], graph)


def _system(problem: LinearProblem, solver: str) -> Accumulator:
    n = problem.n_parameters
    if solver == "qr":
        return TSQR(n)
    return NormalEquations(n, unpenalised=np.arange(n - problem.n_free_references, n))


def _holder(system: Accumulator, frames: Sequence[Frame]) -> Accumulator | HeldRows:
    """What keeps the rows of validation frames in the least memory."""
    n_rows = sum(3 * f.structure.n_atoms + 7 for f in frames)
    return HeldRows(system.n_parameters) if n_rows < system.n_parameters else system.sibling()


def _hold_out(frames: list[Frame], seed: int) -> tuple[list[Frame], list[Frame]]:
    if len(frames) < 2:
        raise DataError("prior='validation' needs at least two frames, or validation frames of their own.")
    order = np.random.default_rng(seed).permutation(len(frames))
    n = max(1, round(_HELD_OUT * len(frames)))
    return [frames[k] for k in order[:n]], [frames[k] for k in order[n:]]


def _energies_by_name(problem: LinearProblem, coefficients: np.ndarray) -> dict[str, float]:
    free = coefficients[problem.n_parameters - problem.n_free_references :]
    energies = problem.references.energies + problem.references.directions @ free
    return {name: float(e) for name, e in zip(problem.potential.species.names, energies, strict=True)}
