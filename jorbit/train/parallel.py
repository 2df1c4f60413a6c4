"""Training over several devices and hosts: the structures of a batch are shared out, the parameters are everywhere.

    loss(params, batch) = objective(concat_k prediction(params, batch_k)),   k = 0 .. n_devices - 1

The objective sees the whole batch, so its normalisation, and with it the result, does not depend on the number of
devices (but for the order of sums). Where the arrays lie is all that is said; XLA adds the exchange of gradients.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Params
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.potential.potential import Potential

_AXIS = "structures"


def shards(graph: Graph, n: int) -> Graph:
    """A batch as `n` batches of equal size on a new leading axis, each with indices of its own.

    Args:
        graph: structures that own equally many atoms each, the number of structures a multiple of n.
        n: how many.

    Returns:
        A graph whose arrays are [n, ...].
    """
    n_structures, n_atoms = graph.n_structures // n, graph.n_atoms // n
    stacked = jax.tree.map(lambda a: a.reshape(n, a.shape[0] // n, *a.shape[1:]), graph)

    def localised(k: Array, shard: Graph) -> Graph:
        neighborhoods = tuple(
            dataclasses.replace(m, index=jnp.where(m.mask, m.index - k * n_atoms, 0)) for m in shard.neighborhoods
        )
        return dataclasses.replace(shard, owner=shard.owner - k * n_structures, neighborhoods=neighborhoods)

    return jax.vmap(localised)(jnp.arange(n, dtype=jnp.int32), stacked)


def sharded_prediction(potential: Potential, params: Params, graph: Graph, n: int) -> Prediction:
    """`energy_and_derivatives` of each of the n parts of a batch, put together again."""
    if n == 1:
        return energy_and_derivatives(potential, params, graph)
    parts = jax.vmap(lambda part: energy_and_derivatives(potential, params, part))(shards(graph, n))
    return jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), parts)


def join_processes(coordinator: str | None = None, n_processes: int | None = None, process: int | None = None) -> None:
    """Make this process one of several that train together; before anything else is done with JAX.

    Args:
        coordinator: host:port of the first process, the same for all. None lets JAX find it, and the rest, from the
            cluster's scheduler (Slurm, Open MPI, Kubernetes, Cloud TPU).
        n_processes, process: how many there are, and which this is, from 0.

    Raises:
        ConfigError: some are missing, or the processes do not find each other.
    """
    given = (coordinator, n_processes, process)
    if any(g is not None for g in given) and any(g is None for g in given):
        raise ConfigError(f"Wanted a coordinator, a number of processes and this one's number, got {given}.")
    try:
        jax.distributed.initialize(coordinator, n_processes, process)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"The processes did not find each other ({error}). Give --coordinator HOST:PORT, --processes and --process "
            "where no scheduler that JAX knows started them."
        ) from error


def writes_files() -> bool:
    """Whether this process writes files: of several that train together, the first does."""
    return jax.process_index() == 0


@dataclasses.dataclass(frozen=True, eq=False)
class Devices:
    """The devices of a training, on one host or on several.

    Attributes:
        mesh: None for one device: then nothing is moved or marked.
    """

    mesh: Mesh | None

    @classmethod
    def choose(cls, n: int | None) -> "Devices":
        """The first `n` devices, or all.

        Raises:
            ConfigError: there are fewer, or a part of the devices of several hosts is wanted.
        """
        there = jax.devices()
        n = len(there) if n is None else n
        if n > len(there):
            raise ConfigError(
                f"devices={n} were asked for, but there are {len(there)} ({there[0].platform}). `jorbit doctor` lists "
                "them; for a dry run on a CPU set XLA_FLAGS=--xla_force_host_platform_device_count=8."
            )
        if jax.process_count() > 1 and n != len(there):
            raise ConfigError(
                f"A training over {jax.process_count()} processes uses all {len(there)} devices, not {n}."
            )
        return cls(None if n == 1 else Mesh(np.array(there[:n]), (_AXIS,)))

    @property
    def n(self) -> int:
        return 1 if self.mesh is None else self.mesh.size

    @property
    def writes(self) -> bool:
        """Whether this process writes files: one does."""
        return writes_files()

    @property
    def together(self) -> bool:
        """Whether several processes train together."""
        return jax.process_count() > 1

    def share_out(self, batch: Any) -> Any:
        """Arrays of a batch, divided along their first axis."""
        return self._place(batch, PartitionSpec(_AXIS))

    def everywhere(self, tree: Any) -> Any:
        """Arrays that every device has whole."""
        return self._place(tree, PartitionSpec())

    def agree(self, flag: bool) -> bool:
        """What the first process says, since all must stop at the same step."""
        if not self.together:
            return flag
        return bool(multihost_utils.broadcast_one_to_all(np.asarray(flag)))

    def _place(self, tree: Any, spec: PartitionSpec) -> Any:
        if self.mesh is None:
            return tree
        sharding = NamedSharding(self.mesh, spec)

        def put(leaf: Any) -> Array:
            if not self.together:
                return jax.device_put(leaf, sharding)
            host = np.asarray(leaf)
            return jax.make_array_from_callback(host.shape, sharding, lambda part: host[part])

        return jax.tree.map(put, tree)
