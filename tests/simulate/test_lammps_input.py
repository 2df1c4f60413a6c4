"""What LAMMPS would refuse, or leave out without a word, is refused before files are written."""

import dataclasses

import numpy as np
import pytest

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.potential import Potential
from jorbit.simulate.lammps_input import LammpsOptions, write_lammps_input
from jorbit.terms.lennard_jones import LennardJones


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seed": 0}, "seed above 0"),
        ({"ensemble": "nvt", "temperature": 0.0}, "temperature above 0 K"),
        ({"ensemble": "nph"}, "Wanted an ensemble"),
        ({"timestep": 0.0}, "above 0"),
    ],
)
def test_options_that_lammps_does_not_take(options, words):
    with pytest.raises(ConfigError, match=words):
        LammpsOptions(**options)
    assert LammpsOptions(temperature=0.0).ensemble == "nve"


def test_mliap_knows_no_total_charge(tmp_path):
    argon = Potential((LennardJones(),), SpeciesTable.from_numbers([18]))
    pair = Structure(positions=np.array([[0.0, 0, 0], [0, 0, 3.8]]), numbers=np.array([18, 18]))
    ion, options = dataclasses.replace(pair, charge=1.0), LammpsOptions(mliap=True)
    with pytest.raises(ConfigError, match="no total charge"):
        write_lammps_input(tmp_path / "run", argon, "m.safetensors", ion, options)
    assert all(path.exists() for path in write_lammps_input(tmp_path / "run", argon, "m.safetensors", pair, options))
    driver = write_lammps_input(tmp_path / "run", argon, "m.safetensors", ion, LammpsOptions())[2]
    assert "charge=1" in driver.read_text()
