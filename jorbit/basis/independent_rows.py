"""Which rows of a long, thin matrix are independent of the rows before them: in float64, or exactly modulo a prime."""

import numpy as np
from jaxtyping import Bool, Int, Num

from jorbit.core.errors import ConfigError

_BLOCK = 512  # rows projected at once, one matrix product


class IndependentRows:
    """Greedy choice in float64: a row is kept when its residual against the rows kept before exceeds a tolerance.

    Rows are normalised first; the residual is formed twice (re-orthogonalisation), block by block with matrix products,
    and row by row only where a block still holds something new. At full rank everything else is dropped unseen.

    Args:
        n_columns: length of a row; the rank cannot exceed it.
        tolerance: smallest residual of a unit row that counts as new.
        floor: rows of this length or less are round-off and count as zero; at points of high symmetry, where gradients
            vanish, they would otherwise be blown up to unit length.

    Attributes:
        smallest_kept: smallest residual of a kept row.
        largest_dropped: largest residual of a row that was dropped. A wide gap between the two makes the rank certain.

    Example:
        >>> rows = IndependentRows(3)
        >>> rows.add(np.array([[1.0, 0, 0], [2, 0, 0], [1, 1, 0]])).tolist(), rows.rank
        ([True, False, True], 2)

    References:
        Giraud, Langou, Rozložník and van den Eshof, Numer. Math. 101, 87 (2005), for "twice is enough".
    """

    def __init__(self, n_columns: int, tolerance: float = 1e-7, floor: float = 0.0):
        if not 0 < tolerance < 1:
            raise ConfigError(f"The tolerance of a rank must lie between 0 and 1, got {tolerance}.")
        self.tolerance, self.floor = tolerance, floor
        self.smallest_kept, self.largest_dropped = 1.0, 0.0
        self._basis = np.zeros((n_columns, n_columns))
        self._rank = 0

    @property
    def rank(self) -> int:
        return self._rank

    def add(self, rows: Num[np.ndarray, "rows columns"]) -> Bool[np.ndarray, " rows"]:
        """Take rows in; True where one was kept. Rows of zeros never are."""
        kept = np.zeros(len(rows), dtype=bool)
        for start in range(0, len(rows), _BLOCK):
            if self._rank == self._basis.shape[1]:
                break
            here = slice(start, start + _BLOCK)
            kept[here] = self._add_block(np.asarray(rows[here], dtype=np.float64))
        return kept

    def _add_block(self, rows: np.ndarray) -> np.ndarray:
        norm = np.linalg.norm(rows, axis=1)
        rows = rows * (np.where(norm > self.floor, 1.0, 0.0) / np.where(norm > 0, norm, 1.0))[:, None]
        known = self._basis[: self._rank]
        for _ in range(2):
            rows = rows - (rows @ known.T) @ known
        kept = np.zeros(len(rows), dtype=bool)
        sizes = np.linalg.norm(rows, axis=1)
        k = 0
        while k < len(rows) and self._rank < self._basis.shape[1]:
            new = np.flatnonzero(sizes[k:] > self.tolerance)
            end = k + int(new[0]) if len(new) else len(rows)
            self.largest_dropped = max(self.largest_dropped, float(sizes[k:end].max(initial=0.0)))
            if end < len(rows):
                kept[end] = self._take(rows, end, sizes)
            k = end + 1
        return kept

    def _take(self, rows: np.ndarray, k: int, sizes: np.ndarray) -> bool:
        """Row k becomes a basis vector and leaves the rows after it, unless one more projection shows it to be old."""
        known = self._basis[: self._rank]
        row = rows[k] - (rows[k] @ known.T) @ known
        size = float(np.linalg.norm(row))
        if size <= self.tolerance:
            self.largest_dropped = max(self.largest_dropped, size)
            return False
        self.smallest_kept = min(self.smallest_kept, size)
        self._basis[self._rank] = row / size
        self._rank += 1
        rest = rows[k + 1 :]
        rest -= np.outer(rest @ (row / size), row / size)
        sizes[k + 1 :] = np.linalg.norm(rest, axis=1)
        return True


class ExactIndependentRows:
    """The same choice for integer rows modulo a prime, without any tolerance.

    The rank modulo a prime never exceeds the rank of the rows it came from, and at a random point it equals the generic
    one but for a chance of the order of (degree * rank) / prime.

    Args:
        n_columns: length of a row.
        prime: below 2^31.

    Example:
        >>> rows = ExactIndependentRows(2, 101)
        >>> rows.add(np.array([[1, 2], [3, 6], [0, 1]])).tolist(), rows.rank
        ([True, False, True], 2)
    """

    def __init__(self, n_columns: int, prime: int):
        self.prime = prime
        self._echelon = np.zeros((0, n_columns), dtype=np.int64)  # reduced: the identity in the pivot columns
        self._pivots = np.zeros(0, dtype=np.int64)

    @property
    def rank(self) -> int:
        return len(self._pivots)

    def add(self, rows: Int[np.ndarray, "rows columns"]) -> Bool[np.ndarray, " rows"]:
        """Take rows in; True where one was kept."""
        kept = np.zeros(len(rows), dtype=bool)
        for start in range(0, len(rows), _BLOCK):
            if self.rank == rows.shape[1]:
                break
            block = np.asarray(rows[start : start + _BLOCK], dtype=np.int64) % self.prime
            block = (block - product_modulo(block[:, self._pivots], self._echelon, self.prime)) % self.prime
            for k in range(len(block)):
                pivot = np.flatnonzero(block[k])[:1]
                if len(pivot):
                    kept[start + k] = True
                    self._take(block, k, int(pivot[0]))
        return kept

    def _take(self, block: np.ndarray, k: int, pivot: int) -> None:
        """Row k of the block becomes a row of the echelon form, and leaves all other rows."""
        row = block[k] * pow(int(block[k, pivot]), -1, self.prime) % self.prime
        for other in (self._echelon, block[k + 1 :]):
            other -= other[:, pivot : pivot + 1] * row % self.prime
            other %= self.prime
        self._echelon = np.concatenate([self._echelon, row[None]])
        self._pivots = np.append(self._pivots, pivot)


def product_modulo(
    left: Int[np.ndarray, "*rows k"], right: Int[np.ndarray, "k columns"], prime: int
) -> Int[np.ndarray, "*rows columns"]:
    """left @ right modulo a prime below 2^31, in exact float64 matrix products.

    The left factor is cut into pieces of 11 bits: a piece times a residue is below 2^42, and 2048 add up exactly.
    """
    if not left.shape[-1]:
        return np.zeros((*left.shape[:-1], right.shape[1]), dtype=np.int64)
    if left.shape[-1] > 2048:
        raise ConfigError(f"Sums modulo a prime are exact up to 2048 terms, got {left.shape[-1]}.")
    factor = right.astype(np.float64)
    total = np.zeros((*left.shape[:-1], right.shape[1]), dtype=np.int64)
    for shift in (22, 11, 0):
        piece = ((left >> shift) & 2047).astype(np.float64) @ factor
        total = ((total << 11) + piece.astype(np.int64)) % prime
    return total
