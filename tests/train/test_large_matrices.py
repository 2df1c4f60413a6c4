"""Panelled products and factorisations against numpy's whole ones."""

import numpy as np
import pytest

from jorbit.train.large_matrices import add_gram, cholesky

SIZES = pytest.mark.parametrize("n, panel", [(1, 4), (7, 7), (23, 5), (40, 64), (64, 16)])


@SIZES
def test_gram_is_the_lower_triangle_of_the_product(n, panel):
    rows = np.random.default_rng(n).normal(size=(11, n))
    gram = np.eye(n, order="F")
    add_gram(gram, rows, panel)
    np.testing.assert_allclose(np.tril(gram), np.tril(np.eye(n) + rows.T @ rows), rtol=1e-13, atol=1e-13)


@SIZES
def test_cholesky_equals_numpy_and_does_not_read_the_upper_triangle(n, panel):
    rows = np.random.default_rng(n).normal(size=(2 * n, n))
    matrix = np.asfortranarray(rows.T @ rows)
    expected = np.linalg.cholesky(matrix)
    matrix[np.triu_indices(n, 1)] = np.nan
    assert cholesky(matrix, panel) is None
    np.testing.assert_allclose(np.tril(matrix), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("row", [0, 4, 17])
def test_the_row_where_a_matrix_is_not_positive_definite_is_named(row):
    matrix = np.eye(20, order="F")
    matrix[row, row] = -1.0
    assert cholesky(matrix, 6) == row


@pytest.mark.slow
def test_sizes_at_which_threaded_syrk_crashes():
    n = 17_000
    rows = np.random.default_rng(0).normal(size=(256, n))
    gram = np.zeros((n, n), order="F")
    add_gram(gram, rows)
    assert gram[n - 1, 3] == pytest.approx(rows[:, n - 1] @ rows[:, 3], rel=1e-10)
    gram[np.diag_indices(n)] += 1e3
    corner = gram[:50, :50].copy()
    assert cholesky(gram) is None
    lower = np.tril(gram[:50, :50])
    np.testing.assert_allclose(np.tril(lower @ lower.T), np.tril(corner), rtol=1e-10, atol=1e-9)
