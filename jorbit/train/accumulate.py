"""Streaming least squares: rows in, a small triangular problem out; the design matrix never exists as a whole."""

import abc
import os

import numpy as np
from jaxtyping import Float

from jorbit.core.errors import DataError
from jorbit.train.factor import Factor

_BLOCK_BYTES = 2**28  # rows are gathered into blocks of at most this size: large enough for BLAS-3 to run at speed
_MAX_BLOCK_ROWS = 4096


class Accumulator(abc.ABC):
    """Gathers weighted rows of a least-squares problem; what is kept does not grow with the number of rows.

    Args:
        n_parameters: columns of the design matrix.
        block_rows: rows gathered before each BLAS-3 update; from the memory available to a block when not given.

    Attributes:
        n_rows: rows with non-zero weight so far.
        log_weights: sum of log(weight) over them.
    """

    order = "C"
    extra_columns = 0
    relative_floor = 0.0  # smallest ridge / largest diagonal at which results still mean something
    evidence_floor = 0.0  # and the smallest one at which the evidence does

    def __init__(self, n_parameters: int, block_rows: int | None = None):
        if n_parameters < 1:
            raise DataError("A linear fit needs at least one parameter; this potential has none that is linear.")
        width = n_parameters + self.extra_columns
        if block_rows is None:
            block_rows = min(_MAX_BLOCK_ROWS, max(128, _BLOCK_BYTES // (8 * width)))
        self.n_parameters = n_parameters
        self.n_rows = 0
        self.log_weights = 0.0
        self._block = np.zeros((block_rows, width), order=self.order)  # type: ignore[call-overload]
        self._targets = np.zeros(block_rows)
        self._filled = 0

    def add(
        self,
        rows: Float[np.ndarray, "rows parameters"],
        targets: Float[np.ndarray, " rows"],
        weights: Float[np.ndarray, " rows"] | None = None,
        *,
        source: str = "the rows",
    ) -> None:
        """Take in rows x_k, targets y_k and weights w_k of sum_k w_k^2 (x_k.c - y_k)^2.

        Rows of weight 0 are left out, whatever they hold.

        Raises:
            DataError: NaN or infinity in a row, a target or a weight; a negative weight; `source` is named.
        """
        rows, targets, weights = with_weight(rows, targets, weights, source)
        self.n_rows += len(rows)
        self.log_weights += float(np.log(weights).sum())
        start, room = 0, len(self._block)
        while start < len(rows):
            n = min(len(rows) - start, room - self._filled)
            source_rows, here = slice(start, start + n), slice(self._filled, self._filled + n)
            block, target = self._block[here, : self.n_parameters], self._targets[here]
            np.multiply(rows[source_rows], weights[source_rows, None], out=block)
            np.multiply(targets[source_rows], weights[source_rows], out=target)
            require_finite(block, target, source)
            start, self._filled = start + n, self._filled + n
            if self._filled == room:
                self._flush()

    def _flush(self) -> None:
        if self._filled:
            self._absorb(self._filled)
            self._filled = 0

    def merge(self, other: "Accumulator") -> None:
        """Take in everything another accumulator of the same kind holds (which stays as it is)."""
        if type(other) is not type(self) or other.n_parameters != self.n_parameters:
            raise DataError(
                f"Cannot merge {type(other).__name__} of {other.n_parameters} parameters into "
                f"{type(self).__name__} of {self.n_parameters}."
            )
        self._flush()
        other._flush()
        self.n_rows += other.n_rows
        self.log_weights += other.log_weights
        self._absorb_other(other)

    def sibling(self) -> "Accumulator":
        """An empty one of the same kind and size; what it gathers can be merged into this one."""
        return type(self)(self.n_parameters)

    @abc.abstractmethod
    def _absorb(self, n: int) -> None:
        """Take in the first n rows of the block."""

    @abc.abstractmethod
    def _absorb_other(self, other: "Accumulator") -> None: ...

    @abc.abstractmethod
    def diagonal(self) -> Float[np.ndarray, " parameters"]:
        """Diagonal of X^T X (with intercepts: of what is left of X)."""

    @abc.abstractmethod
    def misfit(self, coefficients: Float[np.ndarray, " parameters"]) -> float:
        """|X c - y|^2 over all rows, weights included."""

    def keep(self, factor: Factor) -> Factor:
        """The same factor, which later calls of `factor` leave alone."""
        return factor

    @abc.abstractmethod
    def factor(self, ridge: float, prior_scale: Float[np.ndarray, " parameters"]) -> Factor:
        """Minimise |X c - y|^2 + ridge |Gamma c|^2 with Gamma = diag(prior_scale).

        Overwrites the triangle of the previous Factor, to save memory; `keep` it if it shall last.

        Raises:
            SingularSystemError: no unique solution in float64.
        """


def with_weight(
    rows: np.ndarray, targets: np.ndarray, weights: np.ndarray | None, source: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The rows of weight above 0, and their weights."""
    weights = np.ones(len(rows)) if weights is None else np.asarray(weights, dtype=np.float64)
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DataError(f"Weights of {source} must be finite and not negative, got {weights.min()}..{weights.max()}.")
    if weights.all():
        return rows, targets, weights
    keep = weights > 0
    return rows[keep], targets[keep], weights[keep]


def require_finite(rows: np.ndarray, targets: np.ndarray, source: str) -> None:
    """Refuse rows or targets that hold NaN or infinity."""
    if not np.isfinite(rows.sum()) or not np.isfinite(targets.sum()):
        what = "labels" if np.isfinite(rows.sum()) else "rows of the design matrix"
        raise DataError(f"The {what} of {source} hold NaN or infinity. Drop the frame, or check its positions.")


def require_memory(n_parameters: int, n_seen: int) -> None:
    """Refuse a problem whose square matrices (two of them at least) of seen columns exceed the machine's memory."""
    needed = 2 * 8 * n_seen**2
    try:
        have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # no such figures on this system: let the allocation decide
        return
    if needed > have:
        raise DataError(
            f"A fit of {n_parameters:,} parameters needs at least {needed / 2**30:.0f} GiB of memory, and this machine "
            f"has {have / 2**30:.0f} GiB. Lower the degrees (max_degree) or l_max of the model: about "
            f"{int((have / 32) ** 0.5):,} parameters fit comfortably."
        )
