"""A run that another process kills: started as a script, it goes on from its checkpoint if there is one.

Arguments: folder, integrator, number of steps.
"""

import json
import pathlib
import sys

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


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[1])
    where.mkdir(exist_ok=True)
    found = simulate(where, sys.argv[2], int(sys.argv[3]))
    (where / "result.json").write_text(json.dumps(fingerprint(found)))
