"""Files for a LAMMPS run with a model: a data file, an input and a short driver in Python."""

import dataclasses
import os
from pathlib import Path

import ase.data
import numpy as np
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.structure import Structure
from jorbit.graphs.neighbors import complete_cell
from jorbit.potential.potential import Potential
from jorbit.simulate.lammps_mliap import check_mliap

ENSEMBLES = ("nve", "nvt", "npt")
MARGIN = 1.0  # Å around the atoms where nothing repeats; LAMMPS moves these faces along


@dataclasses.dataclass(frozen=True)
class LammpsOptions:
    """What the written input does.

    Attributes:
        ensemble: nve, nvt or npt (Nosé-Hoover, isotropic at no pressure).
        temperature: K, of the initial velocities and of the thermostat.
        timestep: fs.
        n_steps: of the run.
        every: steps between two lines of output, and between two frames of the trajectory.
        skin: Å.
        dtype: "float64" or "float32".
        seed: of the initial velocities, above 0.
        mliap: through pair_style mliap of a LAMMPS built with Python in ML-IAP, instead of callbacks.
    """

    ensemble: str = "nve"
    temperature: float = 300.0
    timestep: float = 0.5
    n_steps: int = 1000
    every: int = 10
    skin: float = 1.0
    dtype: str = "float64"
    seed: int = 1
    mliap: bool = False

    def __post_init__(self) -> None:
        if self.ensemble not in ENSEMBLES:
            raise ConfigError(f"Wanted an ensemble of {', '.join(ENSEMBLES)}, got {self.ensemble!r}.")
        if self.dtype not in ("float64", "float32"):
            raise ConfigError(f'Wanted dtype "float64" or "float32", got {self.dtype!r}.')
        if not (self.timestep > 0 and self.skin > 0 and self.temperature >= 0 and min(self.n_steps, self.every) >= 1):
            raise ConfigError(f"Wanted a time step, a skin and numbers of steps above 0, got {self}.")
        if self.seed < 1:
            raise ConfigError(f"LAMMPS wants a seed above 0 for velocities, got {self.seed}.")
        if self.ensemble != "nve" and self.temperature == 0:
            raise ConfigError(f"A thermostat needs a temperature above 0 K: {self.ensemble} at 0 K is no ensemble.")


def lammps_box(
    structure: Structure,
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3 3"], Float[np.ndarray, "atoms 3"]]:
    """Origin and lattice vectors as LAMMPS wants them (a along x, b in the xy plane), and the atoms turned along.

    Directions that do not repeat get as much room as the atoms need.

    Returns:
        Origin, lattice vectors as rows (a lower triangle) and positions, Å.

    Example:
        >>> lean = np.array([[0.0, 3, 0], [0, 0, 3], [3, 0, 0]])
        >>> crystal = Structure(positions=np.ones((1, 3)), numbers=np.ones(1, int), cell=lean, pbc=np.ones(3, bool))
        >>> print(lammps_box(crystal)[1].round(6) + 0.0)
        [[3. 0. 0.]
         [0. 3. 0.]
         [0. 0. 3.]]
    """
    structure.check()
    pbc = np.asarray(structure.pbc, bool)
    cell = complete_cell(structure)
    fractions = structure.positions @ np.linalg.inv(cell)
    low = np.where(pbc, 0.0, fractions.min(axis=0) - MARGIN)
    size = np.where(pbc, 1.0, np.ptp(fractions, axis=0) + 2 * MARGIN)
    origin = low @ cell
    turn, upper = np.linalg.qr((cell * size[:, None]).T)
    signs = np.where(np.diag(upper) < 0, -1.0, 1.0)
    turn = turn * signs
    return origin @ turn, (upper * signs[:, None]).T, structure.positions @ turn


def data_file(structure: Structure, types: Int[np.ndarray, " atoms"], numbers: list[int], names: list[str]) -> str:
    """A LAMMPS data file (atom_style atomic, units metal).

    Args:
        structure: any; it is turned as LAMMPS wants it.
        types: of each atom, from 1 on.
        numbers: atomic number of each type.
        names: of the types, for comments.
    """
    origin, cell, positions = lammps_box(structure)
    lines = [f"{structure.n_atoms} atoms, written by jorbit: units metal", ""]
    lines += [f"{structure.n_atoms} atoms", f"{len(numbers)} atom types", ""]
    for k, axis in enumerate("xyz"):
        lines.append(f"{origin[k]:.12f} {origin[k] + cell[k, k]:.12f} {axis}lo {axis}hi")
    tilt = (cell[1, 0], cell[2, 0], cell[2, 1])
    if max(abs(t) for t in tilt) > 1e-10:
        lines.append("{:.12f} {:.12f} {:.12f} xy xz yz".format(*tilt))
    lines += ["", "Masses", ""]
    for k, (z, name) in enumerate(zip(numbers, names, strict=True), start=1):
        lines.append(f"{k} {ase.data.atomic_masses[z]:.6f}  # {name}")
    lines += ["", "Atoms  # atomic", ""]
    lines += [
        f"{i} {t} {x:.12f} {y:.12f} {z:.12f}"
        for i, (t, (x, y, z)) in enumerate(zip(types, positions, strict=True), start=1)
    ]
    return "\n".join(lines) + "\n"


def write_lammps_input(
    stem: str | Path, potential: Potential, model: str | Path, structure: Structure, options: LammpsOptions
) -> tuple[Path, Path, Path]:
    """Write STEM.data, STEM.in and STEM.py, so that `mpiexec -n 4 python STEM.py` runs the model in LAMMPS.

    Args:
        stem: where, without a suffix.
        potential: what is in the model file.
        model: the model file; the driver names it relative to itself.
        structure: where to start; it gets the orbits that the model tells apart.
        options: what to run.

    Returns:
        The three paths: data, input, driver.

    Raises:
        UnknownSpeciesError: an element that the model does not know.
        OrbitError: a structure that does not fit the model's orbits.
        ConfigError: constant pressure without a cell, or a potential or a charge that ML-IAP has no use for.
    """
    if options.ensemble == "npt" and not np.all(structure.pbc):
        raise ConfigError("Constant pressure needs a cell that repeats in all three directions.")
    if options.mliap:
        check_mliap(potential)
        if structure.charge != 0:
            raise ConfigError(
                f"pair_style mliap knows no total charge, and the structure has {structure.charge:g} e: leave --mliap "
                "out, or set the charge to 0."
            )
    structure = potential.labelled([structure])[0]
    species = potential.species.index(structure.numbers, structure.orbits)
    rows, types = np.unique(species, return_inverse=True)
    names = [potential.species.names[r] for r in rows]
    numbers = [potential.species.numbers[r] for r in rows]
    stem = Path(stem)
    data, commands, driver = (stem.with_name(f"{stem.name}.{suffix}") for suffix in ("data", "in", "py"))
    data.write_text(data_file(structure, types + 1, numbers, names), encoding="utf-8")
    commands.write_text(_input(stem.name, structure, numbers, options), encoding="utf-8")
    relative = os.path.relpath(Path(model).resolve(), stem.resolve().parent)
    if options.mliap:
        text = _mliap_driver(stem.name, relative, names, options)
    else:
        text = _driver(stem.name, relative, names, structure.charge, options)
    driver.write_text(text, encoding="utf-8")
    return data, commands, driver


def _input(name: str, structure: Structure, numbers: list[int], options: LammpsOptions) -> str:
    temperature = f"{options.temperature:g}"
    symbols = " ".join(ase.data.chemical_symbols[z] for z in numbers)
    return f"""# Read by {name}.py, which adds the model and runs. Any command of LAMMPS may stand here.
units           metal        # eV, Å, ps; pressure in bar
atom_style      atomic
boundary        {" ".join("p" if p else "s" for p in structure.pbc)}
read_data       {name}.data

velocity        all create {temperature} {options.seed} mom yes rot no dist gaussian
timestep        {options.timestep / 1000:g}

thermo          {options.every}
thermo_style    custom step temp pe etotal press vol
thermo_modify   format float %.10g
dump            trajectory all custom {options.every} {name}.lammpstrj id type element xu yu zu
dump_modify     trajectory sort id element {symbols}
"""


def _integrator(options: LammpsOptions) -> str:
    temperature = f"{options.temperature:g}"
    damping = f"{100 * options.timestep / 1000:g}"
    return {
        "nve": "nve",
        "nvt": f"nvt temp {temperature} {temperature} {damping}",
        "npt": f"npt temp {temperature} {temperature} {damping} iso 0 0 {1000 * options.timestep / 1000:g}",
    }[options.ensemble]


def _driver(name: str, model: str, names: list[str], charge: float, options: LammpsOptions) -> str:
    more = "" if charge == 0 else f", charge={charge:g}"
    more += "" if options.dtype == "float64" else f', dtype="{options.dtype}"'
    return f'''"""{name}.in with a model of jorbit. On four MPI ranks: mpiexec -n 4 python {name}.py"""

import os
import pathlib

from jorbit.simulate.lammps import attach, open_lammps

os.chdir(pathlib.Path(__file__).parent)
lmp = open_lammps(["-log", "{name}.log"])
lmp.file("{name}.in")
forces = attach(lmp, {model!r}, types={names!r}, skin={options.skin:g}{more})
lmp.command("fix integrate all {_integrator(options)}")  # after the model, so that a barostat finds its virial
forces.run({options.n_steps})
'''


def _mliap_driver(name: str, model: str, names: list[str], options: LammpsOptions) -> str:
    more = "" if options.dtype == "float64" else f', dtype="{options.dtype}"'
    return f'''"""{name}.in with a model of jorbit, by a LAMMPS built with Python in its package ML-IAP.

On four MPI ranks: mpiexec -n 4 python {name}.py
"""

import os
import pathlib

import lammps
import lammps.mliap

from jorbit.simulate.lammps_mliap import MLIAPModel

os.chdir(pathlib.Path(__file__).parent)
lmp = lammps.lammps(cmdargs=["-log", "{name}.log"])
lammps.mliap.activate_mliappy(lmp)
lmp.file("{name}.in")
lammps.mliap.load_unified(MLIAPModel({model!r}{more}))
lmp.command("pair_style mliap unified EXISTS")
lmp.command("pair_coeff * * {" ".join(names)}")
lmp.command("neighbor {options.skin:g} bin")
lmp.command("fix integrate all {_integrator(options)}")
lmp.command("run {options.n_steps}")
'''
