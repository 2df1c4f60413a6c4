"""The seed systems: sizes, order, forces against energies, labels that the reference method gives again, and orbits."""

import numpy as np
import pytest

import jorbit
from jorbit.datasets import load_dataset
from jorbit.datasets.checks import energy_force_slope, unit_suspicion
from jorbit.datasets.label import label

# name: atoms, frames, temperature, orbits (bond graph or spglib of the ideal structure; see tests/orbits)
SYSTEMS = {
    "naphthyridine_gfn2": (16, 600, 500.0, 9),
    "dalanine_gfn2": (13, 600, 500.0, 10),
    "dhistidine_gfn2": (20, 600, 500.0, 18),
    "graphene_n3_gfn1": (31, 180, 500.0, 9),
    "cspbi3_slab_gfn1": (24, 120, 450.0, 6),
    "ethanol_on_graphene_gfn1": (41, 120, 500.0, 7),
    "naphthyridine_on_graphene_gfn1": (56, 80, 500.0, 10),
    "dalanine_on_graphene_gfn1": (45, 120, 500.0, 11),
    "dhistidine_on_graphene_gfn1": (60, 80, 500.0, 19),
    "acphe_ala5_lys_gfn2": (99, 120, 500.0, 77),
}


@pytest.fixture(scope="module", params=SYSTEMS)
def data(request):
    return load_dataset(request.param)


def test_sizes_and_labels_are_as_advertised(data):
    n_atoms, n_frames, temperature, _ = SYSTEMS[data.name]
    assert len(data) == n_frames
    for frame in data:
        frame.structure.check()
        assert frame.structure.n_atoms == n_atoms and frame.info["temperature"] == temperature
        assert np.isfinite(frame.labels.energy) and np.isfinite(frame.labels.forces).all()
        assert (frame.labels.stress is not None) == frame.structure.pbc.all()
    assert len({frame.labels.energy for frame in data}) == n_frames
    assert set(data.isolated_energies) == set(data[0].structure.numbers.tolist())
    assert data.citation and data.licence and data.source
    assert sorted([*data.splits["train"], *data.splits["test"]]) == list(range(n_frames))


def test_forces_are_minus_the_slope_of_the_energies(data):
    check = energy_force_slope(data.frames)
    assert check.slope == pytest.approx(1.0, abs=0.1) and check.correlation > 0.94
    assert unit_suspicion(data.frames) is None


def test_forces_add_up_to_zero(data):
    for frame in data:
        assert abs(frame.labels.forces.sum(axis=0)).max() < 1e-5  # eV/Å; float32


@pytest.mark.parametrize("name", ["dalanine_gfn2", "cspbi3_slab_gfn1"])
def test_labelling_again_gives_the_same_numbers(name):
    pytest.importorskip("tblite")
    frame = jorbit.read(name)[3]
    again = next(label([frame], name.rpartition("_")[2])).labels
    assert again.energy == pytest.approx(frame.labels.energy, abs=2e-6)
    np.testing.assert_allclose(again.forces, frame.labels.forces, atol=2e-5)


def test_their_orbits_are_those_of_the_ideal_structure(data):
    more = {"gap": 0.5} if data.name == "cspbi3_slab_gfn1" else {}
    found = jorbit.find_orbits(data.frames[:300], n_bootstraps=0, **more)
    assert found.n_orbits == SYSTEMS[data.name][3]
