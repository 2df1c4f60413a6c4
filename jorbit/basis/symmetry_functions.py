"""Sums over neighbours and over pairs of neighbours, resolved by species: what ACSF and ANI's AEV share."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.ops import safe_divide, safe_norm


def species_weights(
    species_j: Int[Array, "atoms slots"], mask: Bool[Array, "atoms slots"], n_species: int, dtype: jnp.dtype
) -> Float[Array, "atoms slots species"]:
    """1 where the slot holds a neighbour of the species, else 0."""
    return jnp.where(mask[..., None], jax.nn.one_hot(species_j, n_species, dtype=dtype), 0.0)


def species_pairs(n_species: int) -> tuple[Int[np.ndarray, " pairs"], Int[np.ndarray, " pairs"]]:
    """Unordered pairs of species (p <= q): (0, 0), (0, 1), ..., (1, 1), ..."""
    left, right = np.triu_indices(n_species)
    return left.astype(np.int32), right.astype(np.int32)


def real_power(base: Float[Array, "*batch"], exponent: float) -> Float[Array, "*batch"]:
    """base^exponent of a base >= 0; whole exponents by multiplication, 0 at base 0 with slope 0 for the others."""
    if float(exponent).is_integer():
        return base ** int(exponent)
    positive = base > 0
    return jnp.where(positive, jnp.exp(exponent * jnp.log(jnp.where(positive, base, 1.0))), 0.0)


def third_side(
    a: Float[Array, "*#batch"], b: Float[Array, "*#batch"], cosine: Float[Array, "*#batch"]
) -> Float[Array, "*batch"]:
    """Length opposite to the angle between sides a and b, with value and slope 0 where it vanishes."""
    squared = a**2 + b**2 - 2.0 * a * b * cosine
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


@dataclasses.dataclass(frozen=True, eq=False)
class PairSums:
    """sum_j R_k(r_ij) over the neighbours of each species.

    Attributes:
        radial: distances [...] (Å) -> R [..., k].
    """

    radial: Callable[[Array], Array]

    def __call__(
        self, vectors: Float[Array, "atoms slots 3"], weights: Float[Array, "atoms slots species"]
    ) -> Float[Array, "atoms features"]:
        sums = jnp.einsum("ask,asq->aqk", self.radial(safe_norm(vectors)), weights, precision="highest")
        return sums.reshape(len(vectors), -1)

    def gradients(
        self, vectors: Float[Array, "atoms slots 3"], weights: Float[Array, "atoms slots species"]
    ) -> Float[Array, "atoms features slots 3"]:
        """Derivatives with respect to each pair vector."""
        r = safe_norm(vectors)
        unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
        slopes = jnp.moveaxis(jax.jvp(self.radial, (r,), (jnp.ones_like(r),))[1], 1, 2)  # [atoms, k, slots]
        each = jnp.swapaxes(weights, 1, 2)[:, :, None] * slopes[:, None]
        return each.reshape(len(r), -1, r.shape[1])[..., None] * unit[:, None]


@dataclasses.dataclass(frozen=True, eq=False)
class TripleSums:
    """sum over pairs {j, k} of neighbours, each pair once, of E_k(r_ij, r_ik, c) P_p(c), for each pair of species.

    c is the cosine of the angle between r_ij and r_ik, and E_k(a, b, c) = E_k(b, a, c). The derivative of
    sum_k E P with respect to r_ij is u_ij sum_k (d_a - c / r_ij d_c) E P + sum_k u_ik / r_ij d_c E P, with u the unit
    vectors: like the sums themselves, a few small matrix products over the other neighbour.

    Attributes:
        radial: (a, b, cosine) -> E [atoms, other, own, k]; a belongs to the own slot, b to the other.
        angular: cosine -> P [atoms, other, own, p].
        which: the chosen (k, p), in the order of the features.
    """

    radial: Callable[[Array, Array, Array], Array]
    angular: Callable[[Array], Array]
    which: tuple[tuple[int, int], ...]

    def __call__(
        self, vectors: Float[Array, "atoms slots 3"], weights: Float[Array, "atoms slots species"]
    ) -> Float[Array, "atoms features"]:
        @jax.custom_jvp
        def sums(vectors: Array, weights: Array) -> Array:
            e, p, different, _ = self._factors(vectors)
            return _pair_up(self._contracted(e * different, p, weights[:, :, None]), weights)

        @sums.defjvp
        def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
            vectors, weights = primals
            values, tables = self._shares_and_tables(vectors, weights)
            along = jnp.einsum("atqnx,atx->atqn", tables, tangents[0], precision="highest")
            return _pair_up(values, weights), _pair_up(along, weights, both=True)

        return sums(vectors, jax.lax.stop_gradient(weights))

    def gradients(
        self, vectors: Float[Array, "atoms slots 3"], weights: Float[Array, "atoms slots species"]
    ) -> Float[Array, "atoms features slots 3"]:
        """Derivatives with respect to each pair vector."""
        tables = jnp.moveaxis(self._shares_and_tables(vectors, weights)[1], 1, 3)  # [atoms, species, n, slots, 3]
        left, right = species_pairs(weights.shape[-1])
        once = jnp.asarray(np.where(left == right, 0.5, 1.0), vectors.dtype)[None, :, None, None, None]
        w = jnp.swapaxes(weights, 1, 2)[:, :, None, :, None]
        each = once * (w[:, left] * tables[:, right] + w[:, right] * tables[:, left])
        return each.reshape(len(vectors), -1, *vectors.shape[1:])

    def _factors(self, vectors: Array) -> tuple[Array, Array, Array, tuple[Array, ...]]:
        """E, P, 0 where both neighbours are the same slot, and what they were made of."""
        r = safe_norm(vectors)
        unit = safe_divide(vectors, jnp.broadcast_to(r[..., None], vectors.shape))
        cosine = jnp.einsum("aox,atx->aot", unit, unit, precision="highest")
        own, other = r[:, None, :], r[:, :, None]
        different = (1.0 - jnp.eye(r.shape[1], dtype=r.dtype))[None, :, :, None]
        return self.radial(own, other, cosine), self.angular(cosine), different, (unit, own, other, cosine)

    def _shares_and_tables(self, vectors: Array, weights: Array) -> tuple[Array, Array]:
        """What each slot adds [atoms, own, species, n], and its derivatives [atoms, own, species, n, 3]."""
        e, p, different, (unit, own, other, cosine) = self._factors(vectors)
        e_a = jax.jvp(lambda a: self.radial(a, other, cosine), (own,), (jnp.ones_like(own),))[1]
        e_c = jax.jvp(lambda c: self.radial(own, other, c), (cosine,), (jnp.ones_like(cosine),))[1]
        p_c = jax.jvp(self.angular, (cosine,), (jnp.ones_like(cosine),))[1]
        # computed once, not again in every product they are part of
        e, e_a, e_c, p, p_c = jax.lax.optimization_barrier((e * different, e_a * different, e_c * different, p, p_c))
        inverse = safe_divide(jnp.ones_like(own), own)[..., None]
        turn = cosine[..., None] * inverse
        towards = weights[:, :, None]
        aside = (unit[..., None, :] * weights[..., None]).reshape(*weights.shape[:2], -1)[:, :, None]  # species * 3
        values = self._contracted(e, p, towards)
        along = self._contracted(e_a - turn * e_c, p, towards) - self._contracted(turn * e, p_c, towards)
        across = self._contracted(inverse * e_c, p, aside) + self._contracted(inverse * e, p_c, aside)
        across = jnp.moveaxis(across.reshape(*across.shape[:2], -1, 3, across.shape[-1]), 3, -1)
        return values, along[..., None] * unit[:, :, None, None] + across

    def _contracted(self, e: Array, p: Array, columns: Array) -> Array:
        """sum over other neighbours o of e[a, o, t, k] p[a, o, t, p] columns[a, o, 1, c] -> [a, t, c, n]."""
        weighted = e[..., None, :] * columns[..., None]
        sums = jnp.einsum("aotck,aotp->atckp", weighted, p, precision="highest")
        sums = sums.reshape(*sums.shape[:3], -1)
        chosen = [k * p.shape[-1] + q for k, q in self.which]
        return sums if chosen == list(range(sums.shape[-1])) else sums[..., np.asarray(chosen, np.int32)]


def _pair_up(shares: Array, weights: Array, both: bool = False) -> Array:
    """[atoms, own, species, n] -> [atoms, pairs * n]; of tangents the second neighbour's part is added (`both`)."""
    left, right = species_pairs(weights.shape[-1])
    sums = jnp.einsum("atqn,atp->apqn", shares, weights, precision="highest")
    chosen = sums[:, left, right] + sums[:, right, left] if both else sums[:, left, right]
    once = jnp.asarray(np.where(left == right, 0.5, 1.0), shares.dtype)
    return (chosen * once[None, :, None]).reshape(len(shares), -1)
