"""Conjugate gradients for kernel fits that do not fit into memory: products without the matrix, Nyström preconditioner.

K v is a force prediction on the training frames with coefficients v: memory grows with the frames, not with their
square. The preconditioner knows the columns of m force components exactly,

    M = λ + K_nm K_mm^-1 K_mn,    M^-1 r = (r - Q^T Q r) / λ,    Q = L2^-1 L^-1 K_mn,
    K_mm = L L^T,    L^-1 K_mn (L^-1 K_mn)^T + λ = L2 L2^T,

so the larger m, the fewer steps and the more memory.

References:
    Chmiela et al., Sci. Adv. 9, eadf0873 (2023); Blücher, Müller, Chmiela, J. Chem. Theory Comput. 19, 4619 (2023).
"""
# pyright: reportAttributeAccessIssue=false
# (scipy makes its BLAS wrappers at import, where pyright does not see them)

import contextlib
import dataclasses
import hashlib
import math
import os
import pathlib
import time
import zipfile
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from scipy.linalg import blas

from jorbit.basis.inverse_distances import pair_differences, sum_pairs
from jorbit.basis.matern import energies_and_gradients
from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, DataError
from jorbit.train.factor import SingularSystemError
from jorbit.train.kernel_matrix import Tiles
from jorbit.train.large_matrices import cholesky
from jorbit.train.memory import GIB
from jorbit.train.progress import Report, interrupts

_LARGEST_PART = 0.25  # of all components that are known exactly: more costs as much as the closed form
_GROWTH, _MAX_RESTARTS, _PATIENCE = 1.2, 6, 500  # steps without progress before the preconditioner grows
_SAVE_EVERY = 120.0  # s


@dataclasses.dataclass(frozen=True)
class IterativeOptions:
    """How the iterative solver works.

    Attributes:
        tolerance: relative residual |y - (K + λ) α| / |y| to stop at.
        max_steps: give up after so many.
        n_inducing: components that the preconditioner knows exactly; None = as memory allows, at most a quarter.
        checkpoint: npz file to which coefficients are saved every two minutes, and at the end.
        resume: start from what the checkpoint holds, if it is there.
        seed: of the choice of components.
    """

    tolerance: float = 1e-4
    max_steps: int = 20_000
    n_inducing: int | None = None
    checkpoint: str | os.PathLike[str] | None = None
    resume: bool = False
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Iterated:
    """Coefficients, and how far the iteration came.

    Attributes:
        alphas: coefficients of the force components.
        n_steps: products with the matrix.
        residual: relative.
        converged: whether the tolerance was reached.
        n_inducing: columns of the preconditioner at the end.
        notes: what the user should know.
        stopped: Ctrl-C ended it.
    """

    alphas: Float[np.ndarray, " rows"]
    n_steps: int
    residual: float
    converged: bool
    n_inducing: int
    notes: tuple[str, ...] = ()
    stopped: bool = False


def iterative_bytes(n_rows: int, n_inducing: int) -> float:
    """Memory of the preconditioner: its columns, and three squares of work.

    Example:
        >>> round(iterative_bytes(10_000, 1_000) / 1e6)
        104
    """
    return 8.0 * n_inducing * n_rows + 3 * 8.0 * n_inducing**2


def solve_iteratively(
    tiles: Tiles,
    y: Float[np.ndarray, " rows"],
    sigma: float,
    regularization: float,
    budget: float,
    options: IterativeOptions,
    report: Report,
) -> Iterated:
    """Solve (K + λ) α = y. Ctrl-C ends it with what it has; a second one raises.

    Args:
        tiles: of the training frames.
        y: labels in units of their standard deviation.
        sigma, regularization: of the kernel.
        budget: bytes that the preconditioner may take.
        options: see there.
        report: progress; its stage tells the residual and the time left.

    Raises:
        ConfigError: too little memory for any preconditioner.
        DataError: the checkpoint belongs to another fit.
        SingularSystemError: the chosen columns cannot be factorised.
    """
    started = saved = time.perf_counter()
    product = products_with(tiles, sigma, regularization)
    mark = _mark(tiles, y, sigma, regularization)
    alphas = _resumed(options, mark, len(y))
    n_inducing = _inducing(len(y), budget, options)
    n_steps, restarts, size = 0, 0, float(np.linalg.norm(y))
    precondition = nystroem(tiles, sigma, regularization, _chosen(len(y), n_inducing, options.seed), report)
    residual = y - product(alphas) if alphas.any() else y.copy()
    z = precondition(residual)
    direction, rz = z, float(residual @ z)
    best, best_step, first = math.inf, 0, float(np.linalg.norm(residual)) / size
    best_alphas, unsaved, pressed = alphas, "", False
    with interrupts(True) as stopped:
        while True:
            relative = float(np.linalg.norm(residual)) / size
            if relative < best:
                best_step = n_steps if relative < 0.95 * best else best_step
                best, best_alphas = relative, alphas.copy()
            _tell(report, relative, first, options.tolerance, time.perf_counter() - started)
            done = relative <= options.tolerance or n_steps >= options.max_steps or stopped()
            if done or time.perf_counter() - saved > _SAVE_EVERY:
                saved = time.perf_counter()
                unsaved = _save(options, mark, best_alphas, n_steps, best)
            if done:
                pressed = stopped()
                break
            if n_steps - best_step >= _PATIENCE:
                grown = math.ceil(_GROWTH * n_inducing)
                if restarts == _MAX_RESTARTS or iterative_bytes(len(y), grown) > budget or grown > len(y) // 2:
                    break
                restarts, n_inducing, best_step = restarts + 1, grown, n_steps
                precondition = nystroem(tiles, sigma, regularization, _chosen(len(y), grown, options.seed), report)
                alphas = best_alphas.copy()
                residual = y - product(alphas)
                z = precondition(residual)
                direction, rz = z, float(residual @ z)
            along = product(direction)
            step = rz / float(direction @ along)
            alphas = alphas + step * direction
            residual = residual - step * along
            z = precondition(residual)
            direction, rz = z + (float(residual @ z) / rz) * direction, float(residual @ z)
            n_steps += 1
    notes = (unsaved,) if unsaved else ()
    return Iterated(best_alphas, n_steps, best, best <= options.tolerance, n_inducing, notes, pressed)


def products_with(
    tiles: Tiles, sigma: float, regularization: float
) -> Callable[[Float[np.ndarray, " rows"]], Float[np.ndarray, " rows"]]:
    """v -> (K + λ) v, without the matrix."""
    geometry, shape = tiles.geometry, (tiles.geometry.n_frames, tiles.geometry.n_atoms, 3)
    center = geometry.x.mean(axis=0)
    with jax.enable_x64(True):
        fixed = [jnp.asarray(a) for a in (geometry.x, geometry.g, center, tiles.permutations, np.float64(sigma))]

    def product(v: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        with jax.enable_x64(True):
            return np.asarray(_forces(*fixed, v.reshape(shape))).ravel() + regularization * v

    return product


def _force_product(x: Array, g: Array, center: Array, permutations: Array, sigma: Array, v: Array) -> Array:
    weights = -jnp.sum(g * pair_differences(v), axis=-1)
    gradient = energies_and_gradients(x, x - center[None], weights, center, permutations, sigma)[1]
    return sum_pairs(g * gradient[:, :, None], v.shape[1])


_forces = counted_jit(_force_product, "sgdml products")


def nystroem(
    tiles: Tiles, sigma: float, regularization: float, chosen: Int[np.ndarray, " inducing"], report: Report
) -> Callable[[Float[np.ndarray, " rows"]], Float[np.ndarray, " rows"]]:
    """r -> M^-1 r, for the preconditioner that knows the columns `chosen`.

    Raises:
        SingularSystemError: they cannot be factorised.
    """
    columns = kernel_columns(tiles, sigma, chosen, report)
    corner = columns[chosen]
    shift = np.finfo(float).eps * float(np.trace(corner))
    lower = np.asfortranarray(corner)
    for _ in range(8):
        lower = np.array(corner, order="F")
        lower[np.diag_indices_from(lower)] += shift
        if cholesky(lower) is None:
            break
        shift *= 10.0
    else:
        raise SingularSystemError("The columns of the preconditioner are dependent: take a smaller sigma.")
    columns = blas.dtrsm(1.0, lower, columns, side=1, lower=1, trans_a=1, overwrite_b=1)
    inner = np.asfortranarray(columns.T @ columns)
    inner[np.diag_indices_from(inner)] += regularization
    if cholesky(inner) is not None:
        raise SingularSystemError(
            f"The preconditioner cannot be factorised at λ = {regularization:.3g}: raise the regularization."
        )
    columns = blas.dtrsm(1.0, inner, columns, side=1, lower=1, trans_a=1, overwrite_b=1)

    def precondition(r: Float[np.ndarray, " rows"]) -> Float[np.ndarray, " rows"]:
        return (r - columns @ (columns.T @ r)) / regularization

    return precondition


def kernel_columns(
    tiles: Tiles, sigma: float, chosen: Int[np.ndarray, " inducing"], report: Report
) -> Float[np.ndarray, "rows inducing"]:
    """Some columns of the kernel matrix, Fortran order."""
    width = 3 * tiles.geometry.n_atoms
    result = np.empty((tiles.geometry.n_rows, len(chosen)), order="F")
    for done, b in enumerate(tiles.starts):
        here = np.flatnonzero((chosen >= width * b) & (chosen < width * (b + tiles.size)))
        for a in tiles.starts if len(here) else ():
            block = tiles.tile(a, b, sigma)[0]
            result[width * a : width * (a + tiles.size), here] = block[:, chosen[here] - width * b]
        report("preconditioner", done + 1, len(tiles.starts))
    return result


def _inducing(n_rows: int, budget: float, options: IterativeOptions) -> int:
    least = max(1, n_rows // 100)
    if options.n_inducing is not None:
        wanted = min(max(1, options.n_inducing), n_rows)
        if iterative_bytes(n_rows, wanted) > budget:
            raise ConfigError(
                f"A preconditioner of {wanted} columns needs {iterative_bytes(n_rows, wanted) / GIB:.2f} GiB, and "
                f"{budget / GIB:.2f} GiB may be used: take fewer (n_inducing), or give more memory."
            )
        return wanted
    room = int((-n_rows + math.sqrt(n_rows**2 + 12.0 * budget / 8.0)) / 6.0)  # 3 m² + n m = budget / 8
    if room < least:
        raise ConfigError(
            f"The iterative solver needs {iterative_bytes(n_rows, least) / GIB:.2f} GiB for a preconditioner of one "
            f"hundredth of the {n_rows} force components, and {budget / GIB:.2f} GiB may be used. Give more memory "
            "(memory=..., in GiB), or fewer frames."
        )
    return max(least, min(room, int(_LARGEST_PART * n_rows)))


def _chosen(n_rows: int, n_inducing: int, seed: int) -> Int[np.ndarray, " inducing"]:
    return np.sort(np.random.default_rng(seed).choice(n_rows, n_inducing, replace=False))


def _tell(report: Report, relative: float, first: float, tolerance: float, seconds: float) -> None:
    goal = math.log(max(first / tolerance, 1.0 + 1e-9))
    part = min(1.0, max(0.0, math.log(max(first, 1e-300) / max(relative, 1e-300)) / goal))
    left = f"{seconds * (1.0 - part) / part:.0f} s left" if part > 0.02 else "time left unknown"
    report(f"cg: residual {relative:.1e}, {left}", round(100 * part), 100)


def _mark(tiles: Tiles, y: np.ndarray, sigma: float, regularization: float) -> str:
    """Tells one fit from another."""
    digest = hashlib.sha256()
    for part in (tiles.geometry.x, tiles.permutations, y, np.array([sigma, regularization])):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def _resumed(options: IterativeOptions, mark: str, n_rows: int) -> Float[np.ndarray, " rows"]:
    if not options.resume:
        return np.zeros(n_rows)
    if options.checkpoint is None:
        raise ConfigError("resume=True needs the checkpoint to go on from (checkpoint=...).")
    path = pathlib.Path(options.checkpoint)
    if not path.exists():
        return np.zeros(n_rows)
    try:
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as stored:
            theirs, alphas = str(stored["mark"]), stored["alphas"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} is no checkpoint of a kernel fit, or is damaged ({error}). Remove it, or start without resume."
        ) from error
    if theirs != mark:
        raise DataError(
            f"{path} belongs to a fit of other frames, permutations, σ or λ: give those again, or start without resume."
        )
    return alphas


def _save(options: IterativeOptions, mark: str, alphas: np.ndarray, n_steps: int, residual: float) -> str:
    """Save, and say what hindered it: a full disk costs the checkpoint, not the hours before it."""
    if options.checkpoint is None:
        return ""
    path = pathlib.Path(options.checkpoint)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as stream:
            np.savez(stream, mark=mark, alphas=alphas, n_steps=n_steps, residual=residual)
        os.replace(part, path)
    except OSError as error:
        return (
            f"The coefficients could not be saved to {path}: {error.strerror or error}. The iteration went on; an "
            "earlier checkpoint, if there is one, stays."
        )
    finally:
        with contextlib.suppress(OSError):
            part.unlink()
    return ""
