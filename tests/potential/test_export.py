"""An exported function gives, without jorbit, the numbers that jorbit predicts."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import Capacity
from jorbit.core.species import SpeciesTable
from jorbit.graphs.batching import build_graph, capacity_for
from jorbit.models.linear_ace import LinearACE
from jorbit.potential.export import export, graph_arrays
from jorbit.potential.potential import Potential
from jorbit.potential.predict import predict
from jorbit.terms.zbl import ZBL
from jorbit.testing import systems

READER = """
import sys
import jax
import numpy as np
jax.config.update("jax_enable_x64", sys.argv[3] == "float64")
inputs = dict(np.load(sys.argv[2]))
result = jax.export.deserialize(bytearray(open(sys.argv[1], "rb").read())).call(**inputs)
np.savez(sys.argv[4], **result)
assert not any(name.split(".")[0] == "jorbit" for name in sys.modules)
"""


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_another_process_without_jorbit_gets_the_same_numbers(tmp_path, dtype):
    """The sizes come from one structure, the numbers from another with fewer atoms, and padding."""
    with jax.enable_x64(dtype == "float64"):
        one, other = systems.triclinic_crystal(), systems.ethanol()
        species = SpeciesTable.from_structures([one, other])
        model = LinearACE(n_species=len(species), cutoff=4.0, max_degree=(4, 3))
        potential = Potential((ZBL(), model), species)
        sizes = [capacity_for([s], potential.cutoffs) for s in (one, other)]
        slots = tuple(map(max, *(c.n_slots for c in sizes)))
        capacity = Capacity(max(c.n_atoms for c in sizes), 1, slots)
        graphs = [build_graph(s, species, potential.cutoffs, capacity=capacity, dtype=dtype) for s in (one, other)]
        params = potential.init(jax.random.key(0), graphs[0])
        params = jax.tree.map(lambda x: x + 0.01, params)
        about = export(potential, params, graphs[0], tmp_path / "model.stablehlo", ["cpu"])
        wanted = [predict(potential, params, g) for g in graphs]
    assert json.loads((tmp_path / "model.stablehlo.json").read_text())["cutoffs"] == list(potential.cutoffs)
    assert about["inputs"]["positions"]["shape"] == graphs[0].positions.shape
    for graph, w in zip(graphs, wanted, strict=True):
        np.savez(tmp_path / "in.npz", **graph_arrays(graph))
        files = [str(tmp_path / name) for name in ("model.stablehlo", "in.npz")]
        command = [sys.executable, "-c", READER, *files, dtype, str(tmp_path / "out.npz")]
        subprocess.run(command, check=True, cwd=tmp_path)
        got = np.load(tmp_path / "out.npz")
        # The other process may add in another order (see conftest.py), and terms of either sign nearly cancel.
        scale = 1e-12 if dtype == "float64" else 1e-4
        for name, value in (("energy", w.energy[0]), ("energies", w.energies), ("forces", w.forces)):
            np.testing.assert_allclose(got[name], value, rtol=scale, atol=scale * np.abs(value).max(), err_msg=name)
        np.testing.assert_allclose(got["stress"], w.stress[0], atol=scale * max(1.0, np.abs(w.stress).max()))
        assert got["energy"].dtype == dtype and np.abs(got["forces"]).max() > 1e-3


def test_mistakes_are_explained(tmp_path):
    species = SpeciesTable.from_numbers([1, 8])
    potential = Potential((ZBL(),), species)
    graph = potential.graph(systems.water())
    params = potential.init(jax.random.key(0), graph)
    with pytest.raises(ConfigError, match="gameboy"):
        export(potential, params, graph, tmp_path / "x", ["gameboy"])
    with pytest.raises(ConfigError, match="takes one structure"):
        export(potential, params, potential.graph([systems.water()] * 2), tmp_path / "x")
    with pytest.raises(DataError, match="cannot be written"):
        export(potential, params, graph, tmp_path / "no" / "x", ["cpu"])
