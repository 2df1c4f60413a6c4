"""The one closed-form solver for everything linear: ridge, evidence-maximised ridge, ridge from validation data.

Minimises  sum_k w_k^2 (x_k.c - y_k)^2 + ridge |Gamma c|^2  with Gamma = diag(prior_scale), in float64 on the host.

As probabilities: y_k ~ N(x_k.c, noise^2 / w_k^2) and c ~ N(0, noise^2 / (ridge Gamma^2)); scale 0 is a flat prior.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import minimize_scalar

from jorbit.core.errors import ConfigError, DataError
from jorbit.train.accumulate import Accumulator
from jorbit.train.factor import Factor, SingularSystemError
from jorbit.train.held_rows import HeldRows
from jorbit.train.normal_equations import NormalEquations

_EXACT_TRACE = 1500  # parameters up to which the effective number of parameters is computed exactly
_PROBES = 64
_DECADES_ABOVE = 2.0  # the search for the ridge ends this far above the largest diagonal element
_NEAR = 0.5  # decades from the smallest ridge that could be solved within which the best one is suspect
_COARSE_STEP = 3.2  # decades between the points of the first pass


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """Gaussian posterior of the coefficients: covariance noise^2 (X^T W^2 X + ridge Gamma^2)^-1, kept as its factor.

    Attributes:
        factor: triangular factor and mean.
        noise: standard deviation of a row of weight 1.
    """

    factor: Factor
    noise: float

    @property
    def mean(self) -> Float[np.ndarray, " parameters"]:
        return self.factor.coefficients

    def variance(self, rows: Float[np.ndarray, "rows parameters"]) -> Float[np.ndarray, " rows"]:
        """Variance of x.c for each row x: what the data leave open about the model, without the noise of a new label.

        Example:
            >>> system = NormalEquations(1)
            >>> system.add(np.ones((4, 1)), np.array([1.0, -1.0, 1.0, -1.0]))
            >>> posterior = solve(system, np.zeros(1), prior="ridge", ridge=0.0).posterior
            >>> posterior.variance(np.ones((1, 1))).round(12).tolist()
            [0.333333333333]
        """
        result = np.empty(len(rows))
        for start in range(0, len(rows), 1024):
            here = slice(start, start + 1024)
            half = self.factor.half_solve(rows[here])
            result[here] = self.noise**2 * np.einsum("pr,pr->r", half, half)
        return result

    def covariance(self) -> Float[np.ndarray, "parameters parameters"]:
        """The full covariance matrix; for small problems."""
        half = self.factor.half_solve(np.eye(len(self.mean)))
        return self.noise**2 * half.T @ half

    def sample(self, n: int, seed: int) -> Float[np.ndarray, "samples parameters"]:
        """Draw n coefficient vectors: an ensemble of models that all agree with the data."""
        normal = np.random.default_rng(seed).standard_normal((len(self.mean), n))
        return self.mean + self.noise * self.factor.correlate(normal)


@dataclasses.dataclass(frozen=True, eq=False)
class Solution:
    """Result of `solve`.

    Attributes:
        coefficients: the minimiser.
        ridge: the penalty used.
        noise: estimated standard deviation of a row of weight 1.
        log_evidence: log p(y | ridge, noise), None when nothing has a prior.
        effective_parameters: how many parameters the data determine (unpenalised ones count fully).
        posterior: mean and covariance.
        n_factorizations: how many matrices were factorised to find the ridge.
        note: what the user should know, or "".
    """

    coefficients: Float[np.ndarray, " parameters"]
    ridge: float
    noise: float
    log_evidence: float | None
    effective_parameters: float
    posterior: Posterior
    n_factorizations: int
    note: str = ""


def solve(
    system: Accumulator,
    prior_scale: Float[np.ndarray, " parameters"],
    *,
    prior: str = "bayes",
    ridge: float | None = None,
    validation: Accumulator | HeldRows | None = None,
    tolerance: float = 0.1,
) -> Solution:
    """Solve a gathered system.

    Args:
        system: NormalEquations or TSQR that holds the training rows.
        prior_scale: inverse prior standard deviation of each parameter, up to the common factor; 0 = not penalised.
        prior: "ridge" uses `ridge`; "bayes" maximises the evidence over ridge and noise; "validation" minimises the
            misfit of the rows in `validation`.
        ridge: only for prior="ridge".
        validation: only for prior="validation".
        tolerance: accuracy of log10(ridge) when it is searched. Half a decade off the best one raised the force error
            of a fit of 26,000 parameters by a per cent.

    Raises:
        DataError: no rows, or fewer than unpenalised parameters.
        SingularSystemError: no unique solution; says what to raise.
        ConfigError: arguments that contradict each other.

    References:
        MacKay, Neural Computation 4, 415 (1992); Bishop, Pattern Recognition and Machine Learning (2006), section 3.5.
    """
    prior_scale = np.asarray(prior_scale, dtype=np.float64)
    _check(system, prior_scale, prior, ridge, validation)
    if prior == "ridge" or not (prior_scale > 0).any():
        value = 0.0 if ridge is None else float(ridge)
        return _finish(system, prior_scale, value, 1, "")
    if prior == "bayes":

        def cost(factor: Factor, ridge: float) -> float:
            return -_log_evidence(system, prior_scale, factor, ridge)
    else:

        def cost(factor: Factor, ridge: float) -> float:
            return validation.misfit(factor.coefficients)  # type: ignore[union-attr]

    floor = system.evidence_floor if prior == "bayes" else system.relative_floor
    best, count, note = _search(system, prior_scale, cost, floor, tolerance)
    return _finish(system, prior_scale, best, count, note)


def _check(
    system: Accumulator,
    prior_scale: np.ndarray,
    prior: str,
    ridge: float | None,
    validation: Accumulator | HeldRows | None,
) -> None:
    if prior not in ("bayes", "ridge", "validation"):
        raise ConfigError(f"prior must be 'bayes', 'ridge' or 'validation', got {prior!r}.")
    if prior == "ridge" and (ridge is None or not ridge >= 0):
        raise ConfigError(f"prior='ridge' needs a ridge >= 0, got {ridge}. Give ridge=..., or use prior='bayes'.")
    if prior != "ridge" and ridge is not None:
        raise ConfigError(f"prior={prior!r} finds the ridge itself: leave ridge out, or use prior='ridge'.")
    if prior == "validation" and (validation is None or validation.n_rows == 0):
        raise ConfigError("prior='validation' needs validation frames with labels.")
    if prior_scale.shape != (system.n_parameters,) or not np.isfinite(prior_scale).all() or (prior_scale < 0).any():
        raise ConfigError(f"prior_scale must hold {system.n_parameters} finite numbers >= 0.")
    if system.n_rows == 0:
        raise DataError(
            "There is nothing to fit: no energy, force or stress label with a weight above 0. Check the names of the "
            "labels in the data file and the weights."
        )
    free = system.n_parameters if prior == "ridge" and ridge == 0 else int((prior_scale == 0).sum())
    if system.n_rows < free:
        raise DataError(
            f"{system.n_rows} rows cannot determine {free} parameters that have no prior. Add frames, use a smaller "
            "model, or a ridge above 0."
        )


def _free(prior_scale: np.ndarray, ridge: float) -> int:
    return len(prior_scale) if ridge == 0 else int((prior_scale == 0).sum())


def _noise(system: Accumulator, prior_scale: np.ndarray, factor: Factor, ridge: float) -> float:
    """The most probable noise at this ridge: beta = (rows - unpenalised) / (misfit + penalty)."""
    freedom = max(system.n_rows - _free(prior_scale, ridge), 1)
    return math.sqrt((factor.misfit + factor.penalty) / freedom)


def _log_evidence(system: Accumulator, prior_scale: np.ndarray, factor: Factor, ridge: float) -> float:
    """log p(y | ridge, most probable noise); flat-prior parameters are integrated over."""
    scale = prior_scale[prior_scale > 0]
    freedom = system.n_rows - (len(prior_scale) - len(scale))
    noise = _noise(system, prior_scale, factor, ridge)
    if noise == 0:
        return math.inf
    return (
        -0.5 * freedom * (math.log(2.0 * math.pi * noise**2) + 1.0)
        + 0.5 * len(scale) * math.log(ridge)
        + float(np.log(scale).sum())
        - 0.5 * factor.log_determinant
        + system.log_weights
    )


def _search(
    system: Accumulator, prior_scale: np.ndarray, cost: Callable[[Factor, float], float], floor: float, tolerance: float
) -> tuple[float, int, str]:
    """The ridge of lowest cost: a coarse pass over its whole range, then Brent's method. One factorisation each."""
    penalised = prior_scale > 0
    largest = float((system.diagonal()[penalised] / prior_scale[penalised] ** 2).max())
    if largest == 0:
        return 1.0, 0, "No row depends on the penalised parameters: they are left at 0."
    low, high = math.log10(largest * floor), math.log10(largest) + _DECADES_ABOVE
    seen: dict[float, float] = {}

    def value(exponent: float) -> float:
        exponent = round(float(exponent), 6)
        if exponent in seen:
            return seen[exponent]
        try:
            seen[exponent] = cost(system.factor(10.0**exponent, prior_scale), 10.0**exponent)
        except SingularSystemError:
            seen[exponent] = math.inf
        return seen[exponent]

    grid = np.linspace(low, high, max(5, round((high - low) / _COARSE_STEP) + 1))
    values: list[float] = []
    for x in grid:  # from below; once the cost has risen twice in a row, the minimum lies behind
        values.append(value(x))
        if len(values) > 2 and np.isfinite(values[-3]) and values[-3] < values[-2] < values[-1]:
            break
    if not np.isfinite(values).any():
        # Nothing solvable in the whole range: unpenalised parameters are dependent; let the factorisation explain.
        system.factor(10.0**high, prior_scale)
    k = int(np.nanargmin(np.where(np.isfinite(values), values, np.inf)))
    around = slice(max(k - 1, 0), k + 2)
    _refine(value, grid[around], np.array(values[around]), tolerance)
    best = min(seen, key=lambda x: seen[x])
    note = ""
    unresolved = max([low, *(x for x, cost in seen.items() if not np.isfinite(cost) and x < best)])
    if best - unresolved < _NEAR:
        hint = " Use solver='qr' to search further down." if isinstance(system, NormalEquations) else ""
        note = f"The best ridge lies at the smallest one that float64 resolves, {10.0**best:.3g}.{hint}"
    elif high - best < 2 * tolerance:
        note = "The data prefer coefficients of zero: the labels look unrelated to the structures."
    return 10.0**best, len(seen), note


def _refine(value: Callable[[float], float], points: np.ndarray, values: np.ndarray, tolerance: float) -> None:
    """Brent's method around the best of the grid, to `tolerance` in x; what it looks at is remembered by `value`."""
    if len(points) == 3 and np.isfinite(values).all() and values[1] < min(values[0], values[2]):
        origin = points[0] - 1.0  # its tolerance is a part of x: away from 0
        options = {"xtol": tolerance / (points[1] - origin)}
        minimize_scalar(lambda x: value(origin + x), bracket=tuple(points - origin), method="brent", options=options)
        return
    bounds = (points[0], points[-1])  # at an end of the range, or beside ridges that float64 does not resolve
    minimize_scalar(lambda x: min(value(x), 1e300), bounds=bounds, method="bounded", options={"xatol": tolerance})


def _finish(system: Accumulator, prior_scale: np.ndarray, ridge: float, count: int, note: str) -> Solution:
    factor = system.keep(system.factor(ridge, prior_scale))
    noise = _noise(system, prior_scale, factor, ridge)
    has_prior = ridge > 0 and bool((prior_scale > 0).any())
    evidence = _log_evidence(system, prior_scale, factor, ridge) if has_prior else None
    return Solution(
        coefficients=factor.coefficients,
        ridge=ridge,
        noise=noise,
        log_evidence=evidence,
        effective_parameters=_effective_parameters(factor, ridge, prior_scale),
        posterior=Posterior(factor, noise),
        n_factorizations=count + 1,
        note=note,
    )


def _effective_parameters(factor: Factor, ridge: float, prior_scale: np.ndarray) -> float:
    """trace of (X^T X + ridge Gamma^2)^-1 X^T X = P - ridge |T^-1 Gamma|^2.

    The norm is exact for small problems; for large ones it is the mean over random signs z of |T^-1 Gamma z|^2, whose
    relative error falls as 1 / sqrt(probes * P), instead of an inverse that would cost as much as the fit.
    """
    n = len(prior_scale)
    if ridge == 0:
        return float(n)
    if n <= _EXACT_TRACE:
        probes = np.eye(n)
    else:
        probes = np.random.default_rng(0).choice([-1.0, 1.0], size=(_PROBES, n))
    half = factor.half_solve(probes * prior_scale)
    return n - ridge * float(np.einsum("pr,pr->", half, half)) * (1.0 if n <= _EXACT_TRACE else 1.0 / _PROBES)
