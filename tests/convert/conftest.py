"""Results of other packages, kept as golden numbers, against those of the converted model after it was saved."""

import numpy as np
import pytest

from jorbit import load, predict, save
from jorbit.core.structure import Structure


def structure_of(system: dict) -> Structure:
    positions, numbers = np.array(system["positions"]), np.array(system["numbers"])
    if system["cell"] is None:
        return Structure(positions=positions, numbers=numbers)
    return Structure(positions=positions, numbers=numbers, cell=np.array(system["cell"]), pbc=np.ones(3, dtype=bool))


@pytest.fixture
def check_results(tmp_path):
    """Energy, forces and stress of every system to 1e-10 of the largest number; gives back what was loaded."""

    def check(potential, params, systems: dict, results: dict):
        save(tmp_path / "model.safetensors", potential, params)
        potential, params = load(tmp_path / "model.safetensors")
        structures = {name: structure_of(systems[name]) for name in results}
        together = predict(potential, params, potential.graph(list(structures.values())))  # one compilation
        start = 0
        for k, (name, wanted) in enumerate(results.items()):
            here = slice(start, start := start + structures[name].n_atoms)
            got = {"energy": together.energy[k], "forces": together.forces[here], "stress": together.stress[k]}
            for kind in wanted:
                reference = np.asarray(wanted[kind])
                np.testing.assert_allclose(
                    got[kind], reference, rtol=0, atol=1e-10 * np.abs(reference).max(), err_msg=f"{name}: {kind}"
                )
            needed = {"energy", "forces"} | ({"stress"} if structures[name].pbc.all() else set())
            assert needed <= wanted.keys() <= got.keys()
        return potential, params

    return check
