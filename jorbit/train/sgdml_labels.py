"""Frames for a kernel model of one system, checked: the same atoms, forces, one cell, no frame twice."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jorbit.core.errors import DataError, StructureError
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Frame, Structure
from jorbit.models.sgdml import SGDML

_SAME_CELL = 1e-4  # of its lengths


@dataclasses.dataclass(frozen=True, eq=False)
class ForceLabels:
    """Positions and labels of frames of one system.

    Attributes:
        structures: the frames.
        positions: [frames, atoms, 3], Å.
        forces: eV/Å.
        energies: eV, NaN where a frame has none; None when no frame has one.
    """

    structures: list[Structure]
    positions: Float[np.ndarray, "frames atoms 3"]
    forces: Float[np.ndarray, "frames atoms 3"]
    energies: Float[np.ndarray, " frames"] | None


def labels_of(frames: Sequence[Frame], term: SGDML, what: str = "training") -> ForceLabels:
    """Positions, forces and energies of frames, after checking that one kernel model can hold them.

    Raises:
        DataError: frames of other molecules or with other cells, or without forces.
        StructureError: two atoms at one place, NaN.
    """
    wanted = np.array(term.numbers)
    cell = None if term.cell is None else np.array(term.cell)
    for k, frame in enumerate(frames):
        structure = frame.structure
        if structure.n_atoms != term.n_atoms or not np.array_equal(structure.numbers, wanted):
            same = np.array_equal(np.sort(structure.numbers), np.sort(wanted))
            found = "the same atoms in another order" if same else f"{_symbols(structure)}"
            raise DataError(
                f"An sGDML model is made for one molecule with its atoms in one order; the {what} frames start with "
                f"{_symbols(frames[0].structure) if what == 'training' else 'another molecule'}, and frame {k} holds "
                f"{found}. {'Sort the atoms alike' if same else 'Fit one model for each molecule'}, or fit a model of "
                "atomic energies (jorbit.fit)."
            )
        if cell is not None and np.abs(np.asarray(structure.cell) - cell)[np.array(term.pbc)].max() > _SAME_CELL * (
            np.abs(cell).max()
        ):
            raise DataError(
                f"The cell of {what} frame {k} differs from that of the first frame: sGDML takes frames of one cell. "
                "Use frames at constant volume, or fit a model of atomic energies (jorbit.fit)."
            )
        try:
            term.check_structure(structure)
        except StructureError as error:
            raise StructureError(f"{what} frame {k}: {error}") from error
        if frame.labels.forces is None or not np.all(frame.labels.forces_weight):
            raise DataError(
                f"Frame {k} of the {what} frames has no forces, or some of weight 0, and sGDML learns from the forces "
                "on all atoms. Leave out such frames, or fit another model (jorbit.fit)."
            )
        if not np.isfinite(frame.labels.forces).all():
            raise DataError(f"Forces of {what} frame {k} are NaN or infinite: drop the frame.")
    labels = [f.labels for f in frames]
    energies = [x.energy if x.energy is not None and x.energy_weight else np.nan for x in labels]
    return ForceLabels(
        structures=[f.structure for f in frames],
        positions=np.stack([np.asarray(f.structure.positions, dtype=np.float64) for f in frames]),
        forces=np.stack([np.asarray(f.labels.forces, dtype=np.float64) for f in frames]),
        energies=np.array(energies, dtype=np.float64) if np.isfinite(energies).any() else None,
    )


def refuse_duplicates(x: Float[np.ndarray, "frames pairs"], pair_permutations: np.ndarray, tolerance: float) -> None:
    """Raise when two frames are one (also turned, reflected or with like atoms exchanged): the kernel is singular.

    Raises:
        DataError: names the frames.
    """
    scale = tolerance * float(np.sqrt((x**2).mean()) * np.sqrt(x.shape[1]))
    squares = (x**2).sum(axis=1)
    found: list[tuple[int, int]] = []
    for permutation in pair_permutations:
        y = x[:, permutation]
        near = squares[:, None] + squares[None] - 2.0 * x @ y.T < max(scale**2, 1e-12 * float(squares.max()))
        for a, b in np.argwhere(np.triu(near, 1)).tolist():
            if np.linalg.norm(x[a] - y[b]) < scale:
                found.append((a, b))
    if found:
        pairs = ", ".join(f"{a} and {b}" for a, b in sorted(set(found))[:5]) + (" ..." if len(found) > 5 else "")
        raise DataError(
            f"{len({b for _, b in found})} training frames are there twice (frames {pairs}; turned, reflected and "
            "permuted copies count): the kernel matrix is singular. Drop the copies."
        )


def _symbols(structure: Structure) -> str:
    names, counts = np.unique([SYMBOLS[z] for z in structure.numbers], return_counts=True)
    return "".join(f"{s}{n if n > 1 else ''}" for s, n in zip(names, counts, strict=True))
