"""Volume and its fluctuation of solid argon: ASE's isotropic MTK barostat with a calculator in plain numpy.

    python benchmarks/parity/npt_argon.py

Needs matscipy for neighbour lists. Writes tests/simulate/golden_npt.json, with which the constant-pressure runs of
jorbit are compared.
"""

import argparse
import json
import pathlib

import ase
import numpy as np
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.md.nose_hoover_chain import IsotropicMTKNPT
from ase.md.velocitydistribution import MaxwellBoltzmannDistribution, Stationary
from ase.stress import full_3x3_to_voigt_6_stress
from matscipy.neighbours import neighbour_list

ROOT = pathlib.Path(__file__).resolve().parents[2]
EPSILON, SIGMA, CUTOFF, ONSET = 0.0103408, 3.4, 6.0, 4.5  # eV, Å: Rahman's argon, switched off by a quintic
TEMPERATURE, PRESSURE_GPA, TIMESTEP = 40.0, 0.1, 4.0  # K, GPa, fs


class LennardJones(Calculator):
    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        i, r, vectors = neighbour_list("idD", self.atoms, CUTOFF)
        inverse = (SIGMA / r) ** 6
        pair, slope = 4 * EPSILON * (inverse**2 - inverse), 4 * EPSILON * (-12 * inverse**2 + 6 * inverse) / r
        x = np.clip((r - ONSET) / (CUTOFF - ONSET), 0, 1)
        switch = 1 - 10 * x**3 + 15 * x**4 - 6 * x**5
        fall = -30 * x**2 * (1 - x) ** 2 / (CUTOFF - ONSET)
        force = (slope * switch + pair * fall)[:, None] * vectors / r[:, None]  # on atom i
        forces = np.array([np.bincount(i, force[:, k], len(self.atoms)) for k in range(3)]).T
        virial = 0.5 * vectors.T @ force
        self.results = {
            "energy": 0.5 * float((pair * switch).sum()),
            "forces": forces,
            "stress": full_3x3_to_voigt_6_stress(virial / self.atoms.get_volume()),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60000)
    options = parser.parse_args()
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * (2, 2, 2)
    atoms.calc = LennardJones()
    MaxwellBoltzmannDistribution(atoms, temperature_K=TEMPERATURE, rng=np.random.default_rng(0))
    Stationary(atoms)
    # The chains count 3 N motions, and the centre of mass rests.
    barostat = IsotropicMTKNPT(
        atoms,
        timestep=TIMESTEP * ase.units.fs,
        temperature_K=TEMPERATURE * (len(atoms) - 1) / len(atoms),
        pressure_au=PRESSURE_GPA * ase.units.GPa,
        tdamp=100 * ase.units.fs,
        pdamp=1000 * ase.units.fs,
    )
    volumes, temperatures, energies = [], [], []

    def record() -> None:
        volumes.append(atoms.get_volume())
        energies.append(atoms.get_potential_energy())
        temperatures.append(atoms.get_kinetic_energy() / (1.5 * (len(atoms) - 1) * ase.units.kB))

    barostat.attach(record, interval=10)
    barostat.run(options.steps)
    kept = np.array([volumes, temperatures, energies])[:, len(volumes) // 20 :]
    blocks = kept[:, : kept.shape[1] // 20 * 20].reshape(3, 20, -1).mean(axis=2)
    mean, error = kept.mean(axis=1), blocks.std(axis=1, ddof=1) / np.sqrt(20)
    result = {
        "provenance": f"benchmarks/parity/npt_argon.py, ase {ase.__version__}, IsotropicMTKNPT, {options.steps} steps",
        "system": "32 argon atoms, fcc, cubic cell of variable volume, Lennard-Jones, switch from 4.5 to 6 Å",
        "temperature_K": TEMPERATURE,
        "pressure_GPa": PRESSURE_GPA,
        "volume": [float(mean[0]), float(error[0])],
        "volume_deviation": float(kept[0].std()),
        "measured_temperature": [float(mean[1]), float(error[1])],
        "potential_energy": [float(mean[2]), float(error[2])],
    }
    (ROOT / "tests/simulate/golden_npt.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
