"""Streaming least squares: rows in, a small triangular problem out; the design matrix never exists as a whole."""
# pyright: reportAttributeAccessIssue=false
# (scipy makes its BLAS and LAPACK wrappers at import, where pyright does not see them)

import abc
import math
import os

import numpy as np
from jaxtyping import Float
from scipy.linalg import blas, lapack

from jorbit.core.errors import DataError
from jorbit.train.factor import Factor, SingularSystemError
from jorbit.train.large_matrices import add_gram, cholesky

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
        rows, targets, weights = _with_weight(rows, targets, weights, source)
        self.n_rows += len(rows)
        self.log_weights += float(np.log(weights).sum())
        start, room = 0, len(self._block)
        while start < len(rows):
            n = min(len(rows) - start, room - self._filled)
            source_rows, here = slice(start, start + n), slice(self._filled, self._filled + n)
            block, target = self._block[here, : self.n_parameters], self._targets[here]
            np.multiply(rows[source_rows], weights[source_rows, None], out=block)
            np.multiply(targets[source_rows], weights[source_rows], out=target)
            _require_finite(block, target, source)
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

    @abc.abstractmethod
    def _absorb(self, n: int) -> None:
        """Take in the first n rows of the block."""

    @abc.abstractmethod
    def _absorb_other(self, other: "Accumulator") -> None: ...

    @abc.abstractmethod
    def diagonal(self) -> Float[np.ndarray, " parameters"]:
        """Diagonal of X^T X."""

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


def _with_weight(
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


def _require_finite(rows: np.ndarray, targets: np.ndarray, source: str) -> None:
    if not np.isfinite(rows.sum()) or not np.isfinite(targets.sum()):
        what = "labels" if np.isfinite(rows.sum()) else "rows of the design matrix"
        raise DataError(f"The {what} of {source} hold NaN or infinity. Drop the frame, or check its positions.")


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
        rows, targets, weights = _with_weight(rows, targets, weights, source)
        _require_finite(rows, targets, source)
        self._rows.append((np.array(rows), np.array(targets), weights))

    def misfit(self, coefficients: Float[np.ndarray, " parameters"]) -> float:
        """|X c - y|^2 over all rows, weights included."""
        return float(sum(np.sum((w * (rows @ coefficients - targets)) ** 2) for rows, targets, w in self._rows))

    def pour_into(self, system: Accumulator) -> None:
        """Give all rows to a system that shall be fitted to them too."""
        for rows, targets, weights in self._rows:
            system.add(rows, targets, weights, source="the held-out frames")


def _require_memory(n_parameters: int, n_seen: int) -> None:
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


class NormalEquations(Accumulator):
    """G = X^T W^2 X, b = X^T W^2 y, y^T W^2 y. Fast; needs twice the memory of G (1.2 GB each at 12,000 parameters).

    Accurate while the condition number of the ridge-augmented problem stays below about 1e8; `TSQR` reaches further.
    Columns that are zero in all rows (products of neighbours that a centre never has together) take part in nothing:
    G holds only the columns that were seen, in the order in which they came.

    Attributes:
        columns: the columns seen so far.

    Example:
        >>> system = NormalEquations(1)
        >>> system.add(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> system.factor(0.0, np.zeros(1)).coefficients.round(12).tolist()
        [2.0]
    """

    relative_floor = 1e-14

    def __init__(self, n_parameters: int, block_rows: int | None = None):
        _require_memory(n_parameters, n_parameters // 3)  # hopeless even if most columns are never seen
        super().__init__(n_parameters, block_rows)
        self.columns = np.zeros(0, dtype=np.int64)
        self._gram = np.zeros((0, 0), order="F")  # lower triangle only
        self._moment = np.zeros(0)
        self._targets_squared = 0.0
        self._work: np.ndarray | None = None

    def keep(self, factor: Factor) -> Factor:
        if factor.triangle is self._work:
            self._work = None
        return factor

    def _see(self, columns: np.ndarray) -> None:
        """Make room for columns, in the order given, that were zero until now."""
        if not len(columns):
            return
        n, more = len(self.columns), len(self.columns) + len(columns)
        _require_memory(self.n_parameters, more)
        gram = np.zeros((more, more), order="F")
        gram[:n, :n] = self._gram
        self._gram, self._work = gram, None
        self._moment = np.concatenate([self._moment, np.zeros(len(columns))])
        self.columns = np.concatenate([self.columns, columns])

    def _absorb(self, n: int) -> None:
        block, targets = self._block[:n], self._targets[:n]
        unseen = np.ones(self.n_parameters, dtype=bool)
        unseen[self.columns] = False
        unseen[unseen] = block[:, unseen].any(axis=0)
        self._see(np.flatnonzero(unseen))
        if len(self.columns) == 0:
            self._targets_squared += float(targets @ targets)
            return
        if not np.array_equal(self.columns, np.arange(self.n_parameters)):
            block = np.take(block, self.columns, axis=1)
        add_gram(self._gram, block)
        self._moment += targets @ block
        self._targets_squared += float(targets @ targets)

    def _absorb_other(self, other: "Accumulator") -> None:
        theirs: np.ndarray = other.columns  # type: ignore[attr-defined]
        self._see(np.setdiff1d(theirs, self.columns))
        position = np.zeros(self.n_parameters, dtype=np.int64)
        position[self.columns] = np.arange(len(self.columns))
        where = position[theirs]
        if np.array_equal(self.columns, theirs):
            self._gram += other._gram  # type: ignore[attr-defined]
        else:
            lower = other._gram  # type: ignore[attr-defined]
            self._gram[np.ix_(where, where)] += np.tril(lower) + np.tril(lower, -1).T
        self._moment[where] += other._moment  # type: ignore[attr-defined]
        self._targets_squared += other._targets_squared  # type: ignore[attr-defined]

    def diagonal(self) -> Float[np.ndarray, " parameters"]:
        self._flush()
        result = np.zeros(self.n_parameters)
        result[self.columns] = np.diagonal(self._gram)
        return result

    def misfit(self, coefficients: Float[np.ndarray, " parameters"]) -> float:
        self._flush()
        c = np.asarray(coefficients)[self.columns]
        curved = float(c @ blas.dsymv(1.0, self._gram, c, lower=1)) if len(c) else 0.0
        value = self._targets_squared - 2.0 * float(self._moment @ c) + curved
        return max(value, np.finfo(float).eps * self._targets_squared)

    def factor(self, ridge: float, prior_scale: Float[np.ndarray, " parameters"]) -> Factor:
        self._flush()
        unseen = np.setdiff1d(np.arange(self.n_parameters), self.columns)
        free = unseen[ridge * prior_scale[unseen] ** 2 == 0]
        if len(free):
            raise SingularSystemError(self._singular(ridge, int(free[0])))
        if self._work is None:
            self._work = np.zeros_like(self._gram, order="F")
        np.copyto(self._work, self._gram)
        diagonal = np.einsum("ii->i", self._work)
        diagonal += ridge * prior_scale[self.columns] ** 2
        triangle, coefficients = self._work, np.zeros(self.n_parameters)
        if len(self.columns):
            failed = cholesky(self._work)
            if failed is not None:
                raise SingularSystemError(self._singular(ridge, int(self.columns[failed])))
            coefficients[self.columns] = lapack.dpotrs(triangle, self._moment, lower=1)[0]
        penalty = ridge * float(np.sum((prior_scale * coefficients) ** 2))
        return Factor(
            triangle=triangle,
            lower=True,
            coefficients=coefficients,
            misfit=self.misfit(coefficients),
            penalty=penalty,
            columns=self.columns,
            others=unseen,
            others_diagonal=math.sqrt(ridge) * prior_scale[unseen],
        )

    def _singular(self, ridge: float, parameter: int) -> str:
        return (
            f"The normal equations of {self.n_parameters} parameters and {self.n_rows} rows are not positive "
            f"definite at ridge {ridge:.3g} (stopped at parameter {parameter}). Raise the ridge (or use prior="
            "'bayes', which finds one), give that parameter a prior, add frames, or use solver='qr'."
        )


class TSQR(Accumulator):
    """Streaming QR: R of [X y] is updated with each block of rows, without ever forming X^T X.

    Four times the work of the normal equations per row and slower per operation, but the condition number is not
    squared: smaller ridges keep their meaning. The update is the triangular-pentagonal QR of LAPACK.

    References:
        Demmel, Grigori, Hoemmen, Langou, SIAM J. Sci. Comput. 34, A206 (2012).
    """

    order = "F"
    extra_columns = 1
    relative_floor = 1e-26
    _panel = 64

    def __init__(self, n_parameters: int, block_rows: int | None = None):
        _require_memory(n_parameters, n_parameters)
        super().__init__(n_parameters, block_rows)
        self._triangle = np.zeros((n_parameters + 1, n_parameters + 1), order="F")

    def _update(self, block: np.ndarray, *, triangular: int = 0) -> None:
        panel = min(self._panel, self.n_parameters + 1)
        self._triangle, _, _, info = lapack.dtpqrt(
            triangular, panel, self._triangle, block, overwrite_a=1, overwrite_b=1
        )
        if info:
            raise DataError(f"LAPACK dtpqrt refused argument {-info}.")

    def _absorb(self, n: int) -> None:
        self._block[n:] = 0.0
        self._block[:n, -1] = self._targets[:n]
        self._update(self._block)

    def _absorb_other(self, other: "Accumulator") -> None:
        self._update(other._triangle.copy(order="F"), triangular=self.n_parameters + 1)  # type: ignore[attr-defined]

    def diagonal(self) -> Float[np.ndarray, " parameters"]:
        self._flush()
        return np.einsum("ij,ij->j", self._triangle[:-1, :-1], self._triangle[:-1, :-1])

    def misfit(self, coefficients: Float[np.ndarray, " parameters"]) -> float:
        self._flush()
        residual = blas.dtrmv(self._triangle[:-1, :-1], coefficients) - self._triangle[:-1, -1]
        return float(residual @ residual + self._triangle[-1, -1] ** 2)

    def factor(self, ridge: float, prior_scale: Float[np.ndarray, " parameters"]) -> Factor:
        self._flush()
        n = self.n_parameters
        augmented = self._triangle.copy(order="F")
        if ridge > 0:
            extra = np.zeros_like(augmented, order="F")
            np.einsum("ii->i", extra)[:n] = np.sqrt(ridge) * prior_scale
            augmented, _, _, _ = lapack.dtpqrt(n + 1, min(self._panel, n + 1), augmented, extra, overwrite_a=1)
        triangle, right = np.asfortranarray(augmented[:n, :n]), augmented[:n, n].copy()
        size = np.abs(np.diagonal(triangle))
        columns = np.sqrt(np.einsum("ij,ij->j", triangle, triangle))
        weak = np.flatnonzero(size <= n * np.finfo(float).eps * columns)
        if len(weak):
            raise SingularSystemError(
                f"{len(weak)} of {n} parameters are not determined by {self.n_rows} rows at ridge {ridge:.3g} (first: "
                f"{weak[0]}). Raise the ridge, give these parameters a prior, or add frames."
            )
        coefficients = lapack.dtrtrs(triangle, right)[0]
        penalty = ridge * float(np.sum((prior_scale * coefficients) ** 2))
        return Factor(
            triangle=triangle,
            lower=False,
            coefficients=coefficients,
            misfit=self.misfit(coefficients),
            penalty=penalty,
            columns=np.arange(n),
            others=np.zeros(0, dtype=np.int64),
            others_diagonal=np.zeros(0),
        )
