"""Trace-free moments against projections of full tensors, closed-form norms and rotations."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.moments import (
    degree_slice,
    monomial_exponents,
    stf_basis,
    stf_components,
    stf_from_monomials,
    stf_tensor,
    unit_monomials,
)

L_MAX = 4


@pytest.fixture(scope="module")
def directions() -> np.ndarray:
    u = np.random.default_rng(0).normal(size=(40, 3))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def outer_power(u: np.ndarray, degree: int) -> np.ndarray:
    power = np.ones(())
    for _ in range(degree):
        power = np.multiply.outer(power, u)
    return power


@pytest.mark.parametrize("degree", range(L_MAX + 1))
def test_basis_tensors_are_symmetric_traceless_and_independent(degree):
    basis = stf_basis(degree)
    assert basis.shape == (2 * degree + 1, *(3,) * degree) and basis.dtype == np.int64
    for order in itertools.permutations(range(degree)):
        assert (basis.transpose(0, *(1 + k for k in order)) == basis).all()
    if degree >= 2:
        assert not np.trace(basis, axis1=1, axis2=2).any()
    assert np.linalg.matrix_rank(basis.reshape(2 * degree + 1, -1)) == 2 * degree + 1


@pytest.mark.parametrize("degree", range(L_MAX + 1))
def test_components_are_those_of_the_projected_outer_power(x64, directions, degree):
    got = np.asarray(stf_components(jnp.asarray(directions), L_MAX))[:, degree_slice(degree)]
    basis = stf_basis(degree).reshape(2 * degree + 1, -1).astype(np.float64)
    projection = np.linalg.pinv(basis).T  # components of the symmetric trace-free part of any tensor
    wanted = [projection @ outer_power(u, degree).ravel() for u in directions]
    np.testing.assert_allclose(got, wanted, atol=1e-14)


@pytest.mark.parametrize("degree", range(L_MAX + 1))
def test_norm_is_l_factorial_over_the_odd_factorial(x64, directions, degree):
    components = stf_components(jnp.asarray(directions), L_MAX)[:, degree_slice(degree)]
    full = np.asarray(stf_tensor(components, degree)).reshape(len(directions), -1)
    expected = math.factorial(degree) / math.prod(range(2 * degree - 1, 0, -2))  # 1, 1, 2/3, 2/5, 8/35
    np.testing.assert_allclose((full**2).sum(axis=1), expected, rtol=1e-13)


def test_tensors_turn_with_the_vectors(x64, directions):
    rotation = Rotation.from_rotvec([0.4, 1.2, -0.9]).as_matrix()
    before = stf_components(jnp.asarray(directions), L_MAX)
    after = stf_components(jnp.asarray(directions @ rotation.T), L_MAX)
    for degree in range(1, L_MAX + 1):
        tensor = np.asarray(stf_tensor(before[:, degree_slice(degree)], degree))
        for axis in range(1, degree + 1):
            tensor = np.moveaxis(np.tensordot(tensor, rotation.T, (axis, 0)), -1, axis)
        np.testing.assert_allclose(stf_tensor(after[:, degree_slice(degree)], degree), tensor, atol=1e-13)


def test_components_span_the_spherical_harmonics_of_their_degree(x64, directions):
    moments = np.asarray(stf_components(jnp.asarray(directions), L_MAX))
    harmonics = np.asarray(real_spherical_harmonics(jnp.asarray(directions), L_MAX))
    for degree in range(L_MAX + 1):
        here = degree_slice(degree)
        _, residual, rank, _ = np.linalg.lstsq(moments[:, here], harmonics[:, here], rcond=None)
        assert rank == 2 * degree + 1 and residual.max() < 1e-24


def test_moments_can_be_made_after_the_sum_over_neighbours(x64, directions):
    weights = np.random.default_rng(1).normal(size=len(directions))
    summed = weights @ np.asarray(unit_monomials(jnp.asarray(directions), L_MAX))
    assert len(monomial_exponents(L_MAX)) == (L_MAX + 1) ** 2
    wanted = weights @ np.asarray(stf_components(jnp.asarray(directions), L_MAX))
    np.testing.assert_allclose(stf_from_monomials(L_MAX) @ summed, wanted, atol=1e-13)
