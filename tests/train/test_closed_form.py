"""The ridge solver against scikit-learn, dense marginal likelihoods, and the statistics of repeated experiments."""

import numpy as np
import pytest
import scipy.optimize
import scipy.stats
from sklearn.linear_model import BayesianRidge

from jorbit.core.errors import ConfigError, DataError
from jorbit.train.closed_form import solve
from jorbit.train.factor import SingularSystemError
from jorbit.train.normal_equations import NormalEquations
from jorbit.train.tsqr import TSQR

BOTH = pytest.mark.parametrize("kind", [NormalEquations, TSQR])


def gathered(kind, rows, targets, weights=None):
    system = kind(rows.shape[1], block_rows=50)
    system.add(rows, targets, weights)
    return system


def experiment(n_rows=120, n_parameters=15, noise=0.3, seed=0):
    """Rows, truth drawn from the prior with standard deviations 1 / scale, and noisy targets."""
    rng = np.random.default_rng(seed)
    scale = np.linspace(0.5, 4.0, n_parameters)
    truth = rng.normal(size=n_parameters) / scale
    rows = rng.normal(size=(n_rows, n_parameters))
    return rows, truth, rows @ truth + noise * rng.normal(size=n_rows), scale


@BOTH
def test_evidence_maximum_agrees_with_scikit_learn(kind):
    rows, _, targets, _ = experiment()
    other = BayesianRidge(
        fit_intercept=False, alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0, max_iter=2000, tol=1e-12, compute_score=True
    ).fit(rows, targets)
    result = solve(gathered(kind, rows, targets), np.ones(15), tolerance=1e-6)
    assert result.ridge == pytest.approx(other.lambda_ / other.alpha_, rel=1e-3)
    assert result.noise == pytest.approx(other.alpha_**-0.5, rel=1e-5)
    np.testing.assert_allclose(result.coefficients, other.coef_, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(result.posterior.covariance(), other.sigma_, rtol=1e-4, atol=1e-8)
    _, std = other.predict(rows[:7], return_std=True)
    np.testing.assert_allclose(result.posterior.variance(rows[:7]) + result.noise**2, std**2, rtol=1e-5)


def dense_log_evidence(rows, targets, weights, scale, ridge, noise):
    """log N(targets; 0, noise^2 (W^-2 + X Gamma^-2 X^T / ridge)): the marginal likelihood, another way."""
    covariance = noise**2 * (np.diag(weights**-2.0) + (rows / scale**2) @ rows.T / ridge)
    return scipy.stats.multivariate_normal(np.zeros(len(targets)), covariance).logpdf(targets)


@BOTH
def test_evidence_is_the_marginal_likelihood_and_is_at_its_maximum(kind):
    rows, _, targets, scale = experiment(n_rows=60, n_parameters=8)
    weights = np.random.default_rng(5).uniform(0.3, 2.0, 60)
    result = solve(gathered(kind, rows, targets, weights), scale, tolerance=1e-7)
    assert result.log_evidence == pytest.approx(
        dense_log_evidence(rows, targets, weights, scale, result.ridge, result.noise), abs=1e-6
    )
    best = scipy.optimize.minimize(
        lambda x: -dense_log_evidence(rows, targets, weights, scale, np.exp(x[0]), np.exp(x[1])),
        [0.0, 0.0],
        method="Nelder-Mead",
        options={"xatol": 1e-9, "fatol": 1e-10},
    )
    assert np.log(result.ridge) == pytest.approx(best.x[0], abs=1e-3)
    assert np.log(result.noise) == pytest.approx(best.x[1], abs=1e-4)


@BOTH
def test_at_the_maximum_mackays_fixed_point_holds(kind):
    """alpha |Gamma c|^2 = gamma and (rows - gamma) noise^2 = misfit, MacKay (1992); gamma from a dense inverse."""
    rows, _, targets, scale = experiment()
    system = gathered(kind, rows, targets)
    result = solve(system, scale, tolerance=1e-7)
    gamma = result.effective_parameters
    gram = rows.T @ rows
    assert gamma == pytest.approx(np.trace(np.linalg.solve(gram + result.ridge * np.diag(scale**2), gram)), rel=1e-9)
    penalty = np.sum((scale * result.coefficients) ** 2)
    assert result.ridge / result.noise**2 * penalty == pytest.approx(gamma, rel=1e-4)
    assert system.misfit(result.coefficients) / result.noise**2 == pytest.approx(len(rows) - gamma, rel=1e-4)


@BOTH
def test_unpenalised_parameters_are_integrated_over_a_flat_prior(kind):
    """The evidence is the likelihood of the labels' components orthogonal to the unpenalised columns (REML).

    Up to -log |X0^T X0| / 2, which no ridge changes.
    """
    rows, _, targets, scale = experiment(n_rows=60)
    targets = targets + 50.0 * rows[:, 0]
    scale[0] = 0.0
    complement = np.linalg.qr(rows[:, :1], mode="complete")[0][:, 1:]
    seen, kept = complement.T @ targets, complement.T @ rows[:, 1:]

    def restricted(ridge, noise):
        return dense_log_evidence(kept, seen, np.ones(59), scale[1:], ridge, noise)

    constant = -0.5 * np.log(rows[:, 0] @ rows[:, 0])
    best = solve(gathered(kind, rows, targets), scale, tolerance=1e-7)
    assert best.log_evidence == pytest.approx(restricted(best.ridge, best.noise) + constant, abs=1e-6)
    other = solve(gathered(kind, rows, targets), scale, prior="ridge", ridge=7.0)
    assert other.log_evidence == pytest.approx(restricted(7.0, other.noise) + constant, abs=1e-6)
    for ridge, noise in ((1.01, 1.0), (0.99, 1.0), (1.0, 1.01), (1.0, 0.99)):
        assert restricted(best.ridge * ridge, best.noise * noise) < restricted(best.ridge, best.noise)
    assert best.coefficients[0] == pytest.approx(50.0, rel=0.05)

    forced = solve(gathered(kind, rows, targets), scale, prior="ridge", ridge=1e14)
    alone = np.linalg.lstsq(rows[:, :1], targets, rcond=None)[0]
    assert forced.coefficients[0] == pytest.approx(alone[0], rel=1e-6)
    np.testing.assert_allclose(forced.coefficients[1:], 0.0, atol=1e-8)
    assert forced.effective_parameters == pytest.approx(1.0, abs=1e-6)


@BOTH
def test_a_later_solve_leaves_an_earlier_posterior_alone(kind):
    rows, _, targets, scale = experiment()
    system = gathered(kind, rows, targets)
    first = solve(system, scale, prior="ridge", ridge=1.0)
    before = first.posterior.variance(rows)
    solve(system, scale, prior="ridge", ridge=1e3)
    np.testing.assert_array_equal(first.posterior.variance(rows), before)


@BOTH
def test_ridge_limits_are_least_squares_and_zero(kind):
    rows, _, targets, scale = experiment()
    system = gathered(kind, rows, targets)
    plain = np.linalg.lstsq(rows, targets, rcond=None)[0]
    for ridge in (0.0, 1e-12):
        result = solve(system, scale, prior="ridge", ridge=ridge)
        np.testing.assert_allclose(result.coefficients, plain, rtol=1e-8)
        assert result.effective_parameters == pytest.approx(15.0)
    zero = solve(system, scale, prior="ridge", ridge=1e15)
    np.testing.assert_allclose(zero.coefficients, 0.0, atol=1e-10)
    assert zero.effective_parameters == pytest.approx(0.0, abs=1e-8)


@BOTH
def test_scaling_labels_or_weights_scales_the_answer(kind):
    rows, _, targets, scale = experiment()
    base = solve(gathered(kind, rows, targets), scale)
    tenfold = solve(gathered(kind, rows, 10.0 * targets), scale)
    np.testing.assert_allclose(tenfold.coefficients, 10.0 * base.coefficients, rtol=1e-6)
    weighted = solve(gathered(kind, rows, targets, np.full(120, 3.0)), scale)
    np.testing.assert_allclose(weighted.coefficients, base.coefficients, rtol=1e-2)
    assert weighted.log_evidence == pytest.approx(base.log_evidence, abs=1e-3)
    assert weighted.noise == pytest.approx(3.0 * base.noise, rel=1e-3)


def test_predictive_variances_are_calibrated_over_repeated_experiments():
    """z = (prediction - truth) / std over 200 drawn problems: mean z^2 is 1 within 5 standard errors."""
    z_squared, noises = [], []
    for seed in range(200):
        rows, truth, targets, scale = experiment(n_rows=60, seed=seed)
        result = solve(gathered(NormalEquations, rows, targets), scale)
        probe = np.random.default_rng(1000 + seed).normal(size=(1, 15))
        z_squared.append(((probe @ (result.coefficients - truth)) ** 2 / result.posterior.variance(probe)).item())
        noises.append(result.noise**2)
    # chi^2 with one degree of freedom has variance 2; estimating ridge and noise from 60 rows widens it a little.
    assert np.mean(z_squared) == pytest.approx(1.0, abs=5 * np.sqrt(2.0 / 200))
    assert np.mean(noises) == pytest.approx(0.3**2, rel=0.05)
    inside = np.mean(np.array(z_squared) < scipy.stats.chi2(1).ppf(0.9))
    assert inside == pytest.approx(0.9, abs=0.1)


def test_samples_have_the_posterior_covariance():
    rows, _, targets, scale = experiment(n_parameters=4)
    for kind in (NormalEquations, TSQR):
        posterior = solve(gathered(kind, rows, targets), scale).posterior
        draws = posterior.sample(40_000, seed=1)
        np.testing.assert_allclose(draws.mean(axis=0), posterior.mean, atol=5 * posterior.noise / 1000)
        ratio = np.cov(draws.T) / np.sqrt(np.outer(*[np.diag(posterior.covariance())] * 2))
        expected = posterior.covariance() / np.sqrt(np.outer(*[np.diag(posterior.covariance())] * 2))
        np.testing.assert_allclose(ratio, expected, atol=0.03)


@BOTH
def test_validation_finds_the_ridge_of_lowest_validation_error(kind):
    rows, _, targets, scale = experiment(n_rows=30, noise=1.0)
    rng = np.random.default_rng(9)
    other_rows = rng.normal(size=(200, 15))
    other = other_rows @ experiment(n_rows=30, noise=1.0)[1] + rng.normal(size=200)
    result = solve(
        gathered(kind, rows, targets),
        scale,
        prior="validation",
        validation=gathered(kind, other_rows, other),
        tolerance=1e-4,
    )

    def error(log_ridge):
        c = np.linalg.solve(rows.T @ rows + 10.0**log_ridge * np.diag(scale**2), rows.T @ targets)
        return np.sum((other_rows @ c - other) ** 2)

    grid = np.linspace(-6, 6, 2401)
    assert np.log10(result.ridge) == pytest.approx(grid[np.argmin([error(g) for g in grid])], abs=0.01)


def test_qr_finds_a_ridge_below_what_normal_equations_resolve():
    """200 overlapping Gaussians, noise 1e-6: the best ridge lies far below the rounding errors of X^T X."""
    rng = np.random.default_rng(0)
    t = rng.uniform(size=2000)
    rows = np.exp(-((t[:, None] - np.linspace(0, 1, 120)) ** 2) / 0.02)
    targets = np.sin(9 * t) + 1e-6 * rng.normal(size=2000)
    blunt = solve(gathered(NormalEquations, rows, targets), np.ones(120))
    assert "qr" in blunt.note
    sharp = solve(gathered(TSQR, rows, targets), np.ones(120))
    assert sharp.note == ""
    assert sharp.noise == pytest.approx(1e-6, rel=0.1) and blunt.noise > 2e-6


def test_unrelated_labels_give_zero_and_a_note():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(50, 10))
    targets = rng.normal(size=50)
    targets -= rows @ np.linalg.lstsq(rows, targets, rcond=None)[0]
    result = solve(gathered(NormalEquations, rows, targets), np.ones(10))
    assert np.abs(result.coefficients).max() < 1e-3 and "unrelated" in result.note
    nothing = solve(gathered(NormalEquations, np.zeros((5, 2)), np.ones(5)), np.ones(2))
    assert (nothing.coefficients == 0).all() and "left at 0" in nothing.note


@BOTH
def test_errors_say_what_to_do(kind):
    rows, _, targets, scale = experiment()
    system = gathered(kind, rows, targets)
    with pytest.raises(DataError, match="nothing to fit"):
        solve(kind(15), scale)
    with pytest.raises(DataError, match="120 rows cannot determine 130 parameters"):
        solve(gathered(kind, np.ones((120, 130)), targets), np.zeros(130))
    with pytest.raises(DataError, match="Add frames, use a smaller model, or a ridge above 0"):
        solve(gathered(kind, rows[:9], targets[:9]), scale, prior="ridge", ridge=0.0)
    with pytest.raises(ConfigError, match="needs a ridge"):
        solve(system, scale, prior="ridge")
    with pytest.raises(ConfigError, match="leave ridge out"):
        solve(system, scale, ridge=1.0)
    with pytest.raises(ConfigError, match="validation frames"):
        solve(system, scale, prior="validation")
    with pytest.raises(ConfigError, match="prior must be"):
        solve(system, scale, prior="bays")
    with pytest.raises(ConfigError, match="15 finite numbers"):
        solve(system, -scale)
    dependent = np.repeat(rows[:, :1], 15, axis=1)
    with pytest.raises(SingularSystemError, match="Raise the ridge"):
        solve(gathered(kind, dependent, targets), np.zeros(15))


def test_estimated_number_of_effective_parameters_agrees_with_the_exact_one(monkeypatch):
    """The trace from random signs against the trace from the whole inverse, on a problem with a wide spectrum."""
    rng = np.random.default_rng(5)
    system = NormalEquations(400)
    system.add(rng.normal(size=(900, 400)) * np.logspace(0, -4, 400), rng.normal(size=900))
    exact = solve(system, np.ones(400), prior="ridge", ridge=1e-3).effective_parameters
    monkeypatch.setattr("jorbit.train.closed_form._EXACT_TRACE", 0)
    estimate = solve(system, np.ones(400), prior="ridge", ridge=1e-3).effective_parameters
    assert 50 < exact < 390
    assert estimate == pytest.approx(exact, rel=0.02)
