"""Orbits of molecules from their trajectories, with default options."""

import dataclasses

import numpy as np
import pytest
from orbit_systems import LEVELS, MOLECULES, embed, mmff_trajectory, permuted, same_partition

import jorbit
from jorbit.core.structure import Structure

QUICK = ("ethanol", "malonaldehyde", "1,8-naphthyridine", "alanine")
LONG = tuple(name for name in MOLECULES if name not in QUICK)


def check(name: str, frames: list[Structure]) -> None:
    smiles, n_atoms, n_orbits, order = MOLECULES[name]
    result = jorbit.find_orbits(frames)
    assert (result.n_atoms, result.n_orbits, result.group_order) == (n_atoms, n_orbits, order)
    assert result.exact and result.labels.dtype == np.int32
    assert result.stability == 1.0 and not result.warnings
    if name in LEVELS:
        assert tuple(labels.max() + 1 for labels in result.level_labels) == LEVELS[name]


@pytest.mark.parametrize("name", QUICK)
def test_orbits_of_small_molecules(name):
    check(name, mmff_trajectory(embed(MOLECULES[name][0]), 200, stride=2))


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_orbits_of_all_molecules(name):
    check(name, mmff_trajectory(embed(MOLECULES[name][0]), 200, stride=5))


def test_orbits_of_the_shipped_xtb_trajectory_to_1000_kelvin():
    result = jorbit.find_orbits(jorbit.read("ethanol_gfn2"))
    assert result.n_orbits == 6 and result.group_order == 12 and result.stability == 1.0
    # (Z, size, smallest index): OH, CH2 and CH3 hydrogens, then the carbons, then oxygen
    assert [len(o) for o in result.orbits] == [1, 2, 3, 1, 1, 1]
    assert result.names == ("H0", "H1", "H2", "C0", "C1", "O")
    assert result.structure_orbits[result.numbers == 8].tolist() == [0]
    assert sorted(set(result.structure_orbits[result.numbers == 1].tolist())) == [0, 1, 2]


@pytest.fixture(scope="module")
def ethanol() -> list[Structure]:
    return [f.structure for f in jorbit.read("ethanol_gfn2")[:200]]


def moved(frames: list[Structure], change) -> np.ndarray:
    return jorbit.find_orbits([change(s) for s in frames]).labels


def test_labels_do_not_change_with_the_frame_of_reference_or_the_order_of_frames(ethanol):
    wanted = jorbit.find_orbits(ethanol).labels
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    for change in (
        lambda s: dataclasses.replace(s, positions=s.positions @ turn),
        lambda s: dataclasses.replace(s, positions=s.positions + [5.0, -3.0, 1.0]),
        lambda s: dataclasses.replace(s, positions=-s.positions),
    ):
        np.testing.assert_array_equal(moved(ethanol, change), wanted)
    shuffled = [ethanol[k] for k in rng.permutation(len(ethanol))]
    np.testing.assert_array_equal(jorbit.find_orbits(shuffled).labels, wanted)


def test_labels_follow_the_atoms_when_these_are_renumbered(ethanol):
    result = jorbit.find_orbits(ethanol)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(9)
        other = jorbit.find_orbits([permuted(s, order) for s in ethanol])
        assert same_partition(other.labels, result.labels[order])
        assert [len(o) for o in other.orbits] == [len(o) for o in result.orbits]


def test_a_molecule_in_a_periodic_box_has_the_orbits_it_has_in_vacuum(ethanol):
    """Also where the walls of the box cut through it."""
    box = np.diag([12.0, 13.0, 14.0])
    rng = np.random.default_rng(0)
    for_all = [
        dataclasses.replace(
            s, positions=(s.positions + 12 * rng.random(3)) % np.diag(box), cell=box, pbc=np.ones(3, bool)
        )
        for s in ethanol
    ]
    result = jorbit.find_orbits(for_all)
    np.testing.assert_array_equal(result.labels, jorbit.find_orbits(ethanol).labels)
    assert result.fragments[0].kind == "molecule"


def test_two_molecules_exchange_and_the_number_of_orbits_stays(ethanol):
    pairs = [
        Structure(positions=np.concatenate([a.positions, b.positions + 15.0]), numbers=np.tile(a.numbers, 2))
        for a, b in zip(ethanol, reversed(ethanol), strict=True)
    ]
    result = jorbit.find_orbits(pairs)
    assert result.n_orbits == 6 and result.group_order == 2 * 12**2
    np.testing.assert_array_equal(result.labels, np.tile(jorbit.find_orbits(ethanol).labels, 2))


def test_levels_between_elements_and_orbits(ethanol):
    counts = [jorbit.find_orbits(ethanol, level=k).n_orbits for k in range(4)]
    assert counts == [3, 5, 6, 6]
    assert jorbit.find_orbits(ethanol, mode="species").n_orbits == 3
    assert jorbit.find_orbits(ethanol, mode="identity").n_orbits == 9
    assert not jorbit.find_orbits(ethanol, level=1).exact


def test_colors_of_ones_own_divide_orbits(ethanol):
    """One hydrogen of the methyl group marked: the other two stay alike, those of the methylene too."""
    methyl = next(o for o in jorbit.find_orbits(ethanol).orbits if len(o) == 3)
    marks = np.zeros(9, dtype=np.int64)
    marks[methyl[0]] = 1
    result = jorbit.find_orbits(ethanol, initial_labels=marks)
    assert result.n_orbits == 7 and result.group_order == 4


def test_feasible_symmetries_of_ethanol_are_half_of_the_topological_ones():
    """Mirror images are visited by turning about bonds, an exchange of two hydrogens of a methyl group alone is not."""
    result = jorbit.find_orbits(jorbit.read("ethanol_gfn2"), feasible=True)
    assert result.group_order == 12
    assert result.feasible is not None and result.feasible.order == 6
    assert result.feasible.n_orbits == 6
    assert max(result.feasible.scores) < 1.5


@pytest.mark.slow
@pytest.mark.parametrize(("kelvin", "inverts", "order"), [(800.0, True, 6), (500.0, False, 3)])
def test_a_chiral_center_forbids_mirror_images(kelvin, inverts, order):
    """Alanine: 6 of 12 where the amine inverts in the trajectory, 3 where it keeps its handedness."""
    frames = mmff_trajectory(embed(MOLECULES["alanine"][0]), 1000, stride=50, kelvin=kelvin, seed=1)
    result = jorbit.find_orbits(frames, feasible=True)
    nitrogen = int(np.flatnonzero(result.numbers == 7)[0])
    bonded = np.flatnonzero(result.reference.bonds[nitrogen])
    arms = np.stack([s.positions[bonded] - s.positions[nitrogen] for s in frames])
    handedness = np.sign(np.linalg.det(arms))
    assert (abs(handedness.mean()) < 0.5) == inverts and (np.ptp(handedness) > 0) == inverts
    assert result.group_order == 12
    assert result.feasible is not None and result.feasible.order == order


def test_permutations_are_a_group_that_begins_with_the_identity(ethanol):
    result = jorbit.find_orbits(ethanol)
    whole = result.permutations(100)
    assert whole.shape == (12, 9) and whole[0].tolist() == list(range(9))
    assert len({p.tobytes() for p in whole}) == 12
    some = result.permutations(5)
    assert len(some) in (2, 3, 4) and 12 % len(some) == 0
    for p in whole:
        np.testing.assert_array_equal(result.labels[p], result.labels)
    # the peptide's six million are not enumerated
    assert len(result.permutations(1)) == 1


def test_the_same_frames_give_the_same_bits(ethanol):
    assert jorbit.find_orbits(ethanol).to_json() == jorbit.find_orbits(ethanol).to_json()
