"""The border to ASE: ase.Atoms <-> Structure and Labels. Same units (eV, Å); stress becomes a 3x3 matrix."""

import ase
import ase.calculators.calculator
import numpy as np
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress

from jorbit.core.errors import StructureError
from jorbit.core.outputs import Prediction
from jorbit.core.structure import Labels, Structure

ORBIT_KEY = "orbit"


def from_ase(atoms: ase.Atoms) -> Structure:
    """Structure of an ase.Atoms; orbits come from its array "orbit", the total charge from info["charge"]."""
    if not isinstance(atoms, ase.Atoms):
        raise StructureError(f"Wanted an ase.Atoms object, got {type(atoms).__name__}.")
    orbits = atoms.arrays.get(ORBIT_KEY)
    return Structure(
        positions=np.array(atoms.positions, dtype=np.float64),
        numbers=np.array(atoms.numbers),
        cell=np.array(atoms.cell.array, dtype=np.float64),
        pbc=np.array(atoms.pbc, dtype=bool),
        charge=float(atoms.info.get("charge", 0.0)),
        orbits=None if orbits is None else np.array(orbits, dtype=np.int64),
    )


def labels_from_calculator(atoms: ase.Atoms) -> Labels:
    """Energy, forces and stress stored with the atoms (results of a finished calculation); None where absent."""
    results = {} if atoms.calc is None else atoms.calc.results
    stress = results.get("stress")
    if stress is not None:
        stress = np.asarray(stress, dtype=np.float64)
        stress = stress.reshape(3, 3) if stress.size == 9 else voigt_6_to_full_3x3_stress(stress)
    energy, forces = results.get("energy"), results.get("forces")
    return Labels(
        energy=None if energy is None else float(energy),
        forces=None if forces is None else np.array(forces, dtype=np.float64),
        stress=stress,
    )


def to_ase(structure: Structure, labels: Labels | Prediction | None = None) -> ase.Atoms:
    """ase.Atoms of a structure, with labels or an unpadded prediction attached as calculator results.

    Stress goes with them where the structure has a full cell to divide by.
    """
    atoms = ase.Atoms(numbers=structure.numbers, positions=structure.positions, cell=structure.cell, pbc=structure.pbc)
    if structure.orbits is not None:
        atoms.set_array(ORBIT_KEY, structure.orbits)
    if structure.charge:
        atoms.info["charge"] = structure.charge
    results: dict = {}
    if labels is not None and labels.energy is not None:
        results["energy"] = float(np.asarray(labels.energy).reshape(-1)[0])
    if labels is not None and labels.forces is not None:
        results["forces"] = np.asarray(labels.forces)
    if labels is not None and labels.stress is not None and structure.volume > 0:
        results["stress"] = full_3x3_to_voigt_6_stress(np.asarray(labels.stress).reshape(3, 3))
    if results:
        atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms
