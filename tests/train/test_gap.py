"""The sparse Gaussian process: rows against differentiation, solution, evidence and variances against dense algebra."""

import dataclasses

import jax
import numpy as np
import pytest
import scipy.stats

import jorbit
from jorbit.core.errors import ConfigError, DataError
from jorbit.descriptors.ace import ACE
from jorbit.descriptors.acsf import ACSF
from jorbit.descriptors.soap import SOAP
from jorbit.models.gap import GAP
from jorbit.train.gap import fit_gap
from jorbit.train.gap_solver import Scales, SparseProcess, StreamedQR
from jorbit.train.sparse_points import METHODS, sparse_points

SMALL = SOAP(n_species=3, cutoff=3.5, n_radial=4, l_max=3)
MODEL = GAP(descriptor=SMALL, n_points=150)


@pytest.fixture(scope="module")
def ethanol():
    return jorbit.read("ethanol_gfn2")


@pytest.fixture(scope="module")
def fitted(ethanol):
    return fit_gap(ethanol[:30], MODEL)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["polynomial", "rbf", "reverse"])
def test_rows_times_coefficients_are_energy_forces_and_stress(kind, ethanol):
    frame = jorbit.read("bn_gfn1")[3] if kind == "rbf" else ethanol[5]
    table = jorbit.SpeciesTable.from_structures([frame.structure])
    descriptor = {
        "polynomial": SOAP.tiny(len(table)),
        "rbf": ACSF.tiny(len(table)),
        "reverse": ACE.tiny(len(table)),  # says nothing about its derivatives by neighbour
    }[kind]
    model = GAP(descriptor=descriptor, n_points=5, kernel="rbf" if kind == "rbf" else "polynomial", zeta=3)
    potential = jorbit.Potential((model,), table)
    with jax.enable_x64(True):
        graph = potential.graph([frame.structure], dtype=np.float64)
        params = potential.init(jax.random.key(0), graph)
        c = np.random.default_rng(0).normal(size=5)
        params["gap"] = params["gap"] | {"coefficients": c}
        rows = jax.tree.map(np.asarray, jax.jit(model.design)(params["gap"], graph))
        predicted = jax.tree.map(np.asarray, jorbit.predict(potential, params, graph))
    n = frame.structure.n_atoms
    np.testing.assert_allclose(rows.energy @ c, predicted.energy[0], rtol=1e-11)
    np.testing.assert_allclose((rows.forces @ c)[:n], predicted.forces[:n], atol=1e-10)
    if kind == "rbf":
        stress = rows.virial @ c / frame.structure.volume
        np.testing.assert_allclose(0.5 * (stress + stress.T), predicted.stress[0], atol=1e-11)
        assert np.abs(stress).max() > 1e-4


def dense(seed: int = 0) -> tuple[SparseProcess, Scales, np.ndarray, np.ndarray, np.ndarray]:
    """Random rows of two kinds and two kernels: the process, the scales, all rows, labels and noise variances."""
    rng = np.random.default_rng(seed)
    sizes, scales = (4, 3), Scales((0.7, 1.9), 0.3, 0.2, 1.0)
    energy, forces = rng.normal(size=(9, 7)), rng.normal(size=(25, 7))
    y = rng.normal(size=34)
    triangles = {}
    for kind, rows, labels in (("energy", energy, y[:9]), ("forces", forces, y[9:])):
        qr = StreamedQR(8)
        for part in np.array_split(np.concatenate([rows, labels[:, None]], axis=1), 3):
            qr.add(part)
        triangles[kind] = qr.reduce()
    process = SparseProcess(triangles, {"energy": 9, "forces": 25}, sizes)
    return process, scales, np.concatenate([energy, forces]), y, np.repeat([0.3, 0.2], [9, 25]) ** 2


def test_solution_evidence_and_covariance_are_those_of_the_dense_formulas():
    process, scales, rows, y, noise = dense()
    prior = np.repeat(scales.deltas, process.sizes) ** 2
    covariance = rows * prior @ rows.T + np.diag(noise)
    expected = scipy.stats.multivariate_normal(np.zeros(34), covariance).logpdf(y)
    assert process.log_evidence(scales) == pytest.approx(expected, rel=1e-10)
    mean, triangle = process.posterior(scales)
    gain = np.linalg.solve(covariance, rows * prior).T
    np.testing.assert_allclose(mean, gain @ y, rtol=1e-9, atol=1e-12)
    left = np.diag(prior) - gain @ rows * prior
    np.testing.assert_allclose(np.linalg.inv(triangle.T @ triangle), left, atol=1e-10)


def test_the_scales_found_have_the_highest_evidence():
    process, start, *_ = dense(1)
    best = process.best(start)
    top = process.log_evidence(best)
    assert top > process.log_evidence(start)
    for name in ("energy", "forces"):
        for factor in (0.8, 1.25):
            assert process.log_evidence(dataclasses.replace(best, **{name: factor * best.noise(name)})) <= top + 0.05
    assert best.virial == start.virial  # there are none


@pytest.mark.slow
def test_a_fit_learns_and_knows_how_far_off_it_is(fitted, ethanol):
    potential, params, report = fitted
    test = ethanol[1900:1930]
    errors = jorbit.train.evaluate(potential, params, test)
    constant = np.abs(np.concatenate([f.labels.forces for f in test])).mean()
    assert errors.force_mae < 0.3 * constant and report.training.force_mae < 0.3 * constant
    assert report.n_rows == {"energy": 30, "forces": 810, "virial": 0} and sum(report.n_points) <= 152
    spread = report.posterior.predictive_std([f.structure for f in test])
    off = np.array([float(jorbit.predict(potential, params, f).energy[0]) - f.labels.energy for f in test])
    z = off / np.array([s.energy for s in spread])
    assert 0.2 < np.sqrt((z**2).mean()) < 3.0
    for s in spread:  # the whole is not more certain than atoms that know nothing of each other could make it
        assert s.energies.shape == (9,) and s.energy <= s.energies.sum() + 1e-12 and (s.forces > 0).all()


@pytest.mark.slow
def test_far_from_the_data_the_variance_is_larger(fitted, ethanol):
    near = ethanol[0].structure
    stretched = dataclasses.replace(near, positions=near.positions * 1.35)
    a, b = fitted.report.posterior.predictive_std([near, stretched])
    assert b.energy > 10 * a.energy


@pytest.mark.slow
def test_two_kernels_add_up_and_keep_their_scales(ethanol, tmp_path):
    second = GAP(descriptor=ACSF.tiny(3), n_points=10, kernel="rbf", length=1.0)
    potential, params, report = fit_gap(ethanol[:15], (MODEL, second), delta=(1.0, 0.5), optimize=False)
    assert report.scales.deltas == (1.0, 0.5) and len(report.n_points) == 2 and len(potential.terms) == 3
    jorbit.save(tmp_path / "gap.safetensors", potential, params, report.provenance())
    again, loaded = jorbit.load(tmp_path / "gap.safetensors")
    one = jorbit.predict(potential, params, ethanol[20]).forces
    np.testing.assert_array_equal(jorbit.predict(again, loaded, ethanol[20]).forces, one)


@pytest.mark.parametrize("method", METHODS)
def test_sparse_points_are_different_atoms_and_the_same_ones_again(method):
    x = np.concatenate([np.random.default_rng(0).normal(size=(60, 5)), np.zeros((20, 5))])
    chosen = sparse_points(x, 12, method, seed=3)
    assert len(set(chosen.tolist())) == 12 and len(np.unique(x[chosen], axis=0)) == 12
    np.testing.assert_array_equal(chosen, sparse_points(x, 12, method, seed=3))
    assert len(sparse_points(np.ones((7, 2)), 3, method)) == 1  # alike atoms are one point


def test_farthest_points_cover_what_random_ones_miss():
    x = np.concatenate([np.random.default_rng(0).normal(size=(200, 2)), [[30.0, 0.0], [0.0, 30.0]]])
    assert {200, 201} <= set(sparse_points(x, 4, "fps").tolist())


@pytest.mark.slow
def test_bad_input_is_named(ethanol):
    with pytest.raises(DataError, match="no frames"):
        fit_gap([], MODEL)
    with pytest.raises(ConfigError, match="positive"):
        fit_gap(ethanol[:2], MODEL, sigma_forces=0.0)
    with pytest.raises(ConfigError, match="one scale for all kernels or one for each of 1"):
        fit_gap(ethanol[:2], MODEL, delta=[1.0, 2.0])
    with pytest.raises(ConfigError, match="one of cur, fps, kmeans"):
        fit_gap(ethanol[:2], MODEL, points="best")
    with pytest.raises(ConfigError, match="kernel"):
        GAP(descriptor=SMALL, n_points=3, kernel="linear")
    bare = [dataclasses.replace(f, labels=jorbit.Labels()) for f in ethanol[:2]]
    with pytest.raises(DataError):
        fit_gap(bare, MODEL)


def test_labels_of_weight_zero_are_no_labels(ethanol):
    """Neither the solution nor the evidence knows them, even if they are no numbers."""
    small = GAP(descriptor=SOAP.tiny(3), n_points=8)
    weight = np.where(ethanol[0].structure.numbers == 8, 0.0, 1.0)

    def changed(oxygen):
        return [
            dataclasses.replace(
                f,
                labels=dataclasses.replace(
                    f.labels, forces=np.where(weight[:, None] > 0, f.labels.forces, oxygen), forces_weight=weight
                ),
            )
            for f in ethanol[:4]
        ]

    fits = [fit_gap(changed(oxygen), small) for oxygen in (np.nan, 3.0)]
    assert fits[0].report.n_rows == {"energy": 4, "forces": 4 * 24, "virial": 0}
    assert fits[0].report.scales == fits[1].report.scales
    for name in ("points", "coefficients"):
        np.testing.assert_array_equal(*(f.params["gap"][name] for f in fits))
