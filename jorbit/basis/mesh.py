"""Sums over reciprocal lattice vectors by a mesh and fast Fourier transforms: smooth particle-mesh Ewald.

The same sum as `jorbit.basis.kspace.wave_potential`, for many atoms: sources are spread onto a mesh by B-splines,
transformed, multiplied by the weights of the waves, transformed back, and read at the atoms by the same splines.
Energies are functions of positions and cell as smooth as the splines, so forces and stress are their derivatives.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.basis.kspace import Weights

ORDERS = (6, 8, 10)  # splines of order 4 have third derivatives that jump


def friendly(n: int) -> int:
    """The smallest even number from n on without prime factors above 5: what Fourier transforms are fast for.

    Example:
        >>> friendly(33)
        36
    """
    n = max(n + n % 2, 2)
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 2


@functools.cache
def mesh_for(alpha: float, k_cutoff: float, accuracy: float, length: float) -> tuple[int, int]:
    """Mesh points along a lattice vector, and the order of splines, that keep the error of the sum below `accuracy`.

    A spline of order p takes the wave k for others, k + 2 pi n / h: at most (k / (2 pi / h - k))^p of it.
    What counts is this times the weight of the wave, exp(-k^2 / 4 alpha^2). Of all orders the one is taken whose mesh
    and stencil together have the fewest points.

    Args:
        alpha, k_cutoff: of the splitting, 1/Å.
        accuracy: relative to the potential of a unit charge at 1 Å.
        length: of the lattice vector, Å.
    """
    k = np.linspace(1e-3, 1.0, 400) * k_cutoff
    weight = np.exp(-(k**2) / (4.0 * alpha**2))
    best: tuple[float, int, int] | None = None
    for order in ORDERS:
        n = friendly(max(math.ceil(k_cutoff * length / math.pi), 2 * order))
        while True:
            whole = 2.0 * math.pi * n / length
            error = np.max(np.where(2 * k < whole, weight * 2.0 * (k / np.maximum(whole - k, 1e-9)) ** order, 1.0))
            if error <= accuracy or n > 4096:
                break
            n = friendly(n + 1)
        cost = 40.0 * order**3 * 0.1 * length**3 + 2.0 * n**3 * math.log2(n)  # 0.1 atoms in an Å^3
        if best is None or cost < best[0]:
            best = (cost, n, order)
    return (best[1], best[2]) if best is not None else (2, 4)


def splines(x: Float[Array, "*batch"], order: int) -> Float[Array, "*batch order"]:
    """M_order(x + k) for k = 0 .. order - 1 with 0 <= x < 1: cardinal B-splines, which add up to 1.

    References:
        Essmann, Perera, Berkowitz, Darden, Lee and Pedersen, J. Chem. Phys. 103, 8577 (1995), equation 4.1.
    """
    values = [x, 1.0 - x]  # M_2(x), M_2(x + 1)
    for n in range(3, order + 1):
        low, high = [*values, jnp.zeros_like(x)], [jnp.zeros_like(x), *values]
        values = [((x + k) * low[k] + (n - k - x) * high[k]) / (n - 1) for k in range(n)]
    return jnp.stack(values, axis=-1)


@functools.cache
def _transform_of_splines(n: int, order: int) -> Float[np.ndarray, " n"]:
    """|sum_k M_order(k + 1) exp(2 pi i m k / n)|^2 for all m."""
    at_nodes = [1.0, 0.0]
    for p in range(3, order + 1):
        low, high = [*at_nodes, 0.0], [0.0, *at_nodes]
        at_nodes = [((1.0 + k) * low[k] + (p - k - 1.0) * high[k]) / (p - 1) for k in range(p)]
    waves = np.exp(2j * np.pi * np.outer(np.arange(n), np.arange(order)) / n)
    return np.abs(waves @ np.array(at_nodes)) ** 2


def mesh_potential(
    fractional: Float[Array, "atoms 3"],
    sources: Float[Array, "atoms channels"],
    owner: Int[Array, " atoms"],
    reciprocal: Float[Array, "structures 3 3"],
    weights: Weights,
    mesh: tuple[int, int, int],
    order: int,
) -> Float[Array, "atoms channels"]:
    """phi_i = sum_{m != 0} w(k) sum_j s_j cos(k . (r_i - r_j)) over the atoms j of the structure of i.

    Args:
        fractional: positions in the lattice vectors of each atom's own structure.
        sources: s, zero on padding; several sets at once.
        owner: structure of each atom.
        reciprocal: rows b_d with b_d . a_e = 2 pi delta_de, 1/Å.
        weights: function of wave vectors k (1/Å) that returns w; never called with k = 0.
        mesh: points along each direction, even.
        order: of the splines.

    References:
        Essmann, Perera, Berkowitz, Darden, Lee and Pedersen, J. Chem. Phys. 103, 8577 (1995).
    """
    dtype, n_structures = fractional.dtype, reciprocal.shape[0]
    sizes = np.array(mesh, np.int32)
    scaled = fractional * jnp.asarray(sizes, dtype)[None]
    start = jnp.floor(scaled)
    spline = splines(scaled - start, order)  # the point start - k takes M(x + k)
    steps = np.arange(order, dtype=np.int32)
    at = jnp.mod(start.astype(jnp.int32)[..., None] - steps[None, None, :], jnp.asarray(sizes)[None, :, None])
    place = (at[:, 0, :, None] * mesh[1] + at[:, 1, None, :])[..., None] * mesh[2] + at[:, 2, None, None, :]
    place = place + (owner * math.prod(mesh))[:, None, None, None]
    shares = spline[:, 0, :, None, None] * spline[:, 1, None, :, None] * spline[:, 2, None, None, :]

    total = n_structures * math.prod(mesh)
    flat = place.reshape(-1)

    def one(source: Array) -> Array:
        spread = (shares * source[:, None, None, None]).reshape(-1)
        return jnp.zeros(total, dtype).at[flat].add(spread)

    density = jnp.stack([one(sources[:, c]) for c in range(sources.shape[1])])
    waves = jnp.fft.rfftn(density.reshape(-1, n_structures, *mesh), axes=(2, 3, 4))
    filtered = waves * _mesh_weights(reciprocal, weights, mesh, order, dtype)[None].astype(waves.dtype)
    potential = jnp.fft.irfftn(filtered, s=mesh, axes=(2, 3, 4)) * math.prod(mesh)
    potential = potential.reshape(sources.shape[1], -1)
    return jnp.stack([jnp.sum(p[place] * shares, axis=(1, 2, 3)) for p in potential], axis=1)


def _mesh_weights(
    reciprocal: Array, weights: Weights, mesh: tuple[int, int, int], order: int, dtype: jnp.dtype
) -> Float[Array, "structures n1 n2 n3"]:
    """Weights of all waves of the mesh, corrected for what the splines take away; zero for the highest of each axis."""
    n1, n2, n3 = mesh
    counts = (np.fft.fftfreq(n1, 1 / n1), np.fft.fftfreq(n2, 1 / n2), np.arange(n3 // 2 + 1))
    whole = np.stack(np.meshgrid(*counts, indexing="ij"), axis=-1)
    moduli = [_transform_of_splines(n, order) for n in mesh]
    correction = moduli[0][:, None, None] * moduli[1][None, :, None] * moduli[2][None, None, : n3 // 2 + 1]
    used = (np.abs(whole) < np.array(mesh) / 2).all(axis=-1) & (whole != 0).any(axis=-1)
    safe = np.where(used[..., None], whole, 1.0).reshape(-1, 3)
    k = jnp.einsum("mx,sxy->smy", jnp.asarray(safe, dtype), reciprocal, precision="highest")
    factor = np.where(used, 1.0 / np.where(correction > 0, correction, 1.0), 0.0).reshape(1, -1)
    return (weights(k) * jnp.asarray(factor, dtype)).reshape(-1, *whole.shape[:3])
