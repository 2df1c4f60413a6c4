"""Started by bench_md.py in an environment of mlip: processor seconds per step of its MACE in its jax-md engine.

    python md_mlip.py start.extxyz

Random weights, two layers of 32x0e, correlation 3, 5 Å, float32, Langevin dynamics of 0.5 fs at 300 K in blocks of 10
steps; the first two blocks are left out, since the first one compiles.
"""

import json
import os
import sys
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")

import ase.io
import numpy as np
from mlip.data.dataset_info import DatasetInfo
from mlip.models import ForceField, Mace
from mlip.simulation.jax_md import JaxMDSimulationEngine

STEPS, BLOCKS = 10, 7

atoms = ase.io.read(sys.argv[1])
info = DatasetInfo(
    atomic_energies_map={int(z): 0.0 for z in set(atoms.numbers)},
    graph_cutoff_angstrom=5.0,
    avg_num_neighbors=28.0,
    avg_r_min_angstrom=1.0,
)
network = Mace(Mace.Config(num_channels=32, l_max=3, node_symmetry=0, correlation=3, num_layers=2), info)
config = JaxMDSimulationEngine.Config(
    num_steps=STEPS * BLOCKS,
    num_episodes=BLOCKS,
    timestep_fs=0.5,
    temperature_kelvin=300.0,
    edge_capacity_multiplier=1.25,
)
engine = JaxMDSimulationEngine(atoms, ForceField.from_mlip_network(network), config)
marks: list[float] = []
engine.attach_logger(lambda state: marks.append(time.process_time()))
engine.run()
print(json.dumps({"cpu_s_per_step": float(np.median(np.diff(marks)[1:])) / STEPS, "blocks": len(marks)}))
