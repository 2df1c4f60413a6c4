"""`jorbit convert` opens no pickle that the user did not vouch for."""

import pickle
import zipfile

import pytest

from jorbit.convert import CONVERTERS
from jorbit.convert.foreign import guess_source
from jorbit.core.errors import ModelFileError


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
