"""One update of the parameters, compiled once per capacity, with its own watch for NaN and explosions."""

import dataclasses
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels
from jorbit.core.protocols import Params
from jorbit.core.pytree import pytree
from jorbit.losses.residuals import QUANTITIES, residuals
from jorbit.potential.potential import Potential
from jorbit.train.objective import Objective
from jorbit.train.optimizer import Optimizer
from jorbit.train.parallel import sharded_prediction


@pytree
class TrainState:
    """All that a step changes: equal states continue equally, bit for bit.

    An ensemble is one state, too: all its arrays have the members as first axis.

    Attributes:
        params: the trained parameters; None where a parameter is fixed.
        optimizer: moments of the gradients.
        average: exponential average of `params`, or None.
        step: updates so far.
        loss, gradient_norm: of the last step.
        epoch_loss: sum over the steps of this epoch.
        typical: running mean of the loss, to notice explosions; over batches that have something to learn, 0 before the
            first of them.
        trouble: 0 while all is well; 1 when a loss or gradient was not finite, 2 when the loss exploded. From then on
            the state stands still.
    """

    params: Any
    optimizer: Any
    average: Any
    step: Int[Array, " *members"]
    loss: Float[Array, " *members"]
    gradient_norm: Float[Array, " *members"]
    epoch_loss: Float[Array, " *members"]
    typical: Float[Array, " *members"]
    trouble: Int[Array, " *members"]


def path_name(path: Any) -> str:
    """term/collection/name of a parameter."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def split_params(params: Params, patterns: Sequence[str]) -> tuple[Any, Any]:
    """Two trees of the same form: trained parameters, and those that match a pattern; None in place of the others.

    Args:
        params: parameters of a potential.
        patterns: of paths, such as "readout/params/hidden_0*"; * matches anything. Whole numbers are always fixed.

    Raises:
        ConfigError: a pattern that matches nothing, or all parameters fixed.

    Example:
        >>> split_params({"a": {"x": np.ones(1), "y": np.ones(1)}}, ["a/y"])[0]
        {'a': {'x': array([1.]), 'y': None}}
    """
    names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ConfigError(f"No parameter matches {pattern!r}. There are: {', '.join(names)}.")

    def is_fixed(path: Any, leaf: Any) -> bool:
        floating = jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)
        return not floating or any(fnmatchcase(path_name(path), pattern) for pattern in patterns)

    fixed = jax.tree_util.tree_map_with_path(is_fixed, params)
    if all(jax.tree.leaves(fixed)):
        raise ConfigError(
            f"All parameters are fixed, nothing is left to train. There are: {', '.join(names) or 'none'}."
        )
    trained = jax.tree.map(lambda leaf, f: None if f else leaf, params, fixed)
    return trained, jax.tree.map(lambda leaf, f: leaf if f else None, params, fixed)


def join_params(trained: Any, fixed: Any) -> Params:
    """The inverse of `split_params`."""
    return jax.tree.map(lambda t, f: f if t is None else t, trained, fixed, is_leaf=lambda x: x is None)


def start_state(optimizer: Optimizer, trained: Any, dtype: Any) -> TrainState:
    """The state before the first step; parameters in the given float type."""
    trained = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), trained)
    zero = jnp.zeros((), dtype)
    return TrainState(
        params=trained,
        optimizer=optimizer.init(trained),
        average=jax.tree.map(jnp.copy, trained) if optimizer.averages else None,
        step=jnp.zeros((), jnp.int32),
        loss=zero,
        gradient_norm=zero,
        epoch_loss=zero,
        typical=zero,
        trouble=jnp.zeros((), jnp.int32),
    )


def start_ensemble(optimizer: Optimizer, members: Sequence[Any], dtype: Any) -> TrainState:
    """The state before the first step of several trainings at once, of parameters of the same form."""
    states = [start_state(optimizer, trained, dtype) for trained in members]
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)


def _norm(tree: Any) -> Array:
    return jnp.sqrt(sum(jnp.sum(leaf * leaf) for leaf in jax.tree.leaves(tree)))


def _step(
    potential: Potential,
    objective: Objective,
    optimizer: Optimizer,
    explosion: float,
    n_devices: int,
    state: TrainState,
    fixed: Any,
    graph: Graph,
    labels: BatchLabels,
    learning_rate: Array,
    share: Array | None = None,
) -> TrainState:
    if state.step.ndim:  # an ensemble: the same batch, parameters of their own

        def member(one: TrainState) -> TrainState:
            settings = (potential, objective, optimizer, explosion, n_devices)
            return _step(*settings, one, fixed, graph, labels, learning_rate, share)

        return jax.vmap(member)(state)

    def loss_of(trained: Any) -> tuple[Array, tuple[Array, Array]]:
        prediction = sharded_prediction(potential, join_params(trained, fixed), graph, n_devices)
        nothing = jax.tree.map(jnp.zeros_like, prediction)
        mean = objective(prediction, labels, graph)
        return mean if share is None else share * mean, (mean, objective(nothing, labels, graph) > 0)

    # A batch of free atoms, or without labels, costs nothing and tells nothing about the size of a loss.
    (loss, (mean, counts)), gradient = jax.value_and_grad(loss_of, has_aux=True)(state.params)
    norm = _norm(gradient)
    seen = state.typical > 0
    exploded = seen & (mean > explosion * state.typical)  # how much the batch counts has nothing to do with it
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    code = jnp.where(finite, jnp.where(exploded, 2, 0), 1).astype(jnp.int32)
    params, moments = optimizer.update(gradient, state.optimizer, state.params, learning_rate.astype(loss.dtype))
    new = TrainState(
        params=params,
        optimizer=moments,
        average=optimizer.averaged(state.average, params, state.step),
        step=state.step + 1,
        loss=loss,
        gradient_norm=norm,
        epoch_loss=state.epoch_loss + loss,
        typical=jnp.where(counts, jnp.where(seen, 0.98 * state.typical + 0.02 * mean, mean), state.typical),
        trouble=code,
    )
    stopped = state.trouble > 0
    bad = stopped | (code > 0)
    kept = jax.tree.map(lambda old, fresh: jnp.where(bad, old, fresh), state, new)
    # The step that failed says so itself; later ones change nothing at all.
    shown = {n: jnp.where(stopped, getattr(state, n), getattr(new, n)) for n in ("loss", "gradient_norm", "trouble")}
    return dataclasses.replace(kept, **shown)


train_step = counted_jit(_step, "train step", static_argnums=(0, 1, 2, 3, 4))

# Of each kind: sum of weight * |error|, of weight * error^2, of weight * components.
N_SUMS = 2 + 3 * len(QUANTITIES)


def _measure(
    potential: Potential,
    objective: Objective,
    n_devices: int,
    trained: Any,
    fixed: Any,
    graph: Graph,
    labels: BatchLabels,
    n_members: int = 1,
) -> Float[Array, " sums"]:
    if n_members > 1:  # the mean over an ensemble

        def member(one: Any) -> Array:
            return _measure(potential, objective, n_devices, one, fixed, graph, labels)

        return jax.vmap(member)(trained).mean(axis=0)
    prediction = sharded_prediction(potential, join_params(trained, fixed), graph, n_devices)
    n = graph.structure_mask.sum().astype(graph.positions.dtype)
    sums = [n * objective(prediction, labels, graph), n]
    for kind in QUANTITIES:
        error, weight = residuals(prediction, labels, graph, kind)  # type: ignore[arg-type]
        by_component = weight[:, None] * jnp.ones_like(error)
        sums += [jnp.sum(by_component * jnp.abs(error)), jnp.sum(by_component * error**2), jnp.sum(by_component)]
    return jnp.stack(sums)


measure = counted_jit(_measure, "validation step", static_argnums=(0, 1, 2, 7))


def summary(sums: Float[np.ndarray, " sums"]) -> dict[str, float]:
    """Loss, and MAE and RMSE of each kind that has labels: eV/atom, eV/Å, eV/Å^3."""
    result = {"loss": float(sums[0] / max(sums[1], 1.0))}
    for k, kind in enumerate(QUANTITIES):
        absolute, squared, weight = sums[2 + 3 * k : 5 + 3 * k]
        if weight > 0:
            result |= {f"{kind}_mae": float(absolute / weight), f"{kind}_rmse": float(np.sqrt(squared / weight))}
    return result
