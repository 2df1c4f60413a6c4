"""Molecules from SMILES with MMFF trajectories, rattled crystals, slabs and sheets; oracles made by other packages."""

import dataclasses
from typing import Any

import ase
import ase.build
import numpy as np
import spglib
import spglib.error
from ase.build import graphene
from rdkit import Chem
from rdkit.Chem import AllChem
from rdkit.Chem import rdForceFieldHelpers as force_fields

from jorbit.core.structure import Structure

# SMILES -> (atoms, orbits, order of the automorphism group of the bond graph): spec of the finder, section 1.4
spglib.error.OLD_ERROR_HANDLING = False
MOLECULES = {
    "ethanol": ("CCO", 9, 6, 12),
    "benzene": ("c1ccccc1", 12, 2, 12),
    "toluene": ("Cc1ccccc1", 15, 9, 12),
    "naphthalene": ("c1ccc2ccccc2c1", 18, 5, 4),
    "malonaldehyde": ("O=CCC=O", 9, 5, 4),
    "uracil": ("O=c1cc[nH]c(=O)[nH]1", 12, 12, 1),
    "salicylic acid": ("OC(=O)c1ccccc1O", 16, 16, 1),
    "aspirin": ("CC(=O)Oc1ccccc1C(=O)O", 21, 19, 6),
    "paracetamol": ("CC(=O)Nc1ccc(O)cc1", 20, 14, 12),
    "azobenzene": ("c1ccc(cc1)/N=N/c1ccccc1", 24, 8, 8),
    "1,8-naphthyridine": ("c1cnc2ncccc2c1", 16, 9, 2),
    "alanine": ("C[C@@H](N)C(=O)O", 13, 10, 12),
    "alanine, zwitterion": ("C[C@@H]([NH3+])C(=O)[O-]", 13, 8, 72),
    "histidine": ("N[C@@H](Cc1c[nH]cn1)C(=O)O", 20, 18, 4),
    "proline": ("OC(=O)[C@@H]1CCCN1", 17, 14, 8),
    "Ac-Phe-Ala5-Lys": (
        "CC(=O)N[C@@H](Cc1ccccc1)C(=O)" + "N[C@@H](C)C(=O)" * 5 + "N[C@@H](CCCCN)C(=O)O",
        99,
        77,
        5_971_968,
    ),
    "Ac-Phe-Ala5-Lys+H": (
        "CC(=O)N[C@@H](Cc1ccccc1)C(=O)" + "N[C@@H](C)C(=O)" * 5 + "N[C@@H](CCCC[NH3+])C(=O)O",
        100,
        77,
        17_915_904,
    ),
}
LEVELS = {  # number of labels after 0, 1, 2, ... rounds of refinement: spec of the finder, section 1.3, stage 4
    "ethanol": (3, 5, 6),
    "aspirin": (3, 10, 14, 18, 19),
    "1,8-naphthyridine": (3, 6, 8, 9),
    "alanine": (4, 9, 10),
    "histidine": (4, 14, 18),
    "Ac-Phe-Ala5-Lys": (4, 15, 29, 41, 47, 51, 57, 63, 67, 73, 77),
}
ACCELERATION = 4.184e-4  # 1 kcal/mol/Å/amu in Å/fs^2
BOLTZMANN = 8.31446e-7  # 1 K in amu Å^2/fs^2


def embed(smiles: str) -> Chem.Mol:
    """Molecule with hydrogens and coordinates."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(molecule, randomSeed=7) == 0
    force_fields.MMFFOptimizeMolecule(molecule, maxIters=2000)
    return molecule


def bond_graph(smiles: str) -> tuple[np.ndarray, np.ndarray]:
    """Atomic numbers and adjacency as RDKit has them."""
    molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
    return np.array([a.GetAtomicNum() for a in molecule.GetAtoms()]), Chem.GetAdjacencyMatrix(molecule).astype(np.int32)


def _acceleration(field: Any, r: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Å/fs^2. The energy comes first: RDKit's MMFF gradient reuses the distances of the last energy."""
    flat = r.ravel().tolist()
    field.CalcEnergy(flat)
    return -np.array(field.CalcGrad(flat)).reshape(-1, 3) / masses * ACCELERATION


def mmff_trajectory(
    molecule: Chem.Mol, n_frames: int, stride: int = 10, kelvin: float = 500.0, seed: int = 0
) -> list[Structure]:
    """Langevin dynamics with MMFF94, 1 fs steps, friction 1/(50 fs)."""
    properties = force_fields.MMFFGetMoleculeProperties(molecule)
    field = force_fields.MMFFGetMoleculeForceField(molecule, properties)
    masses = np.array([a.GetMass() for a in molecule.GetAtoms()])[:, None]
    rng = np.random.default_rng(seed)
    thermal = np.sqrt(BOLTZMANN * kelvin / masses)  # Å/fs
    r = np.array(molecule.GetConformer().GetPositions())
    v = thermal * rng.normal(size=r.shape)
    keep = np.exp(-1.0 / 50.0)
    a = _acceleration(field, r, masses)
    numbers = np.array([atom.GetAtomicNum() for atom in molecule.GetAtoms()])
    frames = []
    for _ in range(n_frames):
        for _ in range(stride):
            v = v + 0.5 * a
            r = r + 0.5 * v
            v = keep * v + np.sqrt(1 - keep**2) * thermal * rng.normal(size=r.shape)
            r = r + 0.5 * v
            a = _acceleration(field, r, masses)
            v = v + 0.5 * a
        frames.append(Structure(positions=r - r.mean(axis=0), numbers=numbers))
    return frames


def rattled(atoms: ase.Atoms, sigma: float, n_frames: int, seed: int = 0) -> list[Structure]:
    """Gaussian displacements of standard deviation sigma (Å) along each axis."""
    rng = np.random.default_rng(seed)
    return [
        Structure(
            positions=atoms.positions + sigma * rng.normal(size=atoms.positions.shape),
            numbers=atoms.numbers,
            cell=np.array(atoms.cell.array),
            pbc=np.array(atoms.pbc),
        )
        for _ in range(n_frames)
    ]


def equivalent_atoms(atoms: ase.Atoms) -> np.ndarray:
    """spglib's equivalent atoms; vacuum directions count as periodic, as spglib knows no other."""
    data = spglib.get_symmetry((atoms.cell.array, atoms.get_scaled_positions(), atoms.numbers), symprec=1e-3)
    return np.asarray(data["equivalent_atoms"])


def sheet(m: int) -> ase.Atoms:
    """Graphene, m x m, hexagonal (120 degrees)."""
    atoms = graphene(a=2.46, size=(m, m, 1), vacuum=10.0)
    atoms.pbc = (True, True, False)
    return atoms


def defect(m: int, kind: str) -> ase.Atoms:
    """Graphene m x m with nitrogen around a vacancy: N3V1, N1V1, or N4V2 (divacancy)."""
    atoms = sheet(m)
    center = int(np.argmin(np.linalg.norm(atoms.positions - atoms.cell.array[:2].sum(axis=0) / 2 * 0.9, axis=1)))
    others = [k for k in range(len(atoms)) if k != center]
    near = sorted(others, key=lambda k: round(atoms.get_distance(center, k, mic=True), 3))[:3]
    if kind in ("N3V1", "N1V1"):
        atoms.numbers[near[: int(kind[1])]] = 7
        del atoms[[center]]
        return atoms
    removed = (center, near[0])
    rim = [k for k in others if k not in removed and any(atoms.get_distance(k, c, mic=True) < 1.6 for c in removed)]
    atoms.numbers[rim] = 7
    del atoms[list(removed)]
    return atoms


def perovskite_slab(n_layers: int, termination: str, repeat: int = 2) -> ase.Atoms:
    """Cubic CsPbI3 (001) slab: layers CsI and PbI2 alternate."""
    a = 6.29
    numbers, positions = [], []
    for layer in range(n_layers):
        is_csi = (layer % 2 == 0) == (termination == "CsI")
        z = layer * a / 2
        if is_csi:
            numbers += [55, 53]
            positions += [(0, 0, z), (a / 2, a / 2, z)]
        else:
            numbers += [82, 53, 53]
            positions += [(a / 2, a / 2, z), (0, a / 2, z), (a / 2, 0, z)]
    slab = ase.Atoms(
        numbers=numbers, positions=positions, cell=(a, a, n_layers * a / 2 + 15.0), pbc=(True, True, False)
    )
    return slab.repeat((repeat, repeat, 1))


def permuted(structure: Structure, order: np.ndarray) -> Structure:
    """The same structure with its atoms in another order."""
    return dataclasses.replace(structure, positions=structure.positions[order], numbers=structure.numbers[order])


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Are two labellings equal up to the names of the labels?"""
    pairs = set(zip(np.asarray(a).tolist(), np.asarray(b).tolist(), strict=True))
    return len(pairs) == len(set(np.asarray(a).tolist())) == len(set(np.asarray(b).tolist()))
