"""Spherical harmonics and couplings against scipy, sympy, rotations and orthogonality."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from scipy.spatial.transform import Rotation
from sympy.physics.wigner import clebsch_gordan as sympy_clebsch_gordan

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.coupling import _complex_clebsch_gordan, clebsch_gordan, coupled_degrees

L_MAX = 6


@pytest.fixture(scope="module")
def directions() -> np.ndarray:
    u = np.random.default_rng(0).normal(size=(120, 3))
    return u / np.linalg.norm(u, axis=1, keepdims=True)


def harmonics(u: np.ndarray) -> np.ndarray:
    return np.asarray(real_spherical_harmonics(jnp.asarray(u), L_MAX))


def test_harmonics_equal_those_of_scipy(x64, directions):
    polar = np.arccos(directions[:, 2])
    azimuth = np.arctan2(directions[:, 1], directions[:, 0])
    column = 0
    values = harmonics(directions)
    for degree in range(L_MAX + 1):
        for m in range(-degree, degree + 1):
            complex_value = scipy.special.sph_harm_y(degree, abs(m), polar, azimuth)  # with Condon-Shortley phase
            part = complex_value.imag if m < 0 else complex_value.real
            expected = np.sqrt(4 * np.pi) * part * ((-1.0) ** m * np.sqrt(2) if m else 1.0)
            np.testing.assert_allclose(values[:, column], expected, atol=1e-12)
            column += 1


def test_squares_of_one_degree_sum_to_2l_plus_1(x64, directions):
    values = harmonics(directions)
    for degree in range(L_MAX + 1):
        total = (values[:, degree**2 : (degree + 1) ** 2] ** 2).sum(axis=1)
        np.testing.assert_allclose(total, 2 * degree + 1, rtol=1e-13)


def test_complex_couplings_equal_those_of_sympy():
    for l1, l2 in itertools.product(range(3), repeat=2):
        for l3 in coupled_degrees(l1, l2):
            table = _complex_clebsch_gordan(l1, l2, l3)
            for m1, m2 in itertools.product(range(-l1, l1 + 1), range(-l2, l2 + 1)):
                if abs(m1 + m2) <= l3:
                    expected = float(sympy_clebsch_gordan(l1, l2, l3, m1, m2, m1 + m2))
                    assert table[m1 + l1, m2 + l2, m1 + m2 + l3] == pytest.approx(expected, abs=1e-14)


def test_couplings_are_orthonormal():
    for l1, l2 in itertools.combinations_with_replacement(range(L_MAX + 1), 2):
        stacked = np.concatenate(
            [clebsch_gordan(l1, l2, l3).reshape(-1, 2 * l3 + 1) for l3 in coupled_degrees(l1, l2)], 1
        )
        np.testing.assert_allclose(stacked @ stacked.T, np.eye(len(stacked)), atol=1e-12)


def test_coupled_products_rotate_as_their_degree(x64, directions):
    rotation = Rotation.from_rotvec([0.3, -1.1, 0.7]).as_matrix()
    values, rotated = harmonics(directions), harmonics(directions @ rotation.T)

    def wigner(degree: int) -> np.ndarray:
        part = slice(degree**2, (degree + 1) ** 2)
        return np.linalg.lstsq(values[:, part], rotated[:, part], rcond=None)[0].T

    rng = np.random.default_rng(1)
    for l1, l2 in itertools.product(range(4), repeat=2):
        a, b = rng.normal(size=2 * l1 + 1), rng.normal(size=2 * l2 + 1)
        for l3 in coupled_degrees(l1, l2):
            table = clebsch_gordan(l1, l2, l3)
            before = np.einsum("abm,a,b->m", table, a, b)
            after = np.einsum("abm,a,b->m", table, wigner(l1) @ a, wigner(l2) @ b)
            np.testing.assert_allclose(after, wigner(l3) @ before, atol=1e-11)
