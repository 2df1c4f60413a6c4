"""Runs that are killed (kill -9) at random times and taken up again, against one that is not: every bit is compared.

    python benchmarks/kill_resume.py [--kills 200] [--minutes 60] [--trajectory h5]

32 argon atoms at constant pressure, with stress, g(r), displacements and velocity correlations measured, a checkpoint
after every block of 20 steps. Each life is a process of its own (forked before JAX starts a thread), killed up to
0.3 s after its first checkpoint; the last one may finish, and when the minutes are over no more are killed. Compared
are the last positions, velocities and cell, all recorded energies and stresses, the measurements and the trajectory.
Adds a row to benchmarks/results/soak.json.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import sys
import tempfile
import time

FOLDER = pathlib.Path(tempfile.mkdtemp(prefix="kill-resume-"))
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ["JAX_COMPILATION_CACHE_DIR"] = str(FOLDER / "compiled")  # lives share what they compile
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import common  # noqa: E402
import numpy as np  # noqa: E402
from ase.build import bulk  # noqa: E402

import jorbit  # noqa: E402
from jorbit.graphs.ase_atoms import from_ase  # noqa: E402
from jorbit.simulate import run  # noqa: E402
from jorbit.terms.lennard_jones import LennardJones  # noqa: E402


def simulate(folder: pathlib.Path, n_steps: int, suffix: str) -> dict[str, str]:
    """Every bit that the run ends with."""
    potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    result = run(
        potential,
        {"lennard_jones": {}},
        from_ase(atoms),
        integrator="npt_langevin",
        n_steps=n_steps,
        timestep=2.0,
        temperature=60.0,
        record_every=10,
        block_size=20,
        measure=("stress", "rdf", "msd", "vacf"),
        trajectory=folder / f"md.{suffix}",
        checkpoint=folder / "md.checkpoint",
        checkpoint_every=0.0,
        resume=True,
        progress=False,
    )
    arrays = result.arrays() | {"positions": result.structure.positions, "cell": result.structure.cell}
    arrays["velocities"] = result.velocities
    return {name: np.asarray(a, np.float64).tobytes().hex() for name, a in arrays.items()}


def life(folder: pathlib.Path, n_steps: int, suffix: str) -> int:
    process = os.fork()
    if not process:
        (folder / "end.json").write_text(json.dumps(simulate(folder, n_steps, suffix)))
        os._exit(0)
    return process


def same_trajectories(one: pathlib.Path, other: pathlib.Path) -> bool:
    if one.suffix != ".h5":
        return one.read_bytes() == other.read_bytes()
    pairs = list(zip(jorbit.read(one), jorbit.read(other), strict=True))
    return all(
        np.array_equal(a.structure.positions, b.structure.positions)
        and np.array_equal(a.structure.cell, b.structure.cell)
        and np.array_equal(a.labels.forces, b.labels.forces)
        and a.labels.energy == b.labels.energy
        and a.info["step"] == b.info["step"]
        for a, b in pairs
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--trajectory", default="h5", choices=["h5", "extxyz"])
    parser.add_argument("--steps-per-kill", type=int, default=400, help="enough that no life reaches the end")
    options = parser.parse_args()
    n_steps, generator, hits = options.kills * options.steps_per_kill, random.Random(0), 0
    killed, whole = FOLDER / "killed", FOLDER / "whole"
    killed.mkdir()
    whole.mkdir()
    file, began = killed / "md.checkpoint", time.perf_counter()
    last = began + 60 * options.minutes
    while hits < options.kills and time.perf_counter() < last and not (killed / "end.json").exists():
        seen = file.stat().st_mtime_ns if file.exists() else 0
        process = life(killed, n_steps, options.trajectory)
        while not (file.exists() and file.stat().st_mtime_ns != seen) and not os.waitpid(process, os.WNOHANG)[0]:
            time.sleep(0.002)
        time.sleep(0.3 * generator.random())
        if (killed / "end.json").exists():
            break
        os.kill(process, signal.SIGKILL)
        hits += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
        print(f"\rkilled {hits} of {options.kills} times", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for folder in (killed, whole):
        if not (folder / "end.json").exists():
            os.waitpid(life(folder, n_steps, options.trajectory), 0)
    ends = [json.loads((folder / "end.json").read_text()) for folder in (killed, whole)]
    name = f"md.{options.trajectory}"
    row = {
        "name": f"kill -9 and resume, {options.trajectory}",
        "kills": hits,
        "steps": n_steps,
        "arrays_compared": len(ends[0]),
        "arrays_different": sorted(key for key in ends[1] if ends[0].get(key) != ends[1][key]),
        "trajectories_equal": same_trajectories(killed / name, whole / name),
        "minutes": round((time.perf_counter() - began) / 60, 1),
    }
    print(row)
    rows = common.load_rows("soak", "name")
    rows[row["name"]] = row | {"environment": common.environment()}
    path = common.RESULTS / "soak.json"
    file = json.loads(path.read_text()) if path.exists() else {"what": "Long runs."}
    common.write("soak", **(file | {"rows": list(rows.values())}))
    shutil.rmtree(FOLDER)
    sys.exit(0 if row["trajectories_equal"] and not row["arrays_different"] else 1)


if __name__ == "__main__":
    main()
