"""One start file -> processor seconds of a step of mace-torch (random weights) in ASE: run by bench_md.py --mace.

The architecture of jorbit's row "MACE 32x0e": two layers, l <= 3, correlation 3, 5 Å, float32, one thread.
"""

import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import ase.io
import ase.units
import numpy as np
import torch

torch.set_num_threads(1)
torch.set_default_dtype(torch.float32)
torch.manual_seed(0)

import mace.tools  # noqa: E402, F401  (before e3nn, which cannot be imported otherwise)
from ase.md.langevin import Langevin  # noqa: E402
from e3nn import o3  # noqa: E402
from mace import modules  # noqa: E402
from mace.calculators import MACECalculator  # noqa: E402

atoms = ase.io.read(sys.argv[1])
numbers = sorted(set(atoms.numbers.tolist()))
block = modules.interaction_classes["RealAgnosticResidualInteractionBlock"]
model = modules.ScaleShiftMACE(
    r_max=5.0,
    num_bessel=8,
    num_polynomial_cutoff=5,
    max_ell=3,
    interaction_cls=block,
    interaction_cls_first=block,
    num_interactions=2,
    num_elements=len(numbers),
    hidden_irreps=o3.Irreps("32x0e"),
    MLP_irreps=o3.Irreps("16x0e"),
    atomic_energies=np.zeros(len(numbers)),
    avg_num_neighbors=28.0 if numbers == [14] else 12.0,
    atomic_numbers=numbers,
    correlation=3,
    gate=torch.nn.functional.silu,
    atomic_inter_scale=1e-3,  # random forces, but small ones
    atomic_inter_shift=0.0,
)
atoms.calc = MACECalculator(models=[model], device="cpu", default_dtype="float32")
dynamics = Langevin(atoms, 0.5 * ase.units.fs, temperature_K=300, friction=0.05 / ase.units.fs)
dynamics.run(2)
times = []
for _ in range(7):
    begin = time.process_time()
    dynamics.run(1)
    times.append(time.process_time() - begin)
print(json.dumps({"cpu_s_per_step": float(np.median(times))}))
