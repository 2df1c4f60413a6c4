"""What LAMMPS's pair_style mliap would get, through an object with the fields that LAMMPS documents."""

import re

import numpy as np
import pytest
from simulated_systems import KELVIN, argon, magnesia, random_ace, structure_of, triclinic_argon

from jorbit.core.errors import ConfigError, SimulationError
from jorbit.core.species import SpeciesTable
from jorbit.models import MODELS
from jorbit.potential import Potential, predict
from jorbit.simulate.lammps_mliap import MLIAPModel


class Data:
    """Pairs of the atoms of one cell with them and their images, found by trying all; sums as LAMMPS makes them.

    update_pair_forces adds a force to the first atom of a pair, takes it from the second, ghost or not, and tallies
    -r_ij f_ij; ghosts' forces go to the atoms they are images of (reverse communication).
    """

    def __init__(self, structure, element_types, names, cutoff):
        n, cell = structure.n_atoms, structure.cell
        images = np.array([i for i in np.ndindex(7, 7, 7) if i != (3, 3, 3)]) - 3
        x = np.concatenate([structure.positions, *(structure.positions + i @ cell for i in images)])
        near = np.linalg.norm(x[:, None] - structure.positions, axis=-1).min(axis=1) < cutoff
        near[:n] = True
        self.owner = np.tile(np.arange(n), len(images) + 1)[near]
        x = x[near]
        vectors = x[None] - x[:n, None]
        distances = np.linalg.norm(vectors, axis=-1)
        order = np.random.default_rng(0).permutation(n).astype(np.int32)  # LAMMPS's list has an order of its own
        pairs = [(i, j) for i in order for j in range(len(x)) if i != j and distances[i, j] < cutoff]
        self.pair_i, self.jatoms = np.array(pairs, np.int32).reshape(-1, 2).T
        self.rij = vectors[self.pair_i, self.jatoms]
        self.npairs, self.nlistatoms, self.ntotal = len(pairs), n, len(x)
        self.iatoms = order
        self.elems = np.array([element_types.index(names[k]) for k in self.owner], np.int32)
        self.forces, self.virial = np.zeros((n, 3)), np.zeros((3, 3))

    def update_pair_forces(self, fij):
        assert fij.dtype == np.float64 and fij.shape == (self.npairs, 3) and fij.flags.c_contiguous
        np.add.at(self.forces, self.owner[self.pair_i], fij)
        np.add.at(self.forces, self.owner[self.jatoms], -fij)
        self.virial -= self.rij.T @ fij


@pytest.mark.parametrize("make, atoms", [(random_ace, magnesia), (argon, triclinic_argon)])
def test_energies_forces_and_virial_are_those_of_the_periodic_crystal(make, atoms, x64):
    potential, params = make()
    structure = structure_of(atoms())
    model = MLIAPModel((potential, params))
    names = [potential.species.names[r] for r in potential.species.index(structure.numbers)]
    data = Data(structure, model.element_types, names, 2 * model.rcutfac)
    for method in (model.compute_descriptors, model.compute_gradients, model.compute_forces):
        method(data)
    exact = predict(potential, params, potential.graph(structure, dtype="float64"))
    n = structure.n_atoms
    assert data.energy == pytest.approx(float(exact.energy[0]), abs=1e-10)
    np.testing.assert_allclose(data.eatoms, np.asarray(exact.energies)[data.iatoms], atol=1e-10)
    np.testing.assert_allclose(data.forces, np.asarray(exact.forces)[:n], atol=1e-9)
    stress = -data.virial / structure.volume
    np.testing.assert_allclose(stress, np.asarray(exact.stress)[0], atol=1e-10)
    assert np.abs(data.forces).max() > KELVIN


def test_a_lone_atom_and_a_rank_without_atoms():
    potential, params = argon()
    model, one = MLIAPModel((potential, params), dtype="float32"), structure_of(triclinic_argon())
    lone = Data(one, ["Ar"], ["Ar"] * one.n_atoms, 0.1)
    model.compute_forces(lone)
    np.testing.assert_allclose(lone.eatoms, -0.1, rtol=1e-6)  # nothing but the offset
    lone.nlistatoms = 0
    model.compute_forces(lone)
    assert lone.energy == 0.0
    broken = Data(one, ["Ar"], ["Ar"] * one.n_atoms, 4.5)
    broken.rij[3] = np.nan
    with pytest.raises(SimulationError, match="not finite"):
        model.compute_forces(broken)


def test_potentials_that_look_further_are_sent_elsewhere():
    table = SpeciesTable.from_numbers([8, 12])
    network = MODELS.load("hipnn").tiny(n_species=2)
    with pytest.raises(ConfigError, match=re.escape("jorbit.simulate.lammps.attach")):
        MLIAPModel((Potential((network,), table), {}))
    with pytest.raises(ConfigError, match="model file"):
        MLIAPModel(3)
