"""Make the seed systems of the orbit benchmarks with GFN-xTB: molecules, adsorbates, a slab and a defect.

The paper on atomic orbits (Charkin-Gorbulin et al., Mach. Learn.: Sci. Technol. 2025, doi:10.1088/2632-2153/adea0b)
names these systems; its data are not used here. Everything is sampled and labelled by us, much smaller than there, with
the machinery and the guard of ``make_xtb.py``: Langevin dynamics, energies that follow the forces along it, a second
calculation from scratch, central differences. What fails is dropped and counted.

Crystals and sheets are calculated at the Gamma point of one cell, repeated in all three directions with vacuum between
the layers: these are smooth energy surfaces to learn, not predictions about the materials.

Molecules are built from SMILES with RDKit. A finished trajectory is kept in ``--parts``: an interrupted run goes on.

Example::

    OMP_NUM_THREADS=1 python benchmarks/data/make_orbit_systems.py --out jorbit/datasets/data
    OMP_NUM_THREADS=1 python benchmarks/data/make_orbit_systems.py --set dalanine --small --out /tmp/small
"""

import argparse
from pathlib import Path

from make_xtb import Recipe, make  # first: it sets the number of threads

# isort: split
import numpy as np
from ase import Atoms
from ase.build import graphene, make_supercell

SMILES = {
    "ethanol": "CCO",
    "naphthyridine": "c1cnc2ncccc2c1",
    "dalanine": "C[C@@H](N)C(=O)O",
    "dhistidine": "N[C@H](Cc1c[nH]cn1)C(=O)O",
    "acphe_ala5_lys": "CC(=O)N[C@@H](Cc1ccccc1)C(=O)" + "N[C@@H](C)C(=O)" * 5 + "N[C@@H](CCCCN)C(=O)O",
}
MOLECULES, SHEETS, SLAB = (500.0,), (500.0,), (450.0,)  # K
HEIGHT = 18.0  # Å, of cells with a sheet


def molecule(name: str, seed: int) -> Atoms:
    """A conformer at the minimum of a classical force field."""
    from rdkit import Chem
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(SMILES[name]))
    if AllChem.EmbedMolecule(mol, randomSeed=seed) != 0:
        raise SystemExit(f"{name}: RDKit found no conformer")
    AllChem.MMFFOptimizeMolecule(mol, maxIters=2000)
    return Atoms([a.GetAtomicNum() for a in mol.GetAtoms()], mol.GetConformer().GetPositions())


def sheet(n: int, m: int) -> Atoms:
    """Graphene, n x m cells of two atoms, lattice vectors 60 degrees apart."""
    atoms = graphene(a=2.46, size=(n, m, 1), vacuum=0.0)
    atoms.cell[2] = [0.0, 0.0, HEIGHT]
    atoms.pbc = True
    return atoms


def pyridinic(n: int) -> Atoms:
    """A vacancy with its three neighbours replaced by nitrogen (N3V1) in n x n cells."""
    atoms = sheet(n, n)
    around = np.argsort(atoms.get_distances(0, range(len(atoms)), mic=True))[1:4]
    atoms.numbers[around] = 7
    del atoms[0]
    return atoms


def perovskite_slab(a: float = 6.1, n_layers: int = 5) -> Atoms:
    """Cubic CsPbI3 (001), CsI-terminated, sqrt(2) x sqrt(2) cells, so that octahedra can tilt: 24 atoms."""
    numbers, positions = [], []
    for k in range(n_layers):
        if k % 2:
            numbers += [82, 53, 53]
            positions += [[0, 0, k / 2], [0.5, 0, k / 2], [0, 0.5, k / 2]]
        else:
            numbers += [55, 53]
            positions += [[0.5, 0.5, k / 2], [0, 0, k / 2]]
    cell = np.diag([a, a, a * (n_layers - 1) / 2 + 12.0])
    atoms = Atoms(numbers, a * np.array(positions), cell=cell, pbc=True)
    return make_supercell(atoms, [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])


def start(recipe: Recipe, index: int, rng: np.random.Generator) -> Atoms:
    """Atoms at the start of trajectory `index`; every trajectory has its own conformer, place or tilt."""
    name = recipe.name.removesuffix("_gfn1").removesuffix("_gfn2")
    if name == "cspbi3_slab":
        atoms = perovskite_slab()
        atoms.rattle(0.05, rng=rng)
        return atoms
    if name == "graphene_n3":
        atoms = pyridinic(4)
        atoms.rattle(0.01, rng=rng)
        return atoms
    base, _, on = name.partition("_on_")
    seed = int(rng.integers(1, 2**30))
    if not on:
        return molecule(base, seed)
    adsorbed, below = molecule(base, seed), sheet(4, 4 if base in ("ethanol", "dalanine") else 5)
    adsorbed.positions -= adsorbed.positions.mean(axis=0)
    flat = np.linalg.svd(adsorbed.positions, full_matrices=False)[2]
    adsorbed.positions = adsorbed.positions @ flat.T * [1, 1, np.linalg.det(flat)]  # flat on the sheet, not mirrored
    if rng.random() < 0.5:
        adsorbed.rotate(180, "x")
    adsorbed.rotate(rng.uniform(0, 360), "z")
    adsorbed.positions += rng.uniform(0, 1, 2) @ np.array(below.cell)[:2]
    adsorbed.positions[:, 2] += 2.8 - adsorbed.positions[:, 2].min()
    below.rattle(0.01, rng=rng)
    return below + adsorbed


def recipe(name: str, method: str, seed: int, n_frames: int, n_traj: int, n_per: int, **more: float) -> Recipe:
    """A recipe of this family: labels as single precision, one temperature."""
    settings: dict = dict(timestep=0.5, stride=20, equilibration=1000, friction=0.01, max_jump=0.02, check_every=5)
    settings |= dict(temperatures=MOLECULES, max_strain=0.0, single=True) | more
    return Recipe(name, method, seed, n_frames, n_traj, n_per, **settings)


SHEET = dict(temperatures=SHEETS, friction=0.02, check_every=10, max_jump=0.1)
RECIPES = {
    "naphthyridine": recipe("naphthyridine_gfn2", "GFN2-xTB", 31001, 600, 6, 102),
    "dalanine": recipe("dalanine_gfn2", "GFN2-xTB", 31002, 600, 6, 102),
    "dhistidine": recipe("dhistidine_gfn2", "GFN2-xTB", 31003, 600, 6, 102),
    "graphene_n3": recipe(
        "graphene_n3_gfn1", "GFN1-xTB", 31004, 180, 4, 46, **SHEET, timestep=1.0, stride=10, equilibration=60
    ),
    "cspbi3_slab": recipe(
        "cspbi3_slab_gfn1",
        "GFN1-xTB",
        31005,
        120,
        6,
        21,
        temperatures=SLAB,
        timestep=6.0,
        stride=4,
        equilibration=25,
        max_jump=0.1,
        check_every=5,
    ),
    "dalanine_on_graphene": recipe(
        "dalanine_on_graphene_gfn1", "GFN1-xTB", 31006, 120, 6, 21, **SHEET, timestep=0.75, stride=10, equilibration=50
    ),
    "acphe_ala5_lys": recipe(
        "acphe_ala5_lys_gfn2",
        "GFN2-xTB",
        31007,
        120,
        4,
        31,
        timestep=0.75,
        stride=10,
        equilibration=100,
        friction=0.02,
        max_jump=0.1,
        check_every=10,
    ),
    "dhistidine_on_graphene": recipe(
        "dhistidine_on_graphene_gfn1",
        "GFN1-xTB",
        31008,
        80,
        4,
        21,
        **SHEET,
        timestep=0.75,
        stride=10,
        equilibration=50,
    ),
    "ethanol_on_graphene": recipe(
        "ethanol_on_graphene_gfn1", "GFN1-xTB", 31009, 120, 6, 21, **SHEET, timestep=0.75, stride=10, equilibration=50
    ),
    "naphthyridine_on_graphene": recipe(
        "naphthyridine_on_graphene_gfn1",
        "GFN1-xTB",
        31010,
        80,
        4,
        21,
        **SHEET,
        timestep=0.75,
        stride=10,
        equilibration=50,
    ),
}


def main() -> None:
    """Read the command line and make the sets that are asked for."""
    parser = argparse.ArgumentParser(description="Make the seed systems of the orbit benchmarks.")
    parser.add_argument("--set", choices=[*RECIPES, "all"], default="all")
    parser.add_argument("--out", type=Path, required=True, help="folder for the finished files")
    parser.add_argument("--parts", type=Path, help="folder for finished trajectories (default: OUT/parts)")
    parser.add_argument("--small", action="store_true", help="a few frames, to see that everything runs")
    options = parser.parse_args()
    for name in RECIPES if options.set == "all" else [options.set]:
        parts = options.parts or options.out / "parts"
        make(RECIPES[name], options.out, parts, options.small, start, "benchmarks/data/make_orbit_systems.py")


if __name__ == "__main__":
    main()
