"""Degenerate environments are what they say: published values, and who can tell them apart."""

import functools
import io
import itertools
import lzma
import os
import pathlib

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jorbit.basis.contractions import Contraction, evaluate
from jorbit.basis.invariant_sets import invariant_set
from jorbit.basis.moments import stf_components
from jorbit.basis.rank import numerical_rank
from jorbit.core.errors import ConfigError
from jorbit.core.structure import Structure
from jorbit.descriptors import separate
from jorbit.descriptors.cartesian import Cartesian
from jorbit.testing import degenerate_pairs, equidistant_environment, several_preimages
from jorbit.testing.degenerate import SETS

PAIRS = degenerate_pairs()
# Order: s, v.v, QQ, TT, QQQ, vQv, QTT, vQQv, vvvT, vTTv, QQTT, (QT)^2, TTTT. Expected numbers: computed with numpy,
# apart from this package, for a study of optimal invariants.
SQUARES = (
    (4, 2, 4.666667, 0.8, 2.222222, -0.666667, 0.293333, 0.222222, -0.4, 0.56, 1.315556, 1.28, 0.2336),
    (4, 2, 4.666667, 0.8, 2.222222, 3.333333, 0.133333, 5.555556, -0.4, 0.56, 1.102222, 0, 0.2336),
)


@functools.cache
def compiled(name: str):
    return jax.jit(invariant_set(name))


def directions(structure: Structure) -> np.ndarray:
    arms = structure.positions[1:] - structure.positions[0]
    return arms / np.linalg.norm(arms, axis=1, keepdims=True)


def values(structure: Structure, name: str) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(compiled(name)(stf_components(jnp.asarray(directions(structure)), 3).sum(axis=0)))


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("chosen", SETS)
def test_a_set_separates_the_pairs_it_is_said_to_separate(chosen, name):
    pair = PAIRS[name]
    one, two = values(pair.first, chosen), values(pair.second, chosen)
    difference = np.abs(one - two).max() / np.abs(one).max()
    if chosen in pair.separated_by:
        assert difference > 1e-3
    else:
        assert difference < 1e-9


@pytest.mark.parametrize("name", PAIRS)
def test_only_mirror_images_are_congruent(name):
    """Congruent if some permutation of the neighbours maps all distances, the centre's included, onto each other."""
    pair = PAIRS[name]
    one, two = (np.linalg.norm(p[:, None] - p[None], axis=2) for p in (pair.first.positions, pair.second.positions))
    same = np.abs(np.sort(one[1:].sum(axis=1)) - np.sort(two[1:].sum(axis=1))).max() < 1e-9
    if same and len(one) <= 8:
        n = len(one)
        orders = ([0, *p] for p in itertools.permutations(range(1, n)))
        same = any(np.abs(one - two[np.ix_(p, p)]).max() < 1e-9 for p in orders)
    assert same == pair.congruent


def test_homometric_squares_have_the_expected_values():
    pair = PAIRS["homometric_squares"]
    for structure, wanted in zip((pair.first, pair.second), SQUARES, strict=True):
        np.testing.assert_allclose(values(structure, "hop13"), wanted, atol=1e-6)


def test_twin_tetrahedra_have_the_expected_values():
    pair = PAIRS["twin_tetrahedra"]
    chords, wanted = [], ((8.3200377645, 33.0750612721), (6.2120795425, -6.1762145529))
    for structure, (j6, j10) in zip((pair.first, pair.second), wanted, strict=True):
        found = values(structure, "flex15")
        np.testing.assert_allclose(found[[0, 3, 12, 13, 14]], (8, 10.0087042804, 35.4473656347, j6, j10), atol=1e-9)
        np.testing.assert_allclose(np.delete(found, [0, 3, 12, 13, 14]), 0, atol=1e-12)
        chords.append(pdist(directions(structure)).min())
    np.testing.assert_allclose(chords, (0.21262, 0.35124), atol=1e-5)


def test_twin_tetrahedra_are_separated_by_four_tensors_of_l_4():
    """T_abc T_def D_abcg D_defg: the first difference among products of moments of l <= 4."""
    pair, found = PAIRS["twin_tetrahedra"], []
    graph = Contraction.parse("abc,def,abcg,defg")
    with jax.enable_x64(True):
        for structure in (pair.first, pair.second):
            moments = stf_components(jnp.asarray(directions(structure)), 4).sum(axis=0)
            found.append(float(evaluate([graph], moments)[0]))
            low = np.asarray(evaluate(invariant_set("generated:3,4").contractions, moments))
            found.append(low)
    assert found[0] == pytest.approx(1.170005, abs=1e-6) and found[2] == pytest.approx(0.873574, abs=1e-6)
    np.testing.assert_allclose(found[1], found[3], atol=1e-9)


def test_several_preimages_differ_by_more_than_a_rotation():
    first, second = several_preimages()
    with jax.enable_x64(True):
        one, two = (np.asarray(compiled("full20")(jnp.asarray(m))) for m in (first, second))
    thirteen = invariant_set("full20").size - 7
    np.testing.assert_allclose(one[:thirteen], two[:thirteen], atol=1e-11)
    assert one[13] == pytest.approx(0.565, abs=1e-6) and two[13] == pytest.approx(0.510775, abs=1e-6)


def test_invariants_of_moments_with_traces_lose_rank_at_equal_distances():
    """E6: tr M2 = s at distance 1, so one of seven invariants of (s, v, M2) is not new; trace-free ones keep six."""
    positions = jnp.asarray(directions(equidistant_environment(8)))

    def reducible(u, w):
        v, m = w @ u, jnp.einsum("n,na,nb->ab", w, u, u)
        return jnp.stack(
            [w.sum(), v @ v, jnp.trace(m), jnp.trace(m @ m), jnp.trace(m @ m @ m), v @ m @ v, v @ m @ m @ v]
        )

    def trace_free(u, w):
        return invariant_set("hop13:4,2")(w @ stf_components(u, 2))

    def rank(function, free_distances: bool) -> int:
        def of(positions, weights):
            r = jnp.linalg.norm(positions, axis=1, keepdims=True)
            return function(positions if free_distances else positions / r, weights)

        with jax.enable_x64(True):
            x, w = jnp.asarray(positions, float), jnp.linspace(0.5, 1.5, 8)
            jacobian = jax.jit(jax.jacfwd(of, argnums=(0, 1)))(x, w)
        return numerical_rank(np.concatenate([np.asarray(j).reshape(j.shape[0], -1) for j in jacobian], axis=1))

    assert rank(reducible, True) == 7 and rank(reducible, False) == 6  # of 7
    assert rank(trace_free, False) == 6  # of 6


def test_separate_says_what_differs():
    pair = PAIRS["homometric_squares"]
    three_body, four_body = (Cartesian(2, n_radial=1, invariants=f"hop13:{n},2") for n in (2, 3))
    blind = separate(pair.first, pair.second, three_body)
    assert not blind and blind.distance < 1e-12 and blind.features == ()
    seen = separate(pair.first, pair.second, four_body)
    names = [c.formula() for c in four_body.set.contractions]
    assert seen and seen.distance > 0.1  # hydrogen's five come first
    assert [names[k] for k in seen.features] == ["v_i v_j Q_ij"]


def test_neighbours_see_what_the_centre_cannot():
    """With center=None all atoms are compared: those at the ends of the arms have different surroundings."""
    pair = PAIRS["homometric_squares"]
    distances = Cartesian(2, n_radial=4, invariants="hop13:2,1")
    assert not separate(pair.first, pair.second, distances)
    assert separate(pair.first, pair.second, distances, center=None)
    order = [0, 3, 1, 4, 2]
    shuffled = Structure(positions=pair.first.positions[order], numbers=pair.first.numbers[order])
    assert not separate(pair.first, shuffled, distances, center=None)


def test_too_few_species_are_refused():
    pair = PAIRS["2body"]
    with pytest.raises(ConfigError, match="n_species=2"):
        separate(pair.first, pair.second, Cartesian(1))


@pytest.mark.skipif(not os.environ.get("JORBIT_DATA"), reason="JORBIT_DATA is not set")
def test_pairs_equal_those_of_the_collection():
    path = pathlib.Path(os.environ["JORBIT_DATA"]) / "degenerate_environments" / "pairs.extxyz.xz"
    if not path.exists():
        pytest.skip("JORBIT_DATA has no degenerate_environments")
    frames = ase.io.read(io.StringIO(lzma.open(path, "rt").read()), ":", format="extxyz")
    for frame in frames:
        pair = PAIRS[frame.info["pair"]]
        structure = pair.first if frame.info["member"] == "A" else pair.second
        np.testing.assert_allclose(structure.positions, frame.positions, atol=1e-12)
        np.testing.assert_array_equal(structure.numbers, frame.numbers)
    assert len(frames) == 8
