"""The same simulation many times: replicas shared out over devices."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

from jorbit.core.errors import ConfigError


def over_replicas(
    function: Callable[..., Any], *, devices: Sequence[Any] | None = None, together: bool | None = None
) -> Callable[..., Any]:
    """A function of one replica becomes one of many: every argument and result gets a leading axis of replicas.

    Replicas are shared out over the devices, which do not talk to each other: the time is that of one device's share.
    The result is compiled, and does not depend on the number of devices.

    Args:
        function: of one replica, in terms of JAX: a random key or a temperature -> anything. A neighbour list, which
            is the same for all at the start, comes in by closure.
        devices: where to compute; all when not given.
        together: a device takes its replicas in one batch (`vmap`: good on a GPU that one replica does not fill; a
            conditional search for neighbours is then made at every step) or one after the other. One after the other
            on CPUs and together elsewhere when not given.

    Raises:
        ConfigError: arguments without a common leading axis.

    Example:
        >>> squares = over_replicas(lambda x, y: x * x + y)
        >>> print(squares(jnp.arange(3.0), jnp.ones(3)))
        [1. 2. 5.]
    """
    used = list(jax.devices() if devices is None else devices)
    if not used:
        raise ConfigError("over_replicas needs at least one device.")
    batched = used[0].platform != "cpu" if together is None else together
    shares = PartitionSpec("replicas")

    def one_device(*arguments: Any) -> Any:
        if batched:
            return jax.vmap(function)(*arguments)
        return jax.lax.map(lambda one: function(*one), arguments)

    spread = jax.jit(
        jax.shard_map(
            one_device, mesh=Mesh(np.array(used), ("replicas",)), in_specs=shares, out_specs=shares, check_vma=False
        )
    )

    def of_many(*arguments: Any) -> Any:
        lengths = {np.shape(leaf)[:1] for leaf in jax.tree.leaves(arguments)}
        if len(lengths) != 1 or lengths == {()}:
            raise ConfigError(f"Wanted arguments with one leading axis of replicas, got lengths {sorted(lengths)}.")
        n = lengths.pop()[0]
        missing = -n % len(used)
        if missing:  # devices take equal shares: the last replica once more
            arguments = jax.tree.map(lambda x: jnp.concatenate([x, jnp.stack([x[-1]] * missing)]), arguments)
        found = spread(*arguments)
        return jax.tree.map(lambda x: x[:n], found) if missing else found

    return of_many
