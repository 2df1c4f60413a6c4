"""A network on a descriptor against plain numpy, and its constants against the statistics of the data."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jorbit import Potential
from jorbit.core.errors import ConfigError
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.descriptors import DESCRIPTORS
from jorbit.descriptors.ace import ACE
from jorbit.models.layers.feature_statistics import FLOOR
from jorbit.models.readout import Readout
from jorbit.potential.artefact import load, save
from jorbit.testing.systems import SPECIES, rattled_silicon, triclinic_crystal, water
from jorbit.testing.term_contract import perturbed

DESCRIPTOR = ACE(n_species=3, cutoff=3.0, max_degree=(3, 2), l_max=1)


@pytest.fixture(scope="module")
def graph():
    with jax.enable_x64(True):
        potential = Potential((Readout(descriptor=DESCRIPTOR, n_species=3),), species=SPECIES)
        return potential.graph([water(), triclinic_crystal(), rattled_silicon()], dtype=np.float64)


@pytest.fixture(scope="module")
def features(graph):
    with jax.enable_x64(True):
        return np.asarray(jax.jit(lambda g: DESCRIPTOR(g))(graph))


def start(term, graph):
    upstream = AtomOutputs(energy=jnp.zeros(graph.n_atoms))
    params = jax.jit(term.init)(jax.random.key(0), graph, upstream)
    return perturbed(params), upstream


@pytest.mark.parametrize("per_species", [True, False])
@pytest.mark.parametrize("linear", [True, False])
def test_energies_are_those_of_the_equations(graph, features, per_species, linear, x64):
    term = Readout(
        descriptor=DESCRIPTOR, n_species=3, hidden=(5, 4), activation="tanh", per_species=per_species, linear=linear
    )
    params, upstream = start(term, graph)
    energies = np.asarray(jax.jit(term.apply)(params, graph, upstream).energy)
    p, c = params["params"], params["constants"]
    for i in np.flatnonzero(graph.atom_mask):
        z = int(graph.species[i])
        x = (features[i] - c["shift"][z]) / c["scale"][z]
        wanted = x @ p["linear"][z] if linear else 0.0
        for name in ("hidden_0", "hidden_1", "output"):
            kernel = p[f"{name}_kernel"][z] if per_species else p[f"{name}_kernel"]
            x = x @ kernel + p[f"{name}_bias"][z]
            x = np.tanh(x) if name != "output" else x
        assert energies[i] == pytest.approx(c["energy_scale"] * (wanted + x[0]), rel=1e-10)
    assert not energies[~np.asarray(graph.atom_mask)].any()


def labels_for(graph, rng):
    n, k = graph.n_atoms, graph.n_structures
    return BatchLabels(
        energy=jnp.asarray(rng.normal(size=k)),
        forces=jnp.asarray(rng.normal(size=(n, 3))),
        stress=jnp.zeros((k, 3, 3)),
        energy_weight=jnp.asarray(graph.structure_mask, jnp.float64),
        forces_weight=jnp.asarray(graph.atom_mask, jnp.float64),
        stress_weight=jnp.zeros(k),
    )


def test_constants_are_mean_and_spread_of_the_training_atoms(graph, features, x64):
    term = Readout(descriptor=DESCRIPTOR, n_species=3)
    params, _ = start(term, graph)
    labels = labels_for(graph, np.random.default_rng(0))
    calibrated = term.calibrate(params, [(graph, labels)])
    shift, scale = (np.asarray(calibrated["constants"][k]) for k in ("shift", "scale"))
    real, species = np.asarray(graph.atom_mask), np.asarray(graph.species)
    overall = features[real].std(axis=0)
    for z in range(3):
        rows = features[real & (species == z)]
        np.testing.assert_allclose(shift[z], rows.mean(axis=0), atol=1e-12)
        wanted = np.where(overall > 1e-12, np.maximum(rows.std(axis=0), FLOOR * overall), 1.0)
        np.testing.assert_allclose(scale[z], wanted, rtol=1e-8)
    rms = np.sqrt(np.mean(np.asarray(labels.forces)[real] ** 2))
    assert float(calibrated["constants"]["energy_scale"]) == pytest.approx(rms)
    for name, value in params["params"].items():
        assert np.array_equal(value, calibrated["params"][name])
    # in two batches the same as in one, and energies per atom where there are no forces
    twice = term.calibrate(params, [(graph, labels), (graph, labels)])
    np.testing.assert_allclose(twice["constants"]["scale"], scale, rtol=1e-8)
    no_forces = dataclasses.replace(labels, forces_weight=jnp.zeros(graph.n_atoms))
    n_atoms = np.bincount(np.asarray(graph.owner)[real], minlength=graph.n_structures)
    per_atom = (np.asarray(labels.energy) / np.maximum(n_atoms, 1))[np.asarray(graph.structure_mask)]
    scale = float(term.calibrate(params, [(graph, no_forces)])["constants"]["energy_scale"])
    assert scale == pytest.approx(np.sqrt(np.mean(per_atom**2)))


def test_a_layer_of_squares_is_a_quadratic_form(graph, features, x64):
    """With eigenvectors of Q as weights and eigenvalues behind them: E_i = c . B_i + B_i . Q B_i, to round-off."""
    n = features.shape[1]
    rng = np.random.default_rng(4)
    q, c = rng.normal(size=(n, n)), rng.normal(size=n)
    values, vectors = np.linalg.eigh(q + q.T)
    term = Readout(descriptor=DESCRIPTOR, n_species=3, hidden=(n,), activation="square", per_species=False)
    params, upstream = start(term, graph)
    constants = {"shift": np.zeros((3, n)), "scale": np.ones((3, n)), "energy_scale": np.ones(())}
    weights = {
        "linear": np.tile(c, (3, 1)),
        "hidden_0_kernel": vectors,
        "hidden_0_bias": np.zeros((3, n)),
        "output_kernel": values[:, None],
        "output_bias": np.zeros((3, 1)),
    }
    assert jax.tree.map(np.shape, weights) == jax.tree.map(np.shape, dict(params["params"]))
    got = jax.jit(term.apply)({"constants": constants, "params": weights}, graph, upstream).energy
    wanted = features @ c + np.einsum("ij,jk,ik->i", features, q + q.T, features)
    np.testing.assert_allclose(got, np.where(graph.atom_mask, wanted, 0.0), atol=1e-12 * np.abs(wanted).max())


def test_an_unknown_activation_is_refused(graph, x64):
    with pytest.raises(ConfigError, match="silu"):
        start(Readout(descriptor=DESCRIPTOR, n_species=3, activation="relu"), graph)


@pytest.mark.parametrize("name", DESCRIPTORS)
def test_any_registered_descriptor_can_be_read_out_and_saved(name, tmp_path):
    descriptor = DESCRIPTORS.load(name).tiny(3)
    potential = Potential((Readout(descriptor=descriptor, n_species=3, hidden=(2,)),), species=SPECIES)
    shift = np.zeros((3, descriptor.n_features))
    params = {"readout": {"constants": {"shift": shift}}}
    save(tmp_path / "r.safetensors", potential, params)
    assert load(tmp_path / "r.safetensors")[0] == potential
    needs = descriptor.needs
    assert set(potential.cutoffs) == {c for c in (needs.cutoff, *needs.inner) if c is not None}
