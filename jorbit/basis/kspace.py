"""Sums over reciprocal lattice vectors in static shapes: structure factors and the potentials they make.

The waves of a structure are whole numbers m = (m_1, m_2, m_3) with |m_d| <= grid_d, the same for all structures of a
batch and for all boxes of a simulation: positions enter as fractional coordinates, the cell only in the weight of a
wave. So shapes do not depend on the cell, no wave appears or disappears while a cell is deformed (energies are smooth
functions of the strain, to all orders), and what limits the cells is a capacity: `grid_for` says how many waves a
lattice vector of a given length needs.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

Weights = Callable[[Float[Array, "structures waves 3"]], Float[Array, "structures waves"]]


def grid_for(k_cutoff: float, lengths: tuple[float, float, float]) -> tuple[int, int, int]:
    """Waves along each direction that hold every |k| <= k_cutoff of cells with lattice vectors up to `lengths`.

    From k . a_d = 2 pi m_d: |m_d| <= k_cutoff |a_d| / 2 pi, whatever the angles.

    Args:
        k_cutoff: 1/Å.
        lengths: Å.

    Example:
        >>> grid_for(2.0, (10.0, 10.0, 31.0))
        (4, 4, 10)
    """
    n = [max(1, math.ceil(k_cutoff * length / (2.0 * math.pi))) for length in lengths]
    return n[0], n[1], n[2]


def wave_potential(
    fractional: Float[Array, "atoms 3"],
    sources: Float[Array, "atoms channels"],
    member: Float[Array, "atoms structures"],
    reciprocal: Float[Array, "structures 3 3"],
    weights: Weights,
    grid: tuple[int, int, int],
) -> Float[Array, "atoms channels"]:
    """phi_i = sum_{m != 0} w(k) sum_j s_j cos(k . (r_i - r_j)) over the atoms j of the structure of i.

    A loop over m_1; within it everything is a matrix product between atoms and waves. The reverse pass computes each
    round again, so memory is atoms * (grid_2 + grid_3) + structures * grid_2 * grid_3.

    Args:
        fractional: positions in the lattice vectors of each atom's own structure.
        sources: s, zero on padding; several sets at once.
        member: 1 where an atom belongs to a structure, 0 elsewhere and on padding.
        reciprocal: rows b_d with b_d . a_e = 2 pi delta_de, 1/Å.
        weights: function of wave vectors k (1/Å) that returns w; never called with k = 0.
        grid: largest m along each direction.

    References:
        Ewald, Ann. Phys. 369, 253 (1921).
    """
    dtype = fractional.dtype
    angle = 2.0 * jnp.pi * (fractional - jnp.round(jax.lax.stop_gradient(fractional)))
    second = jnp.arange(-grid[1], grid[1] + 1, dtype=jnp.int32)
    third = jnp.arange(-grid[2], grid[2] + 1, dtype=jnp.int32)
    cos3, sin3 = (f(angle[:, 2:3] * third.astype(dtype)[None]) for f in (jnp.cos, jnp.sin))
    wave3 = jnp.concatenate([cos3, sin3], axis=1)
    n_atoms, n_channels = sources.shape
    n_structures, n2, n3 = member.shape[1], len(second), len(third)
    plane = jnp.stack(jnp.meshgrid(second, third, indexing="ij"), axis=-1).reshape(-1, 2)

    def add(potential: Array, first: Array) -> tuple[Array, None]:
        whole = jnp.concatenate([jnp.full((len(plane), 1), first), plane], axis=1)
        home = (whole == 0).all(axis=1)
        k = jnp.einsum("mx,sxy->smy", whole.astype(dtype), reciprocal, precision="highest")
        k = jnp.where(home[None, :, None], 1.0 + jnp.zeros_like(k), k)
        twice = jnp.where(first > 0, 2.0, 1.0).astype(dtype)  # m and -m; both are in the plane m_1 = 0
        weight = jnp.where(home[None], 0.0, twice * weights(k)).reshape(n_structures, 1, n2, n3)
        theta = angle[:, 0:1] * first.astype(dtype) + angle[:, 1:2] * second.astype(dtype)[None]
        cos2, sin2 = jnp.cos(theta), jnp.sin(theta)
        both = jnp.stack([cos2, sin2], axis=1)
        charged = member[:, :, None, None, None] * sources[:, None, :, None, None] * both[:, None, None]
        flat = charged.reshape(n_atoms, -1).T @ wave3
        parts = flat.reshape(n_structures, n_channels, 2, n2, 2, n3)
        real = weight * (parts[:, :, 0, :, 0] - parts[:, :, 1, :, 1])
        imaginary = weight * (parts[:, :, 0, :, 1] + parts[:, :, 1, :, 0])
        # Re of conj(S) exp(i theta_i): cos2 (cos3 Re + sin3 Im) + sin2 (cos3 Im - sin3 Re)
        table = jnp.stack(
            [jnp.concatenate([real, imaginary], axis=-1), jnp.concatenate([imaginary, -real], axis=-1)], axis=2
        )
        pulled = wave3 @ table.reshape(-1, 2 * n3).T
        pulled = pulled.reshape(n_atoms, n_structures, n_channels, 2, n2)
        return potential + jnp.einsum("as,ascpk,apk->ac", member, pulled, both), None

    start = jnp.zeros((n_atoms, n_channels), dtype)
    return jax.lax.scan(jax.checkpoint(add), start, jnp.arange(grid[0] + 1, dtype=jnp.int32))[0]
