"""Two operations on large symmetric matrices, by panels of matrix products.

BLAS has a routine for each (syrk, potrf). The threaded ones of OpenBLAS 0.3.30, which scipy 1.17 ships, end in a
segmentation fault from about 15,500 rows on (two threads, AVX-512); matrix products and triangular solves do not, and
are as fast.
"""
# pyright: reportAttributeAccessIssue=false
# (scipy makes its BLAS and LAPACK wrappers at import, where pyright does not see them)

import numpy as np
from jaxtyping import Float
from scipy.linalg import blas, lapack

_PANEL = 1024
_DIRECT = 12_000  # rows up to which LAPACK's own routine is safe; it is faster


def add_gram(
    gram: Float[np.ndarray, "columns columns"], rows: Float[np.ndarray, "rows columns"], panel: int = _PANEL
) -> None:
    """gram += rows^T rows, in place, its lower triangle only (what lies above the diagonal is left undefined).

    Example:
        >>> gram = np.zeros((2, 2), order="F")
        >>> add_gram(gram, np.array([[1.0, 2.0]]))
        >>> np.tril(gram).tolist()
        [[1.0, 0.0], [2.0, 4.0]]
    """
    for start in range(0, len(gram), panel):
        stop = start + panel
        # Written transposed, so that the product comes out in the order of the columns it is added to.
        gram[start:, start:stop] += (rows[:, start:stop].T @ rows[:, start:]).T


def cholesky(matrix: Float[np.ndarray, "n n"], panel: int | None = None) -> int | None:
    """Replace the lower triangle of a symmetric matrix (Fortran order) by L of matrix = L L^T.

    The upper triangle is neither read nor kept. Matrices of moderate size are left to LAPACK when no panel is given.

    Returns:
        None, or the first row at which the matrix is not positive definite (its contents are then lost).

    Example:
        >>> matrix = np.array([[4.0, 0.0], [2.0, 5.0]], order="F")
        >>> cholesky(matrix), np.tril(matrix).tolist()
        (None, [[2.0, 0.0], [1.0, 2.0]])
    """
    n = len(matrix)
    if panel is None and n <= _DIRECT and matrix.flags.f_contiguous:
        factor, info = lapack.dpotrf(matrix, lower=1, clean=0, overwrite_a=1)
        if factor is not matrix and not np.shares_memory(factor, matrix):
            matrix[...] = factor
        return info - 1 if info else None
    panel = _PANEL if panel is None else panel
    for start in range(0, n, panel):
        stop = min(start + panel, n)
        here = matrix[start:, start:stop]
        if start:
            here -= (matrix[start:stop, :start] @ matrix[start:, :start].T).T
        corner, info = lapack.dpotrf(here[: stop - start], lower=1, clean=1)
        if info:
            return start + info - 1
        here[: stop - start] = corner
        if stop < n:
            here[stop - start :] = blas.dtrsm(1.0, corner, here[stop - start :], side=1, lower=1, trans_a=1)
    return None
