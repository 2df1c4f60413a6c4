"""MACE with species and orbits: what labels may change, what they may not, and what a model costs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.basis.radial_network import SILU_NORM
from jorbit.basis.symmetric_contraction import contraction_paths
from jorbit.core.errors import ConfigError
from jorbit.core.outputs import BatchLabels
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph
from jorbit.models.mace import MACE
from jorbit.models.painn import PaiNN
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.potential.potential import Potential
from jorbit.potential.refine import refine
from jorbit.terms.zbl import ZBL
from jorbit.testing import systems

SMALL = {"cutoff": 3.0, "channels": 3, "l_max": 1, "n_bessel": 3, "radial_widths": (4,), "readout_width": 2}
WATER = systems.water()
ORBITS = SpeciesTable(((1, 0), (1, 1), (8, 0)))


def with_orbits(orbits):
    return dataclasses.replace(WATER, orbits=np.array(orbits))


@pytest.fixture(scope="module")
def predict():
    return jax.jit(energy_and_derivatives, static_argnums=0)


def result(predict, potential, params, structure):
    graph = build_graph([structure], potential.species, potential.cutoffs, dtype=jnp.float64)
    return predict(potential, params, graph)


def started(model, species, seed=0):
    potential = Potential(terms=(model,), species=species)
    graph = build_graph([WATER], species, potential.cutoffs, dtype=jnp.float64)
    return potential, jax.jit(potential.init)(jax.random.key(seed), graph)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["replace", "add", "factored"])
def test_a_model_refined_to_orbits_starts_where_the_elements_ended(mode, predict, x64):
    coarse, params = started(MACE(n_species=2, label_mode=mode, **SMALL), SpeciesTable.from_numbers([1, 8]))
    fine, finer = refine(coarse, params, ORBITS)
    before, after = (
        result(predict, coarse, params, WATER),
        result(predict, fine, finer, with_orbits([0, 0, 1])),
    )
    np.testing.assert_allclose(after.energy, before.energy, rtol=1e-13)
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-12 * np.abs(before.forces).max())


def test_orbits_are_told_apart_and_members_of_one_are_not(predict, x64):
    potential, params = started(MACE(n_species=3, **SMALL), ORBITS)
    energy = float(result(predict, potential, params, with_orbits([0, 0, 1])).energy[0])
    swapped = float(result(predict, potential, params, with_orbits([0, 1, 0])).energy[0])
    order = np.array([0, 2, 1])
    renamed = Structure(positions=WATER.positions[order], numbers=WATER.numbers, orbits=np.array([0, 1, 0]))
    assert abs(swapped - energy) > 1e-6 * abs(energy)  # the hydrogens have changed places
    assert float(result(predict, potential, params, renamed).energy[0]) == pytest.approx(energy, rel=1e-12)
    one = with_orbits([0, 0, 0])
    exchanged = dataclasses.replace(one, positions=one.positions[order])
    assert float(result(predict, potential, params, exchanged).energy[0]) == pytest.approx(
        float(result(predict, potential, params, one).energy[0]), rel=1e-12
    )


@pytest.mark.slow
def test_radii_and_repulsion_know_elements_whatever_the_labels(predict, x64):
    one_row = SpeciesTable(((1, 0), (1, 1), (8, 0)))
    model = MACE(n_species=3, transform=(1.0805, 0.9183, 4.5791), **SMALL)
    potential, params = started(model, one_row)
    tables = params["mace"]["params"]
    for value in tables.values():  # the two orbits of hydrogen get the same weights
        if isinstance(value, dict):
            value["labels"] = value["labels"].at[1].set(value["labels"][0])
    both = Potential(terms=(ZBL(cutoff=1.5), model), species=one_row)
    energies = [
        float(result(predict, both, {"zbl": {}, **params}, with_orbits(o)).energy[0]) for o in ([0, 0, 0], [0, 0, 1])
    ]
    assert energies[0] == pytest.approx(energies[1], rel=1e-13)


@pytest.mark.parametrize(
    ("channels", "hidden_l", "n_species", "published"),
    # orbits specification, from the module definitions of mace-torch: l_max 3, correlation 3, two layers
    [(32, 0, 3, 58256), (64, 0, 8, 195152), (128, 1, 3, 604432), (32, 1, 23, 198864), (16, 0, 1, 28960 + 1424)],
)
def test_the_number_of_parameters_is_that_of_mace_less_its_dependent_products(channels, hidden_l, n_species, published):
    model = MACE(n_species=n_species, channels=channels, hidden_l=hidden_l)
    graph = build_graph([systems.single_atom()], SpeciesTable.from_numbers([8]), (5.0,))
    potential = Potential(terms=(model,), species=SpeciesTable.from_numbers([8]))
    params = jax.eval_shape(potential.init, jax.random.key(0), graph)["mace"]["params"]
    n_parameters = sum(np.prod(leaf.shape, dtype=int) for leaf in jax.tree.leaves(params))
    theirs = {0: 1 + 4 + 23, 1: 1 + 6 + 51}  # all couplings, the dependent ones as well
    ours = {degree: len(contraction_paths(3, 3, degree)) for degree in theirs}
    outputs = [*range(hidden_l + 1), 0]  # of the first and of the last layer
    dropped = sum(theirs[degree] - ours[degree] for degree in outputs) * channels * n_species
    assert n_parameters + dropped == published


def test_the_norm_of_silu_is_that_of_a_normal_variable():
    x, w = np.polynomial.hermite_e.hermegauss(120)
    second_moment = np.sum(w * (x / (1 + np.exp(-x))) ** 2) / np.sqrt(2 * np.pi)
    assert SILU_NORM == pytest.approx(second_moment**-0.5, rel=1e-12)


@pytest.mark.parametrize("wrong", [{"hidden_l": 4}, {"radial_widths": ()}, {"parents": (0,)}])
def test_options_that_contradict_each_other_are_refused(wrong):
    graph = build_graph([WATER], SpeciesTable.from_numbers([1, 8]), (5.0,))
    with pytest.raises(ConfigError, match="Wanted layers"):
        Potential((MACE(n_species=2, **wrong),), SpeciesTable.from_numbers([1, 8])).init(jax.random.key(0), graph)


def test_constants_come_from_the_training_data():
    species = SpeciesTable.from_numbers([1, 8])
    graph = build_graph([WATER], species, (5.0,))
    forces = jnp.zeros((graph.n_atoms, 3)).at[0, 0].set(3.0)
    labels = BatchLabels(
        energy=jnp.zeros(1),
        forces=forces,
        stress=jnp.zeros((1, 3, 3)),
        energy_weight=jnp.ones(1),
        forces_weight=graph.atom_mask.astype(forces.dtype),
        stress_weight=jnp.zeros(1),
    )
    for model in (MACE(n_species=2), PaiNN(n_species=2)):
        constants = {"energy_scale": jnp.ones(2), "energy_shift": jnp.ones(2), "average_neighbors": jnp.ones(())}
        found = model.calibrate({"params": {}, "constants": constants}, [(graph, labels)])["constants"]
        np.testing.assert_allclose(found["energy_scale"], 1.0, rtol=1e-6)  # sqrt(3^2 / 9)
        assert float(found["average_neighbors"]) == 2.0 and not np.any(found["energy_shift"])


def test_painn_refined_to_orbits_starts_where_the_elements_ended(predict, x64):
    coarse, params = started(
        PaiNN(n_species=2, cutoff=3.0, n_features=3, n_layers=1, n_radial=2), SpeciesTable.from_numbers([1, 8])
    )
    fine, finer = refine(coarse, params, ORBITS)
    before, after = result(predict, coarse, params, WATER), result(predict, fine, finer, with_orbits([0, 0, 1]))
    np.testing.assert_allclose(after.forces, before.forces, atol=1e-13)


def test_directions_of_factored_labels_are_drawn_with_the_key():
    """Neither the seeds of an ensemble nor the tables of one model share them."""
    model = MACE(n_species=3, label_mode="factored", parents=(0, 0, 1), rank=2, **SMALL)
    graph = build_graph([with_orbits([0, 0, 1])], ORBITS, (3.0,))
    init = jax.jit(Potential((model,), ORBITS).init)
    one, same, other = (init(jax.random.key(seed), graph)["mace"]["params"] for seed in (0, 0, 1))
    tables = [name for name, value in one.items() if isinstance(value, dict)]
    drawn = [{name: np.asarray(tree[name]["directions"]) for name in tables} for tree in (one, same, other)]
    assert all(np.array_equal(drawn[0][name], drawn[1][name]) for name in tables)
    assert not any(np.array_equal(drawn[0][name], drawn[2][name]) for name in tables)
    assert len({values.tobytes() for values in drawn[0].values()}) == len(tables) > 3
