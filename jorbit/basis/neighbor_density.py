"""Expansion coefficients of a neighbour density with radial functions of each degree l, and their products."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

from jorbit.basis.angular import direction_gradients, real_spherical_harmonics
from jorbit.basis.envelope import Envelope
from jorbit.basis.radial_table import evaluate_series
from jorbit.core.ops import safe_divide, safe_norm


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborDensity:
    """c_(q n lm) = sum over neighbours j of weight_q(j) R_nl(r_ij) Y_lm(r̂_ij), Y_lm orthonormal.

    Attributes:
        series: Chebyshev series of R_nl without envelope, ordered by l and then n; see `radial_table`.
        envelope: factor of all R_nl, zero at the cutoff and beyond.
        n_radial: number of radial functions of each degree.
    """

    series: np.ndarray
    envelope: Envelope
    n_radial: tuple[int, ...]

    @property
    def l_max(self) -> int:
        return len(self.n_radial) - 1

    def angular(self, vectors: Float[Array, "*batch 3"]) -> Float[Array, "*batch lm"]:
        """Orthonormal Y_lm of the directions of pair vectors."""
        r = safe_norm(vectors)
        unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
        return real_spherical_harmonics(unit, self.l_max) * float(0.5 / np.sqrt(np.pi))

    def functions(self, vectors: Float[Array, "*batch 3"]) -> tuple[list[Array], list[Array]]:
        """R_nl(r) [*batch, n] and orthonormal Y_lm(r̂) [*batch, m] of pair vectors (Å), one array per degree."""
        r = safe_norm(vectors)
        radial = self.envelope(r)[..., None] * evaluate_series(self.series, r, self.envelope.cutoff)
        angular = self.angular(vectors)
        ends = np.cumsum(self.n_radial).tolist()
        return (
            [radial[..., end - n : end] for n, end in zip(self.n_radial, ends, strict=True)],
            [angular[..., l * l : (l + 1) ** 2] for l in range(self.l_max + 1)],
        )

    def coefficients(
        self, vectors: Float[Array, "atoms slots 3"], weights: Float[Array, "atoms slots channels"]
    ) -> list[Float[Array, "_ _ atoms"]]:
        """c_l [2l + 1, channels * n, atoms] for each degree; one batched matrix product over slots each."""
        radial, angular = self.functions(vectors)
        return [
            jnp.einsum("asm,asq->mqa", y, _times(weights, r), precision="highest")
            for r, y in zip(radial, angular, strict=True)
        ]

    def gradient_tables(
        self,
        vectors: Float[Array, "atoms slots 3"],
        weights: Float[Array, "atoms slots channels"],
        coefficients: list[Float[Array, "_ _ atoms"]],
    ) -> tuple[Array, Array, Array, Array]:
        """What derivatives of products sum_m c_a c_b with respect to pair vectors are made of.

        The term of slot s in c_a is R_a(s) Y_m(s), so its derivative times c_b, summed over m, is
        dR_a(s) q_b(s) + R_a(s) dq_b(s) with q_b(s) = sum_m Y_m(s) c_bm: two small tables instead of one per m.

        Returns:
            R, q, dR and dq [atoms, functions, slots * 3], the functions of all degrees one after the other.
        """
        r = safe_norm(vectors)
        unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
        (radial, angular), (slope, _) = jax.jvp(self.functions, (vectors,), (unit,))
        d_angular = direction_gradients(vectors, self.l_max)[1] * float(0.5 / np.sqrt(np.pi))
        d_angular = d_angular.reshape(*r.shape[:1], -1, d_angular.shape[-1])  # [atoms, slots * 3, lm]
        radial, slope, angular, d_angular = jax.lax.optimization_barrier((radial, slope, angular, d_angular))
        tables = []
        for degree, c in enumerate(coefficients):
            here = slice(degree * degree, (degree + 1) ** 2)
            q = jnp.einsum("asm,mqa->aqs", angular[degree], c, precision="highest")
            dq = jnp.einsum("asm,mqa->aqs", d_angular[..., here], c, precision="highest")
            of_slots = [_times(weights, a[degree]).swapaxes(1, 2) for a in (radial, slope)]
            tables.append((of_slots[0], q, of_slots[1], dq))
        r, q, dr, dq = (jnp.concatenate(arrays, axis=1) for arrays in zip(*tables, strict=True))
        dr = (dr[..., None] * unit[:, None]).reshape(dq.shape)
        return jax.lax.optimization_barrier((jnp.repeat(r, 3, axis=-1), jnp.repeat(q, 3, axis=-1), dr, dq))


def products(
    coefficients: list[Float[Array, "_ _ atoms"]],
    pairs: list[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]],
    factors: list[float],
) -> Float[Array, "atoms features"]:
    """factor_l sum_m c_(a lm) c_(b lm) for chosen pairs (a, b) of channels, degree after degree."""
    values = [
        factor * jnp.sum(c[:, left] * c[:, right], axis=0)
        for c, (left, right), factor in zip(coefficients, pairs, factors, strict=True)
    ]
    return jnp.concatenate(values, axis=0).T


def product_gradients(
    tables: tuple[Array, Array, Array, Array],
    pairs: list[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]],
    factors: list[float],
) -> Float[Array, "atoms features slots 3"]:
    """Derivatives of `products` with respect to pair vectors, from `NeighborDensity.gradient_tables`."""
    sizes = [0] + [1 + int(max(a.max() for a in both)) for both in pairs]
    starts = np.cumsum(sizes[:-1])
    left, right = (np.concatenate([start + both[k] for start, both in zip(starts, pairs, strict=True)]) for k in (0, 1))
    r, q, dr, dq = tables
    factor = np.concatenate([np.full(len(both[0]), f) for both, f in zip(pairs, factors, strict=True)])
    gradients = dr[:, left] * q[:, right] + r[:, left] * dq[:, right] + dr[:, right] * q[:, left]
    gradients = (gradients + r[:, right] * dq[:, left]) * jnp.asarray(factor, r.dtype)[None, :, None]
    return gradients.reshape(*gradients.shape[:2], -1, 3)


def _times(weights: Array, radial: Array) -> Array:
    """[*batch, channels] and [*batch, n] -> [*batch, channels * n]."""
    product = weights[..., :, None] * radial[..., None, :]
    return product.reshape(*product.shape[:-2], product.shape[-2] * product.shape[-1])
