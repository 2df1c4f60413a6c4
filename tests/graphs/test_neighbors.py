"""The host search finds exactly the pairs of a brute-force sum over images."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.structure import Structure
from jorbit.graphs.neighbors import PairList, find_pairs
from jorbit.testing import systems, transformations

pytestmark = pytest.mark.filterwarnings("error")


def brute_force(structure: Structure, cutoff: float) -> dict[tuple[int, int, int, int, int], float]:
    """Every pair by looking at every image that could be near enough, from plain geometry."""
    pbc, cell = structure.pbc, structure.cell
    reach = np.zeros(3, dtype=int)
    spread = np.ptp(structure.positions, axis=0)
    for axis in np.flatnonzero(pbc):
        others = cell[[k for k in np.flatnonzero(pbc) if k != axis]]
        # Height of the cell along this axis: the part of its vector that no other periodic vector spans.
        height_vector = cell[axis] - (
            others.T @ np.linalg.lstsq(others.T, cell[axis], rcond=None)[0] if len(others) else 0
        )
        reach[axis] = int(np.ceil((cutoff + np.linalg.norm(spread)) / np.linalg.norm(height_vector)))
    images = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in reach], indexing="ij"), axis=-1).reshape(-1, 3)
    found = {}
    for i, ri in enumerate(structure.positions):
        for j, rj in enumerate(structure.positions):
            distances = np.linalg.norm(rj - ri + images @ cell, axis=1)
            for image, distance in zip(images, distances, strict=True):
                if distance < cutoff and not (i == j and not image.any()):
                    found[(i, j, *image.tolist())] = float(distance)
    return found


def as_dict(pairs: PairList) -> dict[tuple[int, int, int, int, int], float]:
    keys = zip(pairs.i.tolist(), pairs.j.tolist(), *pairs.shifts.T.tolist(), strict=True)
    found = dict(zip(keys, pairs.distances.tolist(), strict=True))
    assert len(found) == len(pairs.i), "a pair came twice"
    return found


def require_same_pairs(structure: Structure, cutoff: float) -> None:
    got, wanted = as_dict(find_pairs(structure, cutoff)), brute_force(structure, cutoff)
    # A pair whose distance equals the cutoff to rounding may be in either.
    for pair in got.keys() ^ wanted.keys():
        assert abs({**got, **wanted}[pair] - cutoff) < 1e-9
    for pair in got.keys() & wanted.keys():
        assert got[pair] == pytest.approx(wanted[pair], abs=1e-10)


@st.composite
def crystals(draw) -> tuple[Structure, float]:
    """Random triclinic cells from needles to plates, any mixture of periodic directions, atoms far outside the cell."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = np.array([draw(st.floats(1.2, 9.0)) for _ in range(3)])
    tilt = draw(st.floats(0.0, 0.9))
    cell = np.diag(lengths) + tilt * np.tril(rng.uniform(-1, 1, size=(3, 3)), k=-1) * lengths[:, None]
    cell = cell @ transformations.random_rotation(rng)
    pbc = np.array([draw(st.booleans()) for _ in range(3)])
    if draw(st.booleans()):
        cell[~pbc] = 0.0  # directions that do not repeat need no vector
    n_atoms = draw(st.integers(1, 5))
    wandering = draw(st.sampled_from([0.0, 1.0, 4.0]))
    positions = rng.uniform(-wandering, 1 + wandering, size=(n_atoms, 3)) * lengths.mean()
    structure = Structure(positions=positions, numbers=rng.integers(1, 90, size=n_atoms), cell=cell, pbc=pbc)
    return structure, draw(st.floats(0.5, 6.0))


@hypothesis.given(crystals())
@hypothesis.settings(max_examples=60)
def test_random_cells_agree_with_the_image_sum(drawn):
    require_same_pairs(*drawn)


@pytest.mark.parametrize("cutoff", [1.0, 3.0, 7.5])
@pytest.mark.parametrize("name", ["water", "ethanol", "rattled_silicon", "triclinic_crystal", "slab", "single_atom"])
def test_named_systems_agree_with_the_image_sum(name, cutoff):
    require_same_pairs(getattr(systems, name)(), cutoff)


def test_one_atom_sees_its_own_images():
    """Simple cubic with lattice constant a: 6 neighbours at a, 12 at sqrt(2) a, 8 at sqrt(3) a."""
    cubic = Structure(
        positions=np.array([[0.3, 0.3, 7.0]]), numbers=np.array([84]), cell=2.0 * np.eye(3), pbc=np.ones(3, dtype=bool)
    )
    for cutoff, count in [(1.99, 0), (2.01, 6), (2.9, 18), (3.5, 26)]:
        assert len(find_pairs(cubic, cutoff).i) == count


def test_diamond_has_four_neighbours_then_twelve():
    silicon = systems.rattled_silicon(amplitude=0.0)
    assert find_pairs(silicon, 2.5).slot_counts(8).tolist() == [4] * 8
    assert find_pairs(silicon, 4.0).slot_counts(8).tolist() == [16] * 8


def test_pairs_come_in_both_directions_with_opposite_shifts():
    pairs = as_dict(find_pairs(systems.triclinic_crystal(), 4.0))
    for (i, j, *shift), distance in pairs.items():
        assert pairs[(j, i, *(-np.array(shift)).tolist())] == pytest.approx(distance, abs=1e-12)


def test_moving_an_atom_by_a_lattice_vector_changes_no_distance():
    s = systems.triclinic_crystal()
    displacement = np.zeros((3, 3))
    displacement[1] = 3 * s.cell[0] - 2 * s.cell[2]
    before, after = find_pairs(s, 4.0), find_pairs(transformations.moved(s, displacement), 4.0)
    np.testing.assert_allclose(np.sort(after.distances), np.sort(before.distances), atol=1e-12)


def test_a_shorter_cutoff_is_a_subset():
    s = systems.rattled_silicon()
    assert as_dict(find_pairs(s, 5.0).within(3.0)) == as_dict(find_pairs(s, 3.0))


def test_a_molecule_far_from_the_origin_is_found():
    moved = transformations.translated(systems.water(), np.array([1e4, -2e4, 3e4]))
    assert len(find_pairs(moved, 1.2).i) == 4


@pytest.mark.parametrize("shift", [0.0, 1e-5])
def test_two_atoms_at_one_place_are_an_error(shift):
    s = Structure(positions=np.array([[1.0, 2, 3], [1.0, 2, 3 + shift]]), numbers=np.array([1, 1]))
    with pytest.raises(StructureError, match="Atoms 0 and 1 are at one place"):
        find_pairs(s, 3.0)


def test_an_atom_on_the_image_of_another_is_an_error():
    s = systems.triclinic_crystal()
    positions = s.positions.copy()
    positions[2] = positions[0] + 2 * s.cell[1]
    with pytest.raises(StructureError, match="at one place"):
        find_pairs(Structure(positions=positions, numbers=s.numbers, cell=s.cell, pbc=s.pbc), 3.0)


def test_two_atoms_close_together_are_still_found():
    assert find_pairs(systems.dimer(0.01), 3.0).distances.tolist() == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.nan, np.inf])
def test_a_cutoff_that_is_no_length_is_an_error(cutoff):
    with pytest.raises(ConfigError, match="Wanted a cutoff above 0"):
        find_pairs(systems.water(), cutoff)
