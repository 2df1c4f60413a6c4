"""Moments of the neighbours' features: both orders of the sums against the sum as it is written."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.basis.moments import stf_components
from jorbit.basis.opposite_pairs import opposite_pairs
from jorbit.core.graph import pair_vectors
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph
from jorbit.models.layers.neighbor_moments import NeighborMoments
from jorbit.models.layers.sensitivity import Sensitivities
from jorbit.testing.systems import SPECIES

SENSITIVITIES = Sensitivities(n=4, cutoff=2.5, soft_min=0.8, soft_max=2.2)
LAYER = NeighborMoments(width=3, l_max=2, sensitivities=SENSITIVITIES)
N_IN = 7


def graph_of(rng):
    """A molecule and a crystal smaller than the cutoff, in which an atom meets itself."""
    number = SPECIES.numbers[0]
    molecule = Structure(positions=rng.uniform(-1.2, 1.2, (5, 3)), numbers=np.full(5, number))
    crystal = Structure(
        positions=rng.uniform(0, 2, (2, 3)),
        numbers=np.full(2, number),
        cell=np.diag([2.3, 2.4, 2.2]) + rng.normal(0, 0.1, (3, 3)),
        pbc=np.ones(3, bool),
    )
    return build_graph([molecule, crystal], SPECIES, (2.5,), dtype=jnp.float64)


def given(rng):
    centers, widths = SENSITIVITIES.initial()
    kernel = jnp.asarray(rng.normal(size=(4, N_IN, 3)))
    return {"centers": jnp.asarray(centers), "widths": jnp.asarray(widths), "interaction_kernel": kernel}


def as_written(params, graph, features, counted):
    """M_ica = sum over n, b, j of V_nba s_n(r_ij) Y_c(r̂_ij) z_jb, in loops over the pairs that count."""
    neighbors = graph.within(2.5)
    vectors, weights = np.asarray(pair_vectors(graph, neighbors)), np.asarray(params["interaction_kernel"])
    r = np.linalg.norm(vectors, axis=-1)
    radial = np.asarray(SENSITIVITIES(jnp.asarray(r), params["centers"], params["widths"]))
    angular = np.asarray(stf_components(jnp.asarray(vectors / r[..., None]), 2))
    result = np.zeros((graph.n_atoms, 9, 3))
    for i, s in zip(*np.nonzero(np.asarray(counted)), strict=True):
        sender = features[int(neighbors.index[i, s])]
        result[i] += np.einsum("n,c,b,nba->ca", radial[i, s], angular[i, s], sender, weights)
    return result


def test_sent_and_gathered_moments_are_the_sum_as_it_is_written(x64):
    rng = np.random.default_rng(0)
    graph = graph_of(rng)
    neighbors = graph.within(2.5)
    features = jnp.asarray(rng.normal(size=(graph.n_atoms, N_IN)))
    params = given(rng)
    kernel = params["interaction_kernel"]
    assert LAYER.sends(N_IN, neighbors.mask.shape[1]) and not LAYER.sends(1, neighbors.mask.shape[1])
    wanted = as_written(params, graph, np.asarray(features), neighbors.mask)
    weights = jnp.asarray(rng.normal(size=(9, 3)))

    def moments(positions, kernel, sent):
        moved = dataclasses.replace(graph, positions=positions)
        opposite = opposite_pairs(neighbors) if sent else None
        mine = {"params": {**params, "interaction_kernel": kernel}}
        return LAYER.apply(mine, pair_vectors(moved, neighbors), neighbors, features, opposite)

    def everything(sent):
        def total(positions, kernel):
            return jnp.sum(moments(positions, kernel, sent) ** 2 * weights[None])

        def forces(positions, kernel):
            return jax.grad(total)(positions, kernel)

        direction = jnp.sin(jnp.arange(graph.n_atoms * 3.0).reshape(-1, 3))
        loss = jax.grad(lambda k: jnp.sum(forces(graph.positions, k) ** 2))  # what training does
        return (
            moments(graph.positions, kernel, sent),
            jax.jvp(lambda r: forces(r, kernel), (graph.positions,), (direction,))[1],
            jax.vmap(loss)(jnp.stack([kernel, 2.0 * kernel])),
        )

    sent, gathered = jax.jit(everything, static_argnums=0)(True), jax.jit(everything, static_argnums=0)(False)
    for found in (sent, gathered):
        np.testing.assert_allclose(found[0], wanted, atol=1e-12 * np.abs(wanted).max())
    for mine, other in zip(sent, gathered, strict=True):
        np.testing.assert_allclose(mine, other, atol=1e-11 * np.abs(other).max())


def test_pairs_that_one_atom_has_forgotten_count_as_nothing(x64):
    """Rounding may leave one of two atoms just outside the other's cutoff: no wrong row may take its place."""
    rng = np.random.default_rng(1)
    graph = graph_of(rng)
    full = graph.within(2.5)
    i, s = (int(k[0]) for k in np.nonzero(np.asarray(full.mask)))
    there = np.asarray(opposite_pairs(full)[1])
    np.testing.assert_array_equal(there, full.mask)
    forgotten = dataclasses.replace(full, mask=full.mask.at[i, s].set(False))
    lost = np.argwhere(there & ~np.asarray(opposite_pairs(forgotten)[1]))
    j = int(full.index[i, s])
    assert sorted(map(tuple, lost.tolist()))[0] == (i, s) and {a for a, _ in lost.tolist()} == {i, j}
    params, features = given(rng), jnp.asarray(rng.normal(size=(graph.n_atoms, N_IN)))
    sent = LAYER.apply(
        {"params": params}, pair_vectors(graph, forgotten), forgotten, features, opposite_pairs(forgotten)
    )
    counted = np.array(full.mask)
    counted[tuple(lost.T)] = False
    wanted = as_written(params, graph, np.asarray(features), counted)
    np.testing.assert_allclose(sent, wanted, atol=1e-12 * np.abs(wanted).max())
