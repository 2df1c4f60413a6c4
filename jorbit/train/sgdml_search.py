"""The search for the length scale σ of a kernel model: which values are tried, their checkpoints, and how it ends."""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jorbit.train.factor import SingularSystemError
from jorbit.train.progress import Report
from jorbit.train.sgdml_iterative import IterativeOptions

SIGMAS = tuple(5.0 * 10.0 ** (k / 5.0) for k in range(11))  # 5 to 500
_FIRST = 3  # 20: where the search starts


class Solution(NamedTuple):
    """Coefficients, and how they were found.

    Attributes:
        alphas: the coefficients. solver: "cholesky" or "iterative".
        iterations, residual: of the latter.
        notes: what the user should know.
        stopped: Ctrl-C ended it.
    """

    alphas: Float[np.ndarray, " rows"]
    solver: str
    iterations: int | None
    residual: float | None
    notes: tuple[str, ...] = ()
    stopped: bool = False


class Search(NamedTuple):
    """What a search found.

    Attributes:
        sigma: the best value. solution: of this value.
        errors: value -> error, of all that were tried.
        stopped_at: the value at which Ctrl-C ended the search; None when it came to its end.
    """

    sigma: float
    solution: Solution
    errors: dict[float, float]
    stopped_at: float | None = None


def search_sigma(
    candidates: Sequence[float],
    attempt: Callable[[float], tuple[Solution, float]],
    report: Report,
    *,
    downhill: bool,
) -> Search:
    """The value of lowest error. A solution that was stopped is the last one: nothing more is tried.

    Args:
        candidates: ascending.
        attempt: of a value, its solution and its error; may raise a SingularSystemError, which rules the value out.
        report: progress.
        downhill: a few of the candidates are enough, since the error falls and rises once; False tries all.

    Raises:
        SingularSystemError: no value has a solution.
    """
    errors: dict[float, float] = {}
    best: list[tuple[float, Solution]] = []
    stopped: list[float] = []

    def error_of(k: int) -> float:
        if not 0 <= k < len(candidates):
            return math.inf
        value = candidates[k]
        if value not in errors and not stopped:
            try:
                solution, error = attempt(value)
                if error < min(errors.values(), default=math.inf):
                    best[:] = [(value, solution)]
                if solution.stopped:
                    stopped.append(value)
            except SingularSystemError:
                error = math.inf
            errors[value] = error
            report("sigma", len(errors), len(candidates))
        return errors.get(value, math.inf)

    if downhill:
        k = min(_FIRST, len(candidates) - 1)
        step = 1 if error_of(k + 1) < error_of(k) else -1
        while error_of(k + step) < error_of(k):
            k += step
    else:
        for k in range(len(candidates)):
            error_of(k)
    for k in range(0 if best else len(candidates)):  # none of those looked at can be factorised
        error_of(k)
    if not best:
        raise SingularSystemError(
            "No σ that was tried gives a kernel matrix that can be factorised. Raise the regularization (1e-8, say)."
        )
    return Search(*best[0], dict(sorted(errors.items())), stopped[0] if stopped else None)


def end_notes(search: Search, candidates: Sequence[float], iterative: IterativeOptions) -> tuple[str, ...]:
    """What the user should know about how a search ended."""
    low, high = candidates[0], candidates[-1]
    if search.stopped_at is None:
        if search.sigma not in (low, high):
            return ()
        return (
            f"σ = {search.sigma:.4g} lies at the end of the range tried ({low:.4g} to {high:.4g}): try values beyond "
            "(sigma=[...]).",
        )
    tried = ", ".join(f"{value:.4g}" for value in search.errors)
    note = (
        f"Ctrl-C ended the search for σ while that of {search.stopped_at:.4g} was solved for. Tried so far: {tried}; "
        f"this is the model of {search.sigma:.4g}, which had the smallest error."
    )
    if iterative.checkpoint is None:
        return (note,)
    files = options_for(iterative, search.stopped_at).checkpoint
    return (f"{note} The checkpoints of the search ({files}, ...) are kept: the same fit with resume goes on there.",)


def options_for(iterative: IterativeOptions, sigma: float) -> IterativeOptions:
    """Each σ that is tried has a checkpoint of its own, so that a search goes on where it was.

    Example:
        >>> str(options_for(IterativeOptions(checkpoint="fit.npz"), 20.0).checkpoint)
        'fit.sigma20.npz'
    """
    if iterative.checkpoint is None:
        return iterative
    path = pathlib.Path(iterative.checkpoint)
    return dataclasses.replace(iterative, checkpoint=path.with_name(f"{path.stem}.sigma{sigma:.6g}{path.suffix}"))


def forget_search(iterative: IterativeOptions, candidates: Sequence[float]) -> None:
    """Remove the checkpoints of a search that has come to its end."""
    for sigma in candidates if iterative.checkpoint is not None else ():
        path = options_for(iterative, sigma).checkpoint
        if path is not None:
            pathlib.Path(path).unlink(missing_ok=True)
