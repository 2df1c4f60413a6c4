"""The linear algebra of a sparse Gaussian process: streamed QR, marginal likelihood, posterior.

Coefficients c of whitened columns Phi = K_nM L^-T, with K_MM = L L^T, have the prior N(0, delta^2); labels are
y = Phi c + noise. Then alpha = L^-T c, and

    -2 log p(y) = |[y / sigma; 0] - [Phi / sigma; 1 / delta] c|^2 + 2 log|R| + sum log(2 pi sigma^2) + 2 M log delta,

with R the triangular factor of the stacked matrix: nothing is squared, so small noise does no harm.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

KINDS = ("energy", "forces", "virial")


def triangle(matrix: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "size columns"]:
    """R of the QR decomposition."""
    return np.asarray(np.linalg.qr(matrix, mode="r"))


class StreamedQR:
    """The triangular factor of a tall matrix that is never there as a whole.

    Args:
        n_columns: labels included.
    """

    def __init__(self, n_columns: int):
        self.factor = np.zeros((0, n_columns))
        self.n_rows = 0
        self._waiting: list[np.ndarray] = []

    def add(self, rows: Float[np.ndarray, "rows columns"]) -> None:
        """Append rows."""
        self._waiting.append(rows)
        self.n_rows += len(rows)
        if sum(map(len, self._waiting)) > 4 * self.factor.shape[1]:
            self.reduce()

    def reduce(self) -> Float[np.ndarray, "rows columns"]:
        """The factor of all rows so far."""
        if self._waiting:
            self.factor = triangle(np.concatenate([self.factor, *self._waiting]))
            self._waiting = []
        return self.factor


@dataclasses.dataclass(frozen=True)
class Scales:
    """The hyper-parameters that a marginal likelihood can judge.

    Attributes:
        deltas: of each kernel: how far the energy of an atom varies, eV.
        energy: noise of an energy, eV per square root of atoms. forces: eV/Å. virial: eV per square root of atoms.
    """

    deltas: tuple[float, ...]
    energy: float
    forces: float
    virial: float

    def noise(self, kind: str) -> float:
        return float(getattr(self, kind))

    def logarithms(self, kinds: Sequence[str]) -> Float[np.ndarray, " scales"]:
        """Logarithms of the scales, noise of the given kinds only."""
        return np.log([*self.deltas, *(self.noise(k) for k in kinds)])

    def moved(self, logarithms: Float[np.ndarray, " scales"], kinds: Sequence[str]) -> "Scales":
        """The inverse of `logarithms`."""
        values = np.exp(logarithms)
        noise = dict(zip(kinds, map(float, values[len(self.deltas) :]), strict=True))
        return dataclasses.replace(self, deltas=tuple(map(float, values[: len(self.deltas)])), **noise)


@dataclasses.dataclass(frozen=True, eq=False)
class SparseProcess:
    """Whitened rows of all labels, reduced to one triangle for each kind.

    Attributes:
        triangles: kind -> factor of [Phi, y] of unit noise.
        n_rows: kind -> labels.
        sizes: points of each kernel.
    """

    triangles: Mapping[str, np.ndarray]
    n_rows: Mapping[str, int]
    sizes: tuple[int, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(k for k in KINDS if self.n_rows.get(k, 0))

    def _stacked(self, scales: Scales) -> np.ndarray:
        """Triangular factor of [Phi / sigma, y / sigma; 1 / delta, 0]."""
        prior = np.concatenate([np.full(n, 1.0 / d) for n, d in zip(self.sizes, scales.deltas, strict=True)])
        parts = [self.triangles[k] / scales.noise(k) for k in self.kinds]
        prior_rows = np.concatenate([np.diag(prior), np.zeros((len(prior), 1))], axis=1)
        return triangle(np.concatenate([*parts, prior_rows]))

    def log_evidence(self, scales: Scales) -> float:
        """log p(labels | scales), in the approximation that every label is seen through the sparse points."""
        r = self._stacked(scales)
        m = r.shape[1] - 1
        misfit = float(r[m, m] ** 2) if len(r) > m else 0.0
        determinant = 2.0 * np.log(np.abs(np.diag(r)[:m])).sum()
        noise = sum(self.n_rows[k] * np.log(2.0 * np.pi * scales.noise(k) ** 2) for k in self.kinds)
        prior = sum(2.0 * n * np.log(d) for n, d in zip(self.sizes, scales.deltas, strict=True))
        return -0.5 * (misfit + determinant + noise + prior)

    def best(self, start: Scales, free: Sequence[str] = ("deltas", *KINDS)) -> Scales:
        """The scales of highest evidence, from a start; those not in `free` stay."""
        kinds = [k for k in self.kinds if k in free]
        fixed = start.deltas if "deltas" not in free else None

        def scales_of(x: np.ndarray) -> Scales:
            moved = start.moved(x, kinds)
            return moved if fixed is None else dataclasses.replace(moved, deltas=fixed)

        x = start.logarithms(kinds)
        if len(x) == 0:
            return start
        # Steps of a factor of three to begin with: scipy's own are parts of each logarithm, nothing for a scale of one.
        simplex = np.concatenate([x[None], x + np.log(3.0) * np.eye(len(x))])
        options = {"xatol": 0.02, "fatol": 0.1, "maxfev": 120 * len(x), "initial_simplex": simplex}
        found = minimize(lambda v: -self.log_evidence(scales_of(v)), x, method="Nelder-Mead", options=options)
        return scales_of(found.x)

    def posterior(self, scales: Scales) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the whitened coefficients, and the triangle R with covariance (R^T R)^-1."""
        r = self._stacked(scales)
        m = r.shape[1] - 1
        return solve_triangular(r[:m, :m], r[:m, m]), r[:m, :m]
