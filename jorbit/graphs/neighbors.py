"""Neighbour search on the host with vesin: triclinic, tiny cells, mixed periodicity."""

import dataclasses

import numpy as np
import vesin
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.structure import Structure

MIN_DISTANCE = 1e-3  # Å; no two nuclei are ever this close, but an atom copied by mistake is


@dataclasses.dataclass(frozen=True, eq=False)
class PairList:
    """Every ordered pair (i, j, shift) with |r_j - r_i + shift @ cell| < cutoff, sorted by i.

    Attributes:
        i, j: atom indices.
        shifts: lattice image of j, whole numbers.
        distances: Å.
    """

    i: Int[np.ndarray, " pairs"]
    j: Int[np.ndarray, " pairs"]
    shifts: Int[np.ndarray, "pairs 3"]
    distances: Float[np.ndarray, " pairs"]

    def within(self, cutoff: float) -> "PairList":
        """The pairs closer than a shorter cutoff (Å)."""
        keep = self.distances < cutoff
        return PairList(self.i[keep], self.j[keep], self.shifts[keep], self.distances[keep])

    def slot_counts(self, n_atoms: int) -> Int[np.ndarray, " atoms"]:
        """Number of neighbours of each atom."""
        return np.bincount(self.i, minlength=n_atoms)


def complete_cell(structure: Structure) -> Float[np.ndarray, "3 3"]:
    """A full-rank cell: rows of non-periodic directions are replaced by unit vectors normal to the periodic ones."""
    cell, pbc = np.array(structure.cell, dtype=np.float64), np.asarray(structure.pbc, dtype=bool)
    if pbc.all():
        return cell
    # Rows of the right singular vectors beyond the rank span the complement of the periodic lattice vectors.
    periodic = cell[pbc]
    normals = np.linalg.svd(periodic, full_matrices=True)[2][len(periodic) :] if len(periodic) else np.eye(3)
    cell[~pbc] = normals
    if np.linalg.det(cell) < 0:
        cell[np.flatnonzero(~pbc)[0]] *= -1
    return cell


def find_pairs(structure: Structure, cutoff: float) -> PairList:
    """All pairs within `cutoff`, several images of one atom and of the atom itself included.

    Linear in the number of atoms. Atoms may lie outside the cell.

    Args:
        structure: positions and cell in Å; only directions with pbc repeat.
        cutoff: Å, exclusive.

    Returns:
        The full (both directions) list, sorted by i.

    Raises:
        StructureError: what `Structure.check` finds, or two atoms closer than 0.001 Å.
        ConfigError: a cutoff that is not a positive length.

    Example:
        >>> two = Structure(positions=np.array([[0.0, 0, 0], [0, 0, 1]]), numbers=np.array([1, 1]))
        >>> find_pairs(two, 2.0).j.tolist()
        [1, 0]
    """
    structure.check()
    if not 0 < cutoff < np.inf:
        raise ConfigError(f"Wanted a cutoff above 0 Å and finite, got {cutoff}.")
    pbc = np.asarray(structure.pbc, dtype=bool)
    positions = np.asarray(structure.positions, dtype=np.float64)
    cell = complete_cell(structure)
    # vesin bins atoms by fractional coordinates, so each non-periodic direction gets room for all atoms.
    if not pbc.all():
        fractional = positions @ np.linalg.inv(cell)
        extent = np.ptp(fractional, axis=0) + 1.0
        cell = np.where(pbc[:, None], cell, cell * np.maximum(extent, cutoff)[:, None])
        origin = np.where(pbc, 0.0, fractional.min(axis=0)) @ complete_cell(structure)
        positions = positions - origin
    search = vesin.NeighborList(cutoff=cutoff, full_list=True, sorted=True)
    i, j, shifts, distances = search.compute(positions, cell, pbc, quantities="ijSd")
    if distances.min(initial=np.inf) < MIN_DISTANCE:
        k = int(distances.argmin())
        raise StructureError(
            f"Atoms {i[k]} and {j[k]} are at one place ({distances[k]:.2g} Å apart, with periodic images). "
            "Remove the copy; or was a length given in the wrong unit?"
        )
    found = PairList(i.astype(np.int32), j.astype(np.int32), shifts.astype(np.int32, copy=False), distances)
    return found if (distances < cutoff).all() else found.within(cutoff)
