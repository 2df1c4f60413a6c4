"""Scales of a Gaussian process: the search finds a maximum of the evidence, near the scales that made the labels."""

import dataclasses

import numpy as np
import pytest

from jorbit.train.gap_solver import Scales, SparseProcess, triangle

TRUE = Scales(deltas=(3.0,), energy=0.05, forces=0.2, virial=0.05)
START = Scales(deltas=(1.0,), energy=0.001, forces=0.05, virial=0.05)  # a logarithm of 0 among them


@pytest.fixture(scope="module")
def process():
    rng, n_points = np.random.default_rng(0), 30
    coefficients = TRUE.deltas[0] * rng.normal(size=n_points)
    triangles, n_rows = {}, {"energy": 60, "forces": 900}
    for kind, n in n_rows.items():
        rows = rng.normal(size=(n, n_points))
        labels = rows @ coefficients + TRUE.noise(kind) * rng.normal(size=n)
        triangles[kind] = triangle(np.concatenate([rows, labels[:, None]], axis=1))
    return SparseProcess(triangles=triangles, n_rows=n_rows, sizes=(n_points,))


def test_the_scales_that_made_the_labels_are_found(process):
    best = process.best(START)
    for name in ("energy", "forces"):
        assert best.noise(name) == pytest.approx(TRUE.noise(name), rel=0.35)
    assert best.deltas[0] == pytest.approx(TRUE.deltas[0], rel=0.5)


def test_no_scale_can_be_changed_for_a_higher_evidence(process):
    best = process.best(START)
    here = process.log_evidence(best)
    for factor in (0.5, 0.8, 1.25, 2.0, 1e3, 1e6):
        for name in ("energy", "forces"):
            other = dataclasses.replace(best, **{name: factor * getattr(best, name)})
            assert process.log_evidence(other) < here
        assert process.log_evidence(dataclasses.replace(best, deltas=(factor * best.deltas[0],))) < here


def test_what_is_not_free_stays(process):
    best = process.best(START, free=("energy",))
    assert best.deltas == START.deltas and best.forces == START.forces and best.energy != START.energy
