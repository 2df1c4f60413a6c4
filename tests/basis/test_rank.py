"""Ranks of sets of invariants: complete, independent, flexible. Expected numbers are from a study of optimal invariants
(derived there by singular values), and are found here in float64 and modulo a prime."""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.invariant_sets import InvariantSet, flex15, full20, generated, hop13, hop14, invariant_set
from jorbit.basis.preimages import find_preimages
from jorbit.basis.rank import (
    StratumRank,
    degrees_of_freedom,
    mixed_rank,
    moment_jacobian,
    moment_rank,
    neighbor_rank,
    numerical_rank,
    rank_report,
    stratum_ranks,
)

STRATA = (("v",), ("Q",), ("T",), ("v", "Q"), ("v", "T"), ("Q", "T"), ("v", "Q", "T"))
DOF = (2, 3, 5, 6, 8, 10, 13)
RANKS = {
    "hop13": (2, 3, 3, 6, 6, 8, 13),
    "hop14": (2, 3, 3, 6, 6, 8, 13),
    "flex15": (2, 3, 5, 6, 8, 10, 13),
    "full20": (2, 3, 3, 6, 7, 8, 13),
}
# v, Q and T for which thirteen numbers have several answers
V, Q, T = (0.6, 0.5, 0.4), (1.0, 0.0, 0.0, -0.3, 0.0), (0.5, 0.3, -0.2, 0.1, 0.4, -0.6, 0.2)
OTHER_T = (
    *(0.286684313618, 0.402143550834, -0.310201910816, 0.149273848807),
    *(0.441350530247, 0.007758537299, 0.313093199216),
)
POINT = np.array([1.0, *V, *Q, *T])


@functools.cache
def strata(name: str, exact: bool) -> tuple[StratumRank, ...]:
    return stratum_ranks(invariant_set(name), exact=exact)


@functools.cache
def everything_and_pure_t() -> InvariantSet:
    return InvariantSet("22", tuple(dict.fromkeys(full20().contractions + flex15().contractions)))


@pytest.mark.parametrize("exact", [False, True], ids=["float64", "exact"])
@pytest.mark.parametrize("name", RANKS)
def test_ranks_of_every_stratum(name, exact):
    found = strata(name, exact)
    assert [s.nonzero for s in found] == list(STRATA)
    assert tuple(s.dof for s in found) == DOF
    assert tuple(s.rank for s in found) == RANKS[name]


def test_all_twenty_and_the_two_of_t_alone_are_complete_everywhere():
    assert tuple(s.rank for s in stratum_ranks(everything_and_pure_t(), exact=True)) == DOF


def test_verdicts():
    found = {name: rank_report(invariant_set(name), exact=True) for name in RANKS}
    assert all(r.complete for r in found.values())
    assert [name for name, r in found.items() if r.independent] == ["hop13"]
    assert [name for name, r in found.items() if r.flexible] == ["flex15"]
    assert not rank_report(hop13(3, 3), exact=True).complete


def test_every_one_of_the_thirteen_is_needed():
    jacobian = moment_jacobian(hop13(), np.random.default_rng(0).normal(size=16))
    assert numerical_rank(jacobian) == 13
    assert {numerical_rank(np.delete(jacobian, k, axis=0)) for k in range(13)} == {12}


@pytest.mark.parametrize(("l_max", "ranks"), [(3, (1, 4, 7, 13)), (2, (1, 3, 5, 6)), (1, (1, 2, 2, 2))])
def test_ranks_of_the_truncations(l_max, ranks):
    for n, rank in enumerate(ranks, start=1):
        assert moment_rank(hop13(n, l_max), exact=True) == rank
        assert moment_rank(hop13(n, l_max)) == rank


@pytest.mark.parametrize(
    ("l_max", "ranks"), [(2, (3, 5, 6, 6, 6)), (3, (4, 8, 13, 13, 13)), (4, (5, 14, 22, 22))], ids=["l2", "l3", "l4"]
)
def test_more_graphs_do_not_raise_the_rank_beyond_the_degrees_of_freedom(l_max, ranks):
    found = [moment_rank(generated(n, l_max), exact=True, points=1) for n in range(2, 2 + len(ranks))]
    assert tuple(found) == ranks
    assert max(found) == degrees_of_freedom(range(l_max + 1))


def test_l_2_is_complete_independent_and_flexible():
    report = rank_report(hop13(4, 2))
    assert (report.size, report.rank, report.dof) == (6, 6, 6) and report.independent and report.flexible


def special_points() -> dict[str, np.ndarray]:
    """Moments at which a set loses rank although no tensor, or only v, vanishes."""
    rng = np.random.default_rng(1)
    point = {name: rng.normal(size=16) for name in ("uniaxial", "eigenvector", "zero")}
    point["uniaxial"][4:9] = (1.0, 0.0, 0.0, 1.0, 0.0)  # diag(1, 1, -2)
    point["eigenvector"][1:9] = (0.0, 0.0, 0.7, 1.0, 0.0, 0.0, -0.3, 0.0)  # v along z, an eigenvector of Q
    point["zero"][1:4] = 0.0
    return point


# Sets: the thirteen, with v Q T, flex15, all twenty
@pytest.mark.parametrize(
    ("where", "ranks"),
    [("uniaxial", (12, 13, 13, 13)), ("eigenvector", (11, 12, 13, 13)), ("zero", (8, 9, 10, 11))],
)
def test_ranks_at_special_points(where, ranks):
    found = tuple(moment_rank(s, at=special_points()[where]) for s in (hop13(), hop14(), flex15(), full20()))
    assert found == ranks


def test_thirteen_numbers_resolve_seven_neighbours_at_one_distance():
    found = [neighbor_rank(hop13(), n) for n in range(2, 10)]
    assert found == [min(2 * n - 3, 12) for n in range(2, 10)]


@pytest.mark.parametrize("n_channels", [1, 2, 3, 4])
def test_one_mixture_more_than_channels_resolves_all_of_them(n_channels):
    mixing = np.random.default_rng(n_channels).normal(size=(n_channels + 1, n_channels))
    found = [mixed_rank(hop13(), mixing[:n]) for n in range(1, n_channels + 2)]
    assert found == [min(13 * n, 16 * n_channels - 3) for n in range(1, n_channels + 2)]
    pure = np.concatenate([np.eye(n_channels), mixing[:1]])
    assert mixed_rank(hop13(), pure) == degrees_of_freedom(range(4), n_channels)


def test_two_tensors_that_thirteen_numbers_cannot_tell_apart(x64):
    other = np.array([1.0, *V, *Q, *OTHER_T])
    values = np.asarray(everything_and_pure_t()(jnp.asarray(np.stack([POINT, other]))))
    graphs = everything_and_pure_t().contractions
    same = [graphs.index(c) for c in hop13().contractions]
    np.testing.assert_allclose(values[0, same], values[1, same], atol=1e-11)  # T' is given to 12 digits
    vqt = graphs.index(hop14().contractions[-1])
    j6 = graphs.index(flex15().contractions[-2])
    np.testing.assert_allclose(values[:, vqt], (0.565, 0.510775), atol=1e-6)
    np.testing.assert_allclose(values[:, j6], (2.0185, 0.5857), atol=1e-4)


@pytest.mark.slow
def test_hop13_has_several_preimages_and_the_larger_sets_have_one():
    several = find_preimages(hop13(), POINT, n_starts=100)
    assert len(several.moments) >= 4 and not several.unique
    for bigger in (hop14(), flex15(), full20()):
        found = find_preimages(bigger, POINT, n_starts=100)
        assert found.unique and found.n_converged >= 3
