"""Named sets of moment invariants: the published counts, fused against plain einsum, invariance, derivatives."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jorbit.basis.contractions import enumerate_contractions, evaluate
from jorbit.basis.invariant_sets import flex15, full20, generated, hop13, hop14, invariant_set
from jorbit.basis.moments import stf_components
from jorbit.core.errors import ConfigError

NAMES = ["hop13", "hop14", "flex15", "full20"]


@functools.cache
def compiled(name: str):
    return jax.jit(invariant_set(name))


def random_moments(*shape: int, l_max: int = 3) -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(*shape, (l_max + 1) ** 2)))


# (n_max, l_max) -> invariants kept, as published with the 13
COUNTS = {(4, 3): 13, (4, 2): 6, (3, 3): 7, (3, 2): 5, (2, 3): 4, (2, 2): 3, (2, 1): 2, (3, 1): 2, (1, 3): 1, (4, 0): 1}


def test_truncations_keep_the_published_numbers():
    assert {key: hop13(*key).size for key in COUNTS} == COUNTS


def test_sizes_and_relations_of_the_named_sets():
    assert [s().size for s in (hop14, flex15, full20)] == [14, 15, 20]
    assert set(full20().contractions) == set(enumerate_contractions(4, 3))
    assert set(hop14().contractions) < set(full20().contractions)
    extra = set(flex15().contractions) - set(hop13().contractions)
    assert sorted(c.degrees for c in extra) == [(3,) * 6, (3,) * 10]  # degree 6 and 10 in T alone
    low = {c for c in hop14().contractions if c.order <= 3}
    assert low == set(enumerate_contractions(3, 3))  # hop13 lacks one product of three tensors, hop14 none


@pytest.mark.parametrize("name", NAMES)
def test_shared_products_equal_plain_einsum(x64, name):
    moments = random_moments(5, 2)
    chosen = invariant_set(name)
    wanted = np.asarray(evaluate(chosen.contractions, moments))
    np.testing.assert_allclose(compiled(name)(moments), wanted, atol=1e-12 * np.abs(wanted).max(axis=(0, 1)).max())
    np.testing.assert_allclose(compiled(name)(moments) / wanted, 1.0, rtol=1e-9)


@pytest.mark.parametrize("limits", [k for k in COUNTS if k != (4, 3)])
def test_truncations_are_columns_of_the_full_set(x64, limits):
    moments = random_moments(4)
    part, full = hop13(*limits), hop13()
    columns = [full.contractions.index(c) for c in part.contractions]
    got = part(moments[..., : part.n_components])
    np.testing.assert_allclose(got, np.asarray(compiled("hop13")(moments))[:, columns], rtol=1e-12)


def test_values_are_those_of_the_formulas(x64):
    """v and Q along axes, where every invariant of l <= 2 can be written down."""
    v, q = np.array([0.6, 0.5, 0.4]), np.diag([1.0, -0.3, -0.7])
    values = hop13(4, 2)(jnp.asarray([2.0, *v, 1.0, 0.0, 0.0, -0.3, 0.0]))
    wanted = [2.0, v @ v, np.trace(q @ q), np.trace(q @ q @ q), v @ q @ v, v @ q @ q @ v]
    np.testing.assert_allclose(values, wanted, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_rotations_and_reflections_change_nothing(x64, dtype):
    rng = np.random.default_rng(3)
    u = rng.normal(size=(7, 3))
    u, w = u / np.linalg.norm(u, axis=1, keepdims=True), rng.uniform(0.5, 1.5, 7)
    turn = Rotation.random(random_state=4).as_matrix()
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    for name in NAMES:
        values = []
        for matrix in (np.eye(3), turn, -turn):
            components = stf_components(jnp.asarray(u @ matrix.T, dtype), 3)
            values.append(np.asarray(compiled(name)(jnp.asarray(w, dtype) @ components)))
        assert values[0].dtype == dtype
        for turned in values[1:]:
            np.testing.assert_allclose(turned, values[0], atol=tolerance * np.abs(values[0]).max())


def test_first_and_second_derivatives(x64):
    """Against finite differences at a random point; finite where all moments vanish."""
    rng = np.random.default_rng(5)
    x, direction, weights = (jnp.asarray(rng.normal(size=n)) for n in (16, 16, 14))
    value = jax.jit(lambda m: compiled("hop14")(m) @ weights)
    slope = jax.jit(jax.grad(value))
    curvature = jax.jit(lambda m, d: jax.jvp(slope, (m,), (d,))[1])

    def difference(f, step):  # error of the order of step^4
        wide, narrow = ((f(x + k * step * direction) - f(x - k * step * direction)) / (2 * k * step) for k in (2, 1))
        return np.asarray((4 * narrow - wide) / 3)

    np.testing.assert_allclose(slope(x) @ direction, difference(value, 1e-3), rtol=1e-7)
    wanted = difference(slope, 1e-3)
    np.testing.assert_allclose(curvature(x, direction), wanted, atol=1e-7 * np.abs(wanted).max())
    at_zero, zero = np.asarray(slope(jnp.zeros(16))), jnp.zeros(16)
    assert at_zero[0] == weights[0] and not at_zero[1:].any()  # of s alone
    assert np.isfinite(curvature(zero, direction)).all()


def test_names():
    assert invariant_set("hop13:3,2") is hop13(3, 2) and invariant_set("generated(4, 2)") is generated(4, 2)
    assert invariant_set("hop13(n_max=3, l_max=2)") is hop13(3, 2)
    for wrong in ("hop15", "generated", "flex15:2,2", "hop13:5,3", "hop13:3", "generated:2,7"):
        with pytest.raises(ConfigError, match="hop13|6 tensors"):
            invariant_set(wrong)


def test_too_few_components_are_refused():
    with pytest.raises(ConfigError, match="16 components"):
        hop13()(jnp.zeros((2, 9)))
