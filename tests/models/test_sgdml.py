"""sGDML as a function of positions: its kernel against automatic differentiation, symmetries, images."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jorbit
from jorbit.basis.inverse_distances import pair_indices, pair_permutations
from jorbit.basis.matern import energies_and_gradients
from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.structure import Structure
from jorbit.models.sgdml import SGDML, predict_geometries
from jorbit.potential.derivatives import hessian
from jorbit.testing import systems
from jorbit.train.kernel_matrix import Geometry, Tiles, kernel_matrix

WATER = systems.water()
SWAP = np.array([[0, 1, 2], [0, 2, 1]], dtype=np.int32)
CYCLES = np.array([[0, 1, 2], [1, 2, 0], [2, 0, 1]], dtype=np.int32)


def geometries(n: int, seed: int = 0) -> np.ndarray:
    return WATER.positions + 0.15 * np.random.default_rng(seed).normal(size=(n, 3, 3))


def matern(r_a, r_b, permutation, sigma):
    """k(x(r_a), p x(r_b)), in the plainest way."""
    i, j = pair_indices(3)

    def x(r):
        return 1.0 / jnp.sqrt(jnp.sum((r[i] - r[j]) ** 2, axis=1))

    d = jnp.sqrt(jnp.sum((x(r_a) - x(r_b[permutation])) ** 2))
    u = jnp.sqrt(5.0) * d / sigma
    return (1.0 + u + u**2 / 3.0) * jnp.exp(-u)


@pytest.fixture(scope="module")
def fitted():
    frames = jorbit.read("ethanol_gfn2")
    orbits = jorbit.find_orbits(frames[:150], feasible=True)
    return jorbit.fit_sgdml(frames[:400:20], sigma=20.0, orbits=orbits)


@pytest.mark.parametrize("group", [SWAP, CYCLES])
def test_the_kernel_matrix_is_the_second_derivative_of_the_kernel(group, x64):
    r = geometries(3)
    matrix = kernel_matrix(Tiles(Geometry(SGDML(numbers=(8, 1, 1)), r), group), 1.7, with_energies=True)
    matrix = np.tril(matrix) + np.tril(matrix, -1).T
    forces = jax.jit(jax.jacfwd(jax.grad(matern, argnums=0), argnums=1))
    mixed = jax.jit(jax.grad(matern, argnums=0))
    for a, b in itertools.permutations(range(3), 2):
        block = sum(np.asarray(forces(r[a], r[b], p, 1.7)) for p in group)
        np.testing.assert_allclose(matrix[9 * a : 9 * a + 9, 9 * b : 9 * b + 9], block.reshape(9, 9), atol=1e-12)
        column = -sum(np.asarray(mixed(r[a], r[b], p, 1.7)) for p in group)  # a force, and an energy
        np.testing.assert_allclose(matrix[9 * a : 9 * a + 9, 27 + b], column.reshape(9), atol=1e-12)
        assert matrix[27 + a, 27 + b] == pytest.approx(float(sum(matern(r[a], r[b], p, 1.7) for p in group)))
    assert np.linalg.eigvalsh(matrix).min() > -1e-12 * np.linalg.eigvalsh(matrix).max()


def test_the_matrix_is_symmetric_for_a_group_only(x64):
    geometry = Geometry(SGDML(numbers=(1, 1, 1)), geometries(2))
    for group, symmetric in ((CYCLES, True), (CYCLES[:2], False)):
        tiles = Tiles(geometry, group)
        tiles.size = 1
        there, back = tiles.tile(0, 1, 1.0)[0], tiles.tile(1, 0, 1.0)[0]
        assert (np.abs(there - back.T).max() < 1e-14) == symmetric


def test_products_equal_the_direct_sum_whatever_the_block(x64):
    rng = np.random.default_rng(1)
    x, points, w, beta = (rng.normal(size=s) for s in ((7, 3), (5, 3), (5, 3), (5,)))
    sigma, wanted = 0.8, np.zeros(7)
    for q, index in itertools.product(range(7), pair_permutations(CYCLES)):
        for point, weight, b in zip(points[:, index], w[:, index], beta, strict=True):
            delta = x[q] - point
            u = np.sqrt(5.0) * np.linalg.norm(delta) / sigma
            wanted[q] += (1 + u + u * u / 3) * np.exp(-u) * b
            wanted[q] -= 5 / (3 * sigma**2) * (1 + u) * np.exp(-u) * (delta @ weight)
    center = points.mean(axis=0)
    arguments = [jnp.asarray(a) for a in (points - center, w, center, CYCLES, sigma, beta)]
    for block in (1, 10**6):

        def both(q, block=block):
            energies, gradients = energies_and_gradients(q, *arguments, block_elements=block)
            return energies.sum(), (energies, gradients)

        plain, (energies, gradients) = jax.jit(jax.grad(both, has_aux=True))(jnp.asarray(x))
        np.testing.assert_allclose(energies, wanted, rtol=1e-12)
        np.testing.assert_allclose(gradients, plain, rtol=1e-9)


def test_energies_and_forces_have_the_symmetry_of_the_group_and_no_other(fitted):
    frame = jorbit.read("ethanol_gfn2")[7].structure
    group = fitted.params["sgdml"]["permutations"]
    assert len(group) == 6
    images = np.stack([frame.positions[p] for p in group])
    energies, forces = predict_geometries(fitted.potential.terms[0], fitted.params["sgdml"], images)
    assert np.ptp(energies) < 1e-7
    for p, f in zip(group, forces, strict=True):
        np.testing.assert_allclose(f, forces[0][p], atol=1e-7)
    other = frame.positions[[0, 1, 2, 3, 4, 5, 6, 8, 7]]  # hydrogens of the methyl and the hydroxyl group
    assert (
        abs(predict_geometries(fitted.potential.terms[0], fitted.params["sgdml"], other[None])[0] - energies[0]) > 0.1
    )


def test_forces_neither_push_nor_turn_the_whole(fitted):
    s = jorbit.read("ethanol_gfn2")[9].structure
    forces = jorbit.predict(fitted.potential, fitted.params, s).forces
    assert np.abs(forces.sum(axis=0)).max() < 1e-8
    assert np.abs(np.cross(s.positions, forces).sum(axis=0)).max() < 1e-7


@pytest.mark.slow
def test_hessian_of_ethanol_is_symmetric_and_knows_rigid_motions(fitted, x64):
    s = jorbit.read("ethanol_gfn2")[9].structure
    graph = fitted.potential.graph(s, dtype=jnp.float64)
    full = np.asarray(jax.jit(hessian, static_argnums=0)(fitted.potential, fitted.params, graph))
    matrix = full[:9, :, :9].reshape(27, 27)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-6)
    assert np.abs(full.sum(axis=2)).max() < 1e-6
    step = 1e-4 * np.random.default_rng(0).normal(size=(9, 3))
    ends = np.stack([s.positions + step, s.positions - step])
    forces = predict_geometries(fitted.potential.terms[0], fitted.params["sgdml"], ends)[1]
    np.testing.assert_allclose(-matrix @ (2 * step).ravel(), (forces[0] - forces[1]).ravel(), atol=1e-6)


@pytest.mark.parametrize(
    "cell", [[[2.5, 0, 0], [-1.25, 2.165, 0], [0, 0, 7.0]], [[3.0, 0.2, 0], [2.4, 2.9, 0.1], [-2.0, 1.1, 3.3]]]
)
@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False)])
def test_exact_images_are_the_nearest_of_a_large_search_and_rounded_ones_are_not(cell, pbc, x64):
    rng = np.random.default_rng(2)
    cell = np.array(cell)
    r = rng.uniform(-1.0, 2.0, size=(12, 3)) @ cell
    s = Structure(positions=r, numbers=np.full(12, 6), cell=cell, pbc=np.array(pbc))
    i, j = pair_indices(12)
    ranges = [range(-7, 8) if p else (0,) for p in pbc]
    shifts = np.array(list(itertools.product(*ranges))) @ cell
    wanted = np.linalg.norm((r[i] - r[j])[:, None] + shifts[None], axis=-1).min(axis=1)
    exact = SGDML.of(s)
    got = np.linalg.norm(np.asarray(exact.pair_vectors(jnp.asarray(r)[None]))[0], axis=-1)
    np.testing.assert_allclose(got, wanted, rtol=1e-10)
    own = jnp.asarray(cell)[None]
    np.testing.assert_allclose(
        exact.pair_vectors(jnp.asarray(r)[None], own)[0], exact.pair_vectors(jnp.asarray(r)[None])[0]
    )
    if all(pbc):
        rounded = np.asarray(SGDML.of(s, "round").pair_vectors(jnp.asarray(r)[None]))[0]
        assert np.mean(np.linalg.norm(rounded, axis=-1) > wanted + 1e-6) > 0.1
    else:
        with pytest.raises(ConfigError, match="three directions"):
            SGDML.of(s, "round").pair_vectors(jnp.asarray(r)[None])


def test_other_cells_and_directions_are_refused():
    s = systems.triclinic_crystal()
    term = SGDML.of(s)
    term.check_structure(s)
    with pytest.raises(StructureError, match="knows no other"):
        term.check_structure(Structure(positions=s.positions, numbers=s.numbers, cell=1.5 * s.cell, pbc=s.pbc))
    with pytest.raises(StructureError, match="same periodic directions"):
        term.check_structure(Structure(positions=s.positions, numbers=s.numbers, cell=s.cell))


def test_float32_is_refused_in_words(fitted):
    graph = fitted.potential.graph(jorbit.read("ethanol_gfn2")[0].structure, dtype=jnp.float32)
    with pytest.raises(ConfigError, match="float64.*enable_x64"):
        jorbit.predict(fitted.potential, fitted.params, graph)


def test_one_compilation_serves_all_molecules_of_one_size():
    from jorbit.core.compilation import compilations

    rng = np.random.default_rng(0)
    before = compilations().get("sgdml predictions", 0)
    for numbers in ((8, 1, 1), (16, 1, 9), (6, 8, 8)):
        params = {
            "points": rng.normal(size=(4, 3)),
            "center": np.ones(3),
            "weights": rng.normal(size=(4, 3)),
            "permutations": SWAP,
            "sigma": np.array(1.0 + numbers[0]),
            "scale": np.array(1.0),
            "constant": np.array(0.0),
        }
        predict_geometries(SGDML(numbers=numbers), params, geometries(2))
    assert compilations()["sgdml predictions"] == before + 1
