"""Unpenalised columns of a least-squares problem, taken out of the others before anything is squared."""

import dataclasses

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Intercepts:
    """A change of variables that takes the bulk of some columns u out of all other columns x.

    The rows of total energies of similar structures are nearly the same row: their mean is by far the largest
    direction of X^T X, and what matters for forces then drowns in its rounding. The reference energies, which have no
    prior, span that mean. With x' = x - u.m the model x.c + u.f reads x'.c + u.(f + m.c): the minimiser is the same,
    but the mean is gone. Rows of forces have u = 0 and stay as they are.

    Attributes:
        columns: of u, in the whole row. They must have no prior.
        mean: m, zero in these columns themselves.

    Example:
        >>> rows = np.array([[10.0, 1.0], [11.0, 1.0], [12.0, 1.0]])
        >>> intercepts = Intercepts.of_rows(np.array([1]), rows)
        >>> intercepts.taken_out(rows)[:, 0].round(12)
        array([-1.,  0.,  1.])
    """

    columns: Int[np.ndarray, " intercepts"]
    mean: Float[np.ndarray, "intercepts parameters"]

    @classmethod
    def none(cls, n_parameters: int) -> "Intercepts":
        """Nothing is taken out."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, n_parameters)))

    @classmethod
    def of_rows(
        cls, columns: Int[np.ndarray, " intercepts"], rows: Float[np.ndarray, "rows parameters"]
    ) -> "Intercepts":
        """The mean that fits the given rows best."""
        touched = rows[:, columns].any(axis=1)
        mean = np.linalg.lstsq(rows[touched][:, columns], rows[touched], rcond=None)[0]
        mean[:, columns] = 0.0
        return cls(np.asarray(columns, dtype=np.int64), mean)

    def taken_out(self, rows: Float[np.ndarray, "rows parameters"]) -> Float[np.ndarray, "rows parameters"]:
        """x' of rows x; `rows` itself where nothing changes."""
        touched = np.flatnonzero(rows[:, self.columns].any(axis=1))
        if not len(touched):
            return rows
        result = np.array(rows)
        result[touched] -= rows[np.ix_(touched, self.columns)] @ self.mean
        return result

    def inward(self, coefficients: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch parameters"]:
        """Coefficients of x' that mean the same as the given ones of x."""
        return self._moved(coefficients, 1.0)

    def outward(self, coefficients: Float[np.ndarray, "*batch parameters"]) -> Float[np.ndarray, "*batch parameters"]:
        """Coefficients of x that mean the same as the given ones of x'."""
        return self._moved(coefficients, -1.0)

    def _moved(self, coefficients: np.ndarray, sign: float) -> np.ndarray:
        result = np.array(coefficients, dtype=np.float64)
        result[..., self.columns] += sign * (result @ self.mean.T)
        return result
