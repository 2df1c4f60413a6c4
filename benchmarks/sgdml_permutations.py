"""The permutation search of the sgdml package, run by its own interpreter: reads an npz, prints JSON.

python benchmarks/sgdml_permutations.py frames.npz      # R [frames, atoms, 3], z [atoms], lattice [3, 3] or nothing
"""

import json
import sys
import time

import numpy as np
from sgdml import __version__
from sgdml.utils import perm


def main() -> None:
    """Number of permutations, number of orbits, seconds."""
    data = np.load(sys.argv[1])
    lattice = data["lattice"] if "lattice" in data.files else None
    both = None if lattice is None else (lattice.T, np.linalg.inv(lattice.T))  # sgdml has lattice vectors as columns
    start, cpu = time.perf_counter(), time.process_time()
    found = perm.find_perms(
        np.ascontiguousarray(data["R"]), data["z"].astype(np.int64), lat_and_inv=both, max_processes=1
    )
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    found = np.asarray(found).reshape(-1, len(data["z"]))
    label = np.arange(found.shape[1])
    changed = True
    while changed:
        before = label.copy()
        for p in found:
            label = np.minimum(label, label[p])
            np.minimum.at(label, p, label)
        changed = not np.array_equal(before, label)
    result = {
        "version": __version__,
        "n_frames": len(data["R"]),
        "n_permutations": len(found),
        "n_orbits": len(set(label.tolist())),
        "wall_s": round(wall, 2),
        "cpu_s": round(cpu, 2),
    }
    print("RESULT " + json.dumps(result))


main()
