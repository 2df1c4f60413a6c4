"""Radial functions and cutoffs against numpy's polynomials, closed forms and their promised smoothness."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.cutoff import cosine_cutoff, polynomial_cutoff, quadratic_cutoff
from jorbit.basis.radial import RadialBasis, agnesi, bessel, chebyshev
from jorbit.core.errors import ConfigError


def test_chebyshev_equals_numpy(x64):
    x = np.linspace(-1, 1, 41)
    np.testing.assert_allclose(chebyshev(jnp.asarray(x), 9), np.polynomial.chebyshev.chebvander(x, 8), atol=1e-13)


def test_bessel_functions_are_orthonormal_and_finite_at_zero(x64):
    cutoff, n = 5.0, 6
    nodes, weights = np.polynomial.legendre.leggauss(80)
    r, w = cutoff * (nodes + 1) / 2, weights * cutoff / 2
    values = np.asarray(bessel(jnp.asarray(r), cutoff, n))
    overlap = np.einsum("r,ra,rb->ab", w * r**2, values, values)
    np.testing.assert_allclose(overlap, np.eye(n), atol=1e-12)
    at_zero = np.sqrt(2 / cutoff) * np.arange(1, n + 1) * np.pi / cutoff
    np.testing.assert_allclose(bessel(jnp.zeros(()), cutoff, n), at_zero, rtol=1e-12)


def test_agnesi_starts_at_one_and_is_steepest_at_the_bond_length(x64):
    r0 = 1.4
    grid = jnp.linspace(1e-3, 6.0, 60001)
    slopes = jax.vmap(jax.grad(lambda r: agnesi(r, r0)))(grid)
    assert float(agnesi(jnp.zeros(()), r0)) == 1.0
    assert float(grid[jnp.argmin(slopes)]) == pytest.approx(r0, abs=1e-3)


@pytest.mark.parametrize("function", [polynomial_cutoff, quadratic_cutoff], ids=["polynomial", "quadratic"])
def test_cutoffs_vanish_with_two_derivatives(x64, function):
    def f(r):
        return function(jnp.asarray(r), 4.0)

    assert float(f(0.0)) == 1.0
    just_inside = 4.0 - 1e-6
    for k, g in enumerate([f, jax.grad(f), jax.grad(jax.grad(f))]):
        assert abs(float(g(just_inside))) < 1e-4, f"derivative {k} jumps at the cutoff"
        assert float(g(4.0)) == 0.0
        assert float(g(4.5)) == 0.0


def test_cosine_cutoff_is_half_in_the_middle(x64):
    assert float(cosine_cutoff(jnp.asarray(2.0), 4.0)) == pytest.approx(0.5, abs=1e-15)
    assert float(cosine_cutoff(jnp.asarray(4.0), 4.0)) == 0.0


@pytest.mark.parametrize("family", ["chebyshev", "bessel"])
@pytest.mark.parametrize("envelope", ["quadratic", "polynomial"])
def test_radial_functions_are_exactly_zero_beyond_the_cutoff(family, envelope):
    radial = RadialBasis(n_radial=7, cutoff=3.0, family=family, envelope=envelope)
    assert not np.asarray(radial(jnp.array([3.0, 3.5, 100.0]))).any()
    assert np.isfinite(radial(jnp.zeros(1))).all()


def test_radial_functions_of_a_pair_use_its_bond_length(x64):
    radial = RadialBasis(n_radial=5, cutoff=5.0, bond_lengths=((1.0, 1.5), (1.5, 2.0)))
    r = jnp.array([1.3, 1.3])
    mixed = radial(r, jnp.array([1.0, 2.0]))
    for k, r0 in enumerate((1.0, 2.0)):
        np.testing.assert_allclose(mixed[k], RadialBasis(n_radial=5, cutoff=5.0, bond_lengths=r0)(r)[k], rtol=1e-12)
    assert not np.allclose(mixed[0], mixed[1])


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="gaussian"):
        RadialBasis(n_radial=3, cutoff=3.0, family="gaussian")
    with pytest.raises(ConfigError, match="bond lengths above 0"):
        RadialBasis(n_radial=3, cutoff=3.0, bond_lengths=((1.0, 0.0), (0.0, 1.0)))
    with pytest.raises(ConfigError, match="2 x 2"):
        RadialBasis(n_radial=3, cutoff=3.0, bond_lengths=((1.0,),)).pair_bond_lengths(2)
