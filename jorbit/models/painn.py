"""Scalars and vectors on every atom, two-body messages: PaiNN."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.radial import bessel, gaussians
from jorbit.core.blocks import shared_block
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.neighbor_sums import neighbor_sums
from jorbit.core.outputs import AtomOutputs
from jorbit.models.layers.atom_network import Layer, linear, silu
from jorbit.models.layers.envelopes import check_envelope, envelope
from jorbit.models.layers.ewald_messages import EwaldNetwork

RADIAL = {"bessel": bessel, "gaussian": gaussians}


class PaiNN(EwaldNetwork):
    """E_i = scale_z readout(s_i) + shift_z after layers of messages and updates of scalars s and vectors v.

    A message adds sum_j (phi(s_j) W(r_ij))_1 to s_i and sum_j v_j (..)_2 + r_ij/|r_ij| (..)_3 to v_i, with W a linear
    function of radial functions; an update mixes s, |V v| and U v . V v of the atom itself. Norms are
    sqrt(|v|^2 + softening^2) - softening, which is smooth where v = 0, as in symmetric sites and isolated atoms.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_features: scalars, and vectors, on each atom.
        n_layers: of messages.
        n_radial: number of radial functions.
        radial: "bessel" or "gaussian".
        envelope: "polynomial", "quadratic" (both smooth to second derivatives at the cutoff) or "cosine" (the second
            derivative jumps there).
        softening: of norms.
        block: atoms whose messages are computed together on one thread of a CPU; several threads take more.
        total_charge, ewald_widths, ewald_channels, ewald_accuracy, ewald_max_length: the total charge as an input, and
            messages at all distances, see `jorbit.models.layers.ewald_messages.EwaldNetwork`.

    Example:
        >>> PaiNN(n_species=2).needs.cutoff
        5.0

    References:
        Schütt, Unke and Gastegger, ICML 2021 (arXiv:2102.03150).
    """

    n_features: int = 128
    n_layers: int = 3
    n_radial: int = 20
    radial: str = "bessel"
    envelope: str = "polynomial"
    softening: float = 0.01
    block: int = 8

    @classmethod
    def tiny(cls, n_species: int = 2) -> "PaiNN":
        return cls(n_species=n_species, cutoff=3.0, n_features=4, n_layers=2, n_radial=3)

    @property
    def message_layers(self) -> int:
        """How many times atoms hear from their neighbours, one after the other."""
        return self.n_layers

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        if min(self.n_features, self.n_layers, self.n_radial) < 1 or self.softening <= 0:
            raise ConfigError(f"Wanted features, layers, radial functions and a softening above 0, got {self}.")
        check_envelope(self.envelope)
        if self.radial not in RADIAL:
            raise ConfigError(f"Wanted radial functions in {sorted(RADIAL)}, got {self.radial!r}.")
        dtype, neighbors, n = graph.positions.dtype, graph.within(self.cutoff), self.n_features
        average, block = self.average_neighbors(dtype), shared_block(self.block)
        vectors, filled = pair_vectors(graph, neighbors), neighbors.mask.astype(dtype)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        pairs = (vectors / r[..., None], self._radial(r, filled), filled)
        scalars, tensors = self.embedding(graph, n, dtype), None
        for layer in range(self.n_layers):
            filters, bias = self.layer(f"filter_{layer}", self.n_radial, 3 * n, dtype)
            hidden = silu(scalars, self.layer(f"message_{layer}_0", n, n, dtype))
            sent = linear(hidden, self.layer(f"message_{layer}_1", n, 3 * n, dtype)) / jnp.sqrt(average)
            maps = (self.kernel(f"left_{layer}", n, n, dtype), self.kernel(f"right_{layer}", n, n, dtype))
            update = (
                self.layer(f"update_{layer}_0", 2 * n, n, dtype),
                self.layer(f"update_{layer}_1", n, 3 * n, dtype),
            )
            said = (sent,) if tensors is None else (sent, tensors)
            heard = neighbor_sums(self._heard, self._told, (filters, bias), pairs, said, neighbors.index, block)
            far = self.far_messages(layer, scalars, graph)
            change = heard[1] if tensors is None else tensors + heard[1]
            scalars, tensors = self._update(scalars + heard[0], change, *maps, update)
            scalars = scalars + far
        hidden = silu(scalars, self.layer("readout_0", n, max(n // 2, 1), dtype))
        energy = linear(hidden, self.layer("readout_1", max(n // 2, 1), 1, dtype))[:, 0]
        return self.energies(graph, energy, scalars)

    def _radial(self, r: Array, filled: Array) -> Float[Array, "atoms slots functions"]:
        """The radial functions of pairs and the envelope, which the bias multiplies; 0 for empty slots."""
        fade = (filled * envelope(self.envelope, r, self.cutoff))[..., None]
        return jnp.concatenate([RADIAL[self.radial](r, self.cutoff, self.n_radial) * fade, fade], axis=-1)

    def _filters(self, weights: Layer, radial: Array) -> Float[Array, "atoms slots filters"]:
        """W(r_ij) of three filters per feature."""
        matrix, bias = weights
        filters = radial.reshape(-1, self.n_radial + 1) @ jnp.concatenate([matrix, bias[None]])
        return filters.reshape(*radial.shape[:-1], -1)

    def _heard(self, weights: Layer, pairs: tuple[Array, ...], said: tuple[Array, ...]) -> tuple[Array, Array]:
        """What comes to the scalars and vectors of a block of atoms; sums over slots are products, see
        `jorbit.core.graph.sum_over_slots`.
        """
        unit, radial, filled = pairs
        to_scalars, along, across = jnp.split(said[0] * self._filters(weights, radial), 3, axis=-1)
        change = jnp.einsum("asx,asf->axf", unit, along)
        if len(said) > 1:
            change = change + jnp.einsum("as,asxf->axf", filled, across[:, :, None] * said[1])
        return jnp.einsum("as,asf->af", filled, to_scalars), change

    def _told(
        self, weights: Layer, pairs: tuple[Array, ...], own: tuple[Array, ...], heard: tuple[Array, Array]
    ) -> tuple[Array, ...]:
        """The transpose of `_heard`, summed by the atom that says something; it is seen in the direction -unit."""
        unit, radial, filled = pairs
        to_scalars, along, across = jnp.split(self._filters(weights, radial), 3, axis=-1)
        scalar = jnp.einsum("as,asf->af", filled, to_scalars * heard[0])
        slope = sum(unit[..., x, None] * heard[1][:, :, x] for x in range(3))
        direct = -jnp.einsum("as,asf->af", filled, along * slope)
        if len(own) == 1:
            return (jnp.concatenate([scalar, direct, jnp.zeros_like(scalar)], axis=-1),)
        turned = jnp.einsum("as,asxf->axf", filled, across[:, :, None] * heard[1])
        last = own[0][:, None, 2 * self.n_features :]
        return jnp.concatenate([scalar, direct, (turned * own[1]).sum(axis=1)], axis=-1), turned * last

    def _update(
        self, scalars: Array, tensors: Array, left: Array, right: Array, update: tuple[Layer, Layer]
    ) -> tuple[Array, Array]:
        u, v = tensors @ left, tensors @ right
        norm = jnp.sqrt((v * v).sum(axis=1) + self.softening**2) - self.softening
        hidden = silu(jnp.concatenate([scalars, norm], axis=-1), update[0])
        own, product, vector = jnp.split(linear(hidden, update[1]), 3, axis=-1)
        return scalars + own + product * (u * v).sum(axis=1), tensors + vector[:, None] * u
