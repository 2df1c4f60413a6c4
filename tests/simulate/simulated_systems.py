"""Small systems with known physics, shared by the tests of simulation."""

import ase
import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk

from jorbit.core.protocols import Term
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.dimenet import DimeNet
from jorbit.models.linear_ace import LinearACE
from jorbit.models.painn import PaiNN
from jorbit.potential import Potential
from jorbit.terms.dispersion import Dispersion
from jorbit.terms.lennard_jones import LennardJones
from jorbit.terms.reference_energy import ReferenceEnergy

KELVIN = 8.617333262e-5


def argon() -> tuple[Potential, dict]:
    """Two Lennard-Jones terms with different cutoffs, so that lists of two lengths are needed, and an offset."""
    terms = (ReferenceEnergy(n_species=1), LennardJones(cutoff=6.0, onset=4.5), LennardJones(0.002, 3.0, 4.5, 3.5))
    potential = Potential(terms=terms, species=SpeciesTable.from_numbers([18]))
    return potential, {
        "reference_energy": {"energies": np.array([-0.1])},
        "lennard_jones": {},
        "lennard_jones_2": {},
    }


def random_ace() -> tuple[Potential, dict]:
    """A two-element Atomic Cluster Expansion with random coefficients."""
    model = LinearACE.tiny(n_species=2)
    potential = Potential(terms=(model,), species=SpeciesTable.from_numbers([12, 8]))
    coefficients = 0.05 * np.random.default_rng(0).normal(size=(2, model.n_functions))
    return potential, {"linear_ace": {"coefficients": coefficients}}


def argon_crystal(repeats: tuple[int, int, int] = (2, 2, 2), rattle: float = 0.1) -> ase.Atoms:
    atoms = bulk("Ar", "fcc", a=5.3, cubic=True) * repeats
    atoms.rattle(rattle, seed=0)
    return atoms


def triclinic_argon() -> ase.Atoms:
    atoms = argon_crystal()
    deformation = np.eye(3) + np.array([[0.0, 0.1, 0.05], [0.02, 0.0, 0.03], [-0.04, 0.01, 0.0]])
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return atoms


def magnesia(repeats: tuple[int, int, int] = (1, 1, 1)) -> ase.Atoms:
    """Rock salt in a skewed cell, distorted, narrower than twice the cutoff of the tiny ACE (3 Å)."""
    atoms = bulk("MgO", "rocksalt", a=4.2, cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + np.array([[0, 0.05, 0], [0, 0, 0.04], [0.03, 0, 0]])), True)
    return atoms * repeats


def dispersed_argon() -> tuple[Potential, dict]:
    """D3 dispersion, whose coordination numbers and energies are sums over neighbours."""
    term = Dispersion(cutoff=6.0, onset=4.5)
    return Potential(terms=(term,), species=SpeciesTable.from_numbers([18])), {"dispersion": {}}


def random_painn() -> tuple[Potential, dict]:
    """A two-element PaiNN with random parameters."""
    return _started(PaiNN.tiny(n_species=2))


def random_dimenet() -> tuple[Potential, dict]:
    """A two-element DimeNet with random parameters."""
    return _started(DimeNet.tiny(n_species=2))


def _started(model: Term) -> tuple[Potential, dict]:
    potential = Potential(terms=(model,), species=SpeciesTable.from_numbers([12, 8]))
    return potential, jax.jit(potential.init)(jax.random.key(0), potential.graph(structure_of(magnesia())))


SYSTEMS = {"argon": (argon, triclinic_argon), "ace": (random_ace, magnesia)}
SAME_BITS = SYSTEMS | {
    "dispersion": (dispersed_argon, triclinic_argon),
    "painn": (random_painn, magnesia),
    "dimenet": (random_dimenet, magnesia),
}


def structure_of(atoms: ase.Atoms) -> Structure:
    return from_ase(atoms)


def columns(atoms: ase.Atoms) -> jax.Array:
    """jax-md's box of a cell."""
    return jnp.asarray(atoms.cell.array.T)
