"""A run that is killed again and again: started as a script, it forks runs, kills them, and lets the last one finish.

Arguments: folder, integrator, number of steps, number of kills. The runs are forked before JAX has started any thread,
so that each life costs a compilation and no imports.
"""

import json
import os
import pathlib
import random
import signal
import sys
import time

import numpy as np

HERE = pathlib.Path(__file__).parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE))

from simulated_systems import argon, argon_crystal, structure_of  # noqa: E402

from jorbit.simulate import SimulationResult, run  # noqa: E402


def simulate(folder: pathlib.Path, integrator: str, n_steps: int) -> SimulationResult:
    potential, params = argon()
    return run(
        potential,
        params,
        structure_of(argon_crystal()),
        integrator=integrator,
        n_steps=n_steps,
        timestep=2.0,
        temperature=60.0,
        record_every=10,
        block_size=20,
        measure=("rdf", "msd", "vacf", "stress"),
        trajectory=folder / "md.extxyz",
        checkpoint=folder / "md.checkpoint",
        checkpoint_every=0.0,
        resume=True,
        progress=False,
    )


def fingerprint(result: SimulationResult) -> dict[str, str]:
    """Every bit that a run ends with."""
    rdf, msd, vacf = (result.measurements[name] for name in ("rdf", "msd", "vacf"))
    arrays = {
        "positions": result.structure.positions,
        "cell": result.structure.cell,
        "velocities": result.velocities,
        "energies": result.total_energies,
        "stresses": result.stresses,
        "rdf": rdf.g["all"],
        "msd": msd.values["all"],
        "vacf": vacf.values["all"],
    }
    return {name: np.asarray(a, np.float64).tobytes().hex() for name, a in arrays.items()}


def one_life(folder: pathlib.Path, integrator: str, n_steps: int) -> int:
    """Start a run in a process of its own."""
    process = os.fork()
    if process:
        return process
    result = simulate(folder, integrator, n_steps)
    (folder / "result.json").write_text(json.dumps(fingerprint(result)))
    os._exit(0)


def kill_at_random_times(folder: pathlib.Path, integrator: str, n_steps: int, n_kills: int) -> int:
    """How many of the kills hit a run that was under way."""
    generator, file, hits = random.Random(0), folder / "md.checkpoint", 0
    for _ in range(n_kills):
        before = file.stat().st_mtime_ns if file.exists() else 0
        process = one_life(folder, integrator, n_steps)
        ended = False
        while not ended and not (file.exists() and file.stat().st_mtime_ns != before):
            time.sleep(0.005)
            ended = os.waitpid(process, os.WNOHANG)[0] != 0
        time.sleep(0.1 * generator.random())
        if not ended:
            os.kill(process, signal.SIGKILL)
            hits += os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == -signal.SIGKILL
    os.waitpid(one_life(folder, integrator, n_steps), 0)
    return hits


if __name__ == "__main__":
    hits = kill_at_random_times(pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    print(hits)
