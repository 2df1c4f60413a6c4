"""Do energies and forces of a data set belong together? Finds mixed units and flipped signs before a fit does.

For two frames of the same atoms that are close to each other, the trapezoidal rule

    E_b - E_a  ≈  -1/2 (F_a + F_b) . (r_b - r_a)

is exact on a harmonic surface, so over many pairs the two sides lie on a line through 0 with slope 1. Energies in
kcal/mol beside forces in eV/Å give the slope 23.06; a gradient called force gives -1.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from jorbit.core.structure import Frame, Structure
from jorbit.core.units import BOHR, HARTREE, KCAL_MOL, KJ_MOL, MEV, RYDBERG
from jorbit.graphs.neighbors import complete_cell

MAX_FRAMES = 300  # per composition; more do not make the slope better known
MIN_PAIRS = 12
CLOSEST = 0.3  # fraction of the pairs that is kept: the closer, the better the rule holds
MIN_CORRELATION = 0.9  # below this the frames are too far apart to say anything
HIGH_CORRELATION = 0.97  # wanted of few pairs, and of slopes that strong anharmonicity could give as well
FEW_PAIRS = 30
ACCEPTED = (0.6, 1.6)  # slopes that pass: anharmonic motion bends the line, the smallest unit mix-up is 1.89
NEAR = 0.12  # |log| distance to a known factor that is still "near": 23.06 and 27.2 are 0.17 apart

_UNITS = {"kcal/mol": KCAL_MOL, "kJ/mol": KJ_MOL, "Hartree": HARTREE, "Rydberg": RYDBERG, "meV": MEV}
_MIX_UPS = {  # what was mixed up -> the slope it gives
    **{f"energies in {unit} and forces in eV/Å": 1 / size for unit, size in _UNITS.items()},
    **{f"energies in eV and forces in {unit}/Å": size for unit, size in _UNITS.items()},
    "energies in eV and forces in Hartree/bohr": HARTREE / BOHR,
    "energies in kcal/mol and forces in Hartree/bohr": HARTREE / BOHR / KCAL_MOL,
    "positions in Å and forces per bohr": 1 / BOHR,
    "positions in bohr and forces per Å": BOHR,
}


@dataclasses.dataclass(frozen=True)
class SlopeCheck:
    """Slope of energy differences against work of the forces, over `n_pairs` pairs, with their correlation."""

    slope: float
    correlation: float
    n_pairs: int


def unit_suspicion(frames: Sequence[Frame]) -> str | None:
    """A warning when energies and forces contradict each other by a unit factor or a sign, else None.

    None also means "cannot tell": too few frames of the same atoms, or frames too far apart.

    Args:
        frames: frames as read, in eV and Å; the order does not matter.

    Example:
        >>> from jorbit.datasets import read
        >>> unit_suspicion(read("ethanol_gfn2")[:100]) is None
        True
    """
    check = energy_force_slope(frames)
    if check is None or abs(check.correlation) < _enough(check) or ACCEPTED[0] < check.slope < ACCEPTED[1]:
        return None
    evidence = (
        f"Over {check.n_pairs} pairs of similar frames, energy differences are {check.slope:.4g} times the work of the "
        f"forces (correlation {abs(check.correlation):.3f}); wanted 1."
    )
    if ACCEPTED[0] < -check.slope < ACCEPTED[1]:
        return f"{evidence} The sign is flipped: the file seems to hold gradients instead of forces. Negate them."
    causes = _causes(abs(check.slope), frames)
    sign = " The sign is flipped as well." if check.slope < 0 else ""
    if not causes:
        return f"{evidence} Energies and forces seem to be in different units, or from different calculations.{sign}"
    return f"{evidence} That is what one gets with {' or '.join(causes)}. Convert one of them.{sign}"


def _enough(check: SlopeCheck) -> float:
    delicate = check.n_pairs < FEW_PAIRS or 0.4 < abs(check.slope) < 2.5
    return HIGH_CORRELATION if delicate else MIN_CORRELATION


def energy_force_slope(frames: Sequence[Frame]) -> SlopeCheck | None:
    """The slope of energy differences against the work of the forces between neighbouring frames.

    Frames are compared with the most similar frame of the same atoms and cell; molecules are turned onto each other.

    Returns:
        Slope and correlation, or None with too few pairs.
    """
    groups: dict[tuple, list[Frame]] = defaultdict(list)
    for frame in frames:
        if frame.labels.energy is not None and frame.labels.forces is not None and frame.structure.n_atoms > 1:
            structure = frame.structure
            key = (structure.numbers.tobytes(), structure.pbc.tobytes(), structure.charge)
            if structure.pbc.any():
                key += (structure.cell.round(6).tobytes(),)
            if len(groups[key]) < _at_most(structure):
                groups[key].append(frame)
    rows = [row for group in groups.values() if len(group) > 1 for row in _pairs(group)]
    if len(rows) < MIN_PAIRS:
        return None
    rows = sorted(rows)[: max(MIN_PAIRS, round(CLOSEST * len(rows)))]
    _, difference, work = np.array(rows).T
    norm = np.sqrt((difference**2).sum() * (work**2).sum())
    if norm == 0 or not np.isfinite(norm):
        return None
    correlation = float((difference * work).sum() / norm)
    slope = float(np.sqrt((difference**2).sum() / (work**2).sum()) * np.sign(correlation))
    return SlopeCheck(slope, correlation, len(rows))


def _at_most(structure: Structure) -> int:
    """Frames to compare with each other, so that large structures cost no more than about a second."""
    n_atoms = structure.n_atoms
    return min(MAX_FRAMES, int(3200 / n_atoms**0.5 if structure.pbc.any() else 10000 / n_atoms))


def _pairs(group: list[Frame]) -> list[tuple[float, float, float]]:
    """(distance per atom, energy difference, work) of each frame and its nearest neighbour in the group."""
    structure = group[0].structure
    periodic, cell = structure.pbc.any(), complete_cell(structure)
    positions = np.stack([frame.structure.positions for frame in group])
    forces = np.stack([np.asarray(frame.labels.forces) for frame in group])
    energies = np.array([frame.labels.energy for frame in group])
    # a molecule's shape, however turned: its interatomic distances
    shapes = positions if periodic else np.linalg.norm(positions[:, :, None] - positions[:, None, :], axis=-1)
    rows, seen = [], set()
    for a in range(len(group)):
        moves = shapes - shapes[a]
        if periodic:
            moves = _minimum_image(moves, cell, structure.pbc)
            moves -= moves.mean(axis=1, keepdims=True)
        distance = (moves.reshape(len(group), -1) ** 2).sum(axis=1)
        distance[a] = np.inf
        b = int(distance.argmin())
        if (b, a) in seen:
            continue
        seen.add((a, b))
        force_b, move = forces[b], moves[b]
        if not periodic:
            rotation, move = _turn_onto(positions[b], positions[a])
            force_b = forces[b] @ rotation
        work = -0.5 * ((forces[a] + force_b) * move).sum()
        rows.append((float((move**2).sum() / len(move)), energies[b] - energies[a], work))
    return rows


def _minimum_image(moves: np.ndarray, cell: Float[np.ndarray, "3 3"], pbc: np.ndarray) -> np.ndarray:
    fractional = moves @ np.linalg.inv(cell)
    return (fractional - np.round(fractional) * pbc) @ cell


def _turn_onto(moving: Float[np.ndarray, "atoms 3"], fixed: Float[np.ndarray, "atoms 3"]) -> tuple:
    """The rotation that brings `moving` closest to `fixed` (Kabsch), and the displacement that is left."""
    centred, goal = moving - moving.mean(axis=0), fixed - fixed.mean(axis=0)
    left, _, right = np.linalg.svd(centred.T @ goal)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = left @ flip @ right
    return rotation, centred @ rotation - goal


def _causes(slope: float, frames: Sequence[Frame]) -> list[str]:
    """The one or two mix-ups whose factor is near the slope, nearest first."""
    known = dict(_MIX_UPS)
    sizes = {frame.structure.n_atoms for frame in frames}
    if len(sizes) == 1:
        known["energies per atom"] = 1 / sizes.pop()
    off = {cause: abs(np.log(slope / factor)) for cause, factor in known.items()}
    return [cause for cause in sorted(off, key=lambda cause: off[cause]) if off[cause] < NEAR][:2]
