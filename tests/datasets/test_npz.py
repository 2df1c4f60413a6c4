"""npz files with the keys of rMD17 and sGDML: units, shapes, and no pickle."""

import numpy as np
import pytest

from jorbit.core.errors import DataError
from jorbit.core.units import KCAL_MOL
from jorbit.datasets import read
from jorbit.datasets.npz import read_npz


def arrays(**changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    made = {
        "nuclear_charges": np.array([8, 1, 1]),
        "coords": rng.normal(size=(4, 3, 3)),
        "energies": rng.normal(size=4),
        "forces": rng.normal(size=(4, 3, 3)),
    }
    return {key: value for key, value in (made | changes).items() if value is not None}


def store(tmp_path, **changes):
    np.savez(tmp_path / "set.npz", **arrays(**changes))
    return tmp_path / "set.npz"


def test_rmd17_keys_in_kcal_per_mol_become_ev(tmp_path):
    frames = read(store(tmp_path), energy_unit="kcal/mol")
    wanted = arrays()
    assert KCAL_MOL == pytest.approx(0.0433641042, abs=1e-10)  # 4184 J over the Faraday constant
    for index, frame in enumerate(frames):
        assert frame.labels.energy == pytest.approx(wanted["energies"][index] * 0.0433641042, rel=1e-8)
        np.testing.assert_allclose(frame.labels.forces, wanted["forces"][index] * 0.0433641042, rtol=1e-8)
        np.testing.assert_array_equal(frame.structure.positions, wanted["coords"][index])
        assert not frame.structure.pbc.any()


def test_sgdml_keys_and_units_in_the_file_are_used(tmp_path):
    made = arrays()
    np.savez(
        tmp_path / "sgdml.npz",
        z=made["nuclear_charges"],
        R=made["coords"],
        E=made["energies"][:, None],
        F=made["forces"],
        e_unit="kcal/mol",
        r_unit="Ang",
    )
    frame = read(tmp_path / "sgdml.npz")[2]
    assert frame.labels.energy == pytest.approx(made["energies"][2] * KCAL_MOL)


def test_words_stored_as_bytes_are_words(tmp_path):
    """Files of sGDML's first years."""
    made = arrays()
    np.savez(
        tmp_path / "old.npz",
        z=made["nuclear_charges"],
        R=made["coords"],
        E=made["energies"],
        F=made["forces"],
        lattice=np.array([[9.0, 1.0, 0.0], [0.0, 9.0, 0.0], [0.0, 0.0, 9.0]]),
        type=np.bytes_("d"),
        e_unit=np.bytes_("kcal/mol"),
        r_unit=np.bytes_("Ang"),
    )
    frame = read(tmp_path / "old.npz")[1]
    assert frame.labels.energy == pytest.approx(made["energies"][1] * KCAL_MOL)
    np.testing.assert_array_equal(frame.structure.cell[1], [1.0, 9.0, 0.0])  # columns became rows


def test_one_frame_needs_no_axis_of_frames(tmp_path):
    made = arrays()
    path = store(tmp_path, coords=made["coords"][0], forces=made["forces"][0], energies=made["energies"][0])
    (frame,) = read_npz(path, energy_unit="eV")
    np.testing.assert_array_equal(frame.labels.forces, made["forces"][0])


def test_a_file_that_does_not_say_its_unit_is_not_guessed(tmp_path):
    with pytest.raises(DataError, match="does not say its unit of energy"):
        read_npz(store(tmp_path))


def test_smaller_molecules_are_padded_with_zeros(tmp_path):
    numbers = np.array([[8, 1, 1], [8, 1, 0], [8, 0, 0], [1, 1, 0]])
    frames = read_npz(store(tmp_path, nuclear_charges=numbers), energy_unit="eV")
    assert [frame.structure.n_atoms for frame in frames] == [3, 2, 1, 2]
    assert frames[2].labels.forces.shape == (1, 3)


def test_forces_may_be_missing(tmp_path):
    assert read_npz(store(tmp_path, forces=None), energy_unit="eV")[0].labels.forces is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energies": np.zeros(3)}, r"wanted energies of shape \[4\], got \[3\]"),
        ({"forces": np.zeros((4, 2, 3))}, "wanted forces of shape"),
        ({"forces": np.full((4, 3, 3), np.nan)}, "forces of 4 frames hold NaN"),
        ({"nuclear_charges": np.array([8, 1])}, "wanted atomic numbers"),
        ({"nuclear_charges": None}, "wanted atomic numbers"),
        ({"lattice": np.eye(3)}, "lattice"),
        ({"stresses": np.zeros((4, 3, 3))}, "stresses need cells"),
        ({"coords": np.zeros(9)}, r"wanted positions \[frames, atoms, 3\], got \[9\]"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_npz(store(tmp_path, **changes), energy_unit="eV")


def test_pickled_objects_and_damaged_files_are_refused(tmp_path):
    np.savez(tmp_path / "objects.npz", E=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match="plain arrays"):
        read_npz(tmp_path / "objects.npz", energy_unit="eV")
    path = store(tmp_path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="cannot be read as an npz"):
        read_npz(path, energy_unit="eV")
