"""Training over several devices, and over several processes, gives what one device gives."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest
from toy_pair import TOY, random_structures, true_params

import jorbit
from jorbit.core.errors import ConfigError
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.train.parallel import Devices, sharded_prediction, shards

HERE = pathlib.Path(__file__).parent


def start(*arguments: int) -> subprocess.Popen:
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(jorbit.__file__).parents[1]), "JAX_PLATFORMS": "cpu"}
    words = [sys.executable, str(HERE / "shared_out.py"), *map(str, arguments)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(child: subprocess.Popen) -> dict:
    out, error = child.communicate(timeout=240)
    lines = [line for line in out.splitlines() if line.startswith("RESULT ")]
    assert lines, error[-2000:]
    return json.loads(lines[0][7:])


@pytest.mark.slow
def test_eight_devices_and_two_processes_agree_with_one_device():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = [start(1), start(8), start(4, 0, 2, port), start(4, 1, 2, port)]
    alone, eight, *two = [result(child) for child in children]
    assert (alone["n_devices"], eight["n_devices"], two[0]["n_devices"]) == (1, 8, 4)
    # 6 structures on 8 devices, 11 frames in batches of 6: some devices have nothing but padding
    for other in (eight, *two):
        np.testing.assert_allclose(other["params"], alone["params"], rtol=1e-11)
        np.testing.assert_allclose(other["losses"], alone["losses"], rtol=1e-10)
        assert other["compilations"] == alone["compilations"]
    assert two[0]["sha"] == two[1]["sha"]  # the same bits in every process
    assert len(set(alone["losses"])) == 6 and alone["losses"][-1] < alone["losses"][0]


def test_parts_of_a_batch_predict_what_the_batch_predicts():
    structures = [s for s in random_structures(8, periodic=True, seed=1) if s.n_atoms == 3]
    with jax.enable_x64(True):
        graph = TOY.graph(structures, dtype=np.float64)
        whole = jax.jit(energy_and_derivatives, static_argnums=0)(TOY, true_params(), graph)
        parts = jax.jit(sharded_prediction, static_argnums=(0, 3))(TOY, true_params(), graph, 2)
        shards_of = shards(graph, 2)
    assert int(shards_of.owner.max()) == graph.n_structures // 2 - 1
    for name in ("energy", "forces", "stress"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12, atol=1e-12)


def test_devices_that_are_not_there_are_named():
    with pytest.raises(ConfigError, match="devices=64 were asked for, but there are 1"):
        Devices.choose(64)
    assert Devices.choose(1).n == 1
