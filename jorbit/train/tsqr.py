"""Least squares through a QR factorisation that is updated as rows come in."""
# pyright: reportAttributeAccessIssue=false
# (scipy makes its BLAS and LAPACK wrappers at import, where pyright does not see them)

import numpy as np
from jaxtyping import Float
from scipy.linalg import blas, lapack

from jorbit.core.errors import DataError
from jorbit.train.accumulate import Accumulator, require_memory
from jorbit.train.factor import Factor, SingularSystemError
from jorbit.train.intercepts import Intercepts


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
    evidence_floor = 1e-26
    _panel = 64

    def __init__(self, n_parameters: int, block_rows: int | None = None):
        require_memory(n_parameters, n_parameters)
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
            intercepts=Intercepts.none(n),
        )
