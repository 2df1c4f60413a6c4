"""Model files: same bits after a round trip, clear errors for every way a file can be wrong, and no code is run."""

import json
import os
import pathlib
import pickle
import stat
import struct

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import jorbit
from jorbit.core.errors import ModelFileError
from jorbit.core.species import SpeciesTable
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import artefact
from jorbit.potential.potential import Potential
from jorbit.potential.spec import encode_value, flatten_params, unflatten_params
from jorbit.terms.reference_energy import ReferenceEnergy

SPECIES = SpeciesTable(((1, 0), (1, 1), (8, 0)))


def small_potential() -> tuple[Potential, dict]:
    """Two terms, options with nested tuples, orbits; float64 parameters though x64 is off."""
    ace = LinearACE(n_species=3, cutoff=3.3, max_degree=(3, 2), l_max=2, bond_lengths=((0.7, 0.8, 1.0),) * 3)
    potential = Potential(terms=(ReferenceEnergy(n_species=3), ace), species=SPECIES)
    rng = np.random.default_rng(0)
    params = {
        "reference_energy": {"energies": rng.normal(size=3)},
        "linear_ace": {"coefficients": rng.normal(size=(3, ace.n_functions)).astype(np.float32)},
    }
    return potential, params


@pytest.fixture
def model_file(tmp_path) -> pathlib.Path:
    path = tmp_path / "model.safetensors"
    jorbit.save(path, *small_potential(), provenance={"frames": 200, "force_mae": np.float32(0.5), "from": tmp_path})
    return path


def rewrite_spec(path: pathlib.Path, **changes) -> None:
    """Change the spec and make the digest fit again, as another version of jorbit would have written it."""
    content = path.read_bytes()
    n_header = struct.unpack("<Q", content[:8])[0]
    header = json.loads(json.loads(content[8 : 8 + n_header])["__metadata__"]["jorbit"])
    tensors = safetensors.numpy.load(content)
    spec = header["spec"] | changes
    header = {"spec": spec, "sha256": artefact._digest(spec, tensors)}
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"jorbit": json.dumps(header)}))


def read_spec(path: pathlib.Path) -> dict:
    return artefact._read(path)[0]


def test_a_round_trip_gives_the_same_potential_and_the_same_bits(model_file):
    potential, params = small_potential()
    loaded, loaded_params = jorbit.load(model_file)
    assert loaded == potential and hash(loaded) == hash(potential)
    assert jax.tree.structure(loaded_params) == jax.tree.structure(params)
    for mine, theirs in zip(jax.tree.leaves(params), jax.tree.leaves(loaded_params), strict=True):
        assert mine.dtype == theirs.dtype
        assert mine.tobytes() == theirs.tobytes()


def test_saving_twice_gives_the_same_file(model_file, tmp_path):
    potential, params = jorbit.load(model_file)
    jorbit.save(tmp_path / "again.safetensors", potential, params, provenance=read_spec(model_file)["provenance"])
    assert (tmp_path / "again.safetensors").read_bytes() == model_file.read_bytes()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "bfloat16", "int32", "int64", "uint8", "bool"])
def test_every_dtype_and_shape_keeps_its_bits(dtype, tmp_path):
    dtype = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    values = np.arange(24).reshape(2, 3, 4).astype(dtype)
    trees = {
        "transposed": values.T,
        "scalar": values[1, 2, 3],
        "zero_size": values[:0],
        "list": [values, {"deep": (values[0], None, [])}],
        "one/two": values[1],
        "one": {"two": values[0]},
        "numbered": {0: jnp.zeros(2), 10: jnp.ones(2)},
    }
    tree, tensors = flatten_params(trees)
    raw = safetensors.deserialize(safetensors.numpy.save(tensors))
    tensors = {name: artefact._tensor(tensor) for name, tensor in raw}
    back = unflatten_params(json.loads(json.dumps(tree)), tensors)
    assert jax.tree.structure(back) == jax.tree.structure(trees)
    for mine, theirs in zip(jax.tree.leaves(trees), jax.tree.leaves(back), strict=True):
        assert np.asarray(mine).dtype == theirs.dtype and mine.shape == theirs.shape
        assert np.asarray(mine).tobytes() == theirs.tobytes()


def test_negative_zero_and_nan_payloads_survive(tmp_path):
    potential = Potential((ReferenceEnergy(n_species=3),), SPECIES)
    bits = np.array([0x8000000000000000, 0x7FF8000000000123, 1], dtype=np.uint64)
    jorbit.save(tmp_path / "m", potential, {"reference_energy": {"energies": bits.view(np.float64)}})
    _, params = jorbit.load(tmp_path / "m")
    assert (params["reference_energy"]["energies"].view(np.uint64) == bits).all()


def test_info_tells_what_is_inside_as_json(model_file):
    told = json.loads(json.dumps(artefact.info(model_file)))
    assert told["components"] == ["reference_energy", "linear_ace"]
    assert told["terms"][1]["options"]["max_degree"] == [3, 2]
    assert told["terms"][1]["options"]["bond_lengths"][2] == [0.7, 0.8, 1.0]
    assert [s["symbol"] for s in told["species"]] == ["H", "H", "O"]
    assert told["cutoffs"] == [3.3]
    assert told["units"]["energy"] == "eV"
    assert told["provenance"] == {"frames": 200, "force_mae": 0.5, "from": str(model_file.parent)}
    assert told["n_parameters"] == 3 + 3 * small_potential()[0].terms[1].n_functions
    assert told["format_version"] == 1
    assert told["n_bytes"] == model_file.stat().st_size


def test_a_header_whose_length_starts_like_a_pickle_is_still_a_model(tmp_path):
    potential, params = small_potential()
    starts = set()
    for n in range(0, 512, 8):
        jorbit.save(tmp_path / "m", potential, params, provenance={"note": "x" * n})
        starts.add((tmp_path / "m").read_bytes()[:1])
        assert jorbit.load(tmp_path / "m")[0] == potential
    assert b"\x80" in starts


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelFileError, match=r"nowhere\.safetensors cannot be read: No such file"):
        jorbit.load(tmp_path / "nowhere.safetensors")


def test_a_folder_is_not_a_model(tmp_path):
    with pytest.raises(ModelFileError, match="cannot be read"):
        jorbit.load(tmp_path)


def test_an_empty_file_is_called_empty(tmp_path):
    (tmp_path / "m").write_bytes(b"")
    with pytest.raises(ModelFileError, match="is empty"):
        jorbit.load(tmp_path / "m")


def test_a_file_truncated_anywhere_is_noticed(model_file):
    content = model_file.read_bytes()
    n_header = struct.unpack("<Q", content[:8])[0]
    for length in (1, 7, 8, 9, 8 + n_header // 2, 8 + n_header, 9 + n_header, len(content) - 1):
        model_file.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="truncated|not a safetensors"):
            jorbit.load(model_file)


def test_bytes_behind_the_end_are_noticed(model_file):
    model_file.write_bytes(model_file.read_bytes() + b"more")
    with pytest.raises(ModelFileError, match="damaged"):
        jorbit.load(model_file)


@pytest.mark.parametrize("seed", range(5))
def test_random_bytes_are_refused(seed, tmp_path):
    (tmp_path / "m").write_bytes(b"\x01" + np.random.default_rng(seed).bytes(500))
    with pytest.raises(ModelFileError, match="not a safetensors file|truncated"):
        jorbit.load(tmp_path / "m")


def test_text_is_refused(tmp_path):
    (tmp_path / "m").write_text("3\nProperties=species:S:1:pos:R:3\nH 0 0 0\n")
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        jorbit.load(tmp_path / "m")


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"jorbit": "{"}, {"jorbit": "[]"}, {"jorbit": "{}"}])
def test_a_foreign_safetensors_file_is_refused(metadata, tmp_path):
    (tmp_path / "m").write_bytes(safetensors.numpy.save({"weight": np.zeros(3)}, metadata=metadata))
    with pytest.raises(ModelFileError, match="not one that jorbit wrote"):
        jorbit.load(tmp_path / "m")


def test_a_newer_format_says_which_version_wrote_it(model_file):
    rewrite_spec(model_file, format_version=artefact.FORMAT_VERSION + 1, jorbit_version="9.8.7")
    with pytest.raises(ModelFileError, match=r"written by jorbit 9\.8\.7.*Update jorbit"):
        jorbit.load(model_file)


def change_term(path: pathlib.Path, index: int, change) -> None:
    terms = read_spec(path)["terms"]
    change(terms[index])
    rewrite_spec(path, terms=terms)


def test_an_unknown_component_gets_a_suggestion(model_file):
    change_term(model_file, 1, lambda term: term.update(component="linear_aces"))
    with pytest.raises(ModelFileError, match="Did you mean 'linear_ace'"):
        jorbit.load(model_file)


def test_an_unknown_option_gets_a_suggestion(model_file):
    change_term(model_file, 1, lambda term: term["options"].update(max_degrees=3))
    with pytest.raises(ModelFileError, match="no option 'max_degrees'. Did you mean 'max_degree'"):
        jorbit.load(model_file)


def test_an_unknown_seam_says_update(model_file):
    change_term(model_file, 0, lambda term: term.update(seam="oracle"))
    with pytest.raises(ModelFileError, match="oracle.*update jorbit"):
        jorbit.load(model_file)


def test_a_value_a_component_refuses_is_reported_with_its_reason(model_file):
    change_term(model_file, 0, lambda term: term["options"].clear())
    with pytest.raises(ModelFileError, match="cannot be made from the options.*n_species"):
        jorbit.load(model_file)


@pytest.mark.parametrize("changes", [{"species": [1]}, {"terms": 3}, {"terms": [{}]}, {"params": {}}, {"params": 1}])
def test_a_malformed_spec_is_a_model_file_error(changes, model_file):
    rewrite_spec(model_file, **changes)
    with pytest.raises(ModelFileError, match=r"model\.safetensors"):
        jorbit.load(model_file)


def test_changing_any_byte_of_the_numbers_is_noticed(model_file):
    content = model_file.read_bytes()
    n_header = struct.unpack("<Q", content[:8])[0]
    for position in np.linspace(8 + n_header, len(content) - 1, 7).astype(int):
        changed = bytearray(content)
        changed[position] ^= 1
        model_file.write_bytes(bytes(changed))
        with pytest.raises(ModelFileError, match="was changed after it was saved"):
            jorbit.load(model_file)


def test_changing_the_spec_is_noticed(model_file):
    content = model_file.read_bytes()
    assert content.count(b"3.3") == 1
    model_file.write_bytes(content.replace(b"3.3", b"4.3"))
    with pytest.raises(ModelFileError, match="was changed after it was saved"):
        jorbit.load(model_file)


class Bomb:
    """Unpickling this makes a file."""

    def __init__(self, path: str):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_and_never_opened(protocol, tmp_path):
    (tmp_path / "m").write_bytes(pickle.dumps(Bomb(str(tmp_path / "exploded")), protocol=protocol))
    with pytest.raises(ModelFileError, match="pickle" if protocol >= 2 else "not a safetensors"):
        jorbit.load(tmp_path / "m")
    assert not (tmp_path / "exploded").exists()


def test_a_numpy_archive_is_refused(tmp_path):
    np.savez(tmp_path / "m.npz", a=np.zeros(3))
    with pytest.raises(ModelFileError, match="never opens"):
        jorbit.load(tmp_path / "m.npz")


def test_only_registered_names_are_imported(model_file):
    change_term(model_file, 0, lambda term: term.update(component="os:system"))
    with pytest.raises(ModelFileError, match="no model called|no term called"):
        jorbit.load(model_file)


@pytest.mark.parametrize(
    "where", ["no/such/folder/m.safetensors", "model.safetensors/m.safetensors", "folder", "x" * 300]
)
def test_an_unwritable_path_is_a_clear_error(where, model_file):
    (model_file.parent / "folder").mkdir()
    with pytest.raises(ModelFileError, match="cannot be written"):
        jorbit.save(model_file.parent / where, *small_potential())
    assert jorbit.load(model_file)[0] == small_potential()[0]
    assert sorted(p.name for p in model_file.parent.iterdir()) == ["folder", "model.safetensors"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interrupted_write_keeps_the_old_file_and_leaves_nothing_behind(interruption, model_file, monkeypatch):
    before = model_file.read_bytes()

    def fail(*_):
        raise interruption

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises((KeyboardInterrupt, ModelFileError)):
        jorbit.save(model_file, *small_potential())
    assert model_file.read_bytes() == before
    assert [p.name for p in model_file.parent.iterdir()] == [model_file.name]


def test_a_saved_file_has_ordinary_permissions_and_a_link_stays_a_link(model_file):
    link = model_file.parent / "link.safetensors"
    link.symlink_to(model_file)
    model_file.write_bytes(b"old")
    jorbit.save(link, *small_potential())
    assert link.is_symlink() and jorbit.load(model_file)[0] == small_potential()[0]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(model_file.stat().st_mode) == 0o666 & ~umask


def test_parameters_of_another_potential_are_refused(tmp_path):
    potential, params = small_potential()
    with pytest.raises(ModelFileError, match="Wanted the parameters to save to hold"):
        jorbit.save(tmp_path / "m", potential, {"reference_energy": params["reference_energy"]})


@pytest.mark.parametrize("value", [object(), np.zeros(3), {1, 2}, lambda: 0])
def test_an_option_that_json_cannot_hold_is_refused_at_saving(value):
    with pytest.raises(ModelFileError, match="option 'kernel'"):
        encode_value(value, "kernel")


def test_params_that_are_not_numbers_are_refused(tmp_path):
    potential = Potential((ReferenceEnergy(n_species=3),), SPECIES)
    with pytest.raises(ModelFileError, match="wanted arrays of numbers"):
        jorbit.save(tmp_path / "m", potential, {"reference_energy": {"energies": "zero"}})
