"""Linear ACE against hand-computed dimers and trimers, rotations, and its own definition as a design matrix."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.descriptors.ace import ACE
from jorbit.graphs import build_graph
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential, hessian_vector_product, predict
from jorbit.potential.derivatives import energy_and_derivatives

CUTOFF, R0 = 4.0, 1.5


def radial_by_hand(r: float, n: int) -> float:
    """(1 - (r/rc)^2)^3 T_n(x(r)), written out with numpy from the definitions (Agnesi p = 2, q = 4)."""
    a = (-8 + 2 * (-2 + 16)) / (2 + 4 + 4 + 16)

    def y(d: float) -> float:
        s = d / R0
        return 1 / (1 + a * s**4 / (1 + s**2))

    x = 2 * (y(r) - y(CUTOFF)) / (1 - y(CUTOFF)) - 1
    return (1 - (r / CUTOFF) ** 2) ** 3 * np.cos(n * np.arccos(x))


def features_of_first_atom(positions, descriptor):
    structure = Structure(positions=np.asarray(positions, float), numbers=np.full(len(positions), 14))
    graph = build_graph(structure, SpeciesTable.from_numbers([14]), [CUTOFF])
    return np.asarray(descriptor(graph))[0], descriptor.space


def test_dimer_gives_products_of_radial_functions(x64):
    """One neighbour: pairs are R_n R_n' sqrt(2l+1), as sum_m Y_lm^2 = 2l + 1 and the coupling divides by its root."""
    r = 2.1
    values, space = features_of_first_atom([[0, 0, 0], [0.6 * r, 0, 0.8 * r]], ACE(1, CUTOFF, (5, 4), l_max=4))
    for value, order, n, degree in zip(values, space.order, space.radial, space.angular, strict=True):
        expected = np.prod([radial_by_hand(r, k) for k in n[:order]])
        if order == 2:
            expected *= np.sqrt(2 * degree[0] + 1)
        assert abs(value) == pytest.approx(abs(expected), rel=1e-10, abs=1e-13)


def test_trimer_gives_legendre_polynomials_of_the_angle(x64):
    """Two neighbours: sum over j, k of R_n(r_j) R_n'(r_k) P_l(cos angle_jk) sqrt(2l + 1), by the addition theorem."""
    r, angle = np.array([1.4, 2.3]), 1.9
    positions = [[0, 0, 0], [r[0], 0, 0], [r[1] * np.cos(angle), r[1] * np.sin(angle), 0]]
    values, space = features_of_first_atom(positions, ACE(1, CUTOFF, (5, 4), l_max=4))
    cosines = np.array([[1.0, np.cos(angle)], [np.cos(angle), 1.0]])
    for value, order, n, degree in zip(values, space.order, space.radial, space.angular, strict=True):
        left = np.array([radial_by_hand(d, n[0]) for d in r])
        if order == 1:
            expected = left.sum()
        else:
            right = np.array([radial_by_hand(d, n[1]) for d in r])
            legendre = np.polynomial.legendre.Legendre.basis(degree[0])(cosines)
            expected = np.sqrt(2 * degree[0] + 1) * left @ legendre @ right
        assert abs(value) == pytest.approx(abs(expected), rel=1e-10, abs=1e-13)


def test_triples_of_a_dimer_are_gaunt_coefficients(x64):
    """One neighbour along z: (a b)_L . c reduces to <l1 0 l2 0 | l3 0> times norms, from sympy."""
    from sympy.physics.wigner import clebsch_gordan

    r = 1.7
    values, space = features_of_first_atom([[0, 0, 0], [0, 0, r]], ACE(1, CUTOFF, (3, 3, 4), l_max=4))
    chosen = np.flatnonzero(space.order == 3)
    assert len(chosen) > 10
    for k in chosen:
        l1, l2, l3 = (int(v) for v in space.angular[k][:3])
        coupling = float(clebsch_gordan(l1, l2, l3, 0, 0, 0))
        radial = np.prod([radial_by_hand(r, n) for n in space.radial[k][:3]])
        expected = coupling * radial * np.sqrt((2 * l1 + 1) * (2 * l2 + 1) * (2 * l3 + 1))
        # Which two factors are coupled first only changes the norm by sqrt of a ratio of dimensions: here the third is.
        assert abs(values[k]) == pytest.approx(abs(expected), rel=1e-9, abs=1e-12)


@pytest.fixture(scope="module")
def crystal() -> Structure:
    rng = np.random.default_rng(0)
    return Structure(
        positions=rng.random((5, 3)) * 3.5,
        numbers=np.array([6, 1, 1, 6, 1]),
        cell=np.array([[3.5, 0, 0], [0.4, 3.2, 0], [0.3, -0.5, 3.9]]),
        pbc=np.ones(3, dtype=bool),
    )


@pytest.fixture(scope="module")
def fitted():
    """A tiny two-species ACE of all orders with random coefficients."""
    model = LinearACE.tiny(2)
    vector = np.random.default_rng(1).normal(size=model.n_parameters)
    potential = Potential(terms=(model,), species=SpeciesTable.from_numbers([1, 6]))
    return potential, {"linear_ace": model.unflatten(vector)}, vector


def test_energy_is_invariant_to_1e12_under_rotation_and_reflection(x64, crystal, fitted):
    potential, params, _ = fitted
    energy = predict(potential, params, crystal).energy[0]
    for seed in range(3):
        rotation = Rotation.random(random_state=seed).as_matrix()
        turned = dataclasses.replace(crystal, positions=crystal.positions @ rotation.T, cell=crystal.cell @ rotation.T)
        mirrored = dataclasses.replace(turned, positions=-turned.positions, cell=-turned.cell[[1, 0, 2]])
        for other in (turned, mirrored):
            assert predict(potential, params, other).energy[0] == pytest.approx(energy, rel=1e-12)


def test_design_rows_times_coefficients_are_energy_forces_and_virial(x64, crystal, fitted):
    potential, params, vector = fitted
    result = predict(potential, params, crystal)
    graph = potential.graph(crystal)

    def rows(g):
        design = potential.terms[0].design(g)
        return design.energy, design.forces, design.virial

    energy, forces, virial = jax.jit(rows)(graph)
    assert float(energy @ vector) == pytest.approx(float(result.energy[0]), rel=1e-12)
    scale = np.abs(result.forces).max()
    np.testing.assert_allclose((forces @ vector)[: crystal.n_atoms], result.forces, atol=1e-11 * scale)
    assert not np.asarray(forces)[crystal.n_atoms :].any()
    np.testing.assert_allclose(virial @ vector / crystal.volume, result.stress[0], atol=1e-11 * scale)


def test_energy_is_the_coefficients_times_the_descriptor(x64, crystal, fitted):
    potential, params, _ = fitted
    graph = potential.graph(crystal)
    features = np.asarray(potential.terms[0].descriptor(graph))[: crystal.n_atoms]
    rows = params["linear_ace"]["coefficients"][potential.species.index(crystal.numbers)]
    np.testing.assert_allclose(predict(potential, params, crystal).energies, (features * rows).sum(axis=1), rtol=1e-11)


@pytest.mark.slow
def test_chunks_over_atoms_change_nothing(x64, crystal, fitted, monkeypatch):
    """Energy, forces (reverse mode) and curvature (forward over reverse) through the blocked, recomputed loop."""
    potential, params, _ = fitted
    graph = potential.graph(crystal)
    vectors = np.random.default_rng(3).normal(size=graph.positions.shape)

    def everything() -> list[np.ndarray]:
        result = energy_and_derivatives(potential, params, graph)
        curved = hessian_vector_product(potential, params, graph, jnp.asarray(vectors))
        return [np.asarray(x) for x in (result.energy, result.forces, result.stress, curved)]

    whole = everything()
    monkeypatch.setattr("jorbit.models.linear_ace.CPU_CHUNK", 3)
    for blocked, expected in zip(everything(), whole, strict=True):
        np.testing.assert_allclose(blocked, expected, rtol=1e-10, atol=1e-10 * np.abs(expected).max())


def test_central_atoms_of_each_species_have_their_own_coefficients(x64, fitted):
    """With carbon's coefficients set to zero, only hydrogen atoms carry energy."""
    potential, params, _ = fitted
    coefficients = params["linear_ace"]["coefficients"].copy()
    coefficients[1] = 0.0
    water = Structure(positions=np.array([[0, 0, 0], [0, 0, 1.1], [0, 1.0, 0.2]]), numbers=np.array([6, 1, 1]))
    energies = predict(potential, {"linear_ace": {"coefficients": coefficients}}, water).energies
    assert energies[0] == 0.0
    assert (np.abs(energies[1:]) > 1e-3).all()


BY_SPECIES = LinearACE(n_species=2, cutoff=3.0, max_degree=((2,), (4, 3, 2)), l_max=1, max_factors=((1, 1), (2, 0)))


def test_limits_by_central_species_are_those_of_one_model_for_each(x64, crystal):
    """Energies of the atoms of a species are those of a model with that species' limits for all atoms."""
    species = SpeciesTable.from_structures([crystal])
    assert len(species) == 2
    rng = np.random.default_rng(5)
    coefficients = rng.normal(size=(2, BY_SPECIES.n_functions))
    whole = {"linear_ace": {"coefficients": coefficients}}
    energies = np.asarray(predict(Potential((BY_SPECIES,), species), whole, crystal).energies)
    space, wanted = BY_SPECIES.descriptor.space, species.index(crystal.numbers)

    def key(table, k):
        return tuple(zip(table.angular[k], table.radial[k], table.channel[k], strict=True)), int(table.order[k])

    for z, (degree, factors) in enumerate(zip(BY_SPECIES.max_degree, BY_SPECIES.max_factors, strict=True)):
        n_radial = 1 + max(map(max, BY_SPECIES.max_degree))
        own = dataclasses.replace(BY_SPECIES, max_degree=degree, max_factors=factors, n_radial=n_radial)
        table = own.descriptor.space
        assert table.n_features == BY_SPECIES.kept[z].sum() < space.n_features
        pool: dict[tuple, list[int]] = {}  # couplings of the same factors follow each other in the same order
        for k in np.flatnonzero(BY_SPECIES.kept[z]):
            pool.setdefault(key(space, k), []).append(int(k))
        columns = [pool[key(table, k)].pop(0) for k in range(table.n_features)]
        alone = {"linear_ace": {"coefficients": coefficients[:, columns]}}
        expected = np.asarray(predict(Potential((own,), species), alone, crystal).energies)
        np.testing.assert_allclose(energies[wanted == z], expected[wanted == z], rtol=1e-12)


def test_design_leaves_out_what_a_central_species_does_not_have(x64, crystal):
    species = SpeciesTable.from_structures([crystal])
    potential = Potential((BY_SPECIES,), species)
    coefficients = np.random.default_rng(6).normal(size=(2, BY_SPECIES.n_functions))
    design = jax.jit(BY_SPECIES.design)(potential.graph(crystal))
    result = predict(potential, {"linear_ace": {"coefficients": coefficients}}, crystal)
    assert float(design.energy @ coefficients.reshape(-1)) == pytest.approx(float(result.energy[0]), rel=1e-12)
    assert not np.asarray(design.energy)[~BY_SPECIES.kept.reshape(-1)].any()
    assert not np.asarray(design.forces)[:, :, ~BY_SPECIES.kept.reshape(-1)].any()


@pytest.mark.parametrize("rows", [((4, 3),), ((4, 3), 3), ((4,), (4,), (4,))])
def test_limits_need_a_row_for_every_central_species(rows):
    with pytest.raises(ConfigError, match="each of the 2 central species"):
        LinearACE(n_species=2, max_degree=rows)


def test_wrong_number_of_coefficients_is_refused():
    with pytest.raises(ConfigError, match="coefficients"):
        LinearACE.tiny(1).unflatten(np.zeros(3))
