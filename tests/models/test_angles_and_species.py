"""ANI, NeuralIL, DimeNet, NequIP: what they can see, sums over triples by brute force, species in any order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.optimize
import scipy.special

from jorbit import Potential
from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.directional import directional_sums, spherical_waves
from jorbit.basis.opposite_pairs import opposite_pairs
from jorbit.core.errors import ConfigError
from jorbit.core.graph import pair_vectors
from jorbit.core.outputs import BatchLabels
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph
from jorbit.models import MODELS
from jorbit.models.ani import ANI
from jorbit.models.dimenet import DimeNet
from jorbit.models.layers.feature_statistics import FeatureStatistics
from jorbit.models.layers.species_networks import map_species
from jorbit.models.nequip import TANH_NORM, NequIP
from jorbit.models.neuralil import NeuralIL
from jorbit.potential.refine import refine
from jorbit.testing import systems
from jorbit.testing.term_contract import perturbed


def started(model, structure, seed=0):
    potential = Potential((model,), species=systems.SPECIES)
    graph = potential.graph(structure, dtype=np.float64)
    return potential, perturbed(jax.jit(potential.init)(jax.random.key(seed), graph), seed)


@pytest.mark.parametrize("n_atoms", [1, 7, 200])
def test_every_atom_goes_through_the_network_of_its_species(n_atoms, x64):
    rng = np.random.default_rng(n_atoms)
    species = rng.choice([0, 2, 3], size=n_atoms)  # species 1 has no atoms
    w, b, x = rng.normal(size=(4, 5, 3)), rng.normal(size=(4, 3)), rng.normal(size=(n_atoms, 5))

    def network(weights, rows):
        return jnp.sum(jnp.tanh(rows @ weights[0] + weights[1][None]), axis=1)

    tables = (jnp.asarray(w), jnp.asarray(b))
    total = jax.jit(lambda x: map_species(network, tables, x, jnp.asarray(species), 4))
    wanted = np.array([np.tanh(x[i] @ w[z] + b[z]).sum() for i, z in enumerate(species)])
    np.testing.assert_allclose(total(jnp.asarray(x)), wanted, rtol=1e-12)
    slope = jax.jit(jax.grad(lambda x: total(x).sum()))(jnp.asarray(x))
    by_hand = np.array([(1 - np.tanh(x[i] @ w[z] + b[z]) ** 2) @ w[z].T for i, z in enumerate(species)])
    np.testing.assert_allclose(slope, by_hand, rtol=1e-10, atol=1e-12)


def test_the_opposite_of_a_pair_is_the_same_distance_backwards(x64):
    crystal = systems.triclinic_crystal()
    potential = Potential((DimeNet.tiny(3),), species=systems.SPECIES)
    graph = potential.graph([crystal, systems.water()], dtype=np.float64)
    neighbors = graph.neighborhoods[0]
    at, there = jax.jit(opposite_pairs)(neighbors)
    mask, vectors = np.asarray(neighbors.mask), np.asarray(pair_vectors(graph, neighbors))
    np.testing.assert_array_equal(there, mask)
    np.testing.assert_allclose(vectors.reshape(-1, 3)[np.asarray(at)][mask], -vectors[mask], atol=1e-12)
    centers = np.broadcast_to(np.arange(len(mask))[:, None], mask.shape).ravel()
    np.testing.assert_array_equal(centers[np.asarray(at)][mask], np.asarray(neighbors.index)[mask])


def test_sums_over_the_other_neighbours_are_those_over_triples(x64):
    rng = np.random.default_rng(0)
    unit, values = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 4))
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    filters = rng.normal(size=(2, 5, 4, 4))
    filters[1, 3:] = 0.0  # empty slots
    got = jax.jit(directional_sums)(
        jnp.asarray(filters), real_spherical_harmonics(jnp.asarray(unit), 3), jnp.asarray(values)
    )
    wanted = np.zeros_like(values)
    for a in range(2):
        for s in range(5):
            for t in set(range(5)) - {s}:
                cosine = unit[a, s] @ unit[a, t]
                for l in range(4):
                    legendre = np.sqrt(2 * l + 1) * scipy.special.eval_legendre(l, cosine)
                    wanted[a, s] += filters[a, t, l] * legendre * values[a, t]
    np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-11)


def test_spherical_waves_are_orthonormal_bessel_functions_under_an_envelope(x64):
    x, w = np.polynomial.legendre.leggauss(80)
    r, w = 2.0 * (x + 1.0), 2.0 * w
    waves = np.asarray(jax.jit(lambda r: spherical_waves(r, 2, 3, 4.0))(jnp.asarray(r)[None]))[0]
    envelope = 1 - 28 * (r / 4) ** 6 + 48 * (r / 4) ** 7 - 21 * (r / 4) ** 8
    bare = waves / envelope[:, None, None]
    for l in range(3):
        overlap = np.einsum("r,rn,rm->nm", w * r**2, bare[:, l], bare[:, l])
        np.testing.assert_allclose(overlap, np.eye(3), atol=1e-6)
        inside = r < 3.5  # dividing by the envelope costs digits near the cutoff
        ratio = np.abs(bare[inside, l, 0] / scipy.special.spherical_jn(l, r[inside] * _root(l) / 4.0))
        assert np.ptp(ratio) < 1e-8 * ratio.max()


def _root(degree):
    return scipy.optimize.brentq(lambda x: scipy.special.spherical_jn(degree, x), degree + 2.0, degree + 4.5)


def test_the_norm_of_tanh_is_that_of_a_normal_variable():
    density = scipy.integrate.quad(lambda x: np.tanh(x) ** 2 * np.exp(-(x**2) / 2), -20, 20, epsabs=1e-13)[0]
    assert TANH_NORM == pytest.approx((density / np.sqrt(2 * np.pi)) ** -0.5, rel=1e-10)


BLIND = NequIP(n_species=3, cutoff=3.0, channels=2, l_max=0, n_layers=2, n_bessel=3, radial_widths=(4,))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "sees"),
    [(BLIND, False), *((MODELS.load(n).tiny(3), True) for n in ("ani", "neuralil", "dimenet", "nequip"))],
    ids=["scalars only", "ani", "neuralil", "dimenet", "nequip"],
)
def test_the_angle_between_two_bonds_counts(model, sees, x64):
    """Both outer atoms are 2 Å from the middle one and do not see each other (cutoff 3 Å)."""
    energies, compiled = [], None
    for degrees in (110.0, 180.0):
        angle = np.deg2rad(degrees)
        positions = np.array([[0.0, 0, 0], [2.0, 0, 0], [2.0 * np.cos(angle), 2.0 * np.sin(angle), 0]])
        bent = Structure(positions=positions, numbers=np.array([14, 8, 1]))
        if compiled is None:
            potential, params = started(model, bent)
            compiled = jax.jit(lambda g, p=potential, q=params: p.energy(q, g))
        energies.append(float(compiled(potential.graph(bent, dtype=np.float64))[0]))
    difference = abs(energies[1] - energies[0]) / abs(energies[0])
    assert difference > 1e-6 if sees else difference < 1e-12


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("neuralil", "dimenet", "nequip")]


@pytest.mark.parametrize("name", ["ani", *SLOW])
def test_orbits_start_from_the_function_of_their_elements(name, x64):
    potential, params = started(MODELS.load(name).tiny(3), systems.water())
    if name == "neuralil":  # with constants that are not trivial
        rng, constants = np.random.default_rng(1), params["neuralil"]["constants"]
        constants["feature_scale"] = rng.uniform(0.5, 2.0, size=constants["feature_scale"].shape)
    refined, new = refine(potential, params, SpeciesTable(((1, 0), (1, 1), (8, 0), (14, 0), (14, 1))))
    water = systems.water()
    labelled = Structure(positions=water.positions, numbers=water.numbers, orbits=np.array([0, 0, 1]))
    before, after = (
        np.asarray(jax.jit(p.outputs)(q, p.graph(s, dtype=np.float64)).energy)
        for p, q, s in ((potential, params, water), (refined, new, labelled))
    )
    np.testing.assert_allclose(after, before, rtol=1e-11)


def _no_labels(graph):
    n, k = graph.n_atoms, graph.n_structures
    shapes = {"energy": (k,), "forces": (n, 3), "stress": (k, 3, 3)}
    shapes |= {"energy_weight": (k,), "forces_weight": (n,), "stress_weight": (k,)}
    return BatchLabels(**{name: jnp.zeros(shape) for name, shape in shapes.items()})


def test_features_are_centred_on_the_atoms_of_each_species(x64):
    model = NeuralIL(n_species=3, cutoff=3.0, n_max=2, hidden=(4,))
    potential = Potential((model,), species=systems.SPECIES)
    graphs = [potential.graph(s, dtype=np.float64) for s in (systems.water(), systems.triclinic_crystal())]
    statistics = FeatureStatistics(model.descriptor, 3)
    labels = [_no_labels(g) for g in graphs]
    assert [g for g, _ in statistics.watched(zip(graphs, labels, strict=True))] == graphs
    compute = jax.jit(model.descriptor.__call__)
    rows = np.concatenate([np.asarray(compute(g))[np.asarray(g.atom_mask)] for g in graphs])
    species = np.concatenate([np.asarray(g.species)[np.asarray(g.atom_mask)] for g in graphs])
    np.testing.assert_allclose(statistics.mean[0], rows[species == 0].mean(axis=0), rtol=1e-12)
    varies = rows[species == 0].std(axis=0) > 1e-2 * rows.std(axis=0)
    np.testing.assert_allclose(statistics.scale[0][varies], rows[species == 0].std(axis=0)[varies], rtol=1e-9)


def test_options_that_make_no_network_are_refused(x64):
    for model in (ANI(n_species=3, hidden=()), NeuralIL(n_species=3, hidden=()), DimeNet(n_species=3, n_blocks=0)):
        with pytest.raises(ConfigError, match="Wanted"):
            started(model, systems.water())
    with pytest.raises(ConfigError, match="layers, channels"):
        started(NequIP(n_species=3, radial_widths=()), systems.water())
    with pytest.raises(ConfigError, match="cosine"):
        started(ANI(n_species=3, envelope="cosin"), systems.water())


def test_a_shorter_list_for_the_angles_changes_no_feature(x64):
    descriptor, crystal = ANI.tiny(3).descriptor, systems.triclinic_crystal()
    assert Potential((ANI.tiny(3),), species=systems.SPECIES).cutoffs == (2.8, 3.0)
    graphs = [build_graph(crystal, systems.SPECIES, cutoffs, dtype=np.float64) for cutoffs in ((3.0,), (2.8, 3.0))]
    one, two = (np.asarray(jax.jit(lambda g: descriptor(g))(g)) for g in graphs)
    np.testing.assert_allclose(two, one, rtol=1e-12, atol=1e-14)
