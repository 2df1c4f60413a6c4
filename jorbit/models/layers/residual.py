"""Layers of single atoms: x + W phi(y) + b."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float


def dense(width: int, like: Array, name: str, *, bias: bool = True) -> nn.Dense:
    """x W + b in the dtype of the features; normal weights of variance 2 / (inputs + outputs)."""
    return nn.Dense(
        width, bias, dtype=like.dtype, param_dtype=like.dtype, kernel_init=nn.initializers.glorot_normal(), name=name
    )


class ResidualUpdate(nn.Module):
    """x' = W softplus(y) + b + x, with x -> A x where the widths differ.

    y is what a layer makes of x (and of the neighbours): see `jorbit.models.layers.neighbor_moments`.

    Attributes:
        width: of the new features.
    """

    width: int

    @nn.compact
    def __call__(self, x: Float[Array, "atoms old"], y: Float[Array, "atoms hidden"]) -> Float[Array, "atoms new"]:
        change = dense(self.width, x, "out")(jax.nn.softplus(y))
        return change + (x if x.shape[1] == self.width else dense(self.width, x, "adjust", bias=False)(x))


class AtomLayers(nn.Module):
    """n times x -> W softplus(W' x + b') + b + x: what an atom does with its features between two messages.

    Attributes:
        n: number of layers.
    """

    n: int

    @nn.compact
    def __call__(self, x: Float[Array, "atoms features"]) -> Float[Array, "atoms features"]:
        width = x.shape[1]
        for k in range(self.n):
            x = ResidualUpdate(width, name=f"residual_{k}")(x, dense(width, x, f"hidden_{k}")(x))
        return x
