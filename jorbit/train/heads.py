"""Several heads: one network learns several sets of labels (levels of theory); some parameters belong to each of them.

A head is a complete set of parameters of one potential. Heads share all arrays except those whose paths match a
pattern, such as the readout's. In training these have the heads as first axis, every batch belongs to one head, and the
step is that of an ordinary training: the potential picks the head's arrays by an index among the fixed parameters.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Params
from jorbit.core.structure import Frame
from jorbit.potential.potential import Potential
from jorbit.train.gradient_report import GradientReport
from jorbit.train.step import path_name

HEAD = "head"  # where the index stands among the parameters of a training
OWN = ("*readout*",)


class HeadData(NamedTuple):
    """What one head learns.

    Attributes:
        frames: labelled structures.
        validation: frames that are measured after every epoch.
        reference_energies: of this head, as in `GradientConfig`; None is what the configuration says.
    """

    frames: Iterable[Frame]
    validation: Iterable[Frame] = ()
    reference_energies: str | Mapping[str | int, float] | None = None


class HeadsResult(NamedTuple):
    """What `train_heads` returns.

    Attributes:
        heads: by name, parameters of the whole potential.
        report: what happened; losses and errors are over the frames of all heads.
    """

    heads: dict[str, Params]
    report: GradientReport


@dataclasses.dataclass(frozen=True)
class Heads:
    """Whose parameters are trained together.

    Attributes:
        names: of the heads.
        own: patterns of the paths of parameters which every head has for itself.
    """

    names: tuple[str, ...]
    own: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) < 2 or not all(self.names) or len(set(self.names)) < len(self.names):
            raise ConfigError(f"Wanted two heads or more, each with a name of its own, got {list(self.names)}.")
        if not self.own:
            raise ConfigError(
                "The heads have no parameters of their own, so they would be one: give patterns of paths."
            )

    def stacked(self, params: Params) -> tuple[Params, tuple[str, ...]]:
        """Parameters of all heads, alike at first, with the index of the head in use; and the paths that are its own.

        Raises:
            ConfigError: a pattern that matches nothing, or all that there is.
        """
        names = [path_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
        for pattern in self.own:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ConfigError(
                    f"heads: no parameter matches {pattern!r}, which each head is to have for itself. There are: "
                    f"{', '.join(names)}."
                )
        own = tuple(name for name in names if any(fnmatchcase(name, pattern) for pattern in self.own))
        if len(own) == len(names):
            raise ConfigError(
                f"heads: the patterns {list(self.own)} match all parameters, so the heads share nothing: train one "
                "model for each."
            )

        def stack(path: Any, leaf: Any) -> Any:
            return jnp.stack([jnp.asarray(leaf)] * len(self.names)) if path_name(path) in own else leaf

        return {**jax.tree_util.tree_map_with_path(stack, params), HEAD: jnp.zeros((), jnp.int32)}, own


def picked(params: Params, own: Sequence[str], head: Any) -> Params:
    """The parameters of one head.

    Args:
        params: of all heads, as from `Heads.stacked`.
        own: paths of what has the heads as first axis.
        head: which; may be traced.

    Example:
        >>> both = {"a": np.array([1.0]), "b": np.array([[2.0], [3.0]]), "head": np.array(0)}
        >>> print(picked(both, ["b"], 1)["b"])
        [3.]
    """
    shared = {name: tree for name, tree in params.items() if name != HEAD}
    return jax.tree_util.tree_map_with_path(lambda p, leaf: leaf[head] if path_name(p) in own else leaf, shared)


@dataclasses.dataclass(frozen=True)
class HeadedPotential(Potential):
    """A potential in training, which computes with the parameters of the head that `params["head"]` says.

    Attributes:
        own: paths of the parameters that have the heads as first axis.
    """

    own: tuple[str, ...] = ()

    def outputs(self, params: Params, graph: Graph) -> AtomOutputs:
        """Those of one head."""
        return super().outputs(picked(params, self.own, params[HEAD]), graph)


def fixed_of_heads(fixed: Any, n_heads: int) -> list[Any]:
    """The fixed parameters of a training for batches of each head."""
    if n_heads == 1:
        return [fixed]
    return [{**fixed, HEAD: jnp.asarray(k, jnp.int32)} for k in range(n_heads)]


def gathered(data: Mapping[str, HeadData]) -> tuple[list[Frame], list[Frame], np.ndarray, np.ndarray]:
    """Training frames of all heads, validation frames, and the head of each."""
    parts = [(list(d.frames), list(d.validation)) for d in data.values()]
    for name, (frames, _) in zip(data, parts, strict=True):
        if not frames:
            raise ConfigError(f"The head {name!r} has no frames to train on.")
    both = [[frame for part in parts for frame in part[k]] for k in range(2)]
    groups = [np.repeat(np.arange(len(parts)), [len(part[k]) for part in parts]) for k in range(2)]
    return both[0], both[1], groups[0], groups[1]
