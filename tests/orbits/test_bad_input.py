"""What is no trajectory is refused with a reason; what is a poor one is labelled with a warning."""

import dataclasses

import numpy as np
import pytest
from orbit_systems import permuted, perovskite_slab, rattled, sheet

import jorbit
from jorbit.core.errors import ConfigError, DataError, StructureError
from jorbit.core.structure import Structure
from jorbit.orbits.stability import adjusted_rand_index


@pytest.fixture(scope="module")
def ethanol() -> list[Structure]:
    return [f.structure for f in jorbit.read("ethanol_gfn2")[:200]]


def test_no_frames_and_no_structures():
    with pytest.raises(DataError, match="no frames"):
        jorbit.find_orbits([])


def test_frames_of_other_atoms_or_another_order(ethanol):
    fewer = dataclasses.replace(ethanol[5], positions=ethanol[5].positions[:8], numbers=ethanol[5].numbers[:8])
    with pytest.raises(DataError, match=r"frame 2 \(8 atoms\) holds other atoms"):
        jorbit.find_orbits([*ethanol[:2], fewer])
    with pytest.raises(DataError, match="frame 1 .* same atoms in another order.*Sort"):
        jorbit.find_orbits([ethanol[0], permuted(ethanol[1], np.arange(9)[::-1])])


def test_like_atoms_that_changed_places_between_frames_are_noticed(ethanol):
    """The numbers agree, the bonds do not: a carbon's hydrogens move to the other carbon in half of the frames."""
    swapped = np.array([1, 0, 2, 3, 4, 5, 6, 7, 8])
    mixed = [permuted(s, swapped) if k % 2 else s for k, s in enumerate(ethanol)]
    assert any("Bonds break or form" in w for w in jorbit.find_orbits(mixed).warnings)


@pytest.mark.parametrize("n_frames", [1, 2])
def test_one_or_two_frames_are_labelled_with_a_warning(ethanol, n_frames):
    result = jorbit.find_orbits(ethanol[:n_frames])
    assert result.n_orbits == 6 and result.stability is None
    assert any("at least 50 frames" in w for w in result.warnings)
    crystal = jorbit.find_orbits(rattled(sheet(4), 0.0, n_frames))
    assert crystal.n_orbits == 1 and crystal.warnings


def test_broken_cells(ethanol):
    frames = rattled(sheet(3), 0.1, 3)
    flat = dataclasses.replace(frames[1], cell=np.zeros((3, 3)))
    with pytest.raises(StructureError, match="need lattice vectors"):
        jorbit.find_orbits([frames[0], flat])
    large = dataclasses.replace(frames[1], cell=2.0 * frames[1].cell)
    with pytest.raises(StructureError, match="strained by .* one trajectory"):
        jorbit.find_orbits([frames[0], large])
    nan = dataclasses.replace(frames[1], positions=np.full((18, 3), np.nan))
    with pytest.raises(StructureError, match="NaN"):
        jorbit.find_orbits([frames[0], nan])


def test_periodic_directions_that_differ_or_are_missing():
    frames = rattled(sheet(3), 0.1, 3)
    bulk = dataclasses.replace(frames[1], pbc=np.ones(3, dtype=bool))
    with pytest.raises(DataError, match="Frame 1 repeats along"):
        jorbit.find_orbits([frames[0], bulk])
    with pytest.raises(StructureError, match="no periodic directions .* Set pbc"):
        jorbit.find_orbits([dataclasses.replace(s, pbc=np.zeros(3, dtype=bool)) for s in frames])


def test_a_box_around_a_molecule_is_no_crystal_without_pbc(ethanol):
    boxed = [dataclasses.replace(s, cell=20.0 * np.eye(3)) for s in ethanol]
    np.testing.assert_array_equal(jorbit.find_orbits(boxed).labels, jorbit.find_orbits(ethanol).labels)


def test_a_reaction_is_announced(ethanol):
    """A hydrogen leaves the methyl group half way through."""
    hydrogen = int(jorbit.find_orbits(ethanol).orbits[2][0])
    late = []
    for k, s in enumerate(ethanol):
        positions = s.positions.copy()
        positions[hydrogen] += [0.0, 0.0, 4.0] if k >= 100 else [0.0, 0.0, 0.0]
        late.append(dataclasses.replace(s, positions=positions))
    result = jorbit.find_orbits(late)
    assert any("Bonds break or form" in w and f"H{hydrogen}" in w for w in result.warnings)
    assert result.stability is not None and result.stability < 1.0
    assert any("depend on the frames" in w for w in result.warnings)


def test_an_atom_that_wanders_through_a_crystal_is_announced():
    """Halide migration: one iodine of a slab hops to a place 8 Å away for half of the time."""
    frames = rattled(perovskite_slab(5, "CsI"), 0.1, 100)
    iodine = int(np.flatnonzero(frames[0].numbers == 53)[3])
    hopping = []
    for k, s in enumerate(frames):
        positions = s.positions.copy()
        positions[iodine] += [4.0, 4.0, 6.0] if k % 20 < 10 else [0.0, 0.0, 0.0]
        hopping.append(dataclasses.replace(s, positions=positions))
    assert any(f"I{iodine}" in w for w in jorbit.find_orbits(hopping).warnings)


def test_classes_that_are_hardly_apart_are_announced():
    """A slab whose layers alternate in height by 0.13 Å: the cut of 0.10 Å sees it, one of 0.20 Å would not."""
    slab = perovskite_slab(5, "CsI")
    slab.positions[slab.positions[:, 2] < 1.0, 2] -= 0.13
    result = jorbit.find_orbits(rattled(slab, 0.05, 200))
    assert result.separation < 2.0
    assert any("not well separated" in w for w in result.warnings)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "bonds"}, "mode must be one of"),
        ({"level": -1}, "level counts rounds"),
        ({"gap": 0.0}, "gap must be positive"),
        ({"p_bond": 1.5}, "p_bond is a fraction"),
        ({"n_block": 3}, "no option 'n_block'"),
        ({"rmax": -2.0}, "rmax"),
        ({"initial_labels": np.zeros(4, dtype=int)}, "wanted 9 integers"),
    ],
)
def test_options_that_make_no_sense(ethanol, options, message):
    with pytest.raises(ConfigError, match=message):
        jorbit.find_orbits(ethanol[:2], **options)


def test_files_that_hold_no_orbits(tmp_path):
    result = jorbit.find_orbits(rattled(sheet(3), 0.1, 60))
    path = tmp_path / "orbits.json"
    text = result.to_json(path)
    again = type(result).from_json(path)
    assert again.to_json() == text
    np.testing.assert_array_equal(again.labels, result.labels)
    assert again.group_order == result.group_order and again.fragments == result.fragments
    assert [p.name for p in tmp_path.iterdir()] == ["orbits.json"]
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
    damaged = text.replace('"zlib": "', '"zlib": "AAAA', 1)
    other = ('{"format": "other"}', "{not json", text.replace('"version": 1', '"version": 99'), damaged)
    for wrong in (*other, tmp_path / "absent.json", tmp_path / "bytes"):
        with pytest.raises(DataError):
            type(result).from_json(wrong)


def test_atoms_at_one_place_are_refused(ethanol):
    positions = ethanol[0].positions.copy()
    positions[4] = positions[5]
    with pytest.raises(StructureError, match="Atoms 4 and 5 are at one place"):
        jorbit.find_orbits([dataclasses.replace(ethanol[0], positions=positions), *ethanol[1:7]])


def test_one_frame_cannot_tell_what_is_feasible(ethanol):
    result = jorbit.find_orbits(ethanol[:1], feasible=True)
    assert any("all of them count as feasible" in w for w in result.warnings)
    assert result.feasible.n_rejected == 0 and result.feasible.order == result.group_order


def test_the_index_of_agreement_is_that_of_scikit_learn():
    from sklearn.metrics import adjusted_rand_score

    rng = np.random.default_rng(0)
    for _ in range(20):
        a, b = rng.integers(0, 4, 30), rng.integers(0, 3, 30)
        assert abs(adjusted_rand_index(a, b) - adjusted_rand_score(a, b)) < 1e-12
