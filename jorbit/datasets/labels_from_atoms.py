"""Labels of an ase.Atoms, under whatever common name a file keeps them, in jorbit's units."""

import dataclasses
from typing import Any

import ase
import numpy as np
from ase.stress import voigt_6_to_full_3x3_stress
from jaxtyping import Float

from jorbit.core.errors import DataError, StructureError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.core.units import ENERGY_UNITS, LENGTH_UNITS
from jorbit.graphs.ase_atoms import from_ase

ENERGY_KEYS = (
    "energy",
    "REF_energy",
    "ref_energy",
    "dft_energy",
    "DFT_energy",
    "dft_total_energy",
    "total_energy",
    "Energy",
) + ("REF_Energy", "energy_dft", "DFT_total_energy")
FORCES_KEYS = ("forces", "force", "REF_forces", "ref_forces", "dft_forces", "dft_force", "DFT_forces", "REF_Forces")
STRESS_KEYS = ("stress", "REF_stress", "ref_stress", "dft_stress", "DFT_stress")
CHARGES_KEYS = ("charges", "REF_charges", "ref_charges", "ref_charge", "atomic_charges", "hirshfeld_charges")
VIRIAL_KEYS = ("virial", "virials", "REF_virial", "REF_virials", "dft_virial", "DFT_virial")
WEIGHTS = ("energy_weight", "forces_weight", "stress_weight")
# What a header may not say besides the labels: it is read as one of them, or as the total charge.
LABEL_NAMES = {
    "charge",
    "total_charge",
    "free_energy",
    *ENERGY_KEYS,
    *FORCES_KEYS,
    *STRESS_KEYS,
    *VIRIAL_KEYS,
    *WEIGHTS,
}
_OF_STRUCTURES = ("dipole", "magmom", "polarization", "dielectric_tensor")  # what ASE takes out of a header for itself
ASYMMETRY = 1e-3  # relative; files carry stresses with few digits


@dataclasses.dataclass(frozen=True)
class LabelKeys:
    """Where the labels are (None: under one of the usual names) and in which units.

    A name with "virial" in it, given as `stress`, is read as a virial.
    """

    energy: str | None = None
    forces: str | None = None
    stress: str | None = None
    energy_unit: str = "eV"
    length_unit: str = "angstrom"

    @property
    def energy_factor(self) -> float:
        return unit_factor(self.energy_unit, ENERGY_UNITS, "energy_unit")

    @property
    def length_factor(self) -> float:
        return unit_factor(self.length_unit, LENGTH_UNITS, "length_unit")


def unit_factor(unit: str, table: dict[str, float], argument: str) -> float:
    """The factor that turns a quantity in `unit` into jorbit's unit.

    Raises:
        DataError: an unknown unit.
    """
    factor = table.get(str(unit).strip().lower())
    if factor is None:
        raise DataError(f"Unknown {argument} {unit!r}. Known: {', '.join(sorted(table))}.")
    return factor


def frame_from_atoms(atoms: ase.Atoms, keys: LabelKeys, where: str) -> Frame:
    """Structure, labels and the rest of info; every message starts with `where`.

    Raises:
        DataError: an impossible structure, two energies that contradict each other, labels of the wrong shape, NaN.
    """
    found = _everything(atoms)
    energy = _pick(found, keys.energy, ENERGY_KEYS, where, "energy")
    if energy is None and keys.energy is None:
        energy = found.get("free_energy")
    forces = _pick(found, keys.forces, FORCES_KEYS, where, "forces")
    if keys.stress is None:
        stress = _pick(found, None, STRESS_KEYS, where, "stress")
        virial = _pick(found, None, VIRIAL_KEYS, where, "virial")
    else:
        is_virial = "virial" in keys.stress.lower()
        stress, virial = (None, found.get(keys.stress)) if is_virial else (found.get(keys.stress), None)
    try:
        structure = from_ase(atoms)
        if "charge" not in atoms.info and "total_charge" in atoms.info:
            structure = dataclasses.replace(structure, charge=float(atoms.info["total_charge"]))
        if keys.length_factor != 1.0:
            scaled = {
                "positions": structure.positions * keys.length_factor,
                "cell": structure.cell * keys.length_factor,
            }
            structure = dataclasses.replace(structure, **scaled)
        structure.check()
    except (StructureError, ValueError, TypeError) as error:
        raise DataError(f"{where}: {error}") from error

    energy_factor, length_factor = keys.energy_factor, keys.length_factor
    if energy is not None:
        energy = float(_numbers(energy, (), where, "energy")) * energy_factor
    if forces is not None:
        forces = _numbers(forces, (structure.n_atoms, 3), where, "forces") * (energy_factor / length_factor)
    labels = Labels(
        energy=energy,
        forces=forces,
        stress=_stress(stress, virial, structure, keys, where),
        charges=_charges(found, structure.n_atoms, where),
        **{key: _weight(found[key], structure.n_atoms, where, key) for key in WEIGHTS if key in found},
    )
    used = LABEL_NAMES | {keys.energy, keys.forces, keys.stress}
    info = {
        key: value.item() if isinstance(value, np.generic) else value
        for key, value in (atoms.info | {key: found[key] for key in _OF_STRUCTURES if key in found}).items()
        if key not in used
    }
    return Frame(structure=structure, labels=labels, info=info)


def _charges(found: dict, n_atoms: int, where: str) -> np.ndarray | None:
    """One number for each atom, under the first usual name that has such."""
    key = next((k for k in CHARGES_KEYS if k in found and np.shape(found[k]) == (n_atoms,)), None)
    return None if key is None else _numbers(found[key], (n_atoms,), where, key)


def _everything(atoms: ase.Atoms) -> dict[str, Any]:
    results = {} if atoms.calc is None else dict(atoms.calc.results)
    return atoms.info | atoms.arrays | results


def _pick(found: dict, wanted: str | None, usual: tuple[str, ...], where: str, what: str) -> Any:
    if wanted is not None:
        return found.get(wanted)
    present = [key for key in usual if key in found]
    for key in present[1:]:
        if not np.array_equal(np.asarray(found[key]), np.asarray(found[present[0]])):
            raise DataError(
                f"{where}: {present[0]!r} and {key!r} hold different numbers. Say which to take: {what}_key={key!r}."
            )
    return found[present[0]] if present else None


def _numbers(value: Any, shape: tuple[int, ...], where: str, what: str) -> np.ndarray:
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{where}: wanted numbers for {what}, got {value!r:.80}.") from None
    if array.shape != shape:
        raise DataError(f"{where}: wanted {what} of shape {list(shape)}, got {list(array.shape)}.")
    if not np.isfinite(array).all():
        raise DataError(f"{where}: {what} holds NaN or infinite numbers. Drop the frame, or remove the label.")
    return array


def _weight(value: Any, n_atoms: int, where: str, key: str) -> Any:
    """One number, or for forces one per atom."""
    if key == "forces_weight" and np.ndim(value) == 1:
        return _numbers(value, (n_atoms,), where, key)
    return float(_numbers(value, (), where, key))


def _matrix(value: Any, where: str, what: str) -> Float[np.ndarray, "3 3"]:
    array = np.asarray(value)
    if array.shape == (6,):  # ASE's Voigt order: xx yy zz yz xz xy
        return voigt_6_to_full_3x3_stress(_numbers(array, (6,), where, what))
    matrix = _numbers(array.reshape(3, 3) if array.shape == (9,) else array, (3, 3), where, what)
    if abs(matrix - matrix.T).max() > ASYMMETRY * max(abs(matrix).max(), 1e-6):
        raise DataError(f"{where}: wanted a symmetric {what}, got {matrix.tolist()}. Are its columns mixed up?")
    return (matrix + matrix.T) / 2


def _stress(
    stress: Any, virial: Any, structure: Structure, keys: LabelKeys, where: str
) -> Float[np.ndarray, "3 3"] | None:
    if structure.volume == 0 or not structure.pbc.any():
        return None  # a molecule has no volume to divide by
    from_stress = None if stress is None else _matrix(stress, where, "stress") / keys.length_factor**3
    from_virial = None if virial is None else -_matrix(virial, where, "virial") / structure.volume
    if from_stress is not None and from_virial is not None:
        largest = max(abs(from_stress).max(), abs(from_virial).max())
        if abs(from_stress - from_virial).max() > 1e-3 * largest + 1e-6:
            raise DataError(
                f"{where}: stress and -virial / V differ: {from_stress.ravel().round(6).tolist()} and "
                f"{from_virial.ravel().round(6).tolist()} (per Å^3). Wanted stress = (1/V) dE/dstrain, positive under "
                "tension, and virial = -V stress. Say which to take: stress_key='stress', or remove one."
            )
    chosen = from_stress if from_stress is not None else from_virial
    return None if chosen is None else chosen * keys.energy_factor
