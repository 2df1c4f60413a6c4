"""The mean structure of a trajectory: where the atoms that stay in place are."""

import numpy as np
from jaxtyping import Float

from jorbit.orbits.fragments import components
from jorbit.orbits.frames import Trajectory
from jorbit.orbits.graph import ColoredGraph
from jorbit.orbits.lattice import displacements
from jorbit.orbits.result import Reference

ROUNDS = 3


def make_reference(trajectory: Trajectory, graph: ColoredGraph) -> Reference:
    """Mean positions of every part of the graph that stays in place, drift removed.

    Known by their place are parts with edges that are no bonds, frameworks, and crystals of one atom. Positions of
    other parts, and of all without periodic directions, are those of the first frame.
    """
    positions = trajectory.positions[0].copy()
    squares, count = 0.0, 0
    in_place = np.zeros(trajectory.n_atoms, dtype=bool)
    framework = {k for f in graph.fragments if f.kind == "framework" for k in f.atoms}
    owner = components((graph.edges > 0) | graph.bonds)
    for k in range(int(owner.max()) + 1):
        atoms = np.flatnonzero(owner == k)
        block = np.ix_(atoms, atoms)
        in_place[atoms] = (graph.edges[block] > 0)[~graph.bonds[block]].any() or not framework.isdisjoint(
            atoms.tolist()
        )
        if in_place[atoms[0]] and trajectory.pbc.any():
            positions[atoms], square = _mean(trajectory, atoms)
            squares += square * len(atoms)
            count += len(atoms)
    return Reference(
        positions=positions,
        cell=trajectory.cell,
        pbc=trajectory.pbc,
        edges=graph.edges,
        vertices=graph.vertices,
        bonds=graph.bonds,
        in_place=in_place,
        amplitude=float(np.sqrt(squares / count)) if count else 0.0,
    )


def _mean(trajectory: Trajectory, atoms: np.ndarray) -> tuple[Float[np.ndarray, "members 3"], float]:
    """Mean over frames after taking out the common shift; and the mean square displacement from it, Å^2."""
    mean = trajectory.positions[0][atoms]
    square = 0.0
    for _ in range(ROUNDS):
        total, square = np.zeros_like(mean), 0.0
        for positions in trajectory.positions:
            moved = displacements(positions[atoms] - mean, trajectory.lattice)
            drift = _common_shift(moved, trajectory)
            moved = displacements(moved - drift, trajectory.lattice)
            moved = moved - moved.mean(axis=0)
            total += moved
            square += float((moved**2).sum(axis=1).mean())
        mean = mean + total / trajectory.n_frames
        square /= trajectory.n_frames
    return mean, square


def _common_shift(moved: Float[np.ndarray, "members 3"], trajectory: Trajectory) -> Float[np.ndarray, "3"]:
    """Shift shared by all atoms, also when it exceeds half a cell for some: circular mean of fractional coordinates."""
    fractional = moved @ np.linalg.inv(trajectory.lattice.vectors)
    angles = np.angle(np.exp(2j * np.pi * fractional).mean(axis=0)) / (2 * np.pi)
    shift = np.where(trajectory.lattice.periodic, angles, fractional.mean(axis=0))
    return shift @ trajectory.lattice.vectors
