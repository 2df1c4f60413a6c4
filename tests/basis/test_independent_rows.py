"""The greedy choice of rows against numpy's ranks, and couplings modulo a prime against the float ones."""

import numpy as np
import pytest

from jorbit.basis.coupling import clebsch_gordan
from jorbit.basis.exact_products import exact_clebsch_gordan, exact_jacobian, field_prime, square_root
from jorbit.basis.independent_rows import ExactIndependentRows, IndependentRows, product_modulo
from jorbit.basis.product_space import ProductLimits, product_space
from jorbit.core.errors import ConfigError


def dependent_rows(n_rows: int, n_columns: int, rank: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-4, 5, (n_rows, rank)) @ rng.integers(-4, 5, (rank, n_columns))


def greedy_by_ranks(rows: np.ndarray) -> list[int]:
    """Row k is new when it raises numpy's rank of the rows up to it."""
    ranks = [np.linalg.matrix_rank(rows[: k + 1]) for k in range(len(rows))]
    return [k for k in range(len(rows)) if ranks[k] > (ranks[k - 1] if k else 0)]


@pytest.mark.parametrize("make", [lambda n: IndependentRows(n), lambda n: ExactIndependentRows(n, field_prime())])
@pytest.mark.parametrize(("n_rows", "rank"), [(40, 7), (40, 12), (5, 12)])
def test_the_first_independent_rows_are_kept(make, n_rows, rank):
    rows = dependent_rows(n_rows, 12, rank, seed=rank)
    rows[2] = 3 * rows[0]
    rows[4] = 0
    chosen = make(12)
    kept = np.concatenate([chosen.add(rows[:3]), chosen.add(rows[3:])])
    assert np.flatnonzero(kept).tolist() == greedy_by_ranks(rows)
    assert chosen.rank == np.linalg.matrix_rank(rows)


def test_rows_in_many_blocks_are_chosen_as_rows_in_one(monkeypatch):
    rows = dependent_rows(60, 20, 15, seed=3) + 0.0
    whole = IndependentRows(20)
    expected = whole.add(rows).tolist()
    monkeypatch.setattr("jorbit.basis.independent_rows._BLOCK", 7)
    assert IndependentRows(20).add(rows).tolist() == expected
    assert ExactIndependentRows(20, field_prime()).add(rows.astype(int)).tolist() == expected
    assert whole.smallest_kept > 1e-4
    assert whole.largest_dropped < 1e-12


def test_nearly_parallel_rows_are_told_apart_above_the_tolerance_only():
    angle = 1e-5
    rows = np.array([[1.0, 0.0], [np.cos(angle), np.sin(angle)]])
    assert IndependentRows(2, tolerance=1e-6).add(rows).tolist() == [True, True]
    assert IndependentRows(2, tolerance=1e-4).add(rows).tolist() == [True, False]
    with pytest.raises(ConfigError, match="tolerance"):
        IndependentRows(2, tolerance=0.0)


def test_products_modulo_a_prime_are_those_of_python_integers():
    rng, p = np.random.default_rng(0), field_prime()
    left, right = rng.integers(0, p, (3, 2000)), rng.integers(0, p, (2000, 4))
    exact = (left.astype(object) @ right.astype(object)) % p
    assert (product_modulo(left, right, p) == exact).all()


def test_square_roots_in_the_field():
    p = field_prime()
    assert p < 2**31
    assert all(square_root(q) ** 2 % p == q % p for q in (-1, 2, 3, 5, 7, 11, 13, 41, 47))


@pytest.mark.parametrize("degrees", [(1, 1, 0), (1, 1, 1), (2, 1, 3), (2, 2, 3), (3, 2, 2), (4, 4, 6)])
def test_exact_couplings_are_orthonormal_and_vanish_where_the_real_ones_do(degrees):
    p, table = field_prime(), exact_clebsch_gordan(*degrees).astype(object)
    gram = np.tensordot(table, table, ((0, 1), (0, 1))) % p
    assert (gram == np.eye(2 * degrees[2] + 1, dtype=int)).all()
    real = clebsch_gordan(*degrees)
    assert ((table != 0) == (real != 0)).all()
    # Ratios of squares are rational numbers with small denominators: the same in the field.
    squares = (real / np.abs(real).max()) ** 2
    where = np.unravel_index(np.abs(real).argmax(), real.shape)
    inverse = pow(int(table[where]) ** 2, -1, p)
    for index in zip(*np.nonzero(real), strict=True):
        ratio = next(d for d in range(1, 20000) if abs(squares[index] * d - round(squares[index] * d)) < 1e-9 * d)
        assert (int(table[index]) ** 2 * inverse * ratio - round(squares[index] * ratio)) % p == 0


def test_exact_derivatives_obey_eulers_identity_for_homogeneous_functions():
    """sum_x x dB/dx = nu B: the derivative along the point itself, of (a a)_0 by hand is 2 a.a / sqrt(3)."""
    p, space = field_prime(), product_space(ProductLimits(1, 1, 1, (9, 9)))
    rng = np.random.default_rng(1)
    atomic = [rng.integers(0, p, (2 * degree + 1, len(r), 1)) for degree, r in enumerate(space.rows)]
    derivative = exact_jacobian(space, atomic, atomic)[:, 0]
    s, v = (a[:, 0, 0].astype(object) for a in atomic)
    pair = {int(space.angular[k, 0]): int(derivative[k]) for k in np.flatnonzero(space.order == 2)}
    assert derivative[0] == s[0]
    assert pair[0] == 2 * s[0] ** 2 % p
    assert pair[1] ** 2 * 3 % p == (2 * (v @ v)) ** 2 % p
