"""Numbers of calibration against closed forms, scipy, and errors that were drawn to be right."""

import numpy as np
import pytest
from scipy.stats import norm, spearmanr

import jorbit
from jorbit.core.errors import DataError
from jorbit.core.species import SpeciesTable
from jorbit.models.linear_ace import LinearACE
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.calibration import Calibration, calibrate, measure_calibration
from jorbit.train.uncertainty import fit_uncertainty


@pytest.fixture
def drawn() -> Calibration:
    rng = np.random.default_rng(0)
    deviations = rng.lognormal(size=20_000)
    return Calibration("energy", "eV", deviations * rng.normal(size=20_000), deviations)


def test_errors_of_the_size_they_should_have_are_calibrated(drawn):
    assert drawn.ratio == pytest.approx(1.0, abs=0.02)
    assert drawn.miscalibration_area < 0.01
    expected = np.mean(np.log(drawn.deviations)) + 0.5 * np.log(2 * np.pi) + 0.5
    assert drawn.nll == pytest.approx(expected, abs=0.02)


def test_deviations_six_times_too_small_are_found_and_mended(drawn):
    small = drawn.scaled(1 / 6)
    share = 2 * norm.cdf(norm.ppf((1 + np.linspace(0, 1, 101)) / 2) / 6) - 1
    np.testing.assert_allclose(small.observed[:-1], share[:-1], atol=0.015)
    assert small.miscalibration_area > 0.3
    assert small.best().scale == pytest.approx(1.0, abs=0.02)
    for factor in (0.9, 1.1):
        assert small.best().scaled(factor).nll > small.best().nll


def test_rank_correlation_is_spearmans_and_blind_to_scale(drawn):
    assert drawn.rank_correlation == pytest.approx(spearmanr(np.abs(drawn.errors), drawn.deviations).statistic)
    assert drawn.scaled(3.0).rank_correlation == pytest.approx(drawn.rank_correlation)
    flat = Calibration("energy", "eV", drawn.errors, np.ones(20_000))
    assert flat.rank_correlation == 0.0


@pytest.mark.slow
def test_calibration_on_some_frames_holds_on_others():
    frames = [f for f in jorbit.read("ethanol_gfn2") if f.info["temperature"] == 600.0]
    model = LinearACE(n_species=3, cutoff=3.0, max_degree=(6, 3))
    potential = Potential((ReferenceEnergy(n_species=3), model), SpeciesTable.from_numbers([1, 6, 8]))
    _, params, report = jorbit.fit(frames[:20], potential)
    raw = fit_uncertainty(report)
    scaled, found = calibrate(raw, params, frames[100:120])
    before, after = (measure_calibration(u, params, frames[200:230]) for u in (raw, scaled))
    assert float(scaled.forces_scale) == pytest.approx(found["forces"].scale) and found["forces"].scale > 1.2
    assert after["forces"].nll < before["forces"].nll and after["energy"].nll < before["energy"].nll
    assert after["forces"].ratio == pytest.approx(1.0, abs=0.15)
    assert after["forces"].miscalibration_area < 0.05 < before["forces"].miscalibration_area
    assert after["forces"].rank_correlation > 0.2
    with pytest.raises(DataError, match="frames that the fit has not seen"):
        calibrate(raw, params, [])
