"""HIP-NN, HIP-HOP-NN and SchNet: smoothness where it is hard, plain numpy, what an invariant set can tell apart."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ase.build import bulk

from jorbit import Potential
from jorbit.basis.moments import degree_slice, stf_tensor
from jorbit.basis.tables import tabulated
from jorbit.core.errors import ConfigError
from jorbit.core.outputs import BatchLabels
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models import MODELS
from jorbit.models.hiphop import HipHop, InvariantMixing
from jorbit.models.hipnn import HipNN
from jorbit.models.layers.sensitivity import Sensitivities
from jorbit.models.mace import MACE
from jorbit.models.nequip import NequIP
from jorbit.models.schnet import SchNet
from jorbit.potential.derivatives import hessian_vector_product
from jorbit.potential.predict import predict
from jorbit.potential.refine import refine
from jorbit.testing import systems, transformations
from jorbit.testing.term_contract import perturbed

TINY = {"n_features": 4, "n_sensitivities": 5, "n_atom_layers": 1, "cutoff": 3.0}


def potential_of(model, structure, seed=0):
    """With random parameters in float64."""
    potential = Potential((model,), species=systems.SPECIES)
    graph = potential.graph(structure, dtype=np.float64)
    return potential, perturbed(jax.jit(potential.init)(jax.random.key(seed), graph), seed)


def energies(potential, params, structure):
    """Of the atoms, without the compilation of derivatives."""
    graph = potential.graph(structure, dtype=np.float64)
    return np.asarray(jax.jit(potential.outputs)(params, graph).energy)


def curve(model, distances, seed=0):
    """E'' of a dimer at some distances."""
    first = systems.dimer(1.5)
    potential, params = potential_of(model, first, seed)
    graph = potential.graph(first, dtype=np.float64)
    axis = jnp.asarray(first.positions[1] / np.linalg.norm(first.positions[1]))

    def energy(r):
        positions = jnp.zeros_like(graph.positions).at[1].set(r * axis)
        return potential.energy(params, dataclasses.replace(graph, positions=positions))[0]

    return np.asarray(jax.jit(jax.vmap(jax.grad(jax.grad(energy))))(jnp.asarray(distances)))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hipnn", "hiphop", "schnet", "ani", "neuralil", "dimenet", "nequip"])
def test_second_derivatives_reach_zero_at_the_cutoff(name, x64):
    values = curve(MODELS.load(name).tiny(3), [1.5, 2.0, 3.0 - 1e-4, 3.0 - 1e-9])
    assert np.abs(values[3]) < 1e-6 * np.abs(values[:2]).max()
    assert np.abs(values[2]) < 1e-2 * np.abs(values[:2]).max()


def test_the_published_cutoff_function_has_a_jump_in_the_second_derivative(x64):
    values = curve(HipNN(n_species=3, envelope="cosine", **TINY), [1.5, 3.0 - 1e-9])
    assert np.abs(values[1]) > 1e-3 * np.abs(values[0])


@pytest.mark.slow
def test_bounded_invariants_have_no_step_where_the_last_neighbour_leaves(x64):
    """Group norm keeps products of moments at full size until they are as small as sqrt(1e-5)."""
    r = np.linspace(1.5, 3.0 - 1e-6, 400)
    steepest = {}
    for kind in ("group", "bounded"):
        model = HipHop(n_species=3, invariants="hop13:4,2", normalization=kind, n_interactions=1, **TINY)
        values = np.abs(curve(model, r))
        steepest[kind] = values[r > 2.7].max() / values[r < 2.7].max()
    assert steepest["bounded"] < 0.3 < steepest["group"]


@pytest.mark.parametrize(
    "invariants", ["hop14", *(pytest.param(name, marks=pytest.mark.slow) for name in ("flex15", "generated:3,4"))]
)
def test_hessians_are_finite_where_moments_vanish(invariants, x64):
    """The middle atom is a centre of inversion: v = T = 0."""
    linear = Structure(positions=np.array([[0.0, 0, 0], [1.2, 0, 0], [-1.2, 0, 0]]), numbers=np.array([14, 8, 8]))
    model = HipHop(n_species=3, invariants=invariants, n_interactions=1, **TINY)
    potential, params = potential_of(model, linear)
    graph = potential.graph(linear, dtype=np.float64)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=graph.positions.shape))
    product = jax.jit(lambda g: hessian_vector_product(potential, params, g, direction))
    values = np.asarray(product(graph))
    assert np.isfinite(values).all() and np.abs(values).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hipnn", "hiphop", "schnet"])
def test_atoms_on_top_of_each_other_make_no_nan(name, x64):
    """Neighbour lists refuse such structures; a simulation that goes wrong may still come there."""
    potential, params = potential_of(MODELS.load(name).tiny(3), systems.water())
    graph = potential.graph(systems.water(), dtype=np.float64)
    gradient = jax.jit(jax.grad(lambda r: potential.energy(params, dataclasses.replace(graph, positions=r))[0]))
    assert np.isfinite(np.asarray(gradient(graph.positions.at[1].set(graph.positions[0])))).all()


def test_mixing_is_that_of_the_equations(x64):
    """hop13 with tensors written out, each product of n moments over (1 + |M|^2)^((n - 1) / 2)."""
    moments = np.random.default_rng(0).normal(size=(3, 16, 2))
    module = InvariantMixing("hop13", "bounded")
    params = jax.jit(module.init)(jax.random.key(0), jnp.asarray(moments))
    got = np.asarray(jax.jit(module.apply)(params, jnp.asarray(moments)))
    kernel = np.asarray(params["params"]["mixing_kernel"])
    patterns = ["i,i->", "ij,ij->", "ijk,ijk->", "ij,jk,ki->", "i,ij,j->", "ij,ikl,jkl->", "i,ij,jk,k->", "i,j,k,ijk->"]
    patterns += ["i,ijk,jkl,l->", "ij,jk,ilm,klm->", "ij,ijk,ab,abk->", "ijk,ijl,abk,abl->"]
    wanted = np.zeros((3, 2))
    for atom in range(3):
        for a in range(2):
            tensors = {l: np.asarray(stf_tensor(jnp.asarray(moments[atom, degree_slice(l), a]), l)) for l in range(4)}
            squared = sum(np.sum(t**2) for t in tensors.values())
            wanted[atom] += moments[atom, 0, a] * kernel[0, a]
            for k, pattern in enumerate(patterns, start=1):
                names = pattern.removesuffix("->").split(",")
                value = np.einsum(pattern, *(tensors[len(n)] for n in names))
                wanted[atom] += value / (1 + squared) ** ((len(names) - 1) / 2) * kernel[k, a]
    np.testing.assert_allclose(got, wanted, rtol=1e-10)


@pytest.mark.parametrize(("normalization", "power"), [("none", 4.0), ("bounded", 1.0)])
def test_a_close_contact_raises_products_of_four_moments_to_the_fourth_power_unless_they_are_bounded(
    normalization, power, x64
):
    moments = np.random.default_rng(1).normal(size=(1, 16, 2))
    module = InvariantMixing("hop13", normalization)
    params = jax.jit(module.init)(jax.random.key(0), jnp.asarray(moments))
    mixed = jax.jit(module.apply)
    small, large = (np.linalg.norm(mixed(params, jnp.asarray(w * moments))) for w in (1e3, 1e4))
    assert np.log10(large / small) == pytest.approx(power, abs=0.05)


@pytest.mark.slow
def test_three_moments_tell_apart_what_two_cannot(x64):
    """Four neighbours at angles 0, 45, 135, 180 and 0, 45, 90, 225 degrees: the same distances and angles about the
    centre, so products of two moments agree, whatever l; see the degenerate environments in jorbit.testing.
    """
    centers = {}
    for n_max in (2, 3):
        model = HipHop(n_species=3, invariants=f"hop13:{n_max},3", n_interactions=1, **TINY)
        found = []
        for multiples in ((0, 1, 3, 4), (0, 1, 2, 5)):
            angles = np.array(multiples) * np.pi / 4
            ring = 2.0 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
            s = Structure(positions=np.concatenate([np.zeros((1, 3)), ring]), numbers=np.array([14, 8, 8, 8, 8]))
            potential, params = potential_of(model, s)
            found.append(float(energies(potential, params, s)[0]))
        centers[n_max] = abs(found[1] - found[0]) / abs(found[0])
    assert centers[2] < 1e-12 and centers[3] > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("model", [HipHop.tiny(3), SchNet.tiny(3)], ids=lambda m: type(m).__name__)
def test_energy_per_atom_of_a_crystal_does_not_depend_on_blocks(model, x64):
    """216 atoms go through several blocks of atoms, 8 atoms through none."""
    cell = systems.rattled_silicon()
    potential, params = potential_of(model, cell)
    one, many = (energies(potential, params, transformations.repeated(cell, (n, n, n)))[: 8 * n**3] for n in (1, 3))
    np.testing.assert_allclose(many, np.tile(one, 27), rtol=1e-10)


@pytest.mark.parametrize(
    "model",
    [
        SchNet(n_species=1, cutoff=4.0, n_features=16, n_interactions=2),
        MACE(n_species=1, cutoff=4.0, channels=4, l_max=1, n_layers=1),
        pytest.param(NequIP(n_species=1, cutoff=4.0, channels=4, l_max=1, n_layers=2), marks=pytest.mark.slow),
    ],
    ids=lambda model: type(model).__name__,
)
def test_functions_from_a_table_give_the_energies_and_forces_of_the_network(model, x64):
    """Of 216 atoms in float32 functions of the distance come from a table, in float64 they do not."""
    crystal = bulk("Si", cubic=True) * (3, 3, 3)
    crystal.rattle(0.1, seed=1)
    structure = from_ase(crystal)
    potential = Potential((model,), species=SpeciesTable.from_structures([structure]))
    exact, single = (potential.graph(structure, dtype=dtype) for dtype in (np.float64, np.float32))
    assert tabulated(single.n_atoms, single.positions.dtype) and not tabulated(exact.n_atoms, exact.positions.dtype)
    params = perturbed(jax.jit(potential.init)(jax.random.key(0), exact), 0)
    wanted = predict(potential, params, exact)
    found = predict(potential, jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params), single)
    assert found.forces.dtype == jnp.float32
    for name, tolerance in (("forces", 3e-5), ("energies", 1e-5)):
        one, other = (np.asarray(getattr(answer, name), float) for answer in (found, wanted))
        np.testing.assert_allclose(one, other, rtol=0.0, atol=tolerance * np.abs(other).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hipnn", "hiphop", "schnet"])
def test_orbits_start_from_the_function_of_their_elements(name, x64):
    potential, params = potential_of(MODELS.load(name).tiny(3), systems.water())
    fine = SpeciesTable(((1, 0), (1, 1), (8, 0), (14, 0), (14, 1)))
    refined, new = refine(potential, params, fine)
    water = systems.water()
    labelled = Structure(positions=water.positions, numbers=water.numbers, orbits=np.array([0, 0, 1]))
    before, after = energies(potential, params, water), energies(refined, new, labelled)
    assert refined.terms[0].n_species == 5
    np.testing.assert_allclose(after, before, rtol=1e-11)


def test_energies_are_counted_in_the_root_mean_square_force(x64):
    potential, params = potential_of(HipNN(n_species=3, **TINY), systems.water())
    graph = potential.graph(systems.water(), dtype=np.float64)
    n = graph.n_atoms
    labels = BatchLabels(
        energy=jnp.zeros(1),
        forces=jnp.full((n, 3), 2.0),
        stress=jnp.zeros((1, 3, 3)),
        energy_weight=jnp.ones(1),
        forces_weight=jnp.asarray(graph.atom_mask, jnp.float64),
        stress_weight=jnp.zeros(1),
    )
    term = potential.terms[0]
    calibrated = {"hipnn": term.calibrate(params["hipnn"], [(graph, labels)])}
    old, scale = params["hipnn"]["constants"]["readout"]["energy_scale"], 2.0
    before, after = (potential.energy(p, graph)[0] for p in (params, calibrated))
    assert float(after) == pytest.approx(float(before) * scale / float(old), rel=1e-12)
    assert term.fixed_parameters == ("constants/*",)


def test_sensitivities_peak_at_their_centres_and_end_at_the_cutoff(x64):
    s = Sensitivities(n=6, cutoff=5.0, soft_min=0.8, soft_max=4.5)
    centers, widths = s.initial()
    np.testing.assert_allclose(np.diff(1 / centers), (1 / 0.8 - 1 / 4.5) / 5, rtol=1e-12)
    at = np.asarray(s(jnp.asarray(centers), jnp.asarray(centers), jnp.asarray(widths)))
    np.testing.assert_allclose(np.diag(at), (1 - (centers / 5.0) ** 2) ** 3, rtol=1e-12)
    assert not np.any(s(jnp.array([5.0, 6.0]), jnp.asarray(centers), jnp.asarray(widths)))


def test_wrong_options_say_what_is_wanted(x64):
    with pytest.raises(ConfigError, match="soft_min < soft_max"):
        Sensitivities(n=6, cutoff=5.0, soft_min=2.0, soft_max=1.0)
    model = HipHop(n_species=3, normalization="batch", **TINY)
    with pytest.raises(ConfigError, match="bounded"):
        potential_of(model, systems.water())
    with pytest.raises(ConfigError, match="cosine"):
        potential_of(SchNet(n_species=3, envelope="cosin"), systems.water())
