"""The electrostatic potential of all atoms around each atom, projected on Gaussians times solid harmonics.

The projection on r^l exp(-r^2 / 2 s^2) Y_lm of the potential of Gaussian charges of width w0 is, but for a factor, the
derivative Y_lm(d) of the potential of Gaussian charges of width w = sqrt(w0^2 + s^2) at the atom. So the coefficients
are sums over waves or over pairs, without a radial integral, and the same in a large cell as in open space.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.electrostatics import Splitting, Surroundings, slab_correction, surroundings
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.graph import Graph

BLOCK = 32  # atoms whose pairs with all others are held at a time in open space
L_MAX = 3  # of the recursion below


def boys(t: Float[Array, "*batch"], n: int) -> list[Float[Array, "*batch"]]:
    """F_l(t) = integral over u from 0 to 1 of u^(2 l) exp(-t u^2), l = 0 .. n, to rounding; n up to 3.

    Example:
        >>> [round(float(x), 6) for x in boys(jnp.array(0.5), 1)]
        [0.855624, 0.249094]
    """
    small = t < 1.0
    low, high = jnp.where(small, t, 0.0), jnp.where(small, 1.0, t)
    series = []
    for degree in range(n + 1):
        term = sum((-1) ** k / (math.factorial(k) * (2 * degree + 2 * k + 1)) * low**k for k in range(18))
        series.append(term)
    root = jnp.sqrt(high)
    values, gauss = [0.5 * math.sqrt(math.pi) * jax.scipy.special.erf(root) / root], jnp.exp(-high)
    for degree in range(n):
        values.append(((2 * degree + 1) * values[-1] - gauss) / (2.0 * high))
    return [jnp.where(small, a, b) for a, b in zip(series, values, strict=True)]


def solid_harmonics(vectors: Float[Array, "*batch 3"], l_max: int) -> Float[Array, "*batch lm"]:
    """|r|^l Y_lm(r / |r|) for l = 0 .. l_max, smooth at the zero vector."""
    squared = jnp.sum(vectors * vectors, axis=-1)
    there = squared > 0
    r = jnp.where(there, jnp.sqrt(jnp.where(there, squared, 1.0)), 1.0)
    unit = jnp.where(there[..., None], vectors, 0.0) / r[..., None]
    degrees = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    length = jnp.where(there, r, 0.0)
    powers = jnp.stack([length**degree if degree else jnp.ones_like(r) for degree in range(l_max + 1)], axis=-1)
    return real_spherical_harmonics(unit, l_max) * powers[..., degrees]


def potential_coefficients(
    graph: Graph,
    sources: Float[Array, "atoms kinds"],
    width: float,
    l_max: int,
    splitting: Splitting,
) -> Float[Array, "atoms kinds lm"]:
    """w^(l + 1) Y_lm(d) sum_j s_j erf(r_ij / (sqrt(2) w)) / r_ij over all other atoms and all images; no units.

    Bulk and slabs lie in the background that makes them neutral, slabs without a field from their images. NaN where the
    waves do not reach.

    Args:
        graph: neighbours are not needed.
        sources: strengths, zero on padding; several kinds at once.
        width: w, Å.
        l_max: 3 at most.
        splitting: with alpha = 1 / (sqrt(2) w).

    References:
        Grisafi and Ceriotti, J. Chem. Phys. 151, 204105 (2019).
    """
    where = surroundings(graph, splitting)
    repeats, n_lm = where.is_bulk | where.is_slab, (l_max + 1) ** 2
    zeros = jnp.zeros((*sources.shape, n_lm), sources.dtype)
    settings = (width, l_max, splitting, where, repeats)
    far = jax.lax.cond(jnp.any(repeats), lambda s: _periodic(graph, s, *settings), lambda s: zeros, sources)
    alone = where.is_open & graph.structure_mask
    alone = jax.lax.cond(
        jnp.any(alone), lambda s: _open(graph, s, width, l_max, where.is_open), lambda s: zeros, sources
    )
    degrees = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    units = jnp.asarray(width ** (degrees + 1.0), sources.dtype)
    flag = jnp.where(where.is_reached, 1.0, jnp.nan).astype(sources.dtype)[graph.owner]
    flag = jnp.where(graph.atom_mask, flag, 0.0)
    return (far + alone) * units[None, None] * flag[:, None, None]


def _open(graph: Graph, sources: Array, width: float, l_max: int, is_open: Array) -> Float[Array, "atoms kinds lm"]:
    here = is_open[graph.owner] & graph.atom_mask
    names = jnp.arange(graph.n_atoms, dtype=jnp.int32)
    alpha = 1.0 / (math.sqrt(2.0) * width)
    degrees = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)

    def coefficients(positions: Array, owner: Array, name: Array, mine: Array) -> Array:
        r = positions[:, None] - graph.positions[None]
        pair = (owner[:, None] == graph.owner[None]) & (name[:, None] != names[None])
        pair = pair & here[None] & mine[:, None]
        r = jnp.where(pair[..., None], r, 1.0)
        functions = boys(alpha**2 * jnp.sum(r * r, axis=-1), l_max)
        factors = [2.0 * alpha / math.sqrt(math.pi) * (-2.0 * alpha**2) ** k for k in range(l_max + 1)]
        radial = jnp.stack([c * f for c, f in zip(factors, functions, strict=True)], axis=-1)
        values = jnp.where(pair[..., None], radial[..., degrees] * solid_harmonics(r, l_max), 0.0)
        return jnp.einsum("ijm,jk->ikm", values, sources)

    result = map_atom_blocks(coefficients, (graph.positions, graph.owner, names, here), BLOCK, everywhere=True)
    return jnp.where(here[:, None, None], result, 0.0)


def _periodic(
    graph: Graph,
    sources: Array,
    width: float,
    l_max: int,
    splitting: Splitting,
    where: Surroundings,
    repeats: Array,
) -> Float[Array, "atoms kinds lm"]:
    dtype, grid, (n_atoms, n_kinds) = sources.dtype, splitting.grid, sources.shape
    here = repeats[graph.owner] & graph.atom_mask
    member = (graph.owner[:, None] == jnp.arange(graph.n_structures, dtype=jnp.int32)[None]) & here[:, None]
    member = member.astype(dtype)
    inside = jnp.where(here[:, None], sources, 0.0)
    fractional = jnp.einsum("adx,ax->ad", where.reciprocal[graph.owner], graph.positions, precision="highest")
    angle = fractional - 2.0 * jnp.pi * jnp.round(jax.lax.stop_gradient(fractional) / (2.0 * jnp.pi))
    plane = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in grid[1:]), indexing="ij"), axis=-1).reshape(-1, 2)
    degrees = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    even = jnp.asarray(degrees % 2 == 0)
    sign = jnp.asarray(np.array([1.0, 1.0, -1.0, -1.0])[degrees % 4], dtype)

    def add(total: Array, first: Array) -> tuple[Array, None]:
        column = jnp.broadcast_to(first.astype(dtype), (len(plane), 1))
        whole = jnp.concatenate([column, jnp.asarray(plane, dtype)], axis=1)
        home = (whole == 0).all(axis=1)
        k = jnp.einsum("mx,sxy->smy", whole, where.reciprocal, precision="highest")
        k = jnp.where(home[None, :, None], 1.0, k)
        squared = jnp.sum(k * k, axis=-1)
        weight = 4.0 * jnp.pi / where.volume[:, None] * jnp.exp(-0.5 * width**2 * squared) / squared
        weight = jnp.where(home[None], 0.0, jnp.where(first > 0, 2.0, 1.0).astype(dtype) * weight)
        table = weight[..., None] * solid_harmonics(k, l_max) * sign[None, None]
        phase = angle @ whole.T
        cosine, sine = jnp.cos(phase), jnp.sin(phase)
        split = member[:, :, None] * inside[:, None, :]
        c, s = (jnp.einsum("am,atk->tmk", wave, split) for wave in (cosine, sine))
        # Re i^l exp(i theta_i) (C - i S): cos C + sin S for even l, cos S - sin C for odd l
        on_cosine = jnp.where(even[None, None, None], c[..., None], s[..., None]) * table[:, :, None]
        on_sine = jnp.where(even[None, None, None], s[..., None], -c[..., None]) * table[:, :, None]
        found = jnp.einsum("am,tmkl->atkl", cosine, on_cosine) + jnp.einsum("am,tmkl->atkl", sine, on_sine)
        return total + jnp.einsum("at,atkl->akl", member, found), None

    start = jnp.zeros((n_atoms, n_kinds, (l_max + 1) ** 2), dtype)
    waves = jax.lax.scan(jax.checkpoint(add), start, jnp.arange(grid[0] + 1, dtype=jnp.int32))[0]
    scalar = real_spherical_harmonics(jnp.asarray([[1.0, 0.0, 0.0]], dtype), 0)[0, 0]
    amount = (member.T @ inside)[graph.owner]
    volume = where.volume[graph.owner][:, None]
    own = math.sqrt(2.0 / math.pi) / width * inside + 2.0 * jnp.pi * width**2 / volume * amount
    waves = waves.at[:, :, 0].add(-scalar * own)
    return jnp.where(here[:, None, None], waves + _slab(graph, inside, member, where, l_max), 0.0)


def _slab(graph: Graph, sources: Array, member: Array, where: Surroundings, l_max: int) -> Array:
    """The correction of slabs along all derivatives: those of order 3 and beyond are 0."""
    dtype = sources.dtype
    known = slab_correction(graph, sources, member, where)
    known = jnp.concatenate([known, jnp.zeros_like(known[..., :1])], axis=-1)
    degrees = np.repeat(np.arange(l_max + 1), 2 * np.arange(l_max + 1) + 1)
    harmonics = solid_harmonics(where.normal, l_max)[graph.owner]
    return (known[..., degrees] * harmonics[:, None, :]).astype(dtype)
