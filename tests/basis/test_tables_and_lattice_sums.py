"""Radial tables, Gaussian overlaps, eigenvalues and lattice sums against closed forms, quadrature and literature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.eigenvalues import sorted_eigenvalues
from jorbit.basis.envelope import ENVELOPES, Envelope
from jorbit.basis.gaussian_density import FAMILIES, gaussian_overlaps, radial_functions
from jorbit.basis.lattice_pairs import ewald_potential, sine_distance
from jorbit.basis.radial_table import chebyshev_series, evaluate_series
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError


def test_series_reproduce_functions_and_three_derivatives(x64):
    series = chebyshev_series(lambda r: np.stack([np.sin(3 * r), np.exp(-((r - 2) ** 2))], axis=-1), 5.0)
    f = lambda r: evaluate_series(series, r, 5.0)[0]  # noqa: E731
    r = 1.3
    for k, wanted in enumerate([np.sin(3 * r), 3 * np.cos(3 * r), -9 * np.sin(3 * r), -27 * np.cos(3 * r)]):
        assert float(f(jnp.asarray(r))) == pytest.approx(wanted, abs=1e-10 * 10**k)
        f = jax.grad(f)
    gaussian = evaluate_series(series, jnp.linspace(0.0, 5.0, 9), 5.0)[:, 1]
    np.testing.assert_allclose(gaussian, np.exp(-((np.linspace(0.0, 5.0, 9) - 2) ** 2)), atol=1e-12)


def test_functions_that_are_too_sharp_are_refused():
    with pytest.raises(ConfigError, match="Chebyshev"):
        chebyshev_series(lambda r: np.exp(-1e4 * (r[:, None] - 2.0) ** 2), 5.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_radial_functions_are_orthonormal(family):
    cutoff, n, end = 4.0, 4, 4.0 if family == "polynomial" else 40.0
    nodes, weights = np.polynomial.legendre.leggauss(400)
    r, w = end * (nodes + 1) / 2, weights * end / 2
    g = radial_functions(family, r, n, 2, cutoff)
    np.testing.assert_allclose(np.einsum("r,ra,rb->ab", w * r**2, g, g), np.eye(n), atol=1e-9)


def test_overlaps_are_integrals_over_space(x64):
    # c_n00 and c_n10 of one Gaussian on the z axis, integrated in spherical coordinates.
    cutoff, sigma, d = 4.0, 0.5, 1.7
    series, at_centre = gaussian_overlaps("gto", 2, 1, cutoff, sigma)
    got = np.asarray(evaluate_series(series, jnp.asarray([d]), cutoff))[0]
    nodes, weights = np.polynomial.legendre.leggauss(200)
    r, w = 10.0 * (nodes + 1) / 2, weights * 10.0 / 2
    density = np.exp(-(r[:, None] ** 2 + d**2 - 2 * r[:, None] * d * nodes) / (2 * sigma**2))
    for degree in (0, 1):
        y = np.sqrt((2 * degree + 1) / (4 * np.pi)) * nodes**degree
        g = radial_functions("gto", r, 2, degree, cutoff)
        wanted = 2 * np.pi * np.einsum("r,rn,rt,t,t->n", w * r**2, g, density, y, weights)
        at_pole = np.sqrt((2 * degree + 1) / (4 * np.pi))
        np.testing.assert_allclose(got[2 * degree : 2 * degree + 2] * at_pole, wanted, atol=1e-11)
    g = radial_functions("gto", r, 2, 0, cutoff)
    np.testing.assert_allclose(at_centre, 4 * np.pi * (w * r**2 * np.exp(-(r**2) / (2 * sigma**2))) @ g, atol=1e-11)


@pytest.mark.parametrize("kind", ENVELOPES)
def test_envelopes_end_at_the_cutoff(x64, kind):
    envelope = Envelope(kind, 4.0)
    assert not np.asarray(envelope(jnp.asarray([4.0, 4.1, 9.0]))).any()
    assert float(envelope(jnp.asarray(0.0))) == 1.0
    if kind != "step":
        assert abs(float(jax.grad(envelope)(jnp.asarray(4.0 - 1e-7)))) < 1e-5


def test_eigenvalues_have_the_derivatives_of_finite_differences(x64):
    rng = np.random.default_rng(0)
    a, b = (m + m.T for m in rng.normal(size=(2, 5, 5)))
    curve = lambda t: sorted_eigenvalues(jnp.asarray(a) + t * jnp.asarray(b))  # noqa: E731
    h = 1e-4
    first = (np.linalg.eigvalsh(a + h * b) - np.linalg.eigvalsh(a - h * b))[::-1] / (2 * h)
    second = (np.linalg.eigvalsh(a + h * b) - 2 * np.linalg.eigvalsh(a) + np.linalg.eigvalsh(a - h * b))[::-1] / h**2
    got = jax.jit(lambda t: (jax.jacfwd(curve)(t), jax.jacfwd(jax.jacrev(curve))(t)))(0.0)
    np.testing.assert_allclose(got[0], first, rtol=1e-6)
    np.testing.assert_allclose(got[1], second, rtol=1e-4, atol=1e-5)


def test_coinciding_eigenvalues_share_the_mean_slope(x64):
    # Two of three coincide along a curve of matrices: their slopes fan out, and the mean is what both get.
    rng = np.random.default_rng(1)
    q = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    a, b = q @ np.diag([2.0, 2.0, -1.0]) @ q.T, rng.normal(size=(3, 3))
    b = b + b.T
    curve = lambda t: sorted_eigenvalues(jnp.asarray(a) + t * jnp.asarray(b))  # noqa: E731
    slopes, second = jax.jit(lambda t: (jax.jacfwd(curve)(t), jax.jacfwd(jax.jacfwd(curve))(t)))(0.0)
    h = 1e-6
    one_sided = (np.linalg.eigvalsh(a + h * b)[::-1] - np.array([2.0, 2.0, -1.0])) / h
    assert abs(one_sided[0] - one_sided[1]) > 0.1
    np.testing.assert_allclose(slopes[:2], one_sided[:2].mean(), atol=1e-4)
    np.testing.assert_allclose(slopes[2], one_sided[2], atol=1e-4)
    assert np.isfinite(second).all()
    assert np.isfinite(jax.jit(jax.hessian(lambda m: sorted_eigenvalues(m)[1]))(jnp.zeros((3, 3)))).all()


def test_ewald_potential_gives_madelung_constants(x64):
    # NaCl 1.747565, CsCl 1.762675 (per nearest-neighbour distance): Kittel, Introduction to Solid State Physics.
    face = np.array([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0.0]]) / 2
    rock_salt = np.concatenate([face, face + [0.5, 0, 0]])
    for fractional, charges, cell, nearest, wanted in (
        (rock_salt, np.repeat([1.0, -1.0], 4), 5.6 * np.eye(3), 2.8, 1.747565),
        (np.array([[0, 0, 0], [0.5, 0.5, 0.5]]), np.array([1.0, -1.0]), 4.1 * np.eye(3), 4.1 * np.sqrt(0.75), 1.762675),
    ):
        positions = fractional @ cell
        vectors = jnp.asarray(positions[None] - positions[:, None])
        others, own = ewald_potential(vectors, jnp.asarray(cell))
        potential = np.where(np.eye(len(charges), dtype=bool), own, others) @ charges
        np.testing.assert_allclose(-potential * charges * nearest, wanted, atol=1e-6)


def test_ewald_potential_is_converged_in_a_skewed_cell(x64):
    cell = jnp.asarray([[3.4, 0.0, 0.0], [0.9, 3.7, 0.0], [-0.6, 0.8, 3.9]])
    positions = np.array([[0.0, 0.0, 0.0], [1.1, 0.9, 1.7]])
    vectors = jnp.asarray(positions[None] - positions[:, None])
    few, many = (ewald_potential(vectors, cell, n) for n in (3, 6))
    assert abs(float(few[0][0, 1] - many[0][0, 1])) < 1e-9
    assert abs(float(few[1] - many[1])) < 1e-9


def test_ewald_potential_of_atoms_that_lie_cells_apart(x64):
    """A simulation that does not wrap atoms into the cell has such vectors."""
    cell = jnp.asarray([[3.4, 0.0, 0.0], [0.9, 3.7, 0.0], [-0.6, 0.8, 3.9]])
    positions = np.array([[0.0, 0.0, 0.0], [1.1, 0.9, 1.7]])
    wandered = positions + np.array([[0.0, 0.0, 0.0], [7.0, -5.0, 9.0]]) @ np.asarray(cell)
    wanted, got = (ewald_potential(jnp.asarray(r[None] - r[:, None]), cell)[0][0, 1] for r in (positions, wandered))
    assert float(got) == pytest.approx(float(wanted), abs=1e-9)


@pytest.mark.parametrize("periodic", [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)])
def test_sine_distance_repeats_along_lattice_vectors_only(x64, periodic):
    cell = np.array([[3.4, 0.2, 0.0], [0.9, 3.7, 0.0], [-0.6, 0.8, 3.9]]) * np.array(periodic)[:, None]
    r = np.array([[0.3, 0.5, -0.7]])
    d = float(sine_distance(jnp.asarray(r), jnp.asarray(cell))[0])
    for k in range(3):
        if periodic[k]:
            moved = float(sine_distance(jnp.asarray(r + cell[k]), jnp.asarray(cell))[0])
            assert moved == pytest.approx(d, abs=1e-12)
    if not any(periodic):
        assert d == pytest.approx(np.linalg.norm(r))
    else:  # short vectors perpendicular to the lattice keep their length
        u, s, vt = np.linalg.svd(cell)
        for normal in vt[s < 1e-9]:
            assert float(sine_distance(jnp.asarray(0.4 * normal[None]), jnp.asarray(cell))[0]) == pytest.approx(0.4)


def test_blocks_change_neither_values_nor_derivatives(x64):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(11, 3)))
    f = lambda x: (jnp.sin(x).sum(axis=1), x**2)  # noqa: E731
    for got, wanted in zip(map_atom_blocks(f, (x,), 4, everywhere=True), f(x), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-15)
    slope = jax.grad(lambda x: map_atom_blocks(f, (x,), 4, everywhere=True)[0].sum())(x)
    np.testing.assert_allclose(slope, np.cos(x), rtol=1e-14)
