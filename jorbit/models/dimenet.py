"""DimeNet: messages on directed pairs of atoms that know the angles to the pairs before them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.directional import directional_sums, spherical_waves
from jorbit.basis.opposite_pairs import opposite_pairs
from jorbit.basis.radial import bessel
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.outputs import AtomOutputs
from jorbit.models.layers.atom_network import AtomNetwork, Layer, silu

AT_ONCE = 256  # atoms; gradients of forces of mapped blocks, as in training, take long to compile
Weights = dict[str, Any]


class DimeNet(AtomNetwork):
    """E_i = scale_z sum over blocks of output(sum_j (W e(r_ij)) * m_ji) + shift_z, m_ji messages from j to i.

    A block adds to m_ji what the messages m_kj, k not i, become under a filter of r_kj and the angle at j between k and
    i: spherical Bessel functions times Legendre polynomials, mapped to few features. Two residual stacks follow. The
    sum over k is done by the addition theorem, for each atom j instead of for each triple, so its cost is linear in
    the neighbours; the messages then change sides, from the list of j to the list of i.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_features: of a message.
        n_blocks: of interactions.
        n_down: features of the messages while angles are looked at.
        n_radial: Bessel functions e, and radial functions for each degree.
        l_max: highest degree in the angle.
        n_basis: features that the filters are mapped through.
        n_out: width of the output networks.
        n_before, n_after: residual layers before and after the message is added.
        block: atoms computed together on a CPU, when there are more than 256.

    Example:
        >>> DimeNet(n_species=2).needs.cutoff
        5.0

    References:
        Gasteiger, Groß and Günnemann, ICLR 2020 (arXiv:2003.03123); Gasteiger, Giri, Margraf and Günnemann,
        arXiv:2011.14115 (DimeNet++: products instead of bilinear layers, fewer features for the angles).
    """

    n_features: int = 128
    n_blocks: int = 4
    n_down: int = 64
    n_radial: int = 6
    l_max: int = 6
    n_basis: int = 8
    n_out: int = 256
    n_before: int = 1
    n_after: int = 2
    block: int = 16

    @classmethod
    def tiny(cls, n_species: int = 2) -> "DimeNet":
        return cls(
            n_species=n_species,
            cutoff=3.0,
            n_features=4,
            n_blocks=1,
            n_down=3,
            n_radial=2,
            l_max=2,
            n_basis=2,
            n_out=3,
            n_before=0,
            n_after=1,
        )

    @property
    def message_layers(self) -> int:
        """How many times atoms hear from their neighbours, one after the other."""
        return self.n_blocks + 1

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        if min(self.n_features, self.n_blocks, self.n_down, self.n_radial, self.n_basis, self.n_out) < 1:
            raise ConfigError(f"Wanted blocks, features and functions of 1 or more, got {self}.")
        neighbors, n, dtype = graph.within(self.cutoff), self.n_features, graph.positions.dtype
        block = self.block if graph.n_atoms > AT_ONCE else graph.n_atoms
        vectors, filled = pair_vectors(graph, neighbors), neighbors.mask.astype(dtype)
        opposite, there = opposite_pairs(neighbors)
        own = self.embedding(graph, n, dtype)
        first = {
            "radial": self.layer("first_radial", self.n_radial, n, dtype),
            "mix": self.layer("first_mix", 3 * n, n, dtype),
            "out": self._output(0, dtype),
        }
        inputs = (vectors, filled, own, gather_neighbors(own, neighbors))
        messages, total = map_atom_blocks(lambda *a: self._first(first, *a), inputs, block)
        root = jnp.sqrt(self.average_neighbors(dtype))
        for k in range(self.n_blocks):
            look, update = self._block(k, dtype)
            seen = map_atom_blocks(lambda *a, w=look: self._look(w, *a), (vectors, messages), block) / root
            seen = jnp.where(there[..., None], seen.reshape(-1, self.n_down)[opposite], 0.0)
            inputs = (vectors, filled, messages, seen)
            messages, part = map_atom_blocks(lambda *a, w=update: self._update(w, *a), inputs, block)
            total = total + part
        return self.energies(graph, total)

    def _output(self, k: int, dtype: jnp.dtype) -> Weights:
        n, out = self.n_features, self.n_out
        return {
            "radial": self.kernel(f"out_{k}_radial", self.n_radial, n, dtype),
            "up": self.kernel(f"out_{k}_up", n, out, dtype),
            "hidden": [self.layer(f"out_{k}_{m}", out, out, dtype) for m in range(3)],
            "last": self.kernel(f"out_{k}_last", out, 1, dtype),
        }

    def _block(self, k: int, dtype: jnp.dtype) -> tuple[Weights, Weights]:
        n, down, basis = self.n_features, self.n_down, self.n_basis
        n_waves = (self.l_max + 1) * self.n_radial
        look = {
            "message": self.layer(f"look_{k}", n, n, dtype),
            "radial": self.kernel(f"radial_{k}_0", self.n_radial, basis, dtype)
            @ self.kernel(f"radial_{k}_1", basis, n, dtype),
            "down": self.kernel(f"down_{k}", n, down, dtype),
            "waves": self.kernel(f"waves_{k}_0", n_waves, basis, dtype)
            @ self.kernel(f"waves_{k}_1", basis, down, dtype),
        }
        update = {
            "own": self.layer(f"own_{k}", n, n, dtype),
            "up": self.kernel(f"up_{k}", down, n, dtype),
            "skip": self.layer(f"skip_{k}", n, n, dtype),
            "before": self._residuals(f"before_{k}", self.n_before, dtype),
            "after": self._residuals(f"after_{k}", self.n_after, dtype),
            "out": self._output(k + 1, dtype),
        }
        return look, update

    def _residuals(self, name: str, count: int, dtype: jnp.dtype) -> list[tuple[Layer, Layer]]:
        n = self.n_features
        names = [(f"{name}_{m}_0", f"{name}_{m}_1") for m in range(count)]
        return [(self.layer(a, n, n, dtype), self.layer(b, n, n, dtype)) for a, b in names]

    def _radial(self, vectors: Float[Array, "atoms slots 3"]) -> tuple[Array, Array]:
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        return r, bessel(r, self.cutoff, self.n_radial) * polynomial_cutoff(r, self.cutoff)[..., None]

    def _first(self, w: Weights, vectors: Array, filled: Array, own: Array, others: Array) -> tuple[Array, Array]:
        """m_ji = silu(W [x_j, x_i, silu(W e)] + b)."""
        _, radial = self._radial(vectors)
        centers = jnp.broadcast_to(own[:, None], others.shape)
        messages = silu(jnp.concatenate([others, centers, silu(radial, w["radial"])], axis=-1), w["mix"])
        return messages, _energy(w["out"], filled, radial, messages)

    def _look(self, w: Weights, vectors: Array, messages: Array) -> Float[Array, "atoms slots n_down"]:
        """What atom j has to tell each of its neighbours about the messages from all others."""
        r, radial = self._radial(vectors)
        values = jax.nn.silu((silu(messages, w["message"]) * (radial @ w["radial"])) @ w["down"])
        harmonics = real_spherical_harmonics(vectors / r[..., None], self.l_max)
        waves = spherical_waves(r, self.l_max, self.n_radial, self.cutoff)
        table = w["waves"].reshape(self.l_max + 1, self.n_radial, -1)
        return directional_sums(jnp.einsum("asln,lnf->aslf", waves, table), harmonics, values)

    def _update(self, w: Weights, vectors: Array, filled: Array, messages: Array, seen: Array) -> tuple[Array, Array]:
        x = silu(messages, w["own"]) + jax.nn.silu(seen @ w["up"])
        for first, second in w["before"]:
            x = x + silu(silu(x, first), second)
        x = silu(x, w["skip"]) + messages
        for first, second in w["after"]:
            x = x + silu(silu(x, first), second)
        return x, _energy(w["out"], filled, self._radial(vectors)[1], x)


def _energy(
    w: Weights,
    filled: Float[Array, "atoms slots"],
    radial: Float[Array, "atoms slots n_radial"],
    messages: Float[Array, "atoms slots features"],
) -> Float[Array, " atoms"]:
    """Of the messages to each atom; the sum over slots is a product, see `jorbit.core.graph.sum_over_slots`."""
    x = jnp.einsum("as,asf->af", filled, (radial @ w["radial"]) * messages) @ w["up"]
    for layer in w["hidden"]:
        x = silu(x, layer)
    return (x @ w["last"])[:, 0]
