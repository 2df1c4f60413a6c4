"""Covariances of pairs and triplets of atoms: Gaussians of their distances, tapered at the cutoff.

Sums over the neighbours of an atom, one column for every sparse point, with slopes along the pair vectors.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.core.ops import safe_divide, safe_norm

Slopes = tuple[Float[Array, "atoms points"], Float[Array, "atoms slots 3 points"]]


def gaussian(a: Float[Array, "..."], b: Float[Array, "..."], length: float) -> Float[Array, "..."]:
    """exp(-(a - b)^2 / (2 length^2)).

    Example:
        >>> float(gaussian(jnp.array(1.0), jnp.array(1.0), 0.5))
        1.0
    """
    return jnp.exp(-0.5 * ((a - b) / length) ** 2)


def _taper_slope(r: Float[Array, "..."], cutoff: float) -> Float[Array, "..."]:
    """Derivative of `polynomial_cutoff` of power 6: -168 x^5 (1 - x)^2 / cutoff."""
    x = jnp.minimum(r / cutoff, 1.0)
    return -168.0 * x**5 * (1.0 - x) ** 2 / cutoff


def _tapered(
    r: Float[Array, "atoms slots"],
    wanted: Bool[Array, "atoms slots points"],
    centers: Float[Array, " points"],
    cutoff: float,
    length: float,
) -> Float[Array, "atoms slots points"]:
    value = polynomial_cutoff(r, cutoff)[..., None] * gaussian(r[..., None], centers[None, None], length)
    return jnp.where(wanted, value, 0.0)


def _tapered_and_slope(
    r: Float[Array, "atoms slots"],
    wanted: Bool[Array, "atoms slots points"],
    centers: Float[Array, " points"],
    cutoff: float,
    length: float,
) -> tuple[Array, Array]:
    f, slope = polynomial_cutoff(r, cutoff)[..., None], _taper_slope(r, cutoff)[..., None]
    off = r[..., None] - centers[None, None]
    k = jnp.where(wanted, jnp.exp(-0.5 * (off / length) ** 2), 0.0)
    return f * k, (slope - f * off / length**2) * k


def pair_rows(
    vectors: Float[Array, "atoms slots 3"],
    wanted: Bool[Array, "atoms slots points"],
    points: Float[Array, "points 1"],
    cutoff: float,
    length: float,
) -> Float[Array, "atoms points"]:
    """1/2 sum over j of f(r_ij) k(r_ij, p_s): half of a pair belongs to each of its atoms.

    Args:
        vectors: r_ij, Å. wanted: which pairs are of the species of which point.
        points: distances p_s, Å. cutoff, length: Å.
    """
    return 0.5 * _tapered(safe_norm(vectors), wanted, points[:, 0], cutoff, length).sum(axis=1)


def pair_slopes(
    vectors: Float[Array, "atoms slots 3"],
    wanted: Bool[Array, "atoms slots points"],
    points: Float[Array, "points 1"],
    cutoff: float,
    length: float,
) -> Slopes:
    """`pair_rows`, and its derivatives by the pair vectors, 1/Å."""
    r = safe_norm(vectors)
    value, slope = _tapered_and_slope(r, wanted, points[:, 0], cutoff, length)
    unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
    return 0.5 * value.sum(axis=1), 0.5 * unit[..., None] * slope[:, :, None, :]


def _sides(vectors: Float[Array, "atoms slots 3"]) -> tuple[Array, Array, Array]:
    """v_j - v_k, its length, and whether j and k are different."""
    edges = vectors[:, :, None] - vectors[:, None]
    return edges, safe_norm(edges), ~jnp.eye(vectors.shape[1], dtype=bool)[None]


def triplet_rows(
    vectors: Float[Array, "atoms slots 3"],
    first: Bool[Array, "atoms slots points"],
    second: Bool[Array, "atoms slots points"],
    weights: Float[Array, " points"],
    points: Float[Array, "points 3"],
    cutoff: float,
    length: float,
) -> Float[Array, "atoms points"]:
    """w_s sum over j, k of f(r_ij) f(r_ik) k(r_ij, p_s1) k(r_ik, p_s2) k(r_jk, p_s3), j and k different neighbours.

    Args:
        vectors: r_ij, Å. first, second: which neighbours may be j, and k, for which point.
        weights: w_s. points: distances (ij, ik, jk), Å. cutoff, length: Å.
    """
    r = safe_norm(vectors)
    u = _tapered(r, first, points[:, 0], cutoff, length)
    v = _tapered(r, second, points[:, 1], cutoff, length)
    _, side, different = _sides(vectors)
    w = jnp.where(different[..., None], gaussian(side[..., None], points[None, None, None, :, 2], length), 0.0)
    return weights[None] * jnp.sum(u * jnp.sum(v[:, None] * w, axis=2), axis=1)


def triplet_slopes(
    vectors: Float[Array, "atoms slots 3"],
    first: Bool[Array, "atoms slots points"],
    second: Bool[Array, "atoms slots points"],
    weights: Float[Array, " points"],
    points: Float[Array, "points 3"],
    cutoff: float,
    length: float,
) -> Slopes:
    """`triplet_rows`, and its derivatives by the pair vectors, 1/Å."""
    r = safe_norm(vectors)
    u, du = _tapered_and_slope(r, first, points[:, 0], cutoff, length)
    v, dv = _tapered_and_slope(r, second, points[:, 1], cutoff, length)
    u, du = weights[None, None] * u, weights[None, None] * du
    edges, side, different = _sides(vectors)
    w = jnp.where(different[..., None], gaussian(side[..., None], points[None, None, None, :, 2], length), 0.0)
    along = jnp.sum(v[:, None] * w, axis=2)  # sum over k, for each j
    radial = du * along + dv * jnp.sum(u[:, None] * w, axis=2)
    unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
    directions = safe_divide(edges, jnp.broadcast_to(side[..., None], edges.shape))
    bent = (u[:, :, None] * v[:, None] + v[:, :, None] * u[:, None]) * w
    bent = -bent * (side[..., None] - points[None, None, None, :, 2]) / length**2
    slopes = unit[..., None] * radial[:, :, None, :]
    slopes = slopes + jnp.einsum("ajkx,ajkp->ajxp", directions, bent, precision="highest")
    return jnp.sum(u * along, axis=1), slopes


def own_pairs(
    vectors: Float[Array, "atoms slots 3"], alike: Bool[Array, "atoms slots slots"], cutoff: float, length: float
) -> Float[Array, " atoms"]:
    """Prior variance of the sum over the pairs of an atom: 1/4 sum over j, k of one species of f f k(r_ij, r_ik).

    Args:
        vectors: r_ij, Å. alike: whether both are there, and of one species.
        cutoff, length: Å.
    """
    r = safe_norm(vectors)
    f = polynomial_cutoff(r, cutoff)
    k = jnp.where(alike, gaussian(r[:, :, None], r[:, None], length), 0.0)
    return 0.25 * jnp.sum(f[:, :, None] * f[:, None] * k, axis=(1, 2))


def own_triplets(
    vectors: Float[Array, "atoms slots 3"], alike: Bool[Array, "atoms slots slots"], cutoff: float, length: float
) -> Float[Array, " atoms"]:
    """Prior variance of the sum over the triplets of an atom, whose cost grows with the fourth power of neighbours.

    Args:
        vectors: r_ij, Å. alike: whether both are there, and of one species.
        cutoff, length: Å.
    """
    r = safe_norm(vectors)
    f = polynomial_cutoff(r, cutoff)
    k = jnp.where(alike, f[:, :, None] * f[:, None] * gaussian(r[:, :, None], r[:, None], length), 0.0)
    _, side, different = _sides(vectors)
    pair = jnp.where(different, jnp.where(alike, 0.25, 0.5), 0.0)  # c of the pair (j, k) of species
    third = gaussian(side[:, :, :, None, None], side[:, None, None], length)  # [atoms, j, k, j', k']
    both = jnp.where(different[:, None, None], k[:, :, None, :, None] * k[:, None, :, None, :], 0.0)
    return jnp.sum(pair[:, :, :, None, None] * both * third, axis=(1, 2, 3, 4))
