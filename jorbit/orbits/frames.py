"""A trajectory checked and brought to one cell: same atoms, same order, periodic directions that agree."""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import DataError, StructureError
from jorbit.core.structure import Frame, Structure
from jorbit.graphs.neighbors import complete_cell, find_pairs
from jorbit.orbits.covalent_radii import bond_lengths
from jorbit.orbits.lattice import Lattice, displacements, make_lattice

MAX_STRAIN = 0.35  # cells of one trajectory breathe; what differs by more are different crystals
NEAR = 1.0  # Å; within it atoms at one place are looked for


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Frames of the same atoms in one cell.

    Attributes:
        positions: [frames, atoms, 3], Å, mapped by fractional coordinates to the mean cell.
        numbers: atomic numbers.
        cell: mean cell, rows of the directions given; zeros without periodic directions.
        pbc: which of them repeat.
        lattice: the mean cell reduced.
        n_given: number of frames before thinning.
    """

    positions: Float[np.ndarray, "frames atoms 3"]
    numbers: Int[np.ndarray, " atoms"]
    cell: Float[np.ndarray, "3 3"]
    pbc: Bool[np.ndarray, "3"]
    lattice: Lattice
    n_given: int

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def n_frames(self) -> int:
        return len(self.positions)

    def chunks(self, size: int) -> Iterator[tuple[int, Float[np.ndarray, "chunk atoms 3"]]]:
        """(index of its first frame, block of frames) in order."""
        for start in range(0, self.n_frames, size):
            yield start, self.positions[start : start + size]


def read_trajectory(frames: Iterable[Frame | Structure], max_frames: int) -> Trajectory:
    """Check frames against each other and map them to their mean cell.

    Args:
        frames: structures, or frames that hold them, in order of time.
        max_frames: more than these are thinned evenly.

    Raises:
        DataError: no frames, or frames with different atoms, order or periodic directions.
        StructureError: what `Structure.check` finds; atoms at one place in the first frame; cells that are not those of
            one trajectory; a cell without pbc across whose walls atoms are bonded.
    """
    structures = [frame.structure if isinstance(frame, Frame) else frame for frame in frames]
    if not structures:
        raise DataError("Orbits are found in a trajectory, but there are no frames: wanted at least one.")
    wrong = next((s for s in structures if not isinstance(s, Structure)), None)
    if wrong is not None:
        raise DataError(f"Wanted jorbit.Structure or jorbit.Frame objects, got {type(wrong).__name__}.")
    n_given = len(structures)
    if n_given > max_frames:
        structures = [structures[i] for i in np.linspace(0, n_given - 1, max_frames).round().astype(int)]
    _check_alike(structures)
    first = structures[0]
    pbc = np.asarray(first.pbc, dtype=bool)
    full = np.stack([complete_cell(s) for s in structures])
    mean = _mean_cell(full, pbc)
    positions = np.stack([np.asarray(s.positions, dtype=np.float64) for s in structures])
    if pbc.any() and not np.allclose(full, mean, rtol=0, atol=1e-9):
        positions = np.einsum("fai,fij,jk->fak", positions, np.linalg.inv(full), mean)
    if not pbc.any():
        _check_walls(first)
    cell = np.where(pbc[:, None], mean, 0.0)
    return Trajectory(positions, np.asarray(first.numbers), cell, pbc, make_lattice(mean, pbc), n_given)


def _check_alike(structures: list[Structure]) -> None:
    first = structures[0]
    find_pairs(first, NEAR)  # raises for two atoms at one place
    for index, structure in enumerate(structures):
        structure.check()
        if structure.n_atoms != first.n_atoms or not np.array_equal(structure.numbers, first.numbers):
            same = np.array_equal(np.sort(structure.numbers), np.sort(first.numbers))
            what = "the same atoms in another order" if same else "other atoms"
            todo = "Sort the atoms alike in all frames." if same else "Find orbits for each composition by itself."
            raise DataError(
                f"Orbits need frames of the same atoms in the same order; frame {index} ({structure.n_atoms} atoms) "
                f"holds {what} than frame 0 ({first.n_atoms} atoms). {todo}"
            )
        if not np.array_equal(np.asarray(structure.pbc, dtype=bool), np.asarray(first.pbc, dtype=bool)):
            raise DataError(
                f"Frame {index} repeats along {np.asarray(structure.pbc).tolist()}, frame 0 along "
                f"{np.asarray(first.pbc).tolist()}: wanted the same periodic directions (pbc) in all frames."
            )


def _mean_cell(full: Float[np.ndarray, "frames 3 3"], pbc: Bool[np.ndarray, "3"]) -> Float[np.ndarray, "3 3"]:
    """The cell whose metric is the mean of all metrics: rotations of the frames do not matter."""
    if not pbc.any():
        return np.eye(3)
    first = full[0]
    if np.allclose(full, first, rtol=0, atol=1e-9):
        return first
    metrics = np.einsum("fij,fkj->fik", full, full)
    mean = metrics.mean(axis=0)
    inverse = np.linalg.inv(np.linalg.cholesky(mean))
    strains = np.linalg.eigvalsh(np.einsum("ij,fjk,lk->fil", inverse, metrics, inverse))
    worst = np.abs(np.sqrt(np.maximum(strains, 0.0)) - 1.0).max(axis=1)
    if worst.max() > MAX_STRAIN:
        bad = int(worst.argmax())
        raise StructureError(
            f"The cell of frame {bad} is strained by {100 * worst[bad]:.0f} % against the mean cell: wanted the cells "
            "of one trajectory. Are frames of different crystals, or different choices of the lattice vectors, mixed? "
            "Find orbits for each by itself."
        )
    return np.linalg.cholesky(mean)


def _check_walls(structure: Structure) -> None:
    """A cell without pbc is a box around a molecule, unless atoms on both sides of a wall are bonded."""
    cell = np.asarray(structure.cell, dtype=np.float64)
    if abs(np.linalg.det(cell)) < 1e-6:
        return
    lattice = make_lattice(cell, np.ones(3, dtype=bool))
    r = np.asarray(structure.positions)
    separation = r[None, :, :] - r[:, None, :]
    direct = np.linalg.norm(separation, axis=-1)
    nearest = np.array([np.linalg.norm(displacements(row, lattice), axis=-1) for row in separation])
    bonded = bond_lengths(structure.numbers, 1.1)
    across = np.argwhere((nearest < bonded) & (direct > nearest + 1e-3))
    if len(across):
        i, j = across[0]
        raise StructureError(
            f"The frames have a cell but no periodic directions (pbc), and atoms {i} and {j} are bonded across its "
            f"walls ({nearest[i, j]:.2f} Å). Set pbc for a crystal or a slab; for a molecule, set the cell to zero."
        )
