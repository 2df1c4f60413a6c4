"""Batches hold what their structures hold, in few shapes, and padding never changes a number."""

import dataclasses

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jorbit.core.errors import CapacityError, MissingInputError, StructureError, UnknownSpeciesError
from jorbit.core.graph import pair_vectors
from jorbit.core.ops import safe_norm, sum_over_structures
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Capacity
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Labels
from jorbit.graphs.batching import build_graph, capacity_for, pad_labels, round_up, unbatch
from jorbit.graphs.neighbors import find_pairs
from jorbit.testing import systems, transformations

SPECIES = SpeciesTable.from_numbers([1, 6, 8, 14])
MIXED = [systems.water(), systems.triclinic_crystal(), systems.single_atom(), systems.rattled_silicon()]


@hypothesis.given(st.integers(1, 10**9))
def test_a_bucket_holds_what_it_is_for_and_wastes_less_than_a_quarter(n):
    bucket = round_up(n)
    assert bucket >= n
    assert bucket - n < max(4, n / 4)
    assert round_up(bucket) == bucket


def test_buckets_are_few():
    assert len({round_up(n) for n in range(1, 1025)}) == 8 + 4 * 5


def test_pair_vectors_are_those_of_the_pair_list(x64):
    graph = build_graph(MIXED, SPECIES, [2.0, 3.5])
    start = 0
    for k, s in enumerate(MIXED):
        for neighbors in graph.neighborhoods:
            pairs = find_pairs(s, neighbors.cutoff)
            here = slice(start, start + s.n_atoms)
            vectors = np.asarray(pair_vectors(graph, neighbors))[here]
            mask = np.asarray(neighbors.mask)[here]
            assert mask.sum() == len(pairs.i), (k, neighbors.cutoff)
            wanted = s.positions[pairs.j] - s.positions[pairs.i] + pairs.shifts @ s.cell
            order_got = np.lexsort(vectors[mask].round(9).T)
            order_wanted = np.lexsort(wanted.round(9).T)
            np.testing.assert_allclose(vectors[mask][order_got], wanted[order_wanted], atol=1e-12)
        start += s.n_atoms


def test_fields_stand_where_the_owner_says():
    graph = build_graph(MIXED, SPECIES, [3.0])
    n_real = sum(s.n_atoms for s in MIXED)
    assert graph.atom_mask.sum() == n_real and graph.structure_mask.sum() == len(MIXED)
    assert np.all(np.diff(np.asarray(graph.owner)) >= 0)
    for k, s in enumerate(MIXED):
        mine = np.flatnonzero((np.asarray(graph.owner) == k) & np.asarray(graph.atom_mask))
        np.testing.assert_array_equal(np.asarray(graph.numbers)[mine], s.numbers)
        np.testing.assert_allclose(np.asarray(graph.positions)[mine], s.positions, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(np.asarray(graph.cell)[k], s.cell, rtol=1e-6)
    assert not np.any(np.asarray(graph.numbers)[n_real:])
    assert np.all(np.asarray(graph.owner)[n_real:] == graph.n_structures - 1)


def test_empty_slots_hold_a_harmless_vector():
    graph = build_graph(systems.single_atom(), SPECIES, [3.0])
    (neighbors,) = graph.neighborhoods
    assert not neighbors.mask.any()
    assert np.all(np.asarray(safe_norm(pair_vectors(graph, neighbors))) == 3.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_type_follows_the_request(dtype, x64):
    graph = build_graph(systems.water(), SPECIES, [3.0], dtype=dtype)
    floats = {leaf.dtype for leaf in jax.tree.leaves(graph) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert floats == {jnp.dtype(dtype)}


def test_capacity_for_is_what_build_graph_takes():
    capacity = capacity_for(MIXED, [2.0, 3.0])
    graph = build_graph(MIXED, SPECIES, [2.0, 3.0])
    assert (graph.n_atoms, graph.n_structures) == (capacity.n_atoms, capacity.n_structures)
    assert tuple(n.mask.shape[1] for n in graph.neighborhoods) == capacity.n_slots


def test_the_order_of_cutoffs_does_not_matter():
    structures = [systems.rattled_silicon()]
    assert capacity_for(structures, [4.0, 2.5, 2.5]) == capacity_for(structures, [2.5, 4.0])
    build_graph(structures, SPECIES, [4.0, 2.5], capacity=capacity_for(structures, [4.0, 2.5]))


def test_a_capacity_for_other_cutoffs_or_for_nothing_is_an_error():
    with pytest.raises(CapacityError, match="1 cutoffs, the graph 2"):
        build_graph(MIXED, SPECIES, [2.0, 3.0], capacity=Capacity(16, 4, (40,)))
    with pytest.raises(StructureError, match="at least one"):
        capacity_for([], [3.0])


@pytest.mark.parametrize("capacity", [Capacity(14, 4, (40,)), Capacity(16, 3, (40,)), Capacity(16, 4, (5,))])
def test_what_does_not_fit_is_an_error(capacity):
    with pytest.raises(CapacityError):
        build_graph(MIXED, SPECIES, [3.0], capacity=capacity)


def test_no_structures_are_an_error():
    with pytest.raises(StructureError, match="at least one"):
        build_graph([], SPECIES, [3.0])


def test_an_unknown_element_is_an_error():
    with pytest.raises(UnknownSpeciesError, match="holds Ar"):
        build_graph(systems.single_atom(18), SPECIES, [3.0])


def test_a_bad_structure_in_a_batch_is_an_error():
    bad = transformations.translated(systems.water(), np.array([np.nan, 0, 0]))
    with pytest.raises(StructureError, match="NaN"):
        build_graph([systems.water(), bad], SPECIES, [3.0])


def test_a_cutoff_that_was_not_built_is_an_error():
    with pytest.raises(MissingInputError, match="holds .3.0. Å"):
        build_graph(systems.water(), SPECIES, [3.0]).within(4.0)


def test_the_sum_over_structures_leaves_out_padding(x64):
    graph = build_graph(MIXED, SPECIES, [])
    values = jnp.where(graph.atom_mask, 1.0, jnp.nan)
    totals = np.asarray(sum_over_structures(values, graph))
    assert totals[: len(MIXED)].tolist() == [s.n_atoms for s in MIXED]
    assert not totals[len(MIXED) :].any()


def test_labels_stand_with_their_atoms_and_absent_ones_weigh_nothing(x64):
    rng = np.random.default_rng(0)
    labels = [
        Labels(energy=-1.5, forces=rng.normal(size=(3, 3))),
        Labels(stress=rng.normal(size=(3, 3)), stress_weight=0.25),
        Labels(),
        Labels(energy=2.0, energy_weight=0.0, forces=rng.normal(size=(8, 3)), forces_weight=3.0),
    ]
    graph = build_graph(MIXED, SPECIES, [])
    batch = pad_labels(labels, MIXED, graph)
    assert batch.energy_weight.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert batch.stress_weight.tolist() == [0.0, 0.25, 0.0, 0.0]
    assert np.asarray(batch.forces_weight)[:15].tolist() == [1.0] * 3 + [0.0] * 4 + [3.0] * 8
    assert not np.any(np.asarray(batch.forces_weight)[15:])
    np.testing.assert_array_equal(batch.forces[:3], labels[0].forces)
    np.testing.assert_array_equal(batch.forces[7:15], labels[3].forces)
    np.testing.assert_array_equal(batch.stress[1], labels[1].stress)


def test_unbatch_undoes_batching_for_every_field(x64):
    graph = build_graph(MIXED, SPECIES, [])
    per_atom, per_structure = np.arange(graph.n_atoms) + 0.5, np.arange(graph.n_structures) + 0.25
    forces = per_atom[:, None] * np.array([1.0, 10.0, 100.0])
    prediction = Prediction(
        energy=jnp.asarray(per_structure),
        energies=jnp.asarray(per_atom),
        forces=jnp.asarray(forces),
        stress=jnp.asarray(per_structure[:, None, None] * np.ones((3, 3))),
        charges=jnp.asarray(-per_atom),
        energy_variance=jnp.asarray(per_structure),
        forces_variance=jnp.asarray(forces),
    )
    parts = unbatch(prediction, MIXED)
    assert [len(p.energies) for p in parts] == [s.n_atoms for s in MIXED]
    for field in dataclasses.fields(Prediction):
        joined = np.concatenate([getattr(p, field.name) for p in parts])
        np.testing.assert_array_equal(joined, np.asarray(getattr(prediction, field.name))[: len(joined)])
        assert len(joined) in (len(MIXED), 15)
