"""Interactions of two atoms with all periodic images: a smooth periodic distance, and the Ewald sum of one pair."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erfc
from jaxtyping import Bool, Float

from jorbit.core.ops import safe_norm


def completed_cell(cell: Float[Array, "3 3"]) -> tuple[Float[Array, "3 3"], Bool[Array, "3"]]:
    """The cell with rows of zeros replaced by unit vectors normal to the others, and which rows were there."""
    present = jnp.any(cell != 0, axis=1)
    count = jnp.sum(present)
    # One row missing: the normal of the other two. Two missing: any two normals of the one. Three: the unit matrix.
    u = cell[jnp.argmax(present)]
    u = u / jnp.where(count > 0, safe_norm(jnp.where(count > 0, u, 1.0)), 1.0)
    axis = jnp.eye(3, dtype=cell.dtype)[jnp.argmin(jnp.abs(u))]
    first = _normal(u, axis)
    eye = jnp.eye(3, dtype=cell.dtype)
    two = [_normal(cell[(k + 1) % 3], cell[(k + 2) % 3]) for k in range(3)]
    rows = []
    for k in range(3):
        second = jnp.cross(u, first)
        lone = jnp.where(present[(k + 1) % 3], first, second)  # the row after the one that is there, and the other
        missing = jnp.where(count == 2, two[k], jnp.where(count == 1, lone, eye[k]))
        rows.append(jnp.where(present[k], cell[k], missing))
    return jnp.stack(rows), present


def _normal(a: Array, b: Array) -> Array:
    cross = jnp.cross(a, b)
    length = safe_norm(cross)
    return cross / jnp.where(length > 0, length, 1.0)


def sine_distance(vectors: Float[Array, "*batch 3"], cell: Float[Array, "3 3"]) -> Float[Array, "*batch"]:
    """|sum_k sin^2(pi f_k) a_k| with f the fractional coordinates of the vectors and a_k the lattice vectors, Å.

    Periodic and smooth. Along directions without a lattice vector the component itself counts, so that without a cell
    this is the length.

    References:
        Faber, Lindmaa, von Lilienfeld and Armiento, Int. J. Quantum Chem. 115, 1094 (2015).
    """
    full, periodic = completed_cell(cell)
    fractional = jnp.matmul(vectors, jnp.linalg.inv(full), precision="highest")
    waves = jnp.where(periodic, jnp.sin(jnp.pi * fractional) ** 2, fractional)
    return safe_norm(jnp.matmul(waves, full, precision="highest"))


def ewald_potential(
    vectors: Float[Array, "n n 3"], cell: Float[Array, "3 3"], n_images: int = 3
) -> tuple[Float[Array, "n n"], Float[Array, ""]]:
    """Electrostatic potential at r of a unit charge and all its images in a neutralising background, 1/Å.

    sum_L erfc(a |r + L|) / |r + L| + 4 pi / V sum_G exp(-G^2 / (4 a^2)) cos(G r) / G^2 - pi / (V a^2), which does not
    depend on a; a = sqrt(pi) / V^(1/3) makes both sums equally short.

    Args:
        vectors: r_j - r_i, Å; zeros on the diagonal.
        cell: three lattice vectors as rows, Å.
        n_images: images and waves up to this number in each direction: 3 is enough for 1e-9 in compact cells (edges
            and angles alike), long or skewed ones need more.

    Returns:
        The potential of other atoms (the diagonal is not meaningful), and at the charge of its own images.
    """
    volume = jnp.abs(jnp.linalg.det(cell))
    a = jnp.sqrt(jnp.pi) / jnp.cbrt(volume)
    inverse = jnp.linalg.inv(cell)
    reciprocal = 2.0 * jnp.pi * inverse.T
    # Atoms may lie cells apart: images are counted from the one that rounding finds.
    whole = jnp.round(jax.lax.stop_gradient(jnp.matmul(vectors, inverse, precision="highest")))
    vectors = vectors - jnp.matmul(whole, cell, precision="highest")
    steps = np.array(list(itertools.product(range(-n_images, n_images + 1), repeat=3)), np.float64)
    home = (steps == 0).all(axis=1)
    off_diagonal = ~np.eye(vectors.shape[0], dtype=bool)

    def add(sums: tuple[Array, Array], one: tuple[Array, Array]) -> tuple[tuple[Array, Array], None]:
        step, is_home = one
        r = vectors + jnp.matmul(step, cell, precision="highest")[None, None]
        r = safe_norm(jnp.where(off_diagonal[..., None], r, 1.0))
        wave = jnp.matmul(step, reciprocal, precision="highest")
        g2 = jnp.where(is_home, 1.0, jnp.sum(wave**2))
        factor = jnp.where(is_home, 0.0, 4.0 * jnp.pi / volume * jnp.exp(-g2 / (4.0 * a**2)) / g2)
        phase = jnp.matmul(vectors, wave, precision="highest")
        length = safe_norm(jnp.where(is_home, 1.0, jnp.matmul(step, cell, precision="highest")))
        own = jnp.where(is_home, 0.0, erfc(a * length) / length)
        return (sums[0] + erfc(a * r) / r + factor * jnp.cos(phase), sums[1] + own + factor), None

    start = (jnp.zeros(vectors.shape[:2], vectors.dtype), jnp.zeros((), vectors.dtype))
    each = (jnp.asarray(steps, vectors.dtype), jnp.asarray(home))
    (others, own), _ = jax.lax.scan(jax.checkpoint(add), start, each)
    background = jnp.pi / (volume * a**2)
    return others - background, own - background - 2.0 * a / jnp.sqrt(jnp.pi)
