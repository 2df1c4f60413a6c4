"""Least squares through X^T X, for problems of many rows and up to tens of thousands of columns."""
# pyright: reportAttributeAccessIssue=false
# (scipy makes its BLAS and LAPACK wrappers at import, where pyright does not see them)

import math

import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import blas, lapack

from jorbit.core.errors import ConfigError, DataError
from jorbit.train.accumulate import Accumulator, require_memory
from jorbit.train.factor import Factor, SingularSystemError
from jorbit.train.intercepts import Intercepts
from jorbit.train.large_matrices import add_gram, cholesky


class NormalEquations(Accumulator):
    """G = X^T W^2 X, b = X^T W^2 y, y^T W^2 y. Fast; needs twice the memory of G (1.2 GB each at 12,000 parameters).

    Accurate while the condition number of the ridge-augmented problem stays below about 1e8; `TSQR` reaches further.
    Columns that are zero in all rows (products of neighbours that a centre never has together) take part in nothing:
    G holds only the columns that were seen, in the order in which they came.

    Args:
        n_parameters, block_rows: as for every accumulator.
        unpenalised: columns that will have no prior and may absorb the mean of the others, see `Intercepts`.

    Attributes:
        columns: the columns seen so far.
        intercepts: what is taken out of each row before it is squared; found from the first block of rows.

    Example:
        >>> system = NormalEquations(1)
        >>> system.add(np.array([[1.0], [2.0]]), np.array([2.0, 4.0]))
        >>> system.factor(0.0, np.zeros(1)).coefficients.round(12).tolist()
        [2.0]
    """

    relative_floor = 1e-15
    evidence_floor = 2e-12  # below, few frames are interpolated: 25 of ethanol, 186 instead of 94 meV/Å

    def __init__(
        self,
        n_parameters: int,
        block_rows: int | None = None,
        unpenalised: Int[np.ndarray, " intercepts"] | None = None,
    ):
        require_memory(n_parameters, n_parameters // 3)  # hopeless even if most columns are never seen
        super().__init__(n_parameters, block_rows)
        self.columns = np.zeros(0, dtype=np.int64)
        self.intercepts = Intercepts.none(n_parameters)
        self._unpenalised = np.zeros(0, dtype=np.int64) if unpenalised is None else np.asarray(unpenalised)
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
        require_memory(self.n_parameters, more)
        gram = np.zeros((more, more), order="F")
        gram[:n, :n] = self._gram
        self._gram, self._work = gram, None
        self._moment = np.concatenate([self._moment, np.zeros(len(columns))])
        self.columns = np.concatenate([self.columns, columns])

    def _absorb(self, n: int) -> None:
        block, targets = self._block[:n], self._targets[:n]
        if len(self.intercepts.columns) < len(self._unpenalised) and block[:, self._unpenalised].any():
            self.intercepts = Intercepts.of_rows(self._unpenalised, block)
        block = self.intercepts.taken_out(block)
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

    def sibling(self) -> "NormalEquations":
        self._flush()
        result = NormalEquations(self.n_parameters, unpenalised=self._unpenalised)
        result.intercepts = self.intercepts
        return result

    def _absorb_other(self, other: "Accumulator") -> None:
        if other.intercepts is not self.intercepts and len(self._unpenalised):  # type: ignore[attr-defined]
            raise DataError("These normal equations took out different means. Make the second by `sibling()`.")
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
        return self._misfit(self.intercepts.inward(coefficients))

    def _misfit(self, coefficients: np.ndarray) -> float:
        c = coefficients[self.columns]
        curved = float(c @ blas.dsymv(1.0, self._gram, c, lower=1)) if len(c) else 0.0
        value = self._targets_squared - 2.0 * float(self._moment @ c) + curved
        return max(value, np.finfo(float).eps * self._targets_squared)

    def factor(self, ridge: float, prior_scale: Float[np.ndarray, " parameters"]) -> Factor:
        self._flush()
        if ridge > 0 and prior_scale[self.intercepts.columns].any():
            raise ConfigError("Columns that take up the mean of the others must have no prior: prior_scale 0.")
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
            coefficients=self.intercepts.outward(coefficients),
            misfit=self._misfit(coefficients),
            penalty=penalty,
            columns=self.columns,
            others=unseen,
            others_diagonal=math.sqrt(ridge) * prior_scale[unseen],
            intercepts=self.intercepts,
        )

    def _singular(self, ridge: float, parameter: int) -> str:
        return (
            f"The normal equations of {self.n_parameters} parameters and {self.n_rows} rows are not positive "
            f"definite at ridge {ridge:.3g} (stopped at parameter {parameter}). Raise the ridge (or use prior="
            "'bayes', which finds one), give that parameter a prior, add frames, or use solver='qr'."
        )
