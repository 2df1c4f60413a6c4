"""The Cartesian descriptor against sums written out, and what it resolves of positions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.moments import stf_basis
from jorbit.basis.radial import RadialBasis
from jorbit.basis.rank import degrees_of_freedom, mixed_rank
from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.descriptors.ace import ACE
from jorbit.descriptors.cartesian import Cartesian
from jorbit.descriptors.rank import descriptor_report, environment_dof, position_rank, position_strata
from jorbit.graphs.batching import build_graph
from jorbit.testing.systems import water

TABLE = SpeciesTable.from_numbers([1, 8])


def features(descriptor: Cartesian, structure: Structure) -> np.ndarray:
    graph = build_graph(structure, TABLE, [descriptor.cutoff], dtype=jnp.float64)
    return np.asarray(jax.jit(lambda g: descriptor(g))(graph))[: structure.n_atoms]


def test_features_equal_sums_over_neighbours_written_out(x64):
    """Moments as projected outer powers, invariants as numpy contractions, one neighbour at a time."""
    descriptor = Cartesian(n_species=2, cutoff=4.0, n_radial=2, invariants="hop14", n_mixtures=1)
    structure = water()
    radial = RadialBasis(n_radial=2, cutoff=4.0)
    got = features(descriptor, structure).reshape(3, 5, 14)
    for i in range(3):
        v, q, t, s = np.zeros((5, 3)), np.zeros((5, 3, 3)), np.zeros((5, 3, 3, 3)), np.zeros(5)
        for j in (k for k in range(3) if k != i):
            arm = structure.positions[j] - structure.positions[i]
            r = float(np.linalg.norm(arm))
            u = arm / r
            weights = np.zeros((2, 2))  # radial, species
            weights[:, 0 if structure.numbers[j] == 1 else 1] = np.asarray(radial(jnp.asarray(r)))
            channels = descriptor.mixing @ weights.ravel()
            s += channels
            v += np.multiply.outer(channels, u)
            q += np.multiply.outer(channels, trace_free(np.einsum("a,b->ab", u, u)))
            t += np.multiply.outer(channels, trace_free(np.einsum("a,b,c->abc", u, u, u)))
        for c in range(5):
            np.testing.assert_allclose(got[i, c], fourteen(s[c], v[c], q[c], t[c]), atol=1e-12)


def trace_free(tensor: np.ndarray) -> np.ndarray:
    """The part of a tensor in the space of the basis tensors, which `tests/basis/test_moments.py` checks."""
    degree = tensor.ndim
    orthonormal = np.linalg.qr(stf_basis(degree).reshape(2 * degree + 1, -1).T.astype(np.float64))[0]
    return (orthonormal @ (orthonormal.T @ tensor.ravel())).reshape(tensor.shape)


def fourteen(s, v, q, t) -> list[float]:
    b = np.einsum("ikl,jkl->ij", t, t)
    return [
        s,
        v @ v,
        np.sum(q * q),
        np.sum(t * t),
        np.trace(q @ q @ q),
        v @ q @ v,
        np.sum(q * b),
        v @ q @ q @ v,
        np.einsum("i,j,k,ijk->", v, v, v, t),
        v @ b @ v,
        np.sum((q @ q) * b),
        np.sum(np.einsum("ijk,ij->k", t, q) ** 2),
        np.sum(b * b),
        np.einsum("i,jk,ijk->", v, q, t),
    ]


def test_an_atom_without_neighbours_has_features_and_derivatives_zero(x64):
    descriptor = Cartesian(n_species=2, cutoff=3.0, n_radial=2)
    alone = Structure(positions=np.array([[0.0, 0, 0], [9.0, 0, 0]]), numbers=np.array([1, 8]))
    graph = build_graph(alone, TABLE, [3.0], dtype=jnp.float64)
    value, slope = jax.jit(jax.value_and_grad(lambda r: jnp.sum(descriptor(graph.replace(positions=r)))))(
        graph.positions
    )
    assert float(value) == 0.0 and not np.any(slope)


def test_a_mixture_is_the_weighted_sum_of_the_channels(x64):
    descriptor = Cartesian(n_species=2, cutoff=4.0, n_radial=2, n_mixtures=2)
    graph = build_graph(water(), TABLE, [4.0], dtype=jnp.float64)
    moments = np.asarray(descriptor.moments(graph))[:3]
    np.testing.assert_allclose(moments[:, 4:], np.einsum("dc,acm->adm", descriptor.mixing[4:], moments[:, :4]))


@pytest.mark.parametrize("n_channels", [2, 4])
def test_fixed_mixtures_resolve_all_channels(n_channels):
    """Thirteen numbers per neuron: one mixture in addition to up to five channels is enough."""
    descriptor = Cartesian(n_species=1, n_radial=n_channels, invariants="hop13", n_mixtures=1)
    assert mixed_rank(descriptor.set, descriptor.mixing) == degrees_of_freedom(range(4), n_channels)


def test_ranks_of_positions_are_those_of_the_moments():
    """Two channels of 9 moments: 3 N - 3 directions while N is small, then 2 * 9 - 3; without mixtures 2 * 6."""
    mixed = Cartesian(n_species=1, n_radial=2, invariants="hop13:4,2", n_mixtures=1)
    for n_neighbors, rank in ((4, environment_dof(4)), (8, degrees_of_freedom(range(3), 2))):
        assert position_rank(mixed, n_neighbors) == rank
    assert position_rank(dataclasses.replace(mixed, n_mixtures=0), 8) == 12


def test_reports_of_descriptors():
    pairs = descriptor_report("pairs", Cartesian(n_species=1, n_radial=3, invariants="hop13:1,0"), n_neighbors=4)
    assert (pairs.size, pairs.rank, pairs.dof) == (3, 3, 9)
    assert not pairs.complete and pairs.independent and pairs.flexible is None
    ace = descriptor_report("ace", ACE(n_species=1, cutoff=4.0, max_degree=(3, 3)), n_neighbors=4)
    assert ace.rank == 6 < ace.size and not ace.independent  # 4 singles and 2 pairs of vectors; the rest are products
    with pytest.raises(ConfigError, match="neighbour"):
        descriptor_report("pairs", Cartesian(n_species=1), n_neighbors=0)


# Ranks of sets where only s and T are non-zero, of 5 degrees of freedom: a study of optimal invariants. Two tetrahedra,
# one radial function: five numbers that the moments keep (7 + 1 - 3).
def test_two_tetrahedra_are_told_apart_by_invariants_of_t_alone():
    found = {s.nonzero: s for s in position_strata(Cartesian(n_species=1, n_radial=1, invariants="flex15"), points=1)}
    assert (found["T", "D"].rank, found["T", "D"].dof) == (5, 5)  # hop13: 3, see tests/cli/test_ranking.py
    assert found["Q", "D"].dof == 9 and found["Q", "D"].rank == 3  # s and the two of Q
    assert found["D",].rank == 1  # what is left of l <= 3 is the scalar


def test_wrong_options_are_refused():
    with pytest.raises(ConfigError, match="hop99"):
        Cartesian(n_species=1, invariants="hop99")
    with pytest.raises(ConfigError, match="n_mixtures"):
        Cartesian(n_species=1, n_mixtures=-1)
