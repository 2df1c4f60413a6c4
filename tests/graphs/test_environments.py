"""Environments whose low moments vanish by symmetry, and derivatives there."""

import dataclasses

import numpy as np
import pytest

from jorbit.core.structure import Structure
from jorbit.descriptors.cartesian import Cartesian
from jorbit.graphs.environments import BODIES, environment_jacobians, jacobians_at, symmetric_environment

IDENTITY = np.eye(3)


def trace_free(u: np.ndarray, degree: int) -> np.ndarray:
    """The trace-free part of u^l of unit vectors [atoms, 3], written out for l = 1, 2, 3."""
    if degree == 1:
        return u
    if degree == 2:
        return np.einsum("ai,aj->aij", u, u) - IDENTITY / 3
    traces = [np.einsum(f"ai,jk->{order}", u, IDENTITY) for order in ("aijk", "ajik", "ajki")]
    return np.einsum("ai,aj,ak->aijk", u, u, u) - sum(traces) / 5


def moment(positions: np.ndarray, degree: int) -> np.ndarray:
    """Sum over neighbours, each weighted by a function of its distance."""
    r = np.linalg.norm(positions, axis=1)
    return np.tensordot(np.exp(-r) * (1 + r**2), trace_free(positions / r[:, None], degree), 1)


@pytest.mark.parametrize(
    ("body", "vanish", "n_motions"), [("pair", (1, 3), 3), ("tetrahedron", (1, 2), 4), ("octahedron", (1, 2, 3), 4)]
)
def test_low_moments_vanish_and_stay_zero_along_the_motions(body, vanish, n_motions):
    structure, motions = symmetric_environment(np.random.default_rng(1), body, 3, 4.0, n_species=2)
    assert motions.shape == (9 * len(BODIES[body]), 3 * n_motions)
    np.testing.assert_allclose(motions.T @ motions, np.eye(3 * n_motions), atol=1e-12)
    neighbors = structure.positions[1:]
    others = {1, 2, 3} - set(vanish)
    for degree in vanish:
        assert np.abs(moment(neighbors, degree)).max() < 1e-13
        for motion in motions.T:
            step = 1e-5 * motion.reshape(-1, 3)
            slope = (moment(neighbors + step, degree) - moment(neighbors - step, degree)) / 2e-5
            assert np.abs(slope).max() < 1e-8
    assert all(np.abs(moment(neighbors, degree)).max() > 1e-2 for degree in others)


def test_jacobians_are_slopes_of_the_features(x64):
    """Against central differences, at a random and at a given environment."""
    descriptor = Cartesian(n_species=1, cutoff=4.0, n_radial=2, invariants="hop13:3,2")
    structure, _ = symmetric_environment(np.random.default_rng(0), "tetrahedron", 1, 4.0)
    jacobian = jacobians_at(descriptor, [structure])[0]
    assert jacobian.shape == (descriptor.n_features, 12)
    assert environment_jacobians(descriptor, 4, points=1)[0].shape == jacobian.shape

    import jax.numpy as jnp

    from jorbit.core.species import SpeciesTable
    from jorbit.graphs.batching import build_graph

    def features(at: Structure) -> np.ndarray:
        graph = build_graph(at, SpeciesTable.from_numbers([1]), [4.0], dtype=jnp.float64)
        return np.asarray(descriptor(graph)[0])

    for coordinate in (0, 7):
        step = np.zeros(15)
        step[3 + coordinate] = 1e-5
        ends = [dataclasses.replace(structure, positions=structure.positions + s * step.reshape(5, 3)) for s in (1, -1)]
        slope = (features(ends[0]) - features(ends[1])) / 2e-5
        np.testing.assert_allclose(jacobian[:, coordinate], slope, atol=1e-8)
