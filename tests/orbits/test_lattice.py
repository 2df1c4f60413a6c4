"""The minimum image is the nearest image, found by looking at all of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orbit_systems import sheet

from jorbit.orbits.lattice import displacements, make_lattice
from jorbit.orbits.statistics import pair_distances

SHIFTS = np.array(list(itertools.product(range(-2, 3), repeat=3)))


def random_cell(seed: int) -> np.ndarray:
    """Lengths of 3 to 9 Å, angles of 50 to 130 degrees."""
    rng = np.random.default_rng(seed)
    while True:
        vectors = rng.normal(size=(3, 3))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        angles = np.degrees(np.arccos(np.clip((vectors @ vectors.T)[np.triu_indices(3, 1)], -1, 1)))
        volume = abs(np.linalg.det(vectors))
        if (angles > 50).all() and (angles < 130).all() and volume > 0.3:
            return vectors * rng.uniform(3, 9, size=(3, 1))


def brute_force(steps: np.ndarray, cell: np.ndarray, pbc: np.ndarray) -> np.ndarray:
    """Shortest image among 5 x 5 x 5 of the wrapped step in the cell as given; the cells here are not more skewed."""
    fractional = steps @ np.linalg.inv(cell)
    wrapped = (fractional - np.round(fractional) * pbc) @ cell
    shifts = SHIFTS[(SHIFTS[:, ~pbc] == 0).all(axis=1)]
    return np.linalg.norm(wrapped[..., None, :] + shifts @ cell, axis=-1).min(axis=-1)


def traced(positions: np.ndarray, lattice) -> np.ndarray:
    with jax.enable_x64(True):
        arrays = (jnp.asarray(a) for a in (lattice.vectors, lattice.periodic, lattice.images))
        return np.array(pair_distances(jnp.asarray(positions)[None], *arrays)[0])


@given(seed=st.integers(0, 10_000))
def test_distances_are_those_of_the_nearest_of_125_images(seed):
    rng = np.random.default_rng(seed)
    cell = random_cell(seed)
    positions = rng.uniform(-2, 2, size=(20, 3)) @ cell
    steps = positions[None] - positions[:, None]
    wanted = brute_force(steps, cell, np.ones(3, dtype=bool))
    lattice = make_lattice(cell, np.ones(3, dtype=bool))
    np.testing.assert_allclose(np.linalg.norm(displacements(steps, lattice), axis=-1), wanted, atol=1e-9)


@pytest.mark.parametrize(
    ("angle", "pbc"), [(60, (1, 1, 0)), (120, (1, 1, 0)), (120, (1, 1, 1)), (75, (1, 0, 0)), (90, (1, 1, 1))]
)
def test_traced_and_host_distances_agree_with_brute_force_in_hexagonal_and_mixed_cells(angle, pbc):
    pbc = np.array(pbc, dtype=bool)
    a = np.radians(angle)
    cell = np.array([[5.0, 0, 0], [5 * np.cos(a), 5 * np.sin(a), 0], [0.3, 0.2, 7.0]])
    positions = np.random.default_rng(angle).uniform(-1, 2, size=(40, 3)) @ cell
    full = cell.copy()
    if not pbc.all():  # directions without period have no lattice vector that matters
        rows = cell[pbc]
        full[~pbc] = np.linalg.svd(rows, full_matrices=True)[2][len(rows) :]
    wanted = brute_force(positions[None] - positions[:, None], full, pbc)
    lattice = make_lattice(cell, pbc)
    np.testing.assert_allclose(traced(positions, lattice), wanted, atol=1e-6)
    steps = np.linalg.norm(displacements(positions[None] - positions[:, None], lattice), axis=-1)
    np.testing.assert_allclose(steps, wanted, atol=1e-9)


def test_any_choice_of_lattice_vectors_gives_the_same_distances():
    cell = random_cell(3)
    positions = np.random.default_rng(0).uniform(size=(30, 3)) @ cell
    pbc = np.ones(3, dtype=bool)
    skewed = np.array([[1, 3, -4], [0, 1, 5], [0, 0, 1]]) @ cell
    np.testing.assert_allclose(
        traced(positions, make_lattice(skewed, pbc)), traced(positions, make_lattice(cell, pbc)), atol=1e-9
    )


def test_rounding_would_be_wrong_for_many_pairs_of_graphene():
    """16 to 17 % of the pairs of a 7 x 7 cell: section 1.2 of the finder's specification."""
    atoms = sheet(7)
    cell = np.array(atoms.cell.array)
    steps = atoms.positions[None] - atoms.positions[:, None]
    fractional = steps @ np.linalg.inv(cell)
    rounded = np.linalg.norm((fractional - np.round(fractional) * atoms.pbc) @ cell, axis=-1)
    exact = traced(atoms.positions, make_lattice(cell, np.array(atoms.pbc)))
    wrong = np.abs(rounded - exact) > 1e-3
    assert (rounded - exact).min() > -1e-6
    assert 0.10 < wrong.mean() < 0.25
