"""Mean and spread of the features of a descriptor over the training atoms of each species."""

from collections.abc import Iterable, Iterator

import jax
import numpy as np
from jaxtyping import Float

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels
from jorbit.core.protocols import Descriptor

FLOOR = 1e-3  # a feature that hardly varies on one species is divided by this part of its spread on all, at least


class FeatureStatistics:
    """Gathers means and standard deviations while batches pass by.

    Attributes:
        mean: of each species and feature.

    Example:
        >>> from jorbit.descriptors.ace import ACE
        >>> statistics = FeatureStatistics(ACE(n_species=2), n_species=2)
        >>> list(statistics.watched([])), float(statistics.scale.min())
        ([], 1.0)
    """

    def __init__(self, descriptor: Descriptor, n_species: int):
        self._compute = jax.jit(lambda graph: descriptor(graph))
        self._count = np.zeros((n_species, 1))
        self.mean = np.zeros((n_species, descriptor.n_features))
        self._squares = np.zeros_like(self.mean)

    def watched(self, batches: Iterable[tuple[Graph, BatchLabels]]) -> Iterator[tuple[Graph, BatchLabels]]:
        """The same batches, each looked at once."""
        for graph, labels in batches:
            real = np.asarray(graph.atom_mask)
            features = np.asarray(self._compute(graph), dtype=np.float64)
            for z in range(len(self.mean)):
                rows = features[real & (np.asarray(graph.species) == z)]
                if len(rows):
                    self._merge(z, rows)
            yield graph, labels

    def _merge(self, z: int, rows: Float[np.ndarray, "rows features"]) -> None:
        """Mean and sum of squared deviations of species z with more rows, without loss of digits."""
        n, new = self._count[z], len(rows)
        difference = rows.mean(axis=0) - self.mean[z]
        self._squares[z] += ((rows - rows.mean(axis=0)) ** 2).sum(axis=0) + difference**2 * n * new / (n + new)
        self.mean[z] += difference * new / (n + new)
        self._count[z] += new

    @property
    def scale(self) -> Float[np.ndarray, "species features"]:
        """Standard deviations; never so small that noise is blown up, and 1 for features that never vary."""
        count, mean = self._count, self.mean
        total = np.maximum(count.sum(), 1.0)
        center = (count * mean).sum(axis=0) / total
        overall = np.sqrt((self._squares + count * (mean - center) ** 2).sum(axis=0) / total)
        alone = np.sqrt(self._squares / np.maximum(count, 1.0))
        alive = overall > 1e-9 * np.maximum(np.abs(mean).max(initial=0.0), 1e-300)
        return np.where(alive, np.maximum(alone, FLOOR * overall), 1.0)
