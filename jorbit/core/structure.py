"""Atoms and their labels on the host: numpy, unpadded, eV and Å."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import StructureError


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Structure:
    """One molecule or crystal.

    Attributes:
        positions: [atoms, 3], Å.
        numbers: atomic numbers, [atoms].
        cell: lattice vectors as rows, [3, 3], Å; zeros where there is none.
        pbc: which of the three lattice directions repeat.
        charge: total charge, e.
        orbits: index of each atom's orbit within its element, or None when no orbits are known.

    Example:
        >>> Structure(positions=np.zeros((1, 3)), numbers=np.array([18])).n_atoms
        1
    """

    positions: Float[np.ndarray, "atoms 3"]
    numbers: Int[np.ndarray, " atoms"]
    cell: Float[np.ndarray, "3 3"] = dataclasses.field(default_factory=lambda: np.zeros((3, 3)))
    pbc: Bool[np.ndarray, "3"] = dataclasses.field(default_factory=lambda: np.zeros(3, dtype=bool))
    charge: float = 0.0
    orbits: Int[np.ndarray, " atoms"] | None = None

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell in Å^3, 0 without a full cell."""
        return float(abs(np.linalg.det(self.cell)))

    def check(self) -> "Structure":
        """Return self, or raise if no model could make sense of this structure.

        Raises:
            StructureError: wrong shapes, no atoms, NaN or infinite numbers, an unknown atomic number, a periodic
                direction without a lattice vector, a singular or left-handed cell. Two atoms at one place are found
                by the neighbour search.
        """
        positions, numbers = np.asarray(self.positions), np.asarray(self.numbers)
        if positions.ndim != 2 or positions.shape[1:] != (3,) or numbers.shape != positions.shape[:1]:
            raise StructureError(
                f"Wanted positions [atoms, 3] and numbers [atoms], got {positions.shape} and {numbers.shape}."
            )
        if len(numbers) == 0:
            raise StructureError("The structure has no atoms: wanted at least one. Drop empty frames.")
        if not np.isfinite(positions).all():
            bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
            raise StructureError(
                f"Positions of {len(bad)} of {len(numbers)} atoms are NaN or infinite, first atom {bad[0]}: "
                "wanted finite lengths in Å. A simulation that blew up leaves such frames: drop them."
            )
        if not ((numbers >= 1) & (numbers <= 118)).all():
            raise StructureError(f"Atomic numbers must lie in 1..118, got {sorted(set(numbers.tolist()))}.")
        if self.orbits is not None and np.shape(self.orbits) != numbers.shape:
            raise StructureError(f"Wanted orbits [atoms] = {numbers.shape}, got {np.shape(self.orbits)}.")
        if not np.isfinite(self.charge):
            raise StructureError(f"The total charge is {self.charge}: wanted a finite number, in e.")
        self._check_cell()
        return self

    def _check_cell(self) -> None:
        cell, pbc = np.asarray(self.cell), np.asarray(self.pbc, dtype=bool)
        if cell.shape != (3, 3) or pbc.shape != (3,):
            raise StructureError(f"Wanted a cell [3, 3] and pbc [3], got {cell.shape} and {pbc.shape}.")
        if not np.isfinite(cell).all():
            raise StructureError("The cell holds NaN or infinite numbers: wanted lattice vectors in Å as rows.")
        lengths = np.linalg.norm(cell, axis=1)
        if (lengths[pbc] < 1e-6).any():
            raise StructureError(
                f"Periodic directions {np.flatnonzero(pbc).tolist()} need lattice vectors, but the cell has row "
                f"lengths {lengths.round(6).tolist()} Å. Set the cell, or set pbc to False there."
            )
        if pbc.all():
            volume = float(np.linalg.det(cell))
            if abs(volume) < 1e-6 * lengths.prod():
                raise StructureError(
                    f"The cell is singular (volume {volume:.3g} Å^3): its rows lie in one plane. "
                    "Wanted three independent lattice vectors as rows."
                )
            if volume < 0:
                raise StructureError(
                    f"The cell is left-handed (volume {volume:.6g} Å^3). Swap two lattice vectors, or negate one; "
                    "the crystal stays the same."
                )
        elif pbc.any():
            spanned = np.linalg.svd(cell[pbc] / lengths[pbc, None], compute_uv=False)
            if spanned.min() < 1e-6:
                raise StructureError("The lattice vectors of the periodic directions are parallel to each other.")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Labels:
    """Reference results of one structure; None where there is no label.

    Attributes:
        energy: total energy, eV.
        forces: [atoms, 3], eV/Å.
        stress: (1/V) dE/dε, [3, 3], eV/Å^3, positive under tension.
        charges: of atoms, e; trained on where the loss gives them a weight.
        energy_weight, forces_weight, stress_weight: relative weights of squared errors in a fit: 2 is the label twice,
            0 leaves it out. Forces may have one weight per atom.
    """

    energy: float | None = None
    forces: Float[np.ndarray, "atoms 3"] | None = None
    stress: Float[np.ndarray, "3 3"] | None = None
    charges: Float[np.ndarray, " atoms"] | None = None
    energy_weight: float = 1.0
    forces_weight: float | Float[np.ndarray, " atoms"] = 1.0
    stress_weight: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Frame:
    """A structure with its labels, and what the file said about it (`info`: config_type, temperature, ...)."""

    structure: Structure
    labels: Labels = dataclasses.field(default_factory=Labels)
    info: dict = dataclasses.field(default_factory=dict)
