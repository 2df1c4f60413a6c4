"""Scalars and vectors on every atom, two-body messages: PaiNN."""

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.radial import bessel, gaussians
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.outputs import AtomOutputs
from jorbit.models.layers.atom_network import Layer, linear, silu
from jorbit.models.layers.envelopes import check_envelope, envelope
from jorbit.models.layers.ewald_messages import EwaldNetwork

RADIAL = {"bessel": bessel, "gaussian": gaussians}
AT_ONCE = 256  # atoms; gradients of forces of mapped blocks, as in training, take long to compile


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
        block: atoms computed together on a CPU, when there are more than 256.
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
    block: int = 16

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
        block = self.block if graph.n_atoms > AT_ONCE else graph.n_atoms
        average = self.average_neighbors(dtype)
        vectors, filled = pair_vectors(graph, neighbors), neighbors.mask.astype(dtype)
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
            inputs = (vectors, filled, scalars, sent[neighbors.index])
            if tensors is not None:
                inputs = (*inputs, tensors, tensors[neighbors.index])

            def one(
                vectors: Array,
                filled: Array,
                scalars: Array,
                sent: Array,
                tensors: Array | None = None,
                others: Array | None = None,
                weights: tuple = (filters, bias, *maps, update),
            ) -> tuple[Array, Array]:
                filters, bias, left, right, update = weights
                scalars, tensors = self._message(vectors, filled, scalars, sent, tensors, others, filters, bias)
                return self._update(scalars, tensors, left, right, update)

            far = self.far_messages(layer, scalars, graph)
            scalars, tensors = map_atom_blocks(one, inputs, block)
            scalars = scalars + far
        hidden = silu(scalars, self.layer("readout_0", n, max(n // 2, 1), dtype))
        energy = linear(hidden, self.layer("readout_1", max(n // 2, 1), 1, dtype))[:, 0]
        return self.energies(graph, energy, scalars)

    def _message(
        self,
        vectors: Float[Array, "atoms slots 3"],
        filled: Float[Array, "atoms slots"],
        scalars: Float[Array, "atoms features"],
        sent: Float[Array, "atoms slots three_features"],
        tensors: Float[Array, "atoms 3 features"] | None,
        others: Float[Array, "atoms slots 3 features"] | None,
        filters: Array,
        bias: Array,
    ) -> tuple[Array, Array]:
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        fade = envelope(self.envelope, r, self.cutoff)[..., None]
        radial = (RADIAL[self.radial](r, self.cutoff, self.n_radial) * fade).reshape(-1, self.n_radial) @ filters
        weighted = sent * (radial.reshape(sent.shape) + fade * bias[None, None])
        to_scalars, along, across = jnp.split(weighted, 3, axis=-1)
        # Sums over slots are products, see jorbit.core.graph.sum_over_slots.
        scalars = scalars + jnp.einsum("as,asf->af", filled, to_scalars)
        change = jnp.einsum("asx,asf->axf", vectors / r[..., None], along)
        if tensors is not None and others is not None:
            change = change + tensors + jnp.einsum("as,asxf->axf", filled, across[:, :, None, :] * others)
        return scalars, change

    def _update(
        self, scalars: Array, tensors: Array, left: Array, right: Array, update: tuple[Layer, Layer]
    ) -> tuple[Array, Array]:
        u, v = tensors @ left, tensors @ right
        norm = jnp.sqrt((v * v).sum(axis=1) + self.softening**2) - self.softening
        hidden = silu(jnp.concatenate([scalars, norm], axis=-1), update[0])
        own, product, vector = jnp.split(linear(hidden, update[1]), 3, axis=-1)
        return scalars + own + product * (u * v).sum(axis=1), tensors + vector[:, None] * u
