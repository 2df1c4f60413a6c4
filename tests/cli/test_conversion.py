"""`jorbit convert` opens no pickle that the user did not vouch for."""

import pickle
import types
import zipfile

import pytest

from jorbit.cli.conversion import _parsed
from jorbit.convert import CONVERTERS, foreign
from jorbit.convert.foreign import guess_source, unit_in_ev
from jorbit.convert.mace import convert_mace
from jorbit.convert.torchani import convert_torchani
from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.units import KCAL_MOL


class Trap:
    """A pickle of this object makes a file when it is opened."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def archive(path, payload: bytes):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("model/data.pkl", payload)
    return path


def test_a_pickle_is_not_opened_without_trust(run, tmp_path):
    sprung = tmp_path / "sprung"
    model = archive(tmp_path / "mace.model", pickle.dumps(Trap(sprung)) + b"mace.modules.models")
    result = run("convert", model, "-o", tmp_path / "out.safetensors")
    assert result.exit_code == 1 and not sprung.exists() and not (tmp_path / "out.safetensors").exists()
    assert "can run any code" in " ".join(result.output.split()) and "--trust" in result.output
    pickle.loads(pickle.dumps(Trap(sprung))).close()
    assert sprung.exists()  # the trap works


@pytest.mark.parametrize("source", sorted(CONVERTERS))
def test_every_converter_names_a_file_that_is_not_there(run, tmp_path, source):
    result = run("convert", tmp_path / "absent.bin", "-o", tmp_path / "out.safetensors", "--from", source, "--trust")
    assert result.exit_code == 1 and "absent.bin" in result.output and "Traceback" not in result.output


def test_the_package_is_recognised_from_bytes(tmp_path):
    model = archive(tmp_path / "a.model", b"\x80\x02cmace.modules.models\nScaleShiftMACE\n")
    assert guess_source(model, ("mace", "hippynn")) == "mace"
    with pytest.raises(ModelFileError, match="--from"):
        guess_source(archive(tmp_path / "b.model", b"\x80\x02cmy.own\nModel\n"), ("mace", "hippynn"))


def test_a_wrong_name_of_a_package_is_corrected(run, tmp_path):
    model = archive(tmp_path / "a.model", b"")
    result = run("convert", model, "-o", tmp_path / "out.safetensors", "--from", "mase")
    assert result.exit_code == 1 and "Did you mean 'mace'" in result.output


def test_options_of_a_converter_are_checked(run, tmp_path):
    model = archive(tmp_path / "a.model", b"mace")
    for setting, message in (("heat=1", "no option 'heat'"), ("head", "NAME=VALUE")):
        result = run("convert", model, "-o", tmp_path / "out.safetensors", "--from", "mace", "--set", setting)
        assert result.exit_code == 1 and message in " ".join(result.output.split()) and "head" in result.output
    words = ("convert", model, "-o", tmp_path / "out.safetensors", "--from", "torchani", "--set", "member=first")
    result = run(*words)
    assert result.exit_code == 1 and "Wanted --set member=NUMBER, got 'first'" in " ".join(result.output.split())


def test_settings_have_the_type_that_the_converter_takes():
    given = ["member=1", "energy_unit=hartree"]
    assert _parsed(given, convert_torchani) == {"member": 1, "energy_unit": "hartree"}
    assert type(_parsed(given, convert_torchani)["member"]) is int
    assert _parsed(["energy_unit=0.0433641"], convert_torchani) == {"energy_unit": 0.0433641}
    assert _parsed(["head=1"], convert_mace) == {"head": "1"}


def test_units_of_energy_have_names_or_values():
    assert unit_in_ev("kcal/mol") == KCAL_MOL and unit_in_ev("eV") == 1.0 and unit_in_ev(0.5) == 0.5
    for wrong in ("foot-pound", 0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match="kcal/mol"):
            unit_in_ev(wrong)


@pytest.mark.parametrize("source", sorted(set(CONVERTERS) - {"sgdml"}))
def test_a_damaged_pickle_is_named(source, run, tmp_path, monkeypatch):
    def damaged(path, **_):
        raise EOFError("Ran out of input")

    torch = types.SimpleNamespace(load=damaged)
    monkeypatch.setattr(foreign, "import_package", lambda *_: torch)
    model = archive(tmp_path / "half.model", b"")
    result = run("convert", model, "-o", tmp_path / "out.safetensors", "--from", source, "--trust")
    text = " ".join(result.stderr.split())
    assert result.exit_code == 1 and "half.model cannot be opened" in text and "Ran out of input" in text
    assert "bug" not in text and not (tmp_path / "out.safetensors").exists()
