"""`jorbit train` in two processes of one run: one model file, and that of one process."""

import os
import socket
import subprocess
import sys

import jax
import numpy as np
import pytest

import jorbit

CONFIG = """\
data: {{train: "ethanol_gfn2:train", train_size: 12, valid: 4}}
potential:
  - name: reference_energy
  - {{name: readout, hidden: [4], descriptor: {{name: ace, cutoff: 2.0, max_degree: [3], l_max: 1}}}}
gradient: {{epochs: 1, batch_size: 4, dtype: float64}}
output: {output}
"""


def start(config, *words):
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "jorbit.cli", "train", str(config), *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_train_one_model(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    configs = [tmp_path / f"{name}.yaml" for name in ("alone", "together")]
    for config in configs:
        config.write_text(CONFIG.format(output=tmp_path / f"{config.stem}.safetensors"))
    shared = ("--distributed", "--coordinator", f"localhost:{port}", "--processes", 2, "--process")
    children = [start(configs[0]), start(configs[1], *shared, 0), start(configs[1], *shared, 1)]
    results = [(child.communicate(timeout=300), child.returncode) for child in children]
    assert [code for _, code in results] == [0, 0, 0], results
    assert ["Model:" in out for (out, _), _ in results] == [True, True, False]
    one, two = (jorbit.load(tmp_path / f"{config.stem}.safetensors")[1] for config in configs)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-10), one, two)


def test_half_an_address_is_not_enough(run, tmp_path):
    config = tmp_path / "train.yaml"
    config.write_text(CONFIG.format(output=tmp_path / "m.safetensors"))
    result = run("train", config, "--coordinator", "localhost:1234")
    assert result.exit_code == 1 and "number of processes" in result.stderr
