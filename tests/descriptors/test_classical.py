"""The classical descriptors against brute force, and their derivatives per neighbour against automatic ones."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from jorbit.basis.spherical_bessel import smooth_bessel_functions
from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.descriptors import separate
from jorbit.descriptors.acsf import ACSF
from jorbit.descriptors.aev import AEV
from jorbit.descriptors.bessel import Bessel
from jorbit.descriptors.coulomb_matrix import CoulombMatrix
from jorbit.descriptors.soap import SOAP
from jorbit.graphs.batching import build_graph
from jorbit.testing.systems import ethanol, slab, triclinic_crystal, water

SPECIES = SpeciesTable.from_numbers([8, 14])


def crystal_graph(cutoffs, dtype=jnp.float64):
    return build_graph(triclinic_crystal(), SPECIES, cutoffs, dtype=dtype)


@pytest.mark.parametrize(
    "descriptor",
    [ACSF.tiny(2), AEV.tiny(2), Bessel.tiny(2), SOAP.tiny(2), SOAP(2, 3.0, 2, 1, pairs="with_total")],
    ids=lambda d: f"{type(d).__name__} {getattr(d, 'pairs', '')}",
)
def test_gradients_per_neighbor_add_up_to_the_derivatives_with_respect_to_positions(x64, descriptor):
    graph = crystal_graph([3.0])
    neighbors = graph.within(3.0)

    def features(positions):
        return descriptor(dataclasses.replace(graph, positions=positions))

    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.normal(size=(graph.n_atoms, descriptor.n_features)))
    values, gradients = jax.jit(descriptor.neighbor_gradients)(graph)
    assert gradients.shape == (graph.n_atoms, descriptor.n_features, *neighbors.index.shape[1:], 3)
    pulls = np.einsum("if,ifsx->isx", weights, gradients)
    added = np.zeros((graph.n_atoms, 3))
    np.add.at(added, np.asarray(neighbors.index), pulls)
    added -= pulls.sum(axis=1)

    def weighted(positions):
        f = features(positions)
        return jnp.sum(f * weights), f

    wanted, expected = jax.jit(jax.grad(weighted, has_aux=True))(graph.positions)
    np.testing.assert_allclose(added, wanted, atol=1e-11 * np.abs(wanted).max())
    np.testing.assert_allclose(values, expected, atol=1e-12 * np.abs(expected).max())
    empty = ~np.asarray(neighbors.mask)
    assert not np.moveaxis(np.asarray(gradients), 1, -1)[empty].any()


@pytest.mark.parametrize("degree", [0, 1, 4])
def test_bessel_functions_are_orthonormal_and_smooth_at_the_cutoff(degree):
    cutoff, n = 3.0, 4
    nodes, weights = np.polynomial.legendre.leggauss(120)
    r, w = cutoff * (nodes + 1) / 2, weights * cutoff / 2
    g = smooth_bessel_functions(r, degree, n, cutoff)
    np.testing.assert_allclose(np.einsum("r,ra,rb->ab", w * r**2, g, g), np.eye(n), atol=1e-12)
    h = 1e-3
    near = smooth_bessel_functions(cutoff - h * np.arange(4), degree, n, cutoff)
    assert np.abs(near[0]).max() < 1e-12
    # value, slope and curvature vanish: the function grows with the third power of the distance to the cutoff
    np.testing.assert_allclose(near[2] / near[1], 8.0, rtol=0.02)


def test_bessel_is_a_sum_over_pairs_with_legendre_polynomials(x64):
    s = triclinic_crystal()
    descriptor = Bessel(n_species=2, cutoff=3.4, n_max=3)
    got = np.asarray(descriptor(crystal_graph([3.4])))[: s.n_atoms]
    wanted = np.zeros_like(got)
    shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) @ s.cell
    kinds = SPECIES.index(s.numbers)
    for i in range(s.n_atoms):
        r = (s.positions[None] + shifts[:, None] - s.positions[i]).reshape(-1, 3)
        z, d = np.tile(kinds, len(shifts)), np.linalg.norm(r, axis=1)
        keep = (d > 1e-6) & (d < 3.4)
        r, z, d = r[keep], z[keep], d[keep]
        cosines = np.clip((r / d[:, None]) @ (r / d[:, None]).T, -1, 1)
        for k, (a, b, n, degree) in enumerate(descriptor.labels):
            g = smooth_bessel_functions(d, degree, n - degree + 1, 3.4)[:, n - degree]
            pairs = np.outer(g * (z == a), g * (z == b)) * scipy.special.eval_legendre(degree, cosines)
            wanted[i, k] = (2 * degree + 1) / (4 * np.pi) * pairs.sum()
    np.testing.assert_allclose(got, wanted, atol=1e-10 * np.abs(wanted).max())


def test_mixing_before_the_products_equals_mixing_after_them(x64):
    graph = crystal_graph([3.0])
    plain = SOAP(n_species=2, cutoff=3.0, n_radial=3, l_max=1)
    m, w = np.array([[0.3, -1.1], [0.8, 0.5]]), np.array([[1.0, 0.2, -0.4], [0.0, 0.7, 0.9]])
    mixed = SOAP(
        n_species=2,
        cutoff=3.0,
        n_radial=3,
        l_max=1,
        species_mixing=tuple(map(tuple, m.tolist())),
        radial_mixing=tuple(map(tuple, w.tolist())),
    )
    both, atoms = np.asarray(plain(graph)), graph.n_atoms
    full = np.zeros((atoms, 2, 3, 2, 3, 2))
    for k, (a, n, b, q, degree) in enumerate(plain.labels):
        full[:, a, n, b, q, degree] = full[:, b, q, a, n, degree] = both[:, k]
    after = np.einsum("xanbql,ca,kn,db,pq->xckdpl", full, m, w, m, w)
    wanted = np.stack([after[(slice(None), *label)] for label in mixed.labels], axis=1)
    np.testing.assert_allclose(mixed(graph), wanted, atol=1e-12 * np.abs(wanted).max())


def test_a_neighborhood_of_its_own_does_not_change_the_angular_functions(x64):
    descriptor = AEV(n_species=2, cutoff=3.6, angular_cutoff=2.9, n_radial=2, n_angular_shifts=2, n_angles=2)
    masked, own = (descriptor(crystal_graph(cutoffs)) for cutoffs in ([3.6], [2.9, 3.6]))
    np.testing.assert_allclose(own, masked, atol=1e-13)


def test_absent_species_have_zero_features(x64):
    # neither hydrogen nor carbon in an Si-O crystal: only products of the other species are there
    table = SpeciesTable.from_numbers([1, 8, 14])
    graph = build_graph(triclinic_crystal(), table, [3.0], dtype=jnp.float64)
    descriptor = SOAP(n_species=3, cutoff=3.0, n_radial=2, l_max=1)
    features = np.asarray(descriptor(graph))
    hydrogen = np.array([0 in (a, b) for a, _, b, _, _ in descriptor.labels])
    assert not features[:, hydrogen].any()
    assert (np.abs(features[:3, ~hydrogen]).max(axis=0) > 0).all()


def test_coulomb_matrix_says_when_a_structure_does_not_fit(x64):
    table = SpeciesTable.from_numbers([1, 6, 8, 14])
    graph = build_graph([water(), ethanol()], table, [], dtype=jnp.float64)
    spectrum = np.asarray(jax.jit(CoulombMatrix(n_atoms=8).spectrum)(graph))
    assert np.isfinite(spectrum[0]).all()
    assert np.isnan(spectrum[1]).all()
    half_periodic = build_graph(slab(), table, [], dtype=jnp.float64)
    assert np.isnan(jax.jit(CoulombMatrix(n_atoms=4, periodic="ewald").spectrum)(half_periodic)[0]).all()


def test_ewald_matrix_of_a_molecule_is_its_coulomb_matrix(x64):
    graph = build_graph(water(), SpeciesTable.from_numbers([1, 8]), [], dtype=jnp.float64)
    plain, ewald = (CoulombMatrix(n_atoms=4, periodic=p).spectrum(graph)[0] for p in ("sine", "ewald"))
    np.testing.assert_array_equal(plain, ewald)
    d = np.linalg.norm(water().positions[:, None] - water().positions, axis=-1)
    z = np.array([8.0, 1.0, 1.0])
    matrix = np.outer(z, z) / np.where(d > 0, d, 1.0)
    np.fill_diagonal(matrix, 0.5 * z**2.4)
    np.testing.assert_allclose(plain[:3], np.linalg.eigvalsh(matrix)[::-1], rtol=1e-12)


def test_features_that_are_not_numbers_separate_nothing():
    """A matrix too small for the molecule is NaN, which differs from nothing by any measure."""
    stretched = dataclasses.replace(water(), positions=1.2 * water().positions)
    with pytest.raises(ConfigError, match="NaN or infinite"):
        separate(water(), stretched, CoulombMatrix(n_atoms=2))
    assert separate(water(), stretched, CoulombMatrix(n_atoms=3))


@pytest.mark.parametrize("periodic", ["sine", "ewald"])
def test_a_box_around_a_molecule_does_not_change_its_coulomb_matrix(x64, periodic):
    table = SpeciesTable.from_numbers([1, 8])
    boxed = dataclasses.replace(water(), cell=6.0 * np.eye(3))
    free, inside = (
        CoulombMatrix(n_atoms=4, periodic=periodic).spectrum(build_graph(s, table, [], dtype=jnp.float64))[0]
        for s in (water(), boxed)
    )
    np.testing.assert_array_equal(free, inside)


@pytest.mark.parametrize("periodic", ["sine", "ewald"])
def test_the_matrix_of_a_crystal_does_not_depend_on_which_images_of_its_atoms_are_given(x64, periodic):
    crystal = triclinic_crystal()
    cells = np.zeros((crystal.n_atoms, 3))
    cells[1] = [5.0, -4.0, 6.0]
    elsewhere = dataclasses.replace(crystal, positions=crystal.positions + cells @ crystal.cell)
    one, other = (
        CoulombMatrix(n_atoms=4, periodic=periodic).spectrum(build_graph(s, SPECIES, [], dtype=jnp.float64))[0]
        for s in (crystal, elsewhere)
    )
    np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def test_coulomb_matrix_of_a_symmetric_molecule_has_symmetric_derivatives(x64):
    # Tetrahedron: three eigenvalues coincide. Their common derivative keeps the symmetry: radial, equal on all atoms.
    corners = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    structure = Structure(positions=0.7 * corners, numbers=np.full(4, 1))
    graph = build_graph(structure, SpeciesTable.from_numbers([1]), [], dtype=jnp.float64)
    descriptor = CoulombMatrix(n_atoms=5)

    def spectrum(positions):
        return descriptor.spectrum(dataclasses.replace(graph, positions=positions))[0]

    slopes, values = jax.jit(lambda r: (jax.jacfwd(spectrum)(r), spectrum(r)))(graph.positions)
    np.testing.assert_allclose(values[1:4], values[1], rtol=1e-12)
    for k in range(4):
        radial = np.einsum("ax,ax->a", np.asarray(slopes)[k], corners)
        np.testing.assert_allclose(radial, radial[0], rtol=1e-10)
        np.testing.assert_allclose(slopes[k], radial[0] / 3 * corners, atol=1e-12)


@pytest.mark.parametrize(
    "make",
    [
        lambda: SOAP(n_species=1, family="gaussian"),
        lambda: SOAP(n_species=2, species_mixing=((1.0,),)),
        lambda: SOAP(n_species=1, sigma=0.0),
        lambda: SOAP(n_species=1, envelope="square").neighbor_gradients(crystal_graph([5.0])),
        lambda: ACSF(n_species=1, g4=((0.1, 0.5, 1.0),)),
        lambda: ACSF(n_species=1, g4=((0.1, 1.0, 0.3),)),
        lambda: AEV(n_species=1, cutoff=3.0, angular_cutoff=3.5),
        lambda: Bessel(n_species=1, n_max=-1),
        lambda: CoulombMatrix(periodic="wigner"),
    ],
)
def test_wrong_options_are_refused(make):
    with pytest.raises(ConfigError, match="[Ww]anted"):
        make()
