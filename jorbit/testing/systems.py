"""Small named systems that contract checks, examples and extensions share. Lengths in Å."""

import numpy as np

from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure

SPECIES = SpeciesTable.from_numbers([1, 8, 14])  # of the sample systems
N_ATOMS, N_STRUCTURES = 16, 4  # the one padded size that holds them, three at a time: one compilation


def single_atom(number: int = 8) -> Structure:
    """One atom in vacuum."""
    return Structure(positions=np.zeros((1, 3)), numbers=np.array([number]))


def dimer(distance: float, numbers: tuple[int, int] = (8, 1)) -> Structure:
    """Two atoms in vacuum, not along an axis of coordinates."""
    direction = np.array([2.0, -1.0, 2.0]) / 3.0
    return Structure(positions=np.stack([np.zeros(3), distance * direction]), numbers=np.array(numbers))


def crossing_trimer(distance: float) -> Structure:
    """O-H with an Si atom at `distance` from the O and farther from the H: it crosses one cutoff at a time."""
    positions = np.array([[0.0, 0.0, 0.0], [-0.7, 0.5, 0.4], [distance, 0.0, 0.0]])
    return Structure(positions=positions, numbers=np.array([8, 1, 14]))


def water() -> Structure:
    """H2O near its gas-phase geometry, without symmetry."""
    positions = np.array([[0.01, 0.02, 0.12], [0.03, 0.76, -0.47], [-0.02, -0.75, -0.49]])
    return Structure(positions=positions, numbers=np.array([8, 1, 1]))


def ethanol() -> Structure:
    """CH3CH2OH, trans, near its minimum."""
    positions = np.array(
        [
            [-1.168, -0.398, 0.003],
            [0.063, 0.556, 0.012],
            [1.201, -0.281, -0.021],
            [-1.166, -1.041, 0.893],
            [-1.130, -1.034, -0.892],
            [-2.091, 0.201, -0.004],
            [0.065, 1.196, 0.901],
            [0.058, 1.209, -0.879],
            [1.991, 0.271, 0.014],
        ]
    )
    return Structure(positions=positions, numbers=np.array([6, 6, 8, 1, 1, 1, 1, 1, 1]))


def rattled_silicon(amplitude: float = 0.1, seed: int = 0) -> Structure:
    """The 8-atom cubic cell of diamond silicon (a = 5.43 Å) with normal displacements."""
    face = np.array([[0, 0, 0], [0, 2, 2], [2, 0, 2], [2, 2, 0]])
    positions = 5.43 / 4 * np.concatenate([face, face + 1])
    positions = positions + amplitude * np.random.default_rng(seed).normal(size=positions.shape)
    return Structure(positions=positions, numbers=np.full(8, 14), cell=5.43 * np.eye(3), pbc=np.ones(3, dtype=bool))


def triclinic_crystal() -> Structure:
    """Three atoms, Si and O, in a triclinic cell thinner than 3 Å: atoms see several images of each other and of
    themselves. One atom lies outside the cell.
    """
    cell = np.array([[2.7, 0.0, 0.0], [0.9, 3.1, 0.0], [-0.6, 0.8, 4.4]])
    fractional = np.array([[0.05, 0.1, 0.0], [0.45, 0.55, 0.31], [1.3, -0.2, 0.66]])
    return Structure(positions=fractional @ cell, numbers=np.array([14, 8, 8]), cell=cell, pbc=np.ones(3, dtype=bool))


def slab() -> Structure:
    """Si and O, periodic in two directions only."""
    cell = np.array([[3.2, 0.3, 0.0], [0.5, 2.9, 0.0], [0.0, 0.0, 0.0]])
    positions = np.array([[0.1, 0.2, 0.0], [1.5, 1.4, 1.1]])
    return Structure(positions=positions, numbers=np.array([14, 8]), cell=cell, pbc=np.array([True, True, False]))


def sample_systems() -> dict[str, Structure]:
    """The systems every check looks at: a molecule, a crystal, a tiny triclinic cell, mixed periodicity."""
    return {
        "water": water(),
        "silicon": rattled_silicon(),
        "triclinic": triclinic_crystal(),
        "slab": slab(),
    }
