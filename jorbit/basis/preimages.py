"""Different moments with the same invariants: a search from many starts."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.invariant_sets import InvariantSet, flex15, generated

SAME = 1e-5  # relative agreement of all invariants that makes two moments the same up to rotation and reflection


@dataclasses.dataclass(frozen=True, eq=False)
class Preimages:
    """What a search found.

    Attributes:
        moments: [found, components]; the first is the given one, the others are neither rotations nor reflections of it
            or of each other.
        n_starts: how often it started.
        n_converged: starts that ended at moments with the wanted invariants.
    """

    moments: Float[np.ndarray, "found components"]
    n_starts: int
    n_converged: int

    @property
    def unique(self) -> bool:
        """Whether nothing but the given moments was found; no proof that there is nothing."""
        return len(self.moments) == 1


def find_preimages(
    invariants: InvariantSet,
    moments: Float[np.ndarray, " components"],
    *,
    n_starts: int = 200,
    n_steps: int = 150,
    seed: int = 0,
) -> Preimages:
    """Moments with the invariants of the given ones, from random starts with Levenberg-Marquardt steps in float64.

    Solutions count as different when any invariant of a much larger set (all graphs up to five tensors, and two of T
    alone for l <= 3) tells them apart, so rotated and reflected copies are one.

    Args:
        invariants: the set whose level set is searched.
        moments: independent components, l = 0, 1, ..., l_max.
        n_starts: random starts, normal components of the size of the given ones.
        n_steps: Levenberg-Marquardt steps from each.
        seed: of the starts.

    Example:
        >>> from jorbit.basis.invariant_sets import hop13
        >>> v_and_q = np.array([1.0, 0.5, -0.4, 0.8, 1.1, 0.2, 0.1, -0.5, 0.3])
        >>> find_preimages(hop13(4, 2), v_and_q, n_starts=20).unique
        True
    """
    moments = np.asarray(moments, dtype=np.float64)[: invariants.n_components]
    rng = np.random.default_rng(seed)
    starts = rng.normal(size=(n_starts, len(moments))) * np.sqrt(np.mean(moments**2))
    with jax.enable_x64(True):
        wanted = invariants(jnp.asarray(moments))
        scale = jnp.maximum(jnp.abs(wanted), 1e-3 * jnp.max(jnp.abs(wanted)))

        def misfit(x: Array) -> Array:
            return (invariants(x) - wanted) / scale

        ends, worst = jax.jit(jax.vmap(lambda x: _solve(misfit, x, n_steps)))(jnp.asarray(starts))
        ends = jnp.concatenate([jnp.asarray(moments)[None], ends])
        prints = np.asarray(jax.jit(_fingerprint(invariants.l_max))(ends))
    solved = np.concatenate([[True], np.asarray(worst) < 1e-10])
    found, prints = np.asarray(ends)[solved], prints[solved]
    size = np.abs(prints).max(axis=0)
    prints = prints / np.where(size > 0, size, 1.0)
    kept: list[int] = []
    for k in range(len(found)):
        if all(np.abs(prints[k] - prints[j]).max() > SAME for j in kept):
            kept.append(k)
    return Preimages(moments=found[kept], n_starts=n_starts, n_converged=len(found) - 1)


def _fingerprint(l_max: int) -> InvariantSet:
    graphs = generated(5, l_max).contractions
    extra = flex15().contractions if l_max >= 3 else ()
    return InvariantSet("fingerprint", tuple(dict.fromkeys(graphs + extra)))


def _solve(misfit: Callable[[Array], Array], start: Array, n_steps: int) -> tuple[Array, Array]:
    """Levenberg-Marquardt: solution, and the largest misfit there."""

    def step(_: Array | int, state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, cost, damping = state
        residual, jacobian = misfit(x), jax.jacrev(misfit)(x)
        normal = jacobian.T @ jacobian
        ridge = jnp.diag(damping * (jnp.diag(normal) + 1e-12 * jnp.trace(normal)))
        trial = x - jnp.linalg.solve(normal + ridge, jacobian.T @ residual)
        new = jnp.sum(misfit(trial) ** 2)
        better = new < cost
        damping = jnp.clip(jnp.where(better, 0.2 * damping, 4.0 * damping), 1e-12, 1e6)
        return jnp.where(better, trial, x), jnp.where(better, new, cost), damping

    begin = (start, jnp.sum(misfit(start) ** 2), jnp.asarray(1e-1, start.dtype))
    x, _, _ = jax.lax.fori_loop(0, n_steps, step, begin)
    return x, jnp.max(jnp.abs(misfit(x)))
