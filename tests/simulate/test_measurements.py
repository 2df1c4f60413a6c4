"""What is measured on the device is what numpy finds in the trajectory."""

import itertools

import ase.io
import numpy as np
import pytest
from simulated_systems import argon, argon_crystal, magnesia, random_ace, structure_of

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.simulate import run
from jorbit.simulate.measurements import MeanSquaredDisplacement, RadialDistribution, VelocityAutocorrelation


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A skewed cell narrower than the radius of the distribution, and more records than lags.

    The end of the run comes sooner after the record before than the others do: correlations must not see it.
    """
    path = tmp_path_factory.mktemp("md") / "md.extxyz"
    measure = (
        RadialDistribution(r_max=5.0, n_bins=25),
        MeanSquaredDisplacement(n_lags=6),
        VelocityAutocorrelation(n_lags=4),
        "stress",
    )
    potential, params = random_ace()
    result = run(
        potential,
        params,
        structure_of(magnesia()),
        n_steps=47,
        timestep=1.0,
        record_every=5,
        block_size=20,
        measure=measure,
        trajectory=path,
        temperature=100.0,
        progress=False,
    )
    frames = ase.io.read(path, ":")
    assert [f.info["step"] for f in frames[-2:]] == [45, 47]
    return result, frames[:-1]


@pytest.mark.slow
def test_the_radial_distribution_is_that_of_counted_distances(measured):
    result, frames = measured
    found, edges = result.measurements["rdf"], np.linspace(0, 5, 26)
    assert found.n_frames == len(frames) == 10
    images = np.array(list(itertools.product(range(-3, 4), repeat=3)))
    counts = {"Mg-Mg": 0.0, "O-Mg": 0.0, "O-O": 0.0}
    for atoms in frames:
        vectors = atoms.positions[None, :, None] - atoms.positions[:, None, None] + images @ atoms.cell.array
        r = np.linalg.norm(vectors, axis=-1)
        for name in counts:
            a, b = (np.array([s == x for s in atoms.symbols]) for x in name.split("-"))
            here = r[np.ix_(a, b)]
            counts[name] = counts[name] + np.histogram(here[here > 1e-6], edges)[0] / (a.sum() * b.sum())
    shells = 4 / 3 * np.pi * np.diff(edges**3) / frames[0].get_volume()
    for name, count in counts.items():
        np.testing.assert_allclose(found.g[name], count / shells / 10, rtol=1e-6)
    assert found.g["O-Mg"].max() > 3  # first neighbours


@pytest.mark.slow
def test_displacements_and_velocities_are_correlated_over_all_origins(measured):
    result, frames = measured
    x = np.array([f.positions for f in frames])
    v = np.array([f.get_velocities() for f in frames]) * ase.units.fs
    magnesium = frames[0].numbers == 12
    weights = frames[0].get_masses() / frames[0].get_masses().sum()
    msd, vacf = result.measurements["msd"], result.measurements["vacf"]
    assert msd.times.tolist() == [0.0, 5.0, 10.0, 15.0, 20.0, 25.0] and len(vacf.times) == 4
    assert msd.n_origins.tolist() == [10, 9, 8, 7, 6, 5]
    for lag in range(6):
        moved = x[lag:] - x[: len(x) - lag]
        moved = moved - (weights[:, None] * moved).sum(axis=1, keepdims=True)
        squares = (moved**2).sum(axis=-1)
        assert msd.values["all"][lag] == pytest.approx(squares.mean(), rel=1e-5, abs=1e-12)
        assert msd.values["Mg"][lag] == pytest.approx(squares[:, magnesium].mean(), rel=1e-5, abs=1e-12)
    for lag in range(4):
        products = (v[lag:] * v[: len(v) - lag]).sum(axis=-1)
        assert vacf.values["O"][lag] == pytest.approx(products[:, ~magnesium].mean(), rel=1e-4)
    assert vacf.integral() == pytest.approx(np.trapezoid(vacf.values["all"], vacf.times))
    assert msd.slope(10.0, 20.0) == pytest.approx(np.polyfit(msd.times[2:5], msd.values["all"][2:5], 1)[0])
    with pytest.raises(ConfigError, match="from 0 to 25 fs"):
        msd.slope(21.0, 29.0)


@pytest.mark.slow
def test_stress_is_that_of_the_forces_and_of_the_momenta(measured):
    result, frames = measured
    structure = structure_of(frames[4])
    static = jorbit.predict(*random_ace(), structure).stress[0]
    p, m = frames[4].get_momenta(), frames[4].get_masses()[:, None]
    expected = static - (p / m).T @ p / frames[4].get_volume()
    np.testing.assert_allclose(result.stresses[4], expected, atol=2e-5)  # predict in float32
    assert result.pressures[4] == pytest.approx(-np.trace(expected) / 3, abs=2e-5)


def test_results_are_saved_by_name(measured, tmp_path):
    result, _ = measured
    result.save(tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        assert {"times", "stresses", "rdf/r", "rdf/g/O-Mg", "msd/values/O", "vacf/times"} <= set(arrays)


def test_what_cannot_be_measured_is_refused():
    potential, params = random_ace()
    start = structure_of(magnesia())
    for measure, words in ((("rdff",), "rdf"), (("rdf", "rdf"), "name of its own")):
        with pytest.raises(ConfigError, match=words):
            run(potential, params, start, measure=measure, progress=False)


@pytest.mark.slow
def test_dynamics_without_momenta_have_displacements_but_no_velocities():
    found = run(
        *argon(),
        structure_of(argon_crystal((1, 1, 1))),
        integrator="brownian",
        temperature=80.0,
        n_steps=4,
        record_every=2,
        measure=("msd", "vacf"),
        progress=False,
    ).measurements
    assert np.isnan(found["vacf"].values["all"]).all()  # zeros would look like a diffusion constant of 0
    assert (found["msd"].values["all"][1:] > 0).all()
