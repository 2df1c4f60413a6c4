"""Rows of a least-squares problem kept as they are."""

import numpy as np
from jaxtyping import Float

from jorbit.train.accumulate import Accumulator, require_finite, with_weight


class HeldRows:
    """Rows kept as they are, to measure the misfit of solutions on them: for a few validation frames.

    Their memory is rows * parameters, where normal equations would take parameters^2.

    Example:
        >>> held = HeldRows(1)
        >>> held.add(np.array([[1.0], [2.0]]), np.array([2.0, 5.0]))
        >>> held.misfit(np.array([2.0]))
        1.0
    """

    def __init__(self, n_parameters: int):
        self.n_parameters = n_parameters
        self._rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def n_rows(self) -> int:
        return sum(len(targets) for _, targets, _ in self._rows)

    def add(
        self,
        rows: Float[np.ndarray, "rows parameters"],
        targets: Float[np.ndarray, " rows"],
        weights: Float[np.ndarray, " rows"] | None = None,
        *,
        source: str = "the rows",
    ) -> None:
        """As `Accumulator.add`."""
        rows, targets, weights = with_weight(rows, targets, weights, source)
        require_finite(rows, targets, source)
        self._rows.append((np.array(rows), np.array(targets), weights))

    def misfit(self, coefficients: Float[np.ndarray, " parameters"]) -> float:
        """|X c - y|^2 over all rows, weights included."""
        return float(sum(np.sum((w * (rows @ coefficients - targets)) ** 2) for rows, targets, w in self._rows))

    def pour_into(self, system: Accumulator) -> None:
        """Give all rows to a system that shall be fitted to them too."""
        for rows, targets, weights in self._rows:
            system.add(rows, targets, weights, source="the held-out frames")
