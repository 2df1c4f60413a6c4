"""D3(BJ) against simple-dftd3, and its own tail."""

import json
import pathlib

import numpy as np
import pytest

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.potential import Potential, predict
from jorbit.terms.dispersion import Dispersion

pytestmark = pytest.mark.usefixtures("x64")
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_dftd3.json").read_text())["cases"]
SPECIES = SpeciesTable.from_numbers([1, 6, 8, 11, 17, 18, 47, 53])


@pytest.mark.parametrize("method", ["pbe", "revpbe0"])
def test_energies_and_forces_are_those_of_simple_dftd3(method: str):
    potential = Potential((Dispersion(method=method, cutoff=30.0, onset=25.0),), SPECIES)
    for name, case in GOLDEN.items():
        if case["method"] != method:
            continue
        structure = Structure(positions=np.array(case["positions"]), numbers=np.array(case["numbers"]))
        found = predict(potential, {"dispersion": {}}, structure)
        wanted = np.array(case["forces"])
        # Tables hold C6 in single precision: 6e-8 relative.
        assert found.energy[0] == pytest.approx(case["energy"], rel=1e-6), name
        np.testing.assert_allclose(found.forces, wanted, atol=2e-6 * np.abs(wanted).max(), err_msg=name)


def test_an_unknown_functional_is_refused():
    with pytest.raises(ConfigError, match="revpbe0"):
        Dispersion(method="revpbe00")
