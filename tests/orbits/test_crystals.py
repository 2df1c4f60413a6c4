"""Rattled crystals, slabs and sheets: the orbits are spglib's equivalent atoms. Adsorbates: mobile and pinned."""

import dataclasses

import ase.build
import numpy as np
import pytest
from ase.spacegroup import crystal
from orbit_systems import (
    defect,
    embed,
    equivalent_atoms,
    permuted,
    perovskite_slab,
    rattled,
    same_partition,
    sheet,
)

import jorbit
from jorbit.core.structure import Structure

RUTILE = dict(basis=[(0, 0, 0), (0.305, 0.305, 0)], spacegroup=136, cellpar=[4.594, 4.594, 2.959, 90, 90, 90])
PEROVSKITE = dict(basis=[(0, 0, 0), (0.5, 0.5, 0.5), (0.5, 0.5, 0)], spacegroup=221, cellpar=[6.29] * 3 + [90] * 3)
BULK = {
    "fcc, one atom": ase.build.bulk("Cu"),
    "fcc, four atoms": ase.build.bulk("Cu", cubic=True),
    "fcc, 32 atoms": ase.build.bulk("Cu", cubic=True).repeat(2),
    "rutile, 6 atoms": crystal(["Ti", "O"], **RUTILE),
    "rutile, 48 atoms": crystal(["Ti", "O"], **RUTILE).repeat(2),
    "perovskite, 5 atoms": crystal(["Cs", "Pb", "I"], **PEROVSKITE),
    "perovskite, 40 atoms": crystal(["Cs", "Pb", "I"], **PEROVSKITE).repeat(2),
}


def check(atoms: ase.Atoms, n_orbits: int | None, sigma: float, n_frames: int = 200, n_warnings: int = 0):
    result = jorbit.find_orbits(rattled(atoms, sigma, n_frames))
    oracle = equivalent_atoms(atoms)
    assert same_partition(result.labels, oracle)
    assert n_orbits is None or result.n_orbits == n_orbits
    assert result.exact and result.stability == 1.0 and len(result.warnings) == n_warnings
    return result


@pytest.mark.parametrize("name", BULK)
def test_bulk_crystals(name):
    check(BULK[name], None, 0.05)


@pytest.mark.parametrize("m", [4, pytest.param(5, marks=pytest.mark.slow), pytest.param(6, marks=pytest.mark.slow), 7])
def test_pristine_graphene_is_one_orbit_under_12_m2_symmetries(m):
    result = check(sheet(m), 1, 0.1)
    assert result.group_order == 12 * m * m


@pytest.mark.parametrize(
    ("m", "kind", "n_orbits"),
    [
        (4, "N3V1", 9),
        (5, "N3V1", 13),
        (5, "N4V2", 14),
        (5, "N1V1", 29),
        pytest.param(6, "N3V1", 18, marks=pytest.mark.slow),
        pytest.param(7, "N3V1", 23, marks=pytest.mark.slow),
        pytest.param(8, "N3V1", 29, marks=pytest.mark.slow),
        pytest.param(10, "N3V1", 43, marks=pytest.mark.slow),
        pytest.param(6, "N4V2", 20, marks=pytest.mark.slow),
    ],
)
def test_graphene_with_pyridinic_nitrogen(m, kind, n_orbits):
    result = check(defect(m, kind), n_orbits, 0.1)
    assert len(set(result.labels[result.numbers == 7].tolist())) == 1


@pytest.mark.parametrize("sigma", [0.1, 0.35, 0.5])
@pytest.mark.parametrize(("n_layers", "termination"), [(5, "CsI"), (5, "PbI2"), (7, "CsI"), (7, "PbI2")])
def test_perovskite_slabs_have_two_orbits_for_each_inequivalent_layer(n_layers, termination, sigma):
    """Also at 0.35 Å, where bonds come and go and a threshold on single pairs would split the slab into its atoms."""
    check(perovskite_slab(n_layers, termination), n_layers + 1, sigma, 400)


def test_a_small_cell_and_its_supercell_have_the_same_orbits():
    one, two = perovskite_slab(5, "CsI", 1), perovskite_slab(5, "CsI", 2)
    small, large = (jorbit.find_orbits(rattled(a, 0.1, 200)) for a in (one, two))
    assert small.n_orbits == large.n_orbits == 6
    assert [4 * len(o) for o in small.orbits] == [len(o) for o in large.orbits]


def test_a_broken_mirror_doubles_the_orbits():
    """A slab whose bottom half is stretched: 2 orbits for each of its n layers."""
    slab = perovskite_slab(5, "CsI")
    slab.positions[slab.positions[:, 2] < 5.0, 2] *= 0.85
    check(slab, 10, 0.1)


def test_partition_does_not_depend_on_wrapping_cell_choice_numbering_or_handedness():
    frames = rattled(defect(4, "N3V1"), 0.1, 100)
    wanted = jorbit.find_orbits(frames).labels
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    shear = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]])

    def wrapped(s: Structure) -> Structure:
        fractional = s.positions @ np.linalg.inv(s.cell) + [0.37, 0.21, 0.0]
        fractional[:, :2] %= 1.0
        return dataclasses.replace(s, positions=fractional @ s.cell)

    for change in (
        wrapped,
        lambda s: dataclasses.replace(s, cell=shear @ s.cell),
        lambda s: dataclasses.replace(s, positions=s.positions @ turn, cell=s.cell @ turn),
        lambda s: dataclasses.replace(s, positions=s.positions + [1.0, 2.0, 3.0]),
    ):
        np.testing.assert_array_equal(jorbit.find_orbits([change(s) for s in frames]).labels, wanted)
    order = rng.permutation(31)
    other = jorbit.find_orbits([permuted(s, order) for s in frames]).labels
    assert same_partition(other, wanted[order])
    np.testing.assert_array_equal(jorbit.find_orbits(frames[::-1]).labels, wanted)


def adsorbed(smiles: str, m: int, n_frames: int, mobile: bool) -> list[Structure]:
    """A flat molecule 3.3 Å above a rattled sheet: anywhere and turned anyhow, or at one general place."""
    molecule = embed(smiles)
    shape = np.array(molecule.GetConformer().GetPositions())
    shape = (shape - shape.mean(axis=0)) @ np.linalg.svd(shape - shape.mean(axis=0))[2].T
    numbers = np.array([a.GetAtomicNum() for a in molecule.GetAtoms()])
    rng = np.random.default_rng(0)
    frames = []
    for s in rattled(sheet(m), 0.1, n_frames):
        angle = rng.uniform(0, 2 * np.pi) if mobile else 0.4
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        place = (rng.random(3) if mobile else np.array([0.31, 0.43, 0])) * [1, 1, 0] @ s.cell
        above = s.positions[:, 2].mean() + 3.3
        placed = shape @ turn.T + place + [0, 0, above] + 0.08 * rng.normal(size=shape.shape)
        frames.append(
            dataclasses.replace(
                s, positions=np.concatenate([s.positions, placed]), numbers=np.concatenate([s.numbers, numbers])
            )
        )
    return frames


@pytest.mark.parametrize(("smiles", "n_molecule"), [("c1cnc2ncccc2c1", 9), ("CCO", 6)])
def test_a_mobile_adsorbate_leaves_the_symmetry_of_the_sheet_alone(smiles, n_molecule):
    result = jorbit.find_orbits(adsorbed(smiles, 7, 200, mobile=True))
    assert result.n_orbits == 1 + n_molecule
    assert len(set(result.labels[:98].tolist())) == 1
    assert {f.kind for f in result.fragments} == {"framework", "molecule"}


def test_a_pinned_adsorbate_at_a_general_place_breaks_all_symmetry():
    result = jorbit.find_orbits(adsorbed("c1cnc2ncccc2c1", 7, 200, mobile=False))
    assert result.n_orbits == result.n_atoms == 114
    assert result.group_order == 1


def test_a_liquid_of_molecules_is_one_molecule_many_times():
    """Waters that wander through the cell: no edges between them."""
    water = ase.build.molecule("H2O")
    rng = np.random.default_rng(0)
    sites = np.array([(i, j, k) for i in range(3) for j in range(3) for k in range(2)]) * 3.4
    frames = []
    for _ in range(120):
        turns = np.linalg.qr(rng.normal(size=(18, 3, 3)))[0]
        shape = np.einsum("ai,mij->maj", water.positions, turns) + 0.02 * rng.normal(size=(18, 3, 3))
        positions = (shape + sites[rng.permutation(18)][:, None]).reshape(-1, 3)
        cell = np.diag([10.2, 10.2, 6.8])
        frames.append(
            Structure(positions=positions, numbers=np.tile(water.numbers, 18), cell=cell, pbc=np.ones(3, bool))
        )
    result = jorbit.find_orbits(frames)
    assert result.n_orbits == 2 and not result.warnings
    assert [f.kind for f in result.fragments] == ["molecule"] * 18
