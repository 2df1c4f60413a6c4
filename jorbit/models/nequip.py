"""NequIP: tensors on every atom, messages of two bodies coupled by Clebsch-Gordan coefficients, gates."""

import functools
import itertools
import math
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.angular import real_spherical_harmonics
from jorbit.basis.coupling import coupled_degrees
from jorbit.basis.equivariant_layer import species_linear
from jorbit.basis.radial_network import normalized_silu, units_of_distance
from jorbit.basis.tables import tabulated
from jorbit.basis.tensor_messages import MessagePath, degree_slice, neighbor_message
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.outputs import AtomOutputs
from jorbit.models.layers.atom_network import AtomNetwork

AT_ONCE = 256  # atoms; gradients of forces of mapped blocks, as in training, take long to compile
TANH_NORM = 1.5925374197228312  # 1 / sqrt(E[tanh(x)^2]) for normal x
Weights = dict[str, Any]
Kind = tuple[int, int]  # degree, and 0 for tensors, 1 for pseudo-tensors


@functools.cache
def paths_to(kinds: tuple[Kind, ...], l_max: int, parity: bool) -> tuple[tuple[int, int, MessagePath], ...]:
    """Couplings of a neighbour's tensors with harmonics: (its kind, the message's kind, degrees).

    A coupling whose three degrees add up to an odd number turns tensors into pseudo-tensors and back; without `parity`
    there are none of these.

    Example:
        >>> [(a, b, path) for a, b, path in paths_to(((1, 0),), 1, parity=True) if path[1] == 1]
        [(0, 0, (1, 1, 0)), (0, 1, (1, 1, 1))]
    """
    return tuple(
        (kind, kind ^ odd, (l1, l2, l))
        for l1, kind in kinds
        for l2 in range(l_max + 1)
        for l in coupled_degrees(l1, l2)
        if l <= l_max and ((odd := (l1 + l2 + l) % 2) == 0 or parity)
    )


class NequIP(AtomNetwork):
    """E_i = scale_z readout(x_i) + shift_z after layers x -> gate(U sum_j R(r_ij) (W x_j x Y(r̂_ij)) + S_z x).

    x are tensors of degree 0 .. l_max, and pseudo-tensors with `parity`, `channels` of each. R is a network of Bessel
    functions, with numbers of its own for each coupling and channel; U, W and S_z mix channels (S_z for each species).
    Scalars pass through silu, pseudo-scalars through tanh, other tensors are multiplied by silu of a scalar each.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        channels: copies of each tensor.
        l_max: highest degree of tensors and harmonics.
        parity: with pseudo-tensors, as published.
        n_layers: of messages.
        n_bessel: radial functions that enter the network.
        power: of the polynomial cutoff.
        radial_widths: hidden layers of the radial network.
        block: atoms computed together on a CPU, when there are more than 256.

    Example:
        >>> NequIP(n_species=2).needs.cutoff
        5.0

    References:
        Batzner, Musaelian, Sun, Geiger, Mailoa, Kornbluth, Molinari, Smidt and Kozinsky, Nat. Commun. 13, 2453 (2022).
    """

    channels: int = 32
    l_max: int = 2
    parity: bool = True
    n_layers: int = 4
    n_bessel: int = 8
    power: int = 6
    radial_widths: tuple[int, ...] = (64, 64)
    block: int = 16

    @classmethod
    def tiny(cls, n_species: int = 2) -> "NequIP":
        return cls(n_species=n_species, cutoff=3.0, channels=2, l_max=1, n_layers=2, n_bessel=3, radial_widths=(4,))

    def kinds(self, layer: int) -> tuple[Kind, ...]:
        """Which tensors go into a layer: scalars into the first, all that messages can make into the others."""
        if layer == 0:
            return ((0, 0),)
        made = {(path[2], kind) for _, kind, path in paths_to(self.kinds(layer - 1), self.l_max, self.parity)}
        return tuple(sorted(made, key=lambda k: (k[1], k[0]))) if layer < self.n_layers else ((0, 0),)

    def paths(self, layer: int) -> tuple[tuple[int, int, MessagePath], ...]:
        """The couplings of a layer whose results are used."""
        made = self.kinds(layer + 1)
        found = paths_to(self.kinds(layer), self.l_max, self.parity)
        return tuple((source, to, path) for source, to, path in found if (path[2], to) in made)

    @property
    def message_layers(self) -> int:
        """How many times atoms hear from their neighbours, one after the other."""
        return self.n_layers

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        if min(self.channels, self.n_layers, self.n_bessel) < 1 or self.l_max < 0 or not self.radial_widths:
            raise ConfigError(f"Wanted layers, channels, radial functions and widths of 1 or more, got {self}.")
        dtype, neighbors, n = graph.positions.dtype, graph.within(self.cutoff), self.channels
        block = self.block if graph.n_atoms > AT_ONCE else graph.n_atoms
        root = jnp.sqrt(self.average_neighbors(dtype))
        vectors = pair_vectors(graph, neighbors)
        features = {(0, 0): self.embedding(graph, n, dtype)[None]}
        for layer in range(self.n_layers):
            weights: Weights = self._weights(layer, dtype) | {"root": root}
            weights["units"] = units_of_distance(
                weights["radial"], self.cutoff, self.n_bessel, self.power, table=tabulated(graph.n_atoms, dtype)
            )
            sent = {kind: x @ weights["sent"][kind] for kind, x in features.items()}
            sent = jnp.concatenate([jnp.moveaxis(x, 0, 1) for x in sent.values()], axis=1)[neighbors.index]
            own = jnp.concatenate([jnp.moveaxis(x, 0, 1) for x in features.values()], axis=1)
            inputs = (vectors, graph.species, own, sent)
            rows = map_atom_blocks(lambda *a, k=layer, w=weights: self._layer(k, w, *a), inputs, block)
            features = split_kinds(rows, self.kinds(layer + 1))
        scalars = features[0, 0][0]
        hidden = scalars @ self.kernel("readout_0", n, max(n // 2, 1), dtype)
        return self.energies(graph, (hidden @ self.kernel("readout_1", max(n // 2, 1), 1, dtype))[:, 0], scalars)

    @property
    def species_tables(self) -> tuple[str, ...]:
        both = [(k, kind) for k in range(self.n_layers) for kind in self.kinds(k) if kind in self.kinds(k + 1)]
        return tuple(f"skip_{layer}_{kind[0]}{_parity(kind)}" for layer, kind in both)

    def _weights(self, layer: int, dtype: jnp.dtype) -> Weights:
        kinds, made, n = self.kinds(layer), self.kinds(layer + 1), self.channels
        paths = self.paths(layer)
        widths = (self.n_bessel, *self.radial_widths)
        n_gates = n * sum(degree > 0 for degree, _ in made)
        update, skip = {}, {}
        for kind in made:
            n_in = n * sum((path[2], to) == kind for _, to, path in paths)
            n_out = n + n_gates if kind == (0, 0) else n
            name = f"{layer}_{kind[0]}{_parity(kind)}"
            update[kind] = self.kernel(f"update_{name}", n_in, n_out, dtype)
            if kind in kinds:
                normal = nn.initializers.normal(1.0 / math.sqrt(n))
                skip[kind] = self.param(f"skip_{name}", normal, (self.n_species, n, n_out), dtype)
        normal = nn.initializers.normal(1.0)
        return {
            "radial": [
                self.param(f"radial_{layer}_{k}", normal, widths[k : k + 2], dtype) for k in range(len(widths) - 1)
            ],
            "last": self.kernel(f"radial_{layer}_last", widths[-1], len(paths) * n, dtype),
            "sent": {k: self.kernel(f"sent_{layer}_{k[0]}{_parity(k)}", n, n, dtype) for k in kinds},
            "update": update,
            "skip": skip,
        }

    def _layer(
        self,
        layer: int,
        weights: Weights,
        vectors: Float[Array, "atoms slots 3"],
        species: Array,
        own: Float[Array, "atoms components channels"],
        sent: Float[Array, "atoms slots components channels"],
    ) -> Float[Array, "atoms components_out channels"]:
        """New features of each atom, all kinds in a row."""
        kinds, made, n = self.kinds(layer), self.kinds(layer + 1), self.channels
        paths = self.paths(layer)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        functions = weights["units"](r)
        radial = (functions.reshape(-1, functions.shape[-1]) @ weights["last"]).reshape(*r.shape, len(paths), n)
        harmonics = real_spherical_harmonics(vectors / r[..., None], self.l_max)
        messages: dict[Kind, list[Array]] = {kind: [] for kind in made}
        tensors = dict(zip(kinds, jnp.split(sent, _ends(kinds), axis=2), strict=True))
        split = jnp.split(radial, len(paths), axis=2)  # the transpose of slices would be a sum of padded arrays
        for function, (source, to, (l1, l2, l)) in zip(split, paths, strict=True):
            y, tensor = harmonics[..., degree_slice(l2)], tensors[l1, source]
            messages[l, to].append(neighbor_message(function[:, :, 0], y, tensor, l))
        new, old = {}, split_kinds(own, kinds)
        for kind, parts in messages.items():
            new[kind] = jnp.concatenate(parts, axis=-1) @ weights["update"][kind] / weights["root"]
            if kind in weights["skip"]:
                new[kind] = new[kind] + species_linear(old[kind], weights["skip"][kind], species)
        return _gated(new, n)


def _parity(kind: Kind) -> str:
    """e or o: whether components keep their sign under inversion."""
    return "eo"[sum(kind) % 2]


def _ends(kinds: tuple[Kind, ...]) -> list[int]:
    """Where the components of one kind end and those of the next begin."""
    return list(itertools.accumulate(2 * degree + 1 for degree, _ in kinds[:-1]))


def split_kinds(
    rows: Float[Array, "atoms components channels"], kinds: tuple[Kind, ...]
) -> dict[Kind, Float[Array, "m atoms channels"]]:
    """Tensors of each kind from all components in a row."""
    return dict(zip(kinds, jnp.split(jnp.moveaxis(rows, 1, 0), _ends(kinds), axis=0), strict=True))


def _gated(new: dict[Kind, Array], n: int) -> Float[Array, "atoms components channels"]:
    """Activations; scalars after the first n are gates, n for each kind of tensor."""
    gates = iter(jnp.split(new[0, 0][..., n:], list(range(n, new[0, 0].shape[-1] - n, n)), axis=-1))
    out = []
    for (degree, kind), x in new.items():
        if degree == 0:
            out.append(TANH_NORM * jnp.tanh(x) if kind else normalized_silu(x[..., :n]))
        else:
            out.append(normalized_silu(next(gates)) * x)
    return jnp.moveaxis(jnp.concatenate(out, axis=0), 0, 1)
