"""Scales that a network takes from its training data before it is trained: of energies, and of sums over neighbours."""

from collections.abc import Iterable

import numpy as np

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels


def scale_and_neighbors(batches: Iterable[tuple[Graph, BatchLabels]], cutoff: float) -> tuple[float, float]:
    """Root mean square of the forces times 1 Å (of the energies per atom without forces, 1 without both), in eV, and
    the average number of neighbours, at least 1.

    Args:
        batches: graphs with the labels that a term is to learn.
        cutoff: Å.
    """
    n_pairs, n_atoms = 0.0, 0.0
    squares, weights = np.zeros(2), np.zeros(2)  # of forces, of energies per atom
    for graph, labels in batches:
        real = np.asarray(graph.atom_mask)
        n_pairs += float(np.asarray(graph.within(cutoff).mask)[real].sum())
        n_atoms += float(real.sum())
        size = np.maximum(np.bincount(np.asarray(graph.owner)[real], minlength=graph.n_structures), 1)
        forces = np.asarray(labels.forces, dtype=np.float64)[np.asarray(labels.forces_weight) > 0]
        energies = (np.asarray(labels.energy, dtype=np.float64) / size)[np.asarray(labels.energy_weight) > 0]
        for k, rows in enumerate((forces, energies)):
            squares[k], weights[k] = squares[k] + np.sum(rows**2), weights[k] + rows.size
    rms = np.sqrt(squares / np.maximum(weights, 1))
    return float(next((r for r in rms if r > 0), 1.0)), max(n_pairs / max(n_atoms, 1.0), 1.0)
