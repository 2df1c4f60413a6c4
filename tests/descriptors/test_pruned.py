"""Pruning against published counts, closed forms for symmetric sites, and the definition of a functional dependence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jorbit.basis.independent_rows import IndependentRows
from jorbit.basis.moment_jacobians import candidate_order, feature_cost
from jorbit.basis.product_space import ProductLimits, product_space
from jorbit.basis.symmetric_products import invariants_jvp
from jorbit.core.errors import ConfigError
from jorbit.core.graph import pair_vectors
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.descriptors.ace import ACE
from jorbit.descriptors.pruned import Pruned, prune, select_features
from jorbit.graphs import build_graph
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential, predict
from jorbit.potential.artefact import load, save

UNLIMITED = (10**6,) * 4


def all_products(n_radial: int, l_max: int, order: int):
    return product_space(ProductLimits(1, n_radial, l_max, UNLIMITED[:order]))


# D = K (l_max + 1)^2 - 3; how many are kept at nu = 2 and up to nu = 3 besides the K single ones: counts of a study of
# optimal invariants (greedy, lowest order first; one channel needs nu = 4, two or more never do).
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("n_radial", "l_max", "kept"),
    [
        (1, 2, (1, 2, 2, 1)),
        (1, 3, (1, 3, 4, 5)),
        (1, 4, (1, 4, 9, 8)),
        (2, 2, (2, 6, 7, 0)),
        (2, 3, (2, 9, 18, 0)),
    ],
)
def test_pruned_sets_have_the_published_sizes(n_radial, l_max, kept, exact):
    space = all_products(n_radial, l_max, 4)
    chosen = select_features(space, exact=exact)
    assert chosen.rank == chosen.degrees_of_freedom == n_radial * (l_max + 1) ** 2 - 3 == len(chosen.features)
    assert chosen.complete and chosen.independent and chosen.unanimous
    orders = space.order[list(chosen.features)]
    assert tuple(int((orders == nu).sum()) for nu in (1, 2, 3, 4)) == kept
    if not exact:
        assert chosen.smallest_kept > 1e-3 > 1e-10 > chosen.largest_dropped


def test_fourteen_thousand_candidates_leave_six_and_eighty_seven():
    """K = 6, l_max = 3: 13816 candidates; 56 of 63 couplings at n = 2, 87 with n = 3, and the 6 densities."""
    space = all_products(6, 3, 4)
    chosen = select_features(space, exact=True)
    orders = space.order[list(chosen.features)]
    assert chosen.n_candidates == 13816
    assert [int((orders == nu).sum()) for nu in (1, 2, 3, 4)] == [6, 56, 31, 0]
    assert chosen.rank == chosen.degrees_of_freedom == 93


@pytest.mark.parametrize("order", ["body", "degree", "cost", "given"])
def test_every_order_and_seed_keeps_as_many(order):
    space = all_products(2, 2, 3)
    sizes = {len(select_features(space, order=order, seed=seed).features) for seed in (0, 7, 100)}
    assert sizes == {15}


def test_importance_decides_who_stays():
    """The last feature first: it stays, and the set is complete all the same."""
    space = all_products(2, 2, 3)
    importance = np.arange(space.n_features, dtype=float)
    chosen = select_features(space, order=importance, exact=True)
    assert space.n_features - 1 in chosen.features
    assert chosen.rank == 15
    assert candidate_order(importance, space.n_features)[0] == space.n_features - 1


def test_cheap_first_is_cheaper_than_expensive_first():
    space = all_products(2, 3, 3)
    cost = feature_cost(space)
    cheap = select_features(space, order="cost", exact=True).features
    dear = select_features(space, order=cost.astype(float), exact=True).features
    assert len(cheap) == len(dear) == 29
    assert cost[list(cheap)].sum() < cost[list(dear)].sum()


@pytest.mark.parametrize(("n_radial", "l_max"), [(1, 2), (2, 2), (2, 1)])
def test_positions_and_moments_agree(n_radial, l_max):
    """Enough random neighbours see as many directions as free moments; few neighbours only 3 N - 3."""
    degrees = (99,) * (4 if n_radial == 1 else 3)  # one channel needs five bodies
    ace = ACE(n_species=1, cutoff=4.0, max_degree=degrees, l_max=l_max, n_radial=n_radial, bond_lengths=2.0)
    moments = select_features(ace)
    positions = select_features(ace, variables="positions")
    assert positions.features == moments.features
    assert positions.rank == positions.degrees_of_freedom == moments.rank
    assert select_features(ace, variables="positions", n_neighbors=2).rank == 3


def test_a_dropped_feature_is_a_function_of_the_kept_ones():
    """Along a curve on which all kept features stay the same (rotations excluded: there is none), the others do too.

    Kept gradients span the others': a step orthogonal to them changes the dropped ones to second order only.
    """
    space = all_products(1, 3, 4)
    kept = np.array(select_features(space).features)
    dropped = np.setdiff1d(np.arange(space.n_features), kept)
    rng = np.random.default_rng(5)
    with jax.enable_x64(True):
        sizes = [2 * degree + 1 for degree in range(4)]
        x = rng.normal(size=sum(sizes))

        def atomic(x):
            return [jnp.asarray(part).reshape(-1, 1, 1) for part in np.split(x, np.cumsum(sizes)[:-1])]

        identity = np.eye(len(x))
        tangent = [jnp.asarray(part)[:, None] for part in np.split(identity, np.cumsum(sizes)[:-1])]
        values, jacobian = jax.jit(lambda a, t: invariants_jvp(space, a, t))(atomic(x), tangent)
        values, jacobian = np.asarray(values), np.asarray(jacobian)
        null = np.linalg.svd(jacobian[kept])[2][len(kept) :]
        change = np.abs(jacobian[dropped] @ null.T).max(axis=1) / np.linalg.norm(jacobian[dropped], axis=1)
    assert len(null) == 3  # the rotations
    assert change.max() < 1e-10
    assert np.abs(values[dropped]).min() > 1e-6  # and they are not dropped for being zero


def test_strata_add_what_degenerate_densities_need():
    """Where l = 1 vanishes, other features are needed: the flexible set has full rank there, the generic one not."""
    space = all_products(2, 3, 4)
    generic = select_features(space, exact=True)
    flexible = select_features(space, exact=True, strata=1)
    assert set(generic.features) < set(flexible.features)
    by_zero = {s.zero: s for s in flexible.strata}
    assert set(by_zero) == {(1,), (2,), (3,)}
    assert by_zero[(1,)].rank_before < by_zero[(1,)].rank == by_zero[(1,)].degrees_of_freedom == 2 * (1 + 5 + 7) - 3
    assert all(s.rank == s.degrees_of_freedom for s in flexible.strata)
    assert flexible.rank == 29
    assert not flexible.independent


def test_at_a_cubic_site_only_the_totally_symmetric_directions_are_resolved(x64):
    """In a perfect fcc crystal any invariant changes to first order with the A1g components alone.

    Among l = 0 .. 4, those are l = 0 and one component of l = 4: two per radial function. The pruned set must not lose
    any of them, though it was chosen at generic points.
    """
    ace = ACE(n_species=1, cutoff=4.5, max_degree=(99,) * 3, l_max=4, n_radial=2, bond_lengths=2.5)
    structure = from_ase(bulk("Cu", "fcc", a=3.6, cubic=True))
    graph = build_graph(structure, SpeciesTable.from_numbers([29]), [4.5], dtype=jnp.float64)
    neighbors = graph.within(4.5)
    for descriptor in (ace, prune(ace)):
        space = descriptor.space
        vectors, species_j = pair_vectors(graph, neighbors)[:1], jnp.zeros_like(neighbors.index[:1])
        atomic = descriptor.atomic_basis(vectors, graph.species[:1], species_j, neighbors.mask[:1], space)
        shapes = [a.shape[:2] for a in atomic]
        identity = np.eye(sum(m * k for m, k in shapes))
        parts = np.split(identity, np.cumsum([m * k for m, k in shapes])[:-1])
        tangent = [jnp.asarray(p).reshape(*s, -1) for p, s in zip(parts, shapes, strict=True)]
        gradients = np.asarray(jax.jit(lambda a, t, s=space: invariants_jvp(s, a, t)[1])(atomic, tangent))
        rows = IndependentRows(len(identity), floor=1e-12 * np.abs(gradients).max())
        rows.add(gradients)
        assert rows.rank == 4


def test_restricted_ace_gives_the_same_numbers_from_smaller_tables(x64):
    full = ACE(n_species=2, cutoff=3.5, max_degree=(4, 4, 3, 2), l_max=2)
    chosen = (0, 3, 11, 12, 30, full.n_features - 1)
    rng = np.random.default_rng(0)
    structure = Structure(positions=rng.random((5, 3)) * 3.0, numbers=np.array([6, 1, 1, 6, 1]))
    graph = build_graph(structure, SpeciesTable.from_numbers([1, 6]), [3.5], dtype=jnp.float64)
    small = full.restricted(chosen)
    everything = np.asarray(jax.jit(full)(graph))
    np.testing.assert_allclose(jax.jit(small)(graph), everything[:, list(chosen)], rtol=1e-12, atol=1e-13)
    two = jax.jit(small.restricted((1, 4)))
    np.testing.assert_allclose(two(graph), everything[:, [3, 30]], rtol=1e-12, atol=1e-13)
    assert sum(b.n_pairs for b in small.space.blocks) <= 2 * len(chosen)
    assert sum(len(r) for r in small.space.rows) < sum(len(r) for r in full.space.rows)
    generic = Pruned(descriptor=full, features=chosen)
    np.testing.assert_allclose(jax.jit(generic)(graph), everything[:, list(chosen)], rtol=1e-12, atol=1e-13)


@pytest.fixture(scope="module")
def pruned_model():
    full = LinearACE(n_species=2, cutoff=3.5, max_degree=(4, 4, 3, 2), l_max=2)
    features = select_features(full.descriptor).features
    model = LinearACE(n_species=2, cutoff=3.5, max_degree=(4, 4, 3, 2), l_max=2, features=features)
    return full, model


@pytest.mark.slow
def test_a_pruned_linear_model_is_the_full_one_with_zeros(x64, pruned_model):
    """Energies, forces and design rows: the same as all features with coefficient 0 for those left out."""
    full, model = pruned_model
    assert model.n_functions < full.n_functions
    species = SpeciesTable.from_numbers([1, 6])
    rng = np.random.default_rng(2)
    structure = Structure(positions=rng.random((5, 3)) * 3.0, numbers=np.array([6, 1, 1, 6, 1]))
    small = Potential(terms=(model,), species=species)
    large = Potential(terms=(full,), species=species)
    c = rng.normal(size=(2, model.n_functions))
    padded = np.zeros((2, full.n_functions))
    padded[:, list(model.features)] = c
    got = predict(small, {"linear_ace": {"coefficients": c}}, structure)
    want = predict(large, {"linear_ace": {"coefficients": padded}}, structure)
    np.testing.assert_allclose(got.energy, want.energy, rtol=1e-12)
    np.testing.assert_allclose(got.forces, want.forces, atol=1e-11 * np.abs(want.forces).max())
    graph = small.graph(structure)
    energy, forces = jax.jit(lambda g: (model.design(g).energy, model.design(g).forces))(graph)
    np.testing.assert_allclose(energy @ c.ravel(), want.energy[0], rtol=1e-11)
    forces = (forces @ c.ravel())[: structure.n_atoms]
    np.testing.assert_allclose(forces, want.forces, atol=1e-11 * np.abs(want.forces).max())
    scale = full.prior_scale().reshape(2, -1)[:, list(model.features)]
    np.testing.assert_array_equal(model.prior_scale(), scale.ravel())


def test_a_pruned_model_comes_back_from_its_file_bit_by_bit(x64, pruned_model, tmp_path):
    _, model = pruned_model
    potential = Potential(terms=(model,), species=SpeciesTable.from_numbers([1, 6]))
    params = {"linear_ace": model.unflatten(np.random.default_rng(3).normal(size=model.n_parameters))}
    save(tmp_path / "model.safetensors", potential, params)
    loaded, values = load(tmp_path / "model.safetensors")
    assert loaded == potential
    water = Structure(positions=np.array([[0, 0, 0], [0, 0, 1.1], [0, 1.0, 0.2]]), numbers=np.array([6, 1, 1]))
    before, after = predict(potential, params, water), predict(loaded, values, water)
    assert before.energy[0] == after.energy[0]
    np.testing.assert_array_equal(before.forces, after.forces)


def test_wrong_choices_are_refused():
    ace = ACE.tiny(1)
    for features in ((3, 2), (), (0, 10**6)):
        with pytest.raises(ConfigError, match="ascending"):
            _ = ACE(n_species=1, cutoff=3.0, max_degree=(3, 3), l_max=2, features=features).space
    with pytest.raises(ConfigError, match="order"):
        select_features(ace, order="random")
    with pytest.raises(ConfigError, match="importances"):
        select_features(ace, order=np.zeros(3))
    with pytest.raises(ConfigError, match="odd"):
        select_features(ace, points=2)
    with pytest.raises(ConfigError, match="positions"):
        select_features(Pruned.tiny(1))
    with pytest.raises(ConfigError, match="Exact"):
        select_features(ace, variables="positions", exact=True)
    with pytest.raises(ConfigError, match="ascending"):
        Pruned(descriptor=ace, features=(2, 1))
