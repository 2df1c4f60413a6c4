"""The solution of a regularised least-squares problem at one ridge, with the triangular factor it came from."""
# pyright: reportAttributeAccessIssue=false
# (scipy makes its LAPACK wrappers at import, where pyright does not see them)

import dataclasses

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import lapack

from jorbit.core.errors import JorbitError
from jorbit.train.intercepts import Intercepts


class SingularSystemError(JorbitError):
    """A linear system without a unique solution: too few rows, dependent columns, or too small a ridge."""


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class Factor:
    """Solution at one ridge, with a triangle T such that X^T X + ridge Gamma^2 = T T^T (lower) or T^T T (upper).

    Columns that no row of X touches are independent of all others; of them T keeps only its diagonal.

    Attributes:
        triangle: T of the seen columns, [seen, seen], Fortran order.
        lower: which of the two forms.
        coefficients: the minimiser.
        misfit: |X c - y|^2 at the minimiser.
        penalty: ridge |Gamma c|^2 at the minimiser.
        columns: the seen columns, in the order of the triangle.
        others: the columns of zeros.
        others_diagonal: diagonal of T for them: sqrt(ridge) Gamma.
        intercepts: what was taken out of the rows before they came to X; what this object takes and gives is in terms
            of the rows as they were.
    """

    triangle: Float[np.ndarray, "seen seen"]
    lower: bool
    coefficients: Float[np.ndarray, " parameters"]
    misfit: float
    penalty: float
    columns: Int[np.ndarray, " seen"]
    others: Int[np.ndarray, " unseen"]
    others_diagonal: Float[np.ndarray, " unseen"]
    intercepts: Intercepts

    @property
    def log_determinant(self) -> float:
        """log |X^T X + ridge Gamma^2|."""
        diagonals = np.concatenate([np.diagonal(self.triangle), self.others_diagonal])
        return 2.0 * float(np.log(np.abs(diagonals)).sum())

    def half_solve(self, rows: Float[np.ndarray, "rows parameters"]) -> Float[np.ndarray, "parameters rows"]:
        """T^-1 rows^T: its columns have the squared length x^T (X^T X + ridge Gamma^2)^-1 x."""
        rows = self.intercepts.taken_out(np.asarray(rows, dtype=np.float64))
        solved = self._solve(rows[:, self.columns].T, transposed=not self.lower)
        return np.concatenate([solved, rows[:, self.others].T / self.others_diagonal[:, None]])

    def correlate(self, normal: Float[np.ndarray, "parameters samples"]) -> Float[np.ndarray, "samples parameters"]:
        """Turn independent numbers of variance 1 into ones of covariance (X^T X + ridge Gamma^2)^-1."""
        result = np.empty(normal.shape[::-1])
        n = len(self.columns)
        result[:, self.columns] = self._solve(normal[:n], transposed=self.lower).T
        result[:, self.others] = (normal[n:] / self.others_diagonal[:, None]).T
        return self.intercepts.outward(result)

    def _solve(self, right: np.ndarray, *, transposed: bool) -> np.ndarray:
        if not len(self.columns):
            return np.zeros_like(right)
        solved, info = lapack.dtrtrs(
            self.triangle, np.array(right, order="F"), lower=int(self.lower), trans=int(transposed), overwrite_b=1
        )
        if info:
            raise SingularSystemError(
                f"The triangular factor has a zero at parameter {self.columns[info - 1]}: raise the ridge."
            )
        return solved
