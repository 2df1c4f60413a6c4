"""Public sets: found in JORBIT_DATA or the cache, downloaded once, checked by sha256, refused with advice."""

import hashlib
import lzma
import os
import re

import numpy as np
import pytest

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.units import KCAL_MOL
from jorbit.datasets import DATASETS, load_dataset, public
from jorbit.datasets.checks import energy_force_slope, unit_suspicion
from jorbit.datasets.public_sources import SOURCES, PublicFile, PublicSet

FRAME = "2\nProperties=species:S:1:pos:R:3:forces:R:3 energy={}\nH 0 0 0 0 0 1\nH 0 0 0.8 0 0 -1\n"
ATOM = "1\nProperties=species:S:1:pos:R:3 energy=-0.5 config_type=IsolatedAtom\nH 0 0 0\n"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A public set of two files and an isolated atom, 'downloadable' from a folder."""
    contents = {"train": "".join(FRAME.format(e) for e in (1.0, 2.0, 3.0)), "test": FRAME.format(4.0), "atoms": ATOM}
    remote = tmp_path / "remote"
    remote.mkdir()
    for stem, text in contents.items():
        (remote / f"{stem}.xyz").write_text(text)
    files = tuple(
        PublicFile(
            (f"{stem}.xyz", f"{stem}.xyz.xz"),
            sha256(text),
            (remote / f"{stem}.xyz").as_uri(),
            "isolated_atoms" if stem == "atoms" else stem,
        )
        for stem, text in contents.items()
    )
    source = PublicSet(
        name="small",
        folder="small",
        choices=(files,),
        energy_unit="kcal/mol",
        description="Hydrogen.",
        citation="nobody",
        licence="CC0-1.0",
        origin="nowhere",
        parts={"late": ("train", 1, 3)},
    )
    monkeypatch.setitem(SOURCES, "small", source)
    monkeypatch.setenv("JORBIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JORBIT_DATA", raising=False)
    return remote


def test_a_set_is_downloaded_once_and_converted(tmp_path, small):
    data = public.load_public("small")
    assert [round(frame.labels.energy / KCAL_MOL, 9) for frame in data] == [1.0, 2.0, 3.0, 4.0]
    assert data.isolated_energies == {1: -0.5 * KCAL_MOL}
    np.testing.assert_array_equal(data.splits["test"], [3])
    np.testing.assert_array_equal(data.splits["late"], [1, 2])
    assert [frame.labels.energy for frame in data.split("late")] == [data[1].labels.energy, data[2].labels.energy]
    for path in small.iterdir():
        path.unlink()  # from here on only the cache can serve
    assert len(public.load_public("small")) == 4
    assert not list((tmp_path / "cache").rglob("*.partial"))


def test_jorbit_data_comes_first_and_may_be_compressed(tmp_path, small, monkeypatch):
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    for path in small.iterdir():
        (folder / f"{path.name}.xz").write_bytes(lzma.compress(path.read_bytes()))
        path.unlink()
    monkeypatch.setenv("JORBIT_DATA", str(tmp_path / "data"))
    assert len(public.load_public("small")) == 4


def test_a_changed_download_is_refused_and_not_kept(tmp_path, small):
    (small / "train.xyz").write_text(FRAME.format(9.0))
    with pytest.raises(DataError, match="wanted sha256.*Nothing was kept"):
        public.load_public("small")
    assert not (tmp_path / "cache" / "small" / "train.xyz").exists()


def test_a_changed_local_file_is_refused(tmp_path, small, monkeypatch):
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    for path in small.iterdir():
        (folder / path.name).write_text(path.read_text() + ATOM)
    monkeypatch.setenv("JORBIT_DATA", str(tmp_path / "data"))
    with pytest.raises(DataError, match="is not the file that 'small' stands for"):
        public.load_public("small")


def test_without_connection_the_message_says_what_to_set(small):
    for path in small.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="Cannot download.*set JORBIT_DATA"):
        public.load_public("small")


def test_a_set_without_address_says_what_to_set(monkeypatch, tmp_path):
    monkeypatch.setenv("JORBIT_CACHE", str(tmp_path))
    monkeypatch.delenv("JORBIT_DATA", raising=False)
    with pytest.raises(DataError, match="Set JORBIT_DATA to a folder with mlearn/Si_train"):
        load_dataset("mlearn_si")
    monkeypatch.setenv("JORBIT_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match="no folder"):
        load_dataset("mlearn_si")


def test_an_unknown_name_suggests_a_known_one():
    with pytest.raises(ConfigError, match="Did you mean 'rmd17_ethanol'"):
        load_dataset("rmd17_etanol")


def test_every_source_is_registered_and_states_what_one_has_to_know():
    shipped = {name for name in DATASETS if name.endswith(("_gfn1", "_gfn2"))}
    assert set(SOURCES) == set(DATASETS) - shipped
    for name, source in SOURCES.items():
        assert source.name == name and source.citation and source.licence and source.origin
        for file in (file for choice in source.choices for file in choice):
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.url is None or file.url.startswith("https://")


needs_data = pytest.mark.skipif(not os.environ.get("JORBIT_DATA"), reason="JORBIT_DATA is not set")
COUNTS = {
    "rmd17_aspirin": 2000,
    "rmd17_benzene": 2000,
    "rmd17_ethanol": 2000,
    "rmd17_malonaldehyde": 2000,
    "rmd17_naphthalene": 2000,
    "rmd17_uracil": 2000,
    "3bpa": 1000,
    "acac": 2360,
    "mlearn_cu": 293,
    "mlearn_ge": 253,
    "mlearn_li": 270,
    "mlearn_mo": 217,
    "mlearn_ni": 294,
    "mlearn_si": 239,
}


@needs_data
@pytest.mark.parametrize("name", COUNTS)
def test_a_real_set_is_complete_and_its_forces_match_its_energies(name):
    data = load_dataset(name)
    assert len(data) == COUNTS[name]
    training = data.split(next(split for split in ("train_01", "train_300K", "train") if split in data.splits))
    assert unit_suspicion(data.frames) is None and unit_suspicion(training) is None
    check = energy_force_slope(data.frames)
    assert check.slope == pytest.approx(1.0, abs=0.1) and check.correlation > 0.9


@needs_data
@pytest.mark.parametrize("name", [name for name in COUNTS if name.startswith("rmd17")])
def test_split_01_of_rmd17_has_no_frame_on_both_sides(name):
    data = load_dataset(name)
    assert len(data.splits["train_01"]) == len(data.splits["test_01"]) == 1000
    assert not set(data.splits["train_01"]) & set(data.splits["test_01"])


@needs_data
def test_free_atoms_of_3bpa_and_acac_are_found():
    for name, elements in (("3bpa", {1, 6, 7, 8}), ("acac", {1, 6, 8})):
        assert set(load_dataset(name).isolated_energies) == elements
