"""From elements to orbits in networks that start from one-hot species."""

from typing import Any

import jax
import numpy as np

from jorbit.core.protocols import Params


def refined_first_block(params: Params, parents: tuple[int, ...]) -> Params:
    """Parameters whose first block reads more species, each with the weights of the row it comes from.

    Args:
        params: of a model whose first block is called message_0, self_0 and update_0.
        parents: for each new row of the species table, the old one.
    """
    axes = {("message_0", "interaction_kernel"): 1, ("self_0", "kernel"): 0, ("update_0", "adjust", "kernel"): 0}
    rows = np.array(parents)

    def expand(path: Any, leaf: Any) -> Any:
        axis = axes.get(tuple(entry.key for entry in path)[1:])
        return leaf if axis is None else np.take(np.asarray(leaf), rows, axis=axis)

    return jax.tree_util.tree_map_with_path(expand, params)
