"""What long-range terms add to a short-range model, and what they cost.

    JORBIT_DATA=FOLDER python benchmarks/bench_longrange.py [salt] [cost]

salt: NaCl in water (revPBE0-D3, O'Neill et al. 2023): a linear ACE that sees 4 Å, fitted in closed form to the boxes of
gen1a and tested on those of gen3, alone and to what point charges leave (rigid-water charges of SPC/E and ions of one
e, or all of them times 0.75, which stands for electronic screening: Leontyev and Stuchebrukhov 2011).
cost: processor seconds of energy and forces of rock salt against the number of atoms (other work on the machine hardly
changes them).

Results are merged into results/longrange.json.
"""

import io
import lzma
import os
import pathlib
import sys
import time
from collections.abc import Iterator

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk
from common import environment, load_rows, write

import jorbit
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame, Labels
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.terms.ewald import Ewald
from jorbit.terms.fixed_charges import FixedCharges
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.metrics import evaluate

DATA = pathlib.Path(os.environ.get("JORBIT_DATA", "."))
SPCE = {"Na": 1.0, "Cl": -1.0, "O": -0.8476, "H": 0.4238}


def frames_of(path: pathlib.Path, pbc: bool) -> list[Frame]:
    text = lzma.open(path, "rt").read()
    frames = []
    for atoms in ase.io.read(io.StringIO(text), ":", format="extxyz"):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        info = dict(atoms.info)
        atoms.pbc = pbc
        if not pbc:
            atoms.cell = None
        labels = Labels(energy=float(energy), forces=np.asarray(forces))
        frames.append(Frame(structure=from_ase(atoms), labels=labels, info=info))
    return frames


def salt() -> Iterator[tuple[str, dict]]:
    folder = DATA / "nacl_aq_revpbe0_d3"
    train = frames_of(folder / "nacl_aq_gen1a.extxyz.xz", True)[::8]
    test = frames_of(folder / "nacl_aq_gen3.extxyz.xz", True)[::15]
    species = SpeciesTable.from_numbers([1, 8, 11, 17])
    longest = max(float(np.linalg.norm(f.structure.cell, axis=1).max()) for f in train + test)
    model = LinearACE(n_species=4, cutoff=4.0, max_degree=(8, 5), l_max=3)
    for name, scale in (("short range", 0.0), ("charges * 0.75", 0.75), ("charges", 1.0)):
        charges = {k: scale * v for k, v in SPCE.items()}
        physics = (FixedCharges(4, charges), Ewald(cutoff=6.0, accuracy=1e-4, max_length=longest + 0.1))
        terms = (ReferenceEnergy(4), *(physics if scale else ()), model)
        started = time.process_time()
        potential, params, report = jorbit.fit(train, Potential(terms, species))
        seconds = time.process_time() - started
        yield (
            f"salt/{name}",
            {
                "train_frames": len(train),
                "test_frames": len(test),
                "n_parameters": report.n_parameters,
                "train": report.training.to_json(),
                "test": evaluate(potential, params, test).to_json(),
                "fit_processor_s": seconds,
            },
        )


def cost() -> Iterator[tuple[str, dict]]:
    for repeats in (2, 3, 4, 5):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * ((repeats,) * 3)
        atoms.rattle(0.05, seed=0)
        longest = 5.64 * repeats + 0.1
        terms = (FixedCharges(2, {"Na": 1.0, "Cl": -1.0}), Ewald(cutoff=8.0, accuracy=1e-4, max_length=longest))
        potential = Potential(terms, SpeciesTable.from_numbers([11, 17]))
        params = {"fixed_charges": {"shifts": np.zeros(2)}, "ewald": {}}
        graph = potential.graph(from_ase(atoms), dtype=jnp.float64)
        function = jax.jit(lambda graph, p=potential, q=params: energy_and_derivatives(p, q, graph).forces)
        jax.block_until_ready(function(graph))
        best = np.inf
        for _ in range(3):
            started = time.process_time()
            jax.block_until_ready(function(graph))
            best = min(best, time.process_time() - started)
        yield f"cost/{len(atoms)}", {"n_atoms": len(atoms), "processor_s": best, "grid": terms[1].splitting.grid}


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for part in sys.argv[1:] or ("salt", "cost"):
        for name, row in {"salt": salt, "cost": cost}[part]():
            print(name, {k: v for k, v in row.items() if k in ("processor_s", "n_atoms")}, row.get("test"), flush=True)
            rows = load_rows("longrange", "name") | {name: {"name": name} | row | {"environment": environment()}}
            write("longrange", "long-range terms: errors with and without them, and their cost", list(rows.values()))
