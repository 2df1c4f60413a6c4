"""Tables of D3 for jorbit/terms/data, and energies by simple-dftd3, the golden numbers of tests/terms.

    PYTHON_WITH_TAD_DFTD3_AND_DFTD3 benchmarks/parity/dispersion.py

Tables: tad-dftd3 (Apache-2.0): reference coordination numbers, C6 coefficients and r4/r2 expectation values; covalent
radii of tad-mctc (Apache-2.0). Published in Grimme, Antony, Ehrlich and Krieg, J. Chem. Phys. 132, 154104 (2010).
"""

import json
import pathlib

import dftd3
import numpy as np
import tad_dftd3
import tad_mctc
from dftd3.interface import DispersionModel, RationalDampingParam
from tad_dftd3.data import R4R2
from tad_dftd3.reference import Reference
from tad_mctc.data import radii

ROOT = pathlib.Path(__file__).resolve().parents[2]
TABLE = ROOT / "jorbit" / "terms" / "data" / "dftd3.npz"
TARGET = ROOT / "tests" / "terms" / "golden_dftd3.json"
BOHR, HARTREE = 0.529177210903, 27.211386245988


def tables() -> None:
    reference = Reference()
    c6, cn = reference.c6.numpy(), reference.cn.numpy()
    upper = np.triu_indices(len(c6))
    np.savez_compressed(
        TABLE,
        coordination=cn.astype(np.float32),
        c6=c6[upper].astype(np.float32),  # Hartree Bohr^6, element pairs z1 <= z2
        r4r2=R4R2().numpy().astype(np.float64)[: len(c6)],
        radii=radii.COV_D3().numpy().astype(np.float64)[: len(c6)],
    )


def structures() -> dict[str, tuple[list[int], list[list[float]]]]:
    water = [[0.0, 0.0, 0.1173], [0.0, 0.7572, -0.4692], [0.0, -0.7572, -0.4692]]
    ring = [[1.39 * np.cos(k * np.pi / 3), 1.39 * np.sin(k * np.pi / 3), 0.0] for k in range(6)]
    hydrogens = [[2.48 * np.cos(k * np.pi / 3), 2.48 * np.sin(k * np.pi / 3), 0.0] for k in range(6)]
    over = (np.array(water) + [0.3, 0.2, 3.2]).tolist()
    salt = [[0.0, 0.0, 0.0], [2.82, 0.0, 0.0], [2.9, 2.7, 0.1], [0.1, 2.8, 0.0]]
    return {
        "water": ([8, 1, 1], water),
        "water over benzene": ([6] * 6 + [1] * 6 + [8, 1, 1], ring + hydrogens + over),
        "sodium chloride": ([11, 17, 11, 17], salt),
        "argon pair": ([18, 18], [[0.0, 0.0, 0.0], [3.8, 0.0, 0.0]]),
        "silver and iodine": ([47, 53, 47], [[0.0, 0.0, 0.0], [2.7, 0.0, 0.3], [1.0, 2.5, 0.0]]),
    }


def golden() -> None:
    cases = {}
    for name, (numbers, positions) in structures().items():
        for method in ("pbe", "revpbe0") if "benzene" in name else ("pbe",):
            model = DispersionModel(np.array(numbers), np.array(positions) / BOHR)
            result = model.get_dispersion(RationalDampingParam(method=method, atm=False), grad=True)
            cases[f"{name}, {method}"] = {
                "numbers": numbers,
                "positions": positions,
                "method": method,
                "energy": float(result["energy"]) * HARTREE,
                "forces": (-result["gradient"] * HARTREE / BOHR).tolist(),
            }
    content = {
        "package": "simple-dftd3 (dftd3 on PyPI)",
        "version": dftd3.__version__ if hasattr(dftd3, "__version__") else "1.7.0",
        "tables": f"tad-dftd3 {tad_dftd3.__version__}, tad-mctc {tad_mctc.__version__}",
        "script": "benchmarks/parity/dispersion.py",
        "units": "eV, Å",
        "cases": cases,
    }
    TARGET.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    tables()
    golden()
