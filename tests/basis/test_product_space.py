"""The enumeration of invariants against counts from the Molien integral, and against ranks at random points."""

import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.product_space import ProductLimits, product_space
from jorbit.basis.symmetric_products import invariants, invariants_jvp, linear_combination
from jorbit.core.errors import ConfigError

UNLIMITED = (10**6,) * 4


def molien_counts(n_radial: int, l_max: int) -> list[int]:
    """Invariant polynomials of degree 1..4 in n_radial copies of l = 0..l_max under O(3), by the Molien integral.

    The number of invariants of degree nu is the mean over O(3) of the character of the symmetric power, which follows
    from power sums: h_nu = (1/nu) sum_k p_k h_(nu-k), p_k(g) = n_radial * sum_l character_l(g^k).
    """
    nodes, weights = np.polynomial.legendre.leggauss(200)
    angle = np.pi * (nodes + 1) / 2
    measure = weights * np.pi / 2 * (1 - np.cos(angle)) / np.pi
    counts = np.zeros(5)
    for parity in (1, -1):
        power_sums = []
        for k in range(1, 5):
            half = k * angle / 2
            characters = [
                parity ** (k * degree) * np.sin((2 * degree + 1) * half) / np.sin(half) for degree in range(l_max + 1)
            ]
            power_sums.append(n_radial * sum(characters))
        h = [np.ones_like(angle)]
        for nu in range(1, 5):
            h.append(sum(power_sums[k - 1] * h[nu - k] for k in range(1, nu + 1)) / nu)
        counts += 0.5 * np.array([(measure * f).sum() for f in h])
    assert np.abs(counts - counts.round()).max() < 1e-6
    return [round(c) for c in counts[1:]]


# Published expectation: counts derived for a study of optimal invariants, sums over nu <= 3 and nu <= 4.
@pytest.mark.parametrize(
    ("n_radial", "l_max", "up_to_3", "up_to_4"),
    [(1, 2, 9, 18), (1, 3, 13, 36), (1, 4, 20, 71), (2, 3, 60, 280), (4, 3, 348, 3080), (6, 3, 1048, 13816)],
)
def test_number_of_invariants_equals_the_molien_count(n_radial, l_max, up_to_3, up_to_4):
    expected = molien_counts(n_radial, l_max)
    space = product_space(ProductLimits(1, n_radial, l_max, UNLIMITED))
    assert [int((space.order == nu).sum()) for nu in range(1, 5)] == expected
    assert (sum(expected[:3]), sum(expected)) == (up_to_3, up_to_4)


@pytest.mark.parametrize(("n_radial", "l_max", "total"), [(8, 3, 41168), (8, 4, 111798)])
def test_molien_formula_gives_the_larger_tabulated_counts(n_radial, l_max, total):
    assert sum(molien_counts(n_radial, l_max)) == total


def random_atomic(space, n_atoms, seed=0):
    rng = np.random.default_rng(seed)
    return [
        jnp.asarray(rng.normal(size=(2 * degree + 1, len(rows), n_atoms))) for degree, rows in enumerate(space.rows)
    ]


@pytest.mark.parametrize("limits", [(1, 3, 3, UNLIMITED[:3]), (2, 2, 2, (4, 4, 3, 3)), (1, 1, 4, UNLIMITED)])
def test_enumerated_invariants_are_linearly_independent(x64, limits):
    space = product_space(ProductLimits(*limits))
    values = np.asarray(invariants(space, random_atomic(space, 2 * space.n_features + 20)))
    values = values / np.linalg.norm(values, axis=1, keepdims=True)
    singular = np.linalg.svd(values, compute_uv=False)
    assert singular[-1] > 1e-8 * singular[0]


def test_degree_limits_hold_per_order():
    limits = ProductLimits(2, 9, 4, (8, 6, 4, 3))
    space = product_space(limits)
    degree = np.maximum(space.radial, 0).sum(axis=1) + np.maximum(space.angular, 0).sum(axis=1)
    for nu, most in enumerate(limits.max_degree, start=1):
        assert degree[space.order == nu].max() == most
    assert (np.maximum(space.angular, 0).sum(axis=1) % 2 == 0).all()


def test_contraction_and_tangents_agree_with_the_invariants(x64):
    space = product_space(ProductLimits(2, 4, 3, (4, 4, 3, 3)))
    rng = np.random.default_rng(2)
    n_atoms, step = 5, 1e-5
    atomic, direction = random_atomic(space, n_atoms), random_atomic(space, n_atoms, seed=1)
    coefficients = jnp.asarray(rng.normal(size=(2, space.n_features)))
    chosen = jnp.eye(2)[:, rng.integers(0, 2, n_atoms)]
    values = np.asarray(invariants(space, atomic))
    energy = linear_combination(space, atomic, coefficients, chosen)
    np.testing.assert_allclose(energy, ((coefficients @ values) * chosen).sum(axis=0), rtol=1e-11)

    one = [a[:, :, :1] for a in atomic]
    _, derivative = invariants_jvp(space, one, [d[:, :, :1] for d in direction])
    plus = invariants(space, [a + step * d for a, d in zip(atomic, direction, strict=True)])
    minus = invariants(space, [a - step * d for a, d in zip(atomic, direction, strict=True)])
    numeric = (np.asarray(plus) - np.asarray(minus))[:, :1] / (2 * step)
    np.testing.assert_allclose(derivative, numeric, rtol=1e-6, atol=1e-6 * np.abs(numeric).max())


def test_impossible_limits_are_refused():
    with pytest.raises(ConfigError, match="No product keeps to these limits"):
        product_space(ProductLimits(1, 3, 2, (3, 3), max_factors=(0,)))
    with pytest.raises(ConfigError, match="1 to 4"):
        ProductLimits(1, 3, 2, (3,) * 5)
