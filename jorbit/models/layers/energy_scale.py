"""Scales that a network takes from its training data before it is trained: of energies, and of sums over neighbours."""

from collections.abc import Iterable, Iterator

import numpy as np

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels


def energy_scale(batches: Iterable[tuple[Graph, BatchLabels]]) -> float:
    """Root mean square of the forces times 1 Å, of the energies per atom where there are no forces; eV, 1 without both.

    Args:
        batches: graphs with the labels that a term is to learn: reference energies are subtracted already.
    """
    squares, weights = np.zeros(2), np.zeros(2)  # of forces, of energies per atom
    for graph, labels in batches:
        real = np.asarray(graph.atom_mask)
        n_atoms = np.bincount(np.asarray(graph.owner)[real], minlength=graph.n_structures)
        forces = np.asarray(labels.forces, np.float64)[np.asarray(labels.forces_weight) > 0]
        per_atom = np.asarray(labels.energy, np.float64) / np.maximum(n_atoms, 1)
        for k, rows in enumerate((forces, per_atom[np.asarray(labels.energy_weight) > 0])):
            squares[k], weights[k] = squares[k] + np.sum(rows**2), weights[k] + rows.size
    rms = np.sqrt(squares / np.maximum(weights, 1))
    return float(next((value for value in rms if value > 0), 1.0))


def scale_and_neighbors(batches: Iterable[tuple[Graph, BatchLabels]], cutoff: float) -> tuple[float, float]:
    """`energy_scale` in eV, and the average number of neighbours, at least 1.

    Args:
        batches: as for `energy_scale`.
        cutoff: Å.
    """
    n_pairs, n_atoms = 0.0, 0.0

    def counted() -> Iterator[tuple[Graph, BatchLabels]]:
        nonlocal n_pairs, n_atoms
        for graph, labels in batches:
            real = np.asarray(graph.atom_mask)
            n_pairs += float(np.asarray(graph.within(cutoff).mask)[real].sum())
            n_atoms += float(real.sum())
            yield graph, labels

    scale = energy_scale(counted())
    return scale, max(n_pairs / max(n_atoms, 1.0), 1.0)
