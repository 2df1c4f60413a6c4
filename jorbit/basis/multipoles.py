"""Electrostatic energy of charges, dipoles and quadrupoles on atoms: pairs within a cutoff, open space, Ewald sums.

Energies of pairs are (q_i + mu_i . d + 1/3 T_i : d d) (q_j - mu_j . d + 1/3 T_j : d d) f(|r|) with d the gradient with
respect to r = r_i - r_j and f = 1 / r, or what is summed of it at short distances, erfc(alpha r) / r. Quadrupoles have
no trace: T_ab = 1/2 sum_c q_c (3 x_a x_b - x^2 delta_ab).
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erfc
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.electrostatics import Splitting, Surroundings
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.graph import Graph, pair_vectors, sum_over_slots
from jorbit.core.ops import gather_neighbors
from jorbit.core.pytree import pytree
from jorbit.core.units import COULOMB

BLOCK = 64  # atoms whose pairs with all others are held at a time in open space


@pytree
class Moments:
    """Of the charge on each atom; zero on padding.

    Attributes:
        charges: e.
        dipoles: e Å.
        quadrupoles: e Å^2, symmetric and without trace.
    """

    charges: Float[Array, " atoms"]
    dipoles: Float[Array, "atoms 3"]
    quadrupoles: Float[Array, "atoms 3 3"]


def splitting_for_moments(splitting: Splitting, degree: int = 2) -> Splitting:
    """The splitting that keeps the accuracy for moments up to a degree: each brings a factor k or 1 / r to a pair.

    Example:
        >>> splitting_for_moments(Splitting(6.0, 1e-5, 12.0)).accuracy < 1e-7
        True
    """
    accuracy = splitting.accuracy
    for _ in range(20):
        accuracy = splitting.accuracy / max(1.0, -2.0 * math.log(accuracy) / splitting.cutoff) ** (2 * degree)
    return Splitting(splitting.cutoff, accuracy, splitting.max_length)


def inverse_derivatives(r: Float[Array, "*batch"], alpha: float | None) -> list[Float[Array, "*batch"]]:
    """f_n = (1/r d/dr)^n f for n = 0 .. 4 with f = erfc(alpha r) / r, or 1 / r without alpha.

    References:
        Smith, CCP5 Newsletter 46, 18 (1998), for the recursion.
    """
    squared = r * r
    values = [1.0 / r if alpha is None else erfc(alpha * r) / r]
    gauss = None if alpha is None else jnp.exp(-(alpha**2) * squared) / (alpha * math.sqrt(math.pi))
    for n in range(1, 5):
        new = (2 * n - 1) * values[-1]
        if alpha is not None and gauss is not None:
            new = new + (2.0 * alpha**2) ** n * gauss
        values.append(new / squared)
    return [(-1) ** n * value for n, value in enumerate(values)]


def pair_energies(
    r: Float[Array, "*batch 3"], first: Moments, second: Moments, f: list[Float[Array, "*batch"]]
) -> Float[Array, "*batch"]:
    """Energies of pairs of moments, e^2/Å; the fields of both have the shape of the pairs, or broadcast to it.

    Args:
        r: r_i - r_j, Å.
        first, second: moments of i and of j.
        f: derivatives, see `inverse_derivatives`.
    """
    a, b = jnp.sum(first.dipoles * r, axis=-1), jnp.sum(second.dipoles * r, axis=-1)
    u, v = (jnp.sum(m.quadrupoles * r[..., None, :], axis=-1) for m in (first, second))
    s, t = jnp.sum(u * r, axis=-1), jnp.sum(v * r, axis=-1)
    q, p = first.charges, second.charges
    mixed = jnp.sum(first.dipoles * v, axis=-1) - jnp.sum(second.dipoles * u, axis=-1)
    both = jnp.sum(first.quadrupoles * second.quadrupoles, axis=(-2, -1))
    return (
        q * p * f[0]
        + (a * p - q * b - jnp.sum(first.dipoles * second.dipoles, axis=-1)) * f[1]
        + ((q * t + p * s + 2.0 * mixed) / 3.0 - a * b + 2.0 / 9.0 * both) * f[2]
        + ((a * t - b * s) / 3.0 + 4.0 / 9.0 * jnp.sum(u * v, axis=-1)) * f[3]
        + s * t / 9.0 * f[4]
    )


def cutoff_energies(graph: Graph, moments: Moments, cutoff: float) -> Float[Array, " atoms"]:
    """Half of the energies of all pairs within a cutoff, which go to zero there as `polynomial_cutoff` does, eV."""
    neighbors = graph.within(cutoff)
    r = -pair_vectors(graph, neighbors)
    length = jnp.sqrt(jnp.sum(r * r, axis=-1))
    fade = jnp.where(neighbors.mask, polynomial_cutoff(length, cutoff), 0.0)
    energies = pair_energies(r, _at_centers(moments), _of_neighbors(moments, neighbors), _plain(length))
    return 0.5 * COULOMB * jnp.einsum("as,as->a", energies, fade, precision="highest")


def _plain(length: Array) -> list[Array]:
    return inverse_derivatives(length, None)


def _at_centers(moments: Moments) -> Moments:
    return jax.tree.map(lambda x: x[:, None], moments)


def _of_neighbors(moments: Moments, neighbors) -> Moments:  # type: ignore[no-untyped-def]
    return jax.tree.map(lambda x: gather_neighbors(x, neighbors), moments)


def multipole_energies(
    graph: Graph, moments: Moments, splitting: Splitting, where: Surroundings
) -> Float[Array, " atoms"]:
    """Energies of atoms among all others and all images, eV: bulk, slabs and molecules, as for point charges.

    NaN where the waves do not reach. Charged bulk sits in a uniform background.

    Args:
        graph: with neighbours within `splitting.cutoff`.
        moments: of the atoms.
        splitting: of the sum, see `splitting_for_moments`.
        where: `surroundings(graph, splitting)`.

    References:
        Smith, CCP5 Newsletter 46, 18 (1998). Aguado and Madden, J. Chem. Phys. 119, 7471 (2003).
    """
    moments = jax.tree.map(lambda x: _zero_on_padding(x, graph), moments)
    repeats = where.is_bulk | where.is_slab
    dtype = graph.positions.dtype
    zeros = jnp.zeros_like(moments.charges)

    neighbors = graph.within(splitting.cutoff)
    r = -pair_vectors(graph, neighbors)
    f = inverse_derivatives(jnp.sqrt(jnp.sum(r * r, axis=-1)), splitting.alpha)
    pairs = pair_energies(r, _at_centers(moments), _of_neighbors(moments, neighbors), f)
    near = sum_over_slots(pairs, neighbors) * repeats[graph.owner].astype(dtype)
    far = jax.lax.cond(
        jnp.any(repeats), lambda m: _far_energies(graph, m, splitting, where, repeats), lambda m: zeros, moments
    )
    is_open = where.is_open & graph.structure_mask
    alone = jax.lax.cond(jnp.any(is_open), lambda m: _open_energies(graph, m, where.is_open), lambda m: zeros, moments)
    flag = jnp.where(where.is_reached, 1.0, jnp.nan).astype(dtype)[graph.owner]
    return 0.5 * COULOMB * (near + far + alone) * jnp.where(graph.atom_mask, flag, 0.0)


def _zero_on_padding(x: Array, graph: Graph) -> Array:
    return jnp.where(graph.atom_mask.reshape(-1, *(1,) * (x.ndim - 1)), x, 0.0)


def _far_energies(
    graph: Graph, moments: Moments, splitting: Splitting, where: Surroundings, repeats: Array
) -> Float[Array, " atoms"]:
    """Twice the energies of the waves without those of each moment with itself; background and slab correction."""
    here = repeats[graph.owner] & graph.atom_mask
    member = (graph.owner[:, None] == jnp.arange(graph.n_structures, dtype=jnp.int32)[None]) & here[:, None]
    member, alpha = member.astype(moments.charges.dtype), splitting.alpha
    waves = _wave_energies(graph, moments, member, splitting, where)
    factor = 2.0 * alpha / math.sqrt(math.pi)
    q, mu, theta = moments.charges, moments.dipoles, moments.quadrupoles
    own = q**2 + 2.0 / 3.0 * alpha**2 * jnp.sum(mu**2, axis=1)
    own = factor * (own + 8.0 / 45.0 * alpha**4 * jnp.sum(theta**2, axis=(1, 2)))
    background = (jnp.pi / (alpha**2 * where.volume) * (member.T @ q))[graph.owner] * q
    normal = where.normal[graph.owner]
    z = jnp.sum(graph.positions * normal, axis=1)
    middle = (member.T @ z) / jnp.maximum(member.sum(axis=0), 1.0)
    across = q * (z - middle[graph.owner]) + jnp.sum(mu * normal, axis=1)
    strength = jnp.where(where.is_slab, 4.0 * jnp.pi / where.volume, 0.0)
    slab = (strength * (member.T @ across))[graph.owner] * across
    return jnp.where(here, waves - own - background + slab, 0.0)


def _wave_energies(
    graph: Graph, moments: Moments, member: Array, splitting: Splitting, where: Surroundings
) -> Float[Array, " atoms"]:
    """sum_k w(k) Re[conj(s_i(k)) sum_j s_j(k)] with s = (q + i mu . k - 1/3 k . T . k) exp(i k . r)."""
    dtype, grid = graph.positions.dtype, splitting.grid
    rows = where.reciprocal[graph.owner]
    fractional = jnp.einsum("adx,ax->ad", rows, graph.positions, precision="highest") / (2.0 * jnp.pi)
    angle = 2.0 * jnp.pi * (fractional - jnp.round(jax.lax.stop_gradient(fractional)))
    dipoles = jnp.einsum("adx,ax->ad", rows, moments.dipoles)
    quadrupoles = jnp.einsum("adx,axy,aey->ade", rows, moments.quadrupoles, rows).reshape(-1, 9)
    plane = np.stack(
        np.meshgrid(np.arange(-grid[1], grid[1] + 1), np.arange(-grid[2], grid[2] + 1), indexing="ij"), axis=-1
    ).reshape(-1, 2)
    volume = where.volume[:, None]

    def add(energy: Array, first: Array) -> tuple[Array, None]:
        column = jnp.broadcast_to(first.astype(dtype), (len(plane), 1))
        whole = jnp.concatenate([column, jnp.asarray(plane, dtype)], axis=1)
        home = (whole == 0).all(axis=1)
        k = jnp.einsum("mx,sxy->smy", whole, where.reciprocal, precision="highest")
        squared = jnp.sum(jnp.where(home[None, :, None], 1.0, k) ** 2, axis=-1)
        weight = 4.0 * jnp.pi / volume * jnp.exp(-squared / (4.0 * splitting.alpha**2)) / squared
        weight = jnp.where(home[None], 0.0, jnp.where(first > 0, 2.0, 1.0).astype(dtype) * weight)
        phase = angle @ whole.T
        both = (whole[:, :, None] * whole[:, None, :]).reshape(-1, 9)
        even = moments.charges[:, None] - (quadrupoles @ both.T) / 3.0
        odd = dipoles @ whole.T
        cosine, sine = jnp.cos(phase), jnp.sin(phase)
        real, imaginary = even * cosine - odd * sine, even * sine + odd * cosine
        sums = [member @ (weight * (member.T @ x)) for x in (real, imaginary)]
        return energy + jnp.sum(real * sums[0] + imaginary * sums[1], axis=1), None

    start = jnp.zeros_like(moments.charges)
    return jax.lax.scan(jax.checkpoint(add), start, jnp.arange(grid[0] + 1, dtype=jnp.int32))[0]


def _open_energies(graph: Graph, moments: Moments, is_open: Array) -> Float[Array, " atoms"]:
    """Twice the energies of atoms with all others of their structure."""
    here = is_open[graph.owner] & graph.atom_mask
    names = jnp.arange(graph.n_atoms, dtype=jnp.int32)

    def energies(positions: Array, owner: Array, name: Array, mine: Array, q: Array, mu: Array, theta: Array) -> Array:
        own = Moments(charges=q, dipoles=mu, quadrupoles=theta)
        r = positions[:, None] - graph.positions[None]
        pair = (owner[:, None] == graph.owner[None]) & (name[:, None] != names[None])
        pair = pair & here[None] & mine[:, None]
        r = jnp.where(pair[..., None], r, 1.0)
        others = jax.tree.map(lambda x: x[None], moments)
        found = pair_energies(r, _at_centers(own), others, _plain(jnp.sqrt(jnp.sum(r * r, axis=-1))))
        return jnp.sum(jnp.where(pair, found, 0.0), axis=1)

    inputs = (graph.positions, graph.owner, names, here, moments.charges, moments.dipoles, moments.quadrupoles)
    return jnp.where(here, map_atom_blocks(energies, inputs, BLOCK, everywhere=True), 0.0)
