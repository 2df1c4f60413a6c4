"""Files and results of sgdml 1.0.3: read without pickle, predicted and trained alike, written so that it reads them."""

import json
import pathlib

import numpy as np
import pytest

import jorbit
from jorbit.convert import convert
from jorbit.convert.sgdml import write_sgdml_dataset, write_sgdml_model
from jorbit.core.errors import ConfigError, DataError, ModelFileError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.core.units import KCAL_MOL
from jorbit.models.sgdml import predict_geometries

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_sgdml.json").read_text())["cases"]
CASES = pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n.endswith(("feasible", "graphene")) else pytest.mark.slow) for n in GOLDEN]
)


class Bomb:
    """Goes off when it is unpickled."""

    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


def frames_of(case: dict, which: str = "frames") -> list[Frame]:
    frames = jorbit.read(case["data"])
    return [frames[k] for k in case[which]]


def peer_arrays(case: dict) -> dict:
    """A model file as sgdml writes it, from its coefficients: descriptors and Jacobians by loops over pairs."""
    frames = frames_of(case)
    s = frames[0].structure
    n, alphas = s.n_atoms, np.array(case["alphas_F"]).reshape(len(frames), -1, 3)
    x, w = [], []
    for frame, alpha in zip(frames, alphas, strict=True):
        row, change = [], []
        for i in range(n):
            for j in range(i):
                d = frame.structure.positions[i] - frame.structure.positions[j]
                if s.pbc.any():
                    d = d - s.cell.T @ np.round(np.linalg.solve(s.cell.T, d))
                r = np.linalg.norm(d)
                row.append(1.0 / r)
                change.append(d @ (alpha[j] - alpha[i]) / r**3)
        x.append(row)
        w.append(change)
    more = {"lattice": s.cell.T} if s.pbc.any() else {}
    more |= {"alphas_E": np.array(case["alphas_E"])} if case["energies"] else {}
    return more | {
        "type": "m",
        "z": s.numbers.astype(np.uint8),
        "R_desc": np.array(x).T,
        "R_d_desc_alpha": np.array(w),
        "perms": np.array(case["permutations"]),
        "sig": case["sigma"],
        "std": case["std"],
        "c": case["c"],
        "f_err": np.array({"mae": Bomb()}, dtype=object),
        "md5_test": np.array(None, dtype=object),
    }


@CASES
def test_a_model_file_predicts_what_sgdml_predicts(name, tmp_path):
    case = GOLDEN[name]
    np.savez(tmp_path / "model.npz", **peer_arrays(case))
    potential, params = convert(tmp_path / "model.npz")
    tests = frames_of(case, "tests")
    for frame, energy, forces in zip(tests, case["E"], case["F"], strict=True):
        got = jorbit.predict(potential, params, frame.structure)
        assert abs(got.energy[0] / KCAL_MOL - energy) < 1e-6
        assert np.abs(got.forces.ravel() / KCAL_MOL - forces).max() < 1e-6
    assert potential.terms[0].images == ("round" if case["data"].startswith("graphene") else "exact")


@CASES
def test_the_same_task_gives_the_same_coefficients(name):
    case = GOLDEN[name]
    permutations = np.array(case["permutations"])
    fitted = jorbit.fit_sgdml(
        frames_of(case),
        sigma=float(case["sigma"]),
        permutations=permutations,
        use_energies=case["energies"],
        images="round" if case["data"].startswith("graphene") else "exact",
    )
    alphas = -np.array(case["alphas_F"])
    assert np.abs(fitted.report.alphas - alphas).max() < 1e-5 * np.abs(alphas).max()
    params = fitted.params["sgdml"]
    assert params["scale"] / KCAL_MOL == pytest.approx(case["std"], rel=1e-12)
    if case["energies"]:
        wanted = np.array(case["alphas_E"])
        assert np.abs(fitted.report.energy_alphas - wanted).max() < 1e-4 * np.abs(wanted).max()
    positions = np.stack([f.structure.positions for f in frames_of(case, "tests")])
    energies, forces = predict_geometries(fitted.potential.terms[0], params, positions)
    assert np.abs(energies / KCAL_MOL - case["E"]).max() < 1e-6
    assert np.abs(forces.reshape(len(forces), -1) / KCAL_MOL - case["F"]).max() < 1e-5


def test_a_written_model_comes_back(tmp_path):
    case = GOLDEN["ethanol_feasible"]
    np.savez(tmp_path / "model.npz", **peer_arrays(case))
    potential, params = convert(tmp_path / "model.npz")
    write_sgdml_model(tmp_path / "again.npz", potential, params, alphas=-np.array(case["alphas_F"]))
    with np.load(tmp_path / "again.npz", allow_pickle=False) as stored:
        written = {k: stored[k] for k in stored.files}
    for key in ("z", "perms", "sig"):
        np.testing.assert_array_equal(written[key], peer_arrays(case)[key])
    for key in ("R_desc", "R_d_desc_alpha", "std", "c"):
        np.testing.assert_allclose(written[key], peer_arrays(case)[key], rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(written["alphas_F"], case["alphas_F"])
    x = written["R_desc"].T[3]  # the long permutation acts on copies laid end to end
    table = np.tile(x, 6)[written["tril_perms_lin"]].reshape(6, -1, order="F")
    i, j = np.tril_indices(9, -1)
    square = np.zeros((9, 9))
    square[i, j] = square[j, i] = x
    for row, p in zip(table, written["perms"], strict=True):
        np.testing.assert_array_equal(row, square[np.ix_(p, p)][i, j])
    again, values = convert(tmp_path / "again.npz")
    s = frames_of(case)[0].structure
    one, two = jorbit.predict(potential, params, s), jorbit.predict(again, values, s)
    np.testing.assert_allclose(one.forces, two.forces, atol=1e-9)


def test_a_data_set_is_written_in_kcal_mol_with_lattice_vectors_as_columns_and_read_back(tmp_path):
    frames = jorbit.read("graphene_n3_gfn1")[:3]
    write_sgdml_dataset(tmp_path / "d.npz", frames, name="sheet", theory="GFN1-xTB")
    with np.load(tmp_path / "d.npz", allow_pickle=False) as stored:
        assert str(stored["type"]) == "d" and str(stored["name"]) == "sheet"
        np.testing.assert_allclose(stored["lattice"], frames[0].structure.cell.T)
        np.testing.assert_allclose(stored["F"][1] * KCAL_MOL, frames[1].labels.forces, atol=1e-12)
        assert float(stored["E_mean"]) == pytest.approx(stored["E"].mean())
    for before, after in zip(frames, jorbit.read(tmp_path / "d.npz"), strict=True):
        np.testing.assert_allclose(after.structure.cell, before.structure.cell)
        np.testing.assert_allclose(after.labels.forces, before.labels.forces, atol=1e-12)
        assert after.labels.energy == pytest.approx(before.labels.energy, abs=1e-9)


def test_what_is_no_model_is_refused_with_its_reason(tmp_path):
    write_sgdml_dataset(tmp_path / "data.npz", jorbit.read("ethanol_gfn2")[:2])
    with pytest.raises(ModelFileError, match="is no model of sgdml but a data set: read it with jorbit.read"):
        convert(tmp_path / "data.npz")
    np.savez(tmp_path / "half.npz", type="m", z=np.array([1, 1]))
    with pytest.raises(ModelFileError, match="lacks R_desc"):
        convert(tmp_path / "half.npz")
    arrays = peer_arrays(GOLDEN["ethanol_none"]) | {"perms": np.arange(8)[None]}
    np.savez(tmp_path / "odd.npz", **arrays)
    with pytest.raises(ModelFileError, match="do not belong to 9 atoms"):
        convert(tmp_path / "odd.npz")


def test_models_that_sgdml_cannot_hold_are_not_written(tmp_path):
    frames = jorbit.read("graphene_n3_gfn1")[:2]
    exact = jorbit.fit_sgdml(frames, sigma=30.0, permutations="none")
    with pytest.raises(ConfigError, match="images='round'"):
        write_sgdml_model(tmp_path / "m.npz", exact.potential, exact.params)
    ethanol = jorbit.read("ethanol_gfn2")[0]
    with pytest.raises(DataError, match="frame 1|Frame 1"):
        write_sgdml_dataset(tmp_path / "d.npz", [frames[0], ethanol])
    bare = Frame(structure=Structure(positions=np.eye(3), numbers=np.array([1, 1, 8])), labels=Labels(energy=1.0))
    with pytest.raises(DataError, match="no forces"):
        write_sgdml_dataset(tmp_path / "d.npz", [bare])
