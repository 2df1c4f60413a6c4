"""Contraction graphs: their numbers, and their values, against independent brute force."""

import itertools
import math

import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.contractions import Contraction, canonical, enumerate_contractions, evaluate
from jorbit.basis.moments import degree_slice, stf_tensor
from jorbit.core.errors import ConfigError

# Counts of a study of optimal invariants, scalar included, for n <= 2, 3, ...
COUNTS = {2: (3, 5, 7, 9, 11), 3: (4, 8, 20, 42, 110), 4: (5, 14, 51, 197)}


@pytest.mark.parametrize("l_max", COUNTS)
def test_numbers_of_graphs(l_max):
    assert tuple(len(enumerate_contractions(n, l_max)) for n in range(2, 2 + len(COUNTS[l_max]))) == COUNTS[l_max]


def connected(n: int, edges: dict) -> bool:
    reached = {0}
    for _ in range(n):
        reached |= {v for pair, k in edges.items() if k and reached & set(pair) for v in pair}
    return len(reached) == n


@pytest.mark.parametrize(("n", "l_max"), [(2, 4), (3, 3), (4, 2)])
def test_number_of_classes_equals_that_of_cauchy_and_frobenius(n, l_max):
    """Orbits = mean over permutations of the tables that a permutation leaves alone, all tables tried one by one."""
    pairs = list(itertools.combinations(range(n), 2))
    fixed = 0
    for counts in itertools.product(range(l_max + 1), repeat=len(pairs)):
        table = dict(zip(pairs, counts, strict=True))
        degrees = [sum(k for pair, k in table.items() if v in pair) for v in range(n)]
        if max(degrees) > l_max or min(degrees) < 1 or not connected(n, table):
            continue
        for p in itertools.permutations(range(n)):
            fixed += all(table[tuple(sorted((p[a], p[b])))] == k for (a, b), k in table.items())
    graphs = [c for c in enumerate_contractions(n, l_max) if c.order == n]
    assert fixed == math.factorial(n) * len(graphs)


def test_renumbering_the_tensors_gives_the_same_graph():
    rng = np.random.default_rng(0)
    for graph in enumerate_contractions(4, 4):
        p = rng.permutation(graph.order)
        degrees = tuple(graph.degrees[k] for k in np.argsort(p))
        assert canonical(degrees, [(int(p[a]), int(p[b])) for a, b in graph.edges]) == graph
        assert Contraction.parse(",".join(graph.labels())) == graph


def test_graphs_are_connected_without_loops_and_use_every_leg():
    for graph in enumerate_contractions(5, 3):
        legs = [sum(k in edge for edge in graph.edges) for k in range(graph.order)]
        assert tuple(legs) == graph.degrees and all(a != b for a, b in graph.edges)


def test_values_are_sums_over_all_indices(x64):
    """Python loops over every index of two graphs that no shared product covers."""
    rng = np.random.default_rng(1)
    moments = jnp.asarray(rng.normal(size=25))
    v, q, t, d = (np.asarray(stf_tensor(moments[degree_slice(l)], l)) for l in range(1, 5))
    got = evaluate(
        [Contraction.parse("i,jk,ijk"), Contraction.parse("ij,kl,ijkl"), Contraction.parse("i,jkl,ijkl")], moments
    )
    r = range(3)
    wanted = [
        sum(v[i] * q[j, k] * t[i, j, k] for i in r for j in r for k in r),
        sum(q[i, j] * q[k, l] * d[i, j, k, l] for i in r for j in r for k in r for l in r),
        sum(v[i] * t[j, k, l] * d[i, j, k, l] for i in r for j in r for k in r for l in r),
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-12)


def test_the_fourth_power_of_q_is_half_the_square_of_its_second(x64):
    """Cayley and Hamilton: tr Q^4 = (tr Q^2)^2 / 2 for a trace-free 3 x 3 matrix."""
    moments = jnp.asarray(np.random.default_rng(2).normal(size=(6, 9)))
    fourth, second = evaluate([Contraction.parse("ij,jk,kl,li"), Contraction.parse("ij,ij")], moments).T
    np.testing.assert_allclose(fourth, second**2 / 2, rtol=1e-12)


def test_a_dangling_index_is_refused():
    with pytest.raises(ConfigError, match="'j'"):
        Contraction.parse("i,ij")
    with pytest.raises(ConfigError, match="'i'"):
        Contraction.parse("ii")
