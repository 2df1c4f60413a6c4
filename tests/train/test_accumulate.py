"""Streaming accumulators against dense linear algebra on the whole design matrix."""

import numpy as np
import pytest
from scipy.linalg import hilbert

from jorbit.core.errors import ConfigError, DataError
from jorbit.train.factor import SingularSystemError
from jorbit.train.held_rows import HeldRows
from jorbit.train.normal_equations import NormalEquations
from jorbit.train.tsqr import TSQR

BOTH = pytest.mark.parametrize("kind", [NormalEquations, TSQR])


def problem(n_rows=300, n_parameters=12, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, n_parameters)) * 10.0 ** rng.uniform(-1, 1, n_parameters)
    return rows, rng.normal(size=n_rows), rng.uniform(0.2, 3.0, n_rows)


def dense_ridge(rows, targets, weights, ridge, scale):
    stacked = np.vstack([rows * weights[:, None], np.sqrt(ridge) * np.diag(scale)])
    return np.linalg.lstsq(stacked, np.concatenate([targets * weights, np.zeros(len(scale))]), rcond=None)[0]


@BOTH
@pytest.mark.parametrize("ridge", [0.0, 1e-6, 10.0])
def test_streaming_equals_least_squares_on_the_stacked_matrix(kind, ridge):
    rows, targets, weights = problem()
    scale = np.linspace(0.5, 3.0, 12)
    scale[:2] = 0.0
    system = kind(12, block_rows=17)
    for start in range(0, 300, 23):
        here = slice(start, start + 23)
        system.add(rows[here], targets[here], weights[here])
    factor = system.factor(ridge, scale)
    expected = dense_ridge(rows, targets, weights, ridge, scale)
    np.testing.assert_allclose(factor.coefficients, expected, rtol=1e-8, atol=1e-10)
    residual = (rows @ expected - targets) * weights
    np.testing.assert_allclose(factor.misfit, residual @ residual, rtol=1e-10)
    np.testing.assert_allclose(system.misfit(np.ones(12)), np.sum(((rows.sum(1) - targets) * weights) ** 2), rtol=1e-10)


@BOTH
def test_block_size_and_order_of_arrival_do_not_matter(kind):
    rows, targets, weights = problem()
    results = []
    for block, order in ((300, np.arange(300)), (7, np.arange(300)), (64, np.random.default_rng(1).permutation(300))):
        system = kind(12, block_rows=block)
        system.add(rows[order], targets[order], weights[order])
        results.append(system.factor(0.1, np.ones(12)).coefficients)
    np.testing.assert_allclose(results[1], results[0], rtol=1e-11)
    np.testing.assert_allclose(results[2], results[0], rtol=1e-11)


@BOTH
def test_merging_two_halves_equals_the_whole(kind):
    rows, targets, weights = problem()
    whole, left, right = kind(12), kind(12, block_rows=11), kind(12)
    whole.add(rows, targets, weights)
    left.add(rows[:110], targets[:110], weights[:110])
    right.add(rows[110:], targets[110:], weights[110:])
    left.merge(right)
    assert left.n_rows == 300
    assert left.log_weights == pytest.approx(np.log(weights).sum())
    scale = np.ones(12)
    np.testing.assert_allclose(left.factor(0.3, scale).coefficients, whole.factor(0.3, scale).coefficients, rtol=1e-10)


@BOTH
def test_log_determinant_and_half_solve_agree_with_dense_algebra(kind):
    rows, targets, weights = problem()
    scale = np.linspace(1.0, 2.0, 12)
    system = kind(12)
    system.add(rows, targets, weights)
    factor = system.factor(0.7, scale)
    weighted = rows * weights[:, None]
    full = weighted.T @ weighted + 0.7 * np.diag(scale**2)
    assert factor.log_determinant == pytest.approx(np.linalg.slogdet(full)[1], rel=1e-12)
    half = factor.half_solve(rows[:5])
    np.testing.assert_allclose(half.T @ half, rows[:5] @ np.linalg.inv(full) @ rows[:5].T, rtol=1e-9, atol=1e-12)


@BOTH
def test_rows_of_weight_zero_are_ignored_whatever_they_hold(kind):
    rows, targets, weights = problem()
    clean, dirty = kind(12), kind(12)
    clean.add(rows, targets, weights)
    nonsense = np.full((4, 12), np.nan)
    dirty.add(np.vstack([nonsense, rows]), np.append(np.full(4, np.inf), targets), np.append(np.zeros(4), weights))
    assert dirty.n_rows == 300
    assert (dirty.factor(0.1, np.ones(12)).coefficients == clean.factor(0.1, np.ones(12)).coefficients).all()


def test_qr_keeps_digits_that_normal_equations_lose():
    """Hilbert matrix of order 8, condition number 1.5e10: squared it is beyond float64."""
    rows = hilbert(8)
    truth = np.arange(1.0, 9.0)
    system = TSQR(8)
    system.add(rows, rows @ truth)
    np.testing.assert_allclose(system.factor(0.0, np.ones(8)).coefficients, truth, rtol=1e-4)
    normal = NormalEquations(8)
    normal.add(rows, rows @ truth)
    try:
        error = np.abs(normal.factor(0.0, np.ones(8)).coefficients / truth - 1.0).max()
    except SingularSystemError as refusal:
        error = np.inf
        assert "solver='qr'" in str(refusal)
    assert error > 1e-3


@BOTH
def test_dependent_columns_without_a_prior_are_refused_with_advice(kind):
    rows, targets, weights = problem()
    rows[:, 5] = 0.0
    system = kind(12)
    system.add(rows, targets, weights)
    with pytest.raises(SingularSystemError, match="Raise the ridge"):
        system.factor(0.0, np.ones(12))


@BOTH
@pytest.mark.parametrize("bad", ["rows", "targets", "weights"])
def test_nan_is_refused_and_its_source_is_named(kind, bad):
    arrays = dict(zip(("rows", "targets", "weights"), problem(), strict=True))
    arrays[bad].reshape(-1)[3] = np.nan
    with pytest.raises(DataError, match="frame 12"):
        kind(12).add(arrays["rows"], arrays["targets"], arrays["weights"], source="frame 12")


@BOTH
def test_negative_weights_and_foreign_merges_are_refused(kind):
    rows, targets, weights = problem()
    with pytest.raises(DataError, match="not negative|>= 0"):
        kind(12).add(rows, targets, -weights)
    with pytest.raises(DataError, match="merge"):
        kind(12).merge(kind(11))
    with pytest.raises(DataError, match="at least one parameter"):
        kind(0)


def late_columns():
    """Columns 3 and 9 are zero in all rows; 0 and 7 in the first 200."""
    rows, targets, weights = problem()
    rows[:, [3, 9]] = 0.0
    rows[:200, [0, 7]] = 0.0
    return rows, targets, weights


@BOTH
def test_columns_of_zeros_and_late_columns_change_nothing(kind):
    rows, targets, weights = late_columns()
    scale = np.linspace(1.0, 2.0, 12)
    system = kind(12, block_rows=64)
    system.add(rows, targets, weights)
    factor = system.factor(0.7, scale)
    np.testing.assert_allclose(
        factor.coefficients, dense_ridge(rows, targets, weights, 0.7, scale), rtol=1e-9, atol=1e-12
    )
    weighted = rows * weights[:, None]
    full = weighted.T @ weighted + 0.7 * np.diag(scale**2)
    assert factor.log_determinant == pytest.approx(np.linalg.slogdet(full)[1], rel=1e-12)
    probes = np.random.default_rng(3).normal(size=(5, 12))  # they do touch the columns of zeros
    half = factor.half_solve(probes)
    np.testing.assert_allclose(half.T @ half, probes @ np.linalg.inv(full) @ probes.T, rtol=1e-9)
    steps = factor.correlate(np.eye(12))
    np.testing.assert_allclose(steps.T @ steps, np.linalg.inv(full), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(system.diagonal(), np.diag(weighted.T @ weighted), rtol=1e-12)


@pytest.mark.parametrize("first", [0, 1])
def test_merging_systems_that_saw_different_columns(first):
    rows, targets, weights = late_columns()
    whole, parts = NormalEquations(12), [NormalEquations(12), NormalEquations(12)]
    whole.add(rows, targets, weights)
    parts[0].add(rows[:200], targets[:200], weights[:200])
    parts[1].add(rows[200:], targets[200:], weights[200:])
    parts[first].merge(parts[1 - first])
    scale = np.ones(12)
    np.testing.assert_allclose(
        parts[first].factor(0.3, scale).coefficients, whole.factor(0.3, scale).coefficients, rtol=1e-10, atol=1e-13
    )


def test_normal_equations_take_memory_for_seen_columns_only():
    rows, targets, weights = late_columns()
    system = NormalEquations(12)
    system.add(rows, targets, weights)
    assert system.factor(0.1, np.ones(12)).triangle.shape == (10, 10)


def nearly_equal_energies(size):
    """Two kinds of molecule: rows of forces, and rows of energies with a common part of the given size.

    Returns the rows without and with that common part, targets and weights.
    """
    rng = np.random.default_rng(5)
    bare = rng.normal(size=(400, 14))
    bare[:, 11] = bare[:, 10] + 1e-4 * rng.normal(size=400)  # a direction that only small ridges resolve
    bare[:, 12:] = 0.0
    energies = np.arange(0, 400, 4)
    bare[energies, 12] = rng.integers(0, 2, len(energies))
    bare[energies, 13] = 1.0 - bare[energies, 12]
    rows = bare.copy()
    rows[energies, :12] += rows[energies, 12:] @ (size * rng.normal(size=(2, 12)))
    targets = bare[:, :12] @ rng.normal(size=12) + 1e-3 * rng.normal(size=400)
    return bare, rows, targets, rng.uniform(0.5, 2.0, 400)


PENALTY = np.r_[np.linspace(1.0, 2.0, 12), 0.0, 0.0]


def test_intercepts_keep_the_digits_that_a_large_common_part_would_cost():
    bare, rows, targets, weights = nearly_equal_energies(1e4)
    expected = dense_ridge(bare, targets, weights, 1e-6, PENALTY)[:12]
    errors = []
    for free in (None, np.array([12, 13])):
        system = NormalEquations(14, block_rows=64, unpenalised=free)
        system.add(rows, targets, weights)
        errors.append(np.abs(bare[:, :12] @ (system.factor(1e-6, PENALTY).coefficients[:12] - expected)).max())
    assert errors[1] < 1e-8 and errors[0] > 1e-5


def test_intercepts_do_not_show_outside():
    """Coefficients, variances, samples, misfits and merged parts are those of the rows as they came."""
    _, rows, targets, weights = nearly_equal_energies(10.0)
    weighted = rows * weights[:, None]
    system = NormalEquations(14, block_rows=50, unpenalised=np.array([12, 13]))
    system.add(rows[:250], targets[:250], weights[:250])
    other = system.sibling()
    other.add(rows[250:], targets[250:], weights[250:])
    system.merge(other)
    factor = system.factor(0.2, PENALTY)
    full = weighted.T @ weighted + 0.2 * np.diag(PENALTY**2)
    expected = dense_ridge(rows, targets, weights, 0.2, PENALTY)
    np.testing.assert_allclose(factor.coefficients, expected, rtol=1e-9, atol=1e-10)
    assert factor.log_determinant == pytest.approx(np.linalg.slogdet(full)[1], rel=1e-12)
    for c in (expected, np.ones(14)):
        residual = (rows @ c - targets) * weights
        assert system.misfit(c) == pytest.approx(residual @ residual, rel=1e-8)
    covariance = rows[:9] @ np.linalg.inv(full) @ rows[:9].T
    half = factor.half_solve(rows[:9])
    np.testing.assert_allclose(half.T @ half, covariance, rtol=1e-9, atol=1e-12)
    steps = factor.correlate(np.eye(14)) @ rows[:9].T
    np.testing.assert_allclose(steps.T @ steps, covariance, rtol=1e-9, atol=1e-12)


def test_intercepts_with_a_prior_or_of_another_system_are_refused():
    _, rows, targets, weights = nearly_equal_energies(10.0)
    systems = [NormalEquations(14, unpenalised=np.array([12, 13])) for _ in range(2)]
    for system in systems:
        system.add(rows, targets, weights)
    with pytest.raises(ConfigError, match="no prior"):
        systems[0].factor(0.1, np.ones(14))
    with pytest.raises(DataError, match="sibling"):
        systems[0].merge(systems[1])


def test_an_unseen_column_without_a_prior_is_refused_by_name():
    rows, targets, weights = late_columns()
    system = NormalEquations(12)
    system.add(rows, targets, weights)
    with pytest.raises(SingularSystemError, match="parameter 3"):
        system.factor(0.0, np.ones(12))


@BOTH
def test_held_rows_measure_as_an_accumulator_does_and_pour_into_one(kind):
    rows, targets, weights = problem()
    held, system, poured = HeldRows(12), kind(12), kind(12)
    held.add(rows, targets, weights)
    system.add(rows, targets, weights)
    c = np.linspace(-1, 1, 12)
    assert held.n_rows == 300
    assert held.misfit(c) == pytest.approx(system.misfit(c), rel=1e-10)
    held.pour_into(poured)
    assert poured.log_weights == pytest.approx(system.log_weights)
    scale = np.ones(12)
    np.testing.assert_allclose(poured.factor(0.1, scale).coefficients, system.factor(0.1, scale).coefficients)
