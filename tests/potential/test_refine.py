"""Warm starts: a model over orbits gives the energies of the model over elements it comes from."""

import dataclasses

import jax
import numpy as np
import pytest

from jorbit.basis.label_embedding import LABEL_MODES, label_embedding, parent_rows
from jorbit.core.errors import ConfigError, UnknownSpeciesError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential, predict
from jorbit.potential.refine import refine
from jorbit.terms.lennard_jones import LennardJones
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.testing import systems

COARSE = SpeciesTable.from_numbers([1, 8])
FINE = SpeciesTable(((1, 0), (1, 1), (1, 2), (8, 0), (8, 1)))


@pytest.fixture(scope="module")
def cluster() -> Structure:
    """Two water molecules and a hydrogen, close enough for many-body terms, every orbit present."""
    positions = np.random.default_rng(3).normal(size=(7, 3)) * 1.1
    return Structure(
        positions=positions, numbers=np.array([8, 1, 1, 8, 1, 1, 1]), orbits=np.array([0, 0, 1, 1, 2, 0, 1])
    )


def species_model(model: LinearACE) -> tuple[Potential, dict]:
    potential = Potential(
        (ReferenceEnergy(2), model, LennardJones(epsilon=0.01, sigma=1.0, cutoff=3.0, onset=2.0)), COARSE
    )
    rng = np.random.default_rng(1)
    coefficients = rng.normal(size=(2, model.n_functions))
    return potential, {
        "reference_energy": {"energies": np.array([-13.0, -430.0])},
        "linear_ace": {"coefficients": coefficients},
        "lennard_jones": {},
    }


MODELS = {
    "up to five bodies": LinearACE(2, cutoff=3.0, max_degree=(1, 1, 2, 2), l_max=1),
    "few factors": LinearACE(2, cutoff=3.0, max_degree=(2, 2, 2), l_max=1, max_factors=(2, 1)),
    "limits by central species": LinearACE(
        2, cutoff=3.0, max_degree=((2, 1), (1, 2, 2)), l_max=1, max_factors=((2, 1), (3, 0))
    ),
    "chosen features": LinearACE(
        2, cutoff=3.0, max_degree=(2, 2, 1), l_max=1, features=(0, 3, 7, 10, 15), bond_lengths=((0.9, 1.1), (1.1, 1.7))
    ),
}


@pytest.mark.parametrize("name,neighbors", [*((name, "orbits") for name in MODELS), ("chosen features", "elements")])
def test_a_warm_start_repeats_the_species_model(name, neighbors, cluster, x64):
    potential, params = species_model(MODELS[name])
    fine, fine_params = refine(potential, params, FINE, neighbors=neighbors)
    wanted, got = predict(potential, params, cluster), predict(fine, fine_params, cluster)
    np.testing.assert_allclose(got.energy, wanted.energy, rtol=0, atol=1e-9 * np.abs(wanted.forces).max())
    np.testing.assert_allclose(got.forces, wanted.forces, rtol=0, atol=1e-9 * np.abs(wanted.forces).max())
    assert fine.species == FINE
    if neighbors == "orbits":
        assert fine.terms[1].n_functions > potential.terms[1].n_functions


def test_orbits_of_the_central_atom_become_orbits_of_the_neighbours_as_well(cluster):
    """Elements, then central orbits, then all orbits: the same model as in one step."""
    potential, params = species_model(MODELS["few factors"])
    step, step_params = refine(potential, params, FINE, neighbors="elements")
    twice, twice_params = refine(step, step_params, FINE, neighbors="orbits")
    once, once_params = refine(potential, params, FINE, neighbors="orbits")
    assert twice == once
    got, wanted = (p["linear_ace"]["coefficients"] for p in (twice_params, once_params))
    np.testing.assert_allclose(got, wanted, atol=1e-9 * np.abs(wanted).max())


def test_refined_models_are_not_blind_to_orbits(cluster, x64):
    """Random coefficients: exchanging two atoms of one orbit changes nothing, of two orbits of one element it does."""
    potential, params = species_model(MODELS["few factors"])
    fine, fine_params = refine(potential, params, FINE)
    rng = np.random.default_rng(0)
    fine_params["linear_ace"] = jax.tree.map(lambda c: rng.normal(size=c.shape), fine_params["linear_ace"])

    def energy_after_exchange(i: int, j: int) -> float:
        order = np.arange(7)
        order[[i, j]] = j, i
        moved = dataclasses.replace(cluster, positions=cluster.positions[order])
        return float(predict(fine, fine_params, moved).energy[0])

    start = energy_after_exchange(0, 0)
    assert energy_after_exchange(1, 5) == pytest.approx(start, abs=1e-9)  # both H of orbit 0
    assert abs(energy_after_exchange(1, 2) - start) > 1e-3  # H of orbits 0 and 1
    assert abs(energy_after_exchange(0, 3) - start) > 1e-3  # O of orbits 0 and 1


def test_physics_terms_never_see_orbits(cluster, x64):
    """Free atoms and pair repulsion give the same energy whatever the labels."""
    terms = (ReferenceEnergy(2), LennardJones(epsilon=0.01, sigma=1.0, cutoff=3.0, onset=2.0))
    params = {"reference_energy": {"energies": np.array([-13.0, -430.0])}, "lennard_jones": {}}
    coarse = Potential(terms, COARSE)
    fine, fine_params = refine(coarse, params, FINE)
    wanted = predict(coarse, params, dataclasses.replace(cluster, orbits=None))
    for orbits in (cluster.orbits, np.array([1, 2, 1, 0, 0, 0, 0])):
        got = predict(fine, fine_params, dataclasses.replace(cluster, orbits=orbits))
        np.testing.assert_array_equal(got.energies, wanted.energies)
        np.testing.assert_array_equal(got.forces, wanted.forces)


def test_a_model_that_lacks_products_says_so():
    from jorbit.basis.channel_expansion import expand_channels
    from jorbit.basis.product_space import ProductLimits, product_space

    coarse = product_space(ProductLimits(1, 3, 2, (2, 2)))
    fine = product_space(ProductLimits(2, 3, 2, (2, 2), (1, 1)))  # no A_o A_o
    with pytest.raises(ConfigError, match="max_factors"):
        expand_channels(coarse, fine, [0, 0])


def test_tables_of_other_elements_are_refused():
    potential, params = species_model(MODELS["few factors"])
    with pytest.raises(UnknownSpeciesError, match="no row for C"):
        refine(potential, params, SpeciesTable(((1, 0), (6, 0), (6, 1), (8, 0))))


@pytest.mark.parametrize("mode", LABEL_MODES)
def test_label_embeddings_repeat_the_elements_at_step_zero_and_can_leave_them(mode):
    parents = parent_rows(FINE, COARSE)
    embedding = label_embedding(mode, parents, 6)
    elements = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32)
    params = embedding.warm_start(elements)
    np.testing.assert_array_equal(embedding.table(params), elements[parents])
    assert sum(np.size(leaf) for leaf in jax.tree.leaves(params)) == embedding.n_parameters
    target = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)

    def misfit(p):
        return ((embedding.table(p) - target) ** 2).sum()

    slopes = jax.grad(misfit)(params)
    moved = jax.tree.map(lambda p, g: p - 1e-3 * g, params, slopes)
    assert misfit(moved) < misfit(params)
    table = np.asarray(embedding.table(moved))
    assert np.abs(table[0] - table[1]).max() > 0  # two orbits of hydrogen have parted


def test_the_modes_cost_what_they_say():
    """The counts of a table for S = 2 elements, 5 orbits, C = 6: 5 C, (2 + 5) C, 2 C + r (5 + C)."""
    parents = parent_rows(FINE)
    counts = [label_embedding(m, parents, 6, **o).n_parameters for m, o in (("replace", {}), ("add", {}))]
    assert [*counts, label_embedding("factored", parents, 6, rank=1).n_parameters] == [30, 42, 23]
    with pytest.raises(ConfigError, match="rank"):
        label_embedding("add", parents, 6, rank=2)


def test_labels_that_are_species_change_nothing(x64):
    """One orbit per element: the same table, the same bits."""
    potential, params = species_model(MODELS["few factors"])
    fine, fine_params = refine(potential, params, COARSE)
    wanted, got = (predict(p, q, systems.water()) for p, q in ((potential, params), (fine, fine_params)))
    np.testing.assert_array_equal(got.energies, wanted.energies)
    np.testing.assert_array_equal(got.forces, wanted.forces)
