"""Structures moved, turned, mirrored, reordered, strained and repeated."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from jorbit.core.structure import Structure


def random_rotation(rng: np.random.Generator, *, proper: bool = True) -> Float[np.ndarray, "3 3"]:
    """A random orthogonal matrix: a rotation, or with proper=False one times a reflection."""
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))[None, :]
    return q if (np.linalg.det(q) > 0) == proper else -q


def rotated(structure: Structure, rotation: Float[np.ndarray, "3 3"]) -> Structure:
    """Every vector v becomes v @ rotation. After a reflection the same lattice is given by a right-handed cell."""
    cell = structure.cell @ rotation
    if np.linalg.det(rotation) < 0:
        cell = -cell
    return dataclasses.replace(structure, positions=structure.positions @ rotation, cell=cell)


def translated(structure: Structure, vector: Float[np.ndarray, "3"]) -> Structure:
    """All atoms moved by one vector, the cell kept."""
    return dataclasses.replace(structure, positions=structure.positions + vector[None, :])


def permuted(structure: Structure, order: Int[np.ndarray, " atoms"]) -> Structure:
    """Atoms in another order."""
    orbits = None if structure.orbits is None else structure.orbits[order]
    return dataclasses.replace(
        structure, positions=structure.positions[order], numbers=structure.numbers[order], orbits=orbits
    )


def moved(structure: Structure, displacements: Float[np.ndarray, "atoms 3"]) -> Structure:
    """Each atom moved by its own vector."""
    return dataclasses.replace(structure, positions=structure.positions + displacements)


def strained(structure: Structure, strain: Float[np.ndarray, "3 3"]) -> Structure:
    """Every vector v, of positions and cell alike, becomes v @ (1 + strain)."""
    deformation = np.eye(3) + strain
    return dataclasses.replace(
        structure, positions=structure.positions @ deformation, cell=structure.cell @ deformation
    )


def repeated(structure: Structure, repeats: tuple[int, int, int]) -> Structure:
    """A supercell; copy k of all atoms follows copy k - 1."""
    shifts = np.array([[a, b, c] for a in range(repeats[0]) for b in range(repeats[1]) for c in range(repeats[2])])
    positions = structure.positions[None] + (shifts @ structure.cell)[:, None]
    return Structure(
        positions=positions.reshape(-1, 3),
        numbers=np.tile(structure.numbers, len(shifts)),
        cell=structure.cell * np.array(repeats)[:, None],
        pbc=structure.pbc,
        charge=structure.charge * len(shifts),
        orbits=None if structure.orbits is None else np.tile(structure.orbits, len(shifts)),
    )
