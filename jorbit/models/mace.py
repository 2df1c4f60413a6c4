"""Equivariant messages whose products reach four bodies in every layer: MACE."""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.basis.equivariant_layer import LayerShape, layer_features, mix_degrees
from jorbit.basis.label_embedding import Factored, LabelEmbedding, label_embedding
from jorbit.basis.radial_network import units_of_distance
from jorbit.basis.tables import tabulated
from jorbit.core.blocks import map_atom_blocks, shared_block
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Params
from jorbit.models.layers.atom_network import AtomNetwork
from jorbit.orbits.covalent_radii import RADII

AT_ONCE = 256  # atoms; gradients of forces of mapped blocks, as in training, take long to compile


class MACE(AtomNetwork):
    """E_i = shift_z + scale_z sum over layers t of readout_t(h_i^t).

    In each layer neighbours send A_i,lm = sum_j (R(r_ij) Y(r_ij) x h_j)_lm, with R a network of the distance, and the
    new features are independent products of up to `correlation` of these A, with weights for each species, mixed and
    added to the old features. `constants` (scale, shift, average number of neighbours) come from `calibrate`.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        channels: copies of each tensor.
        hidden_l: highest degree of the features that pass between layers: 0 = scalars (32x0e), 1 = with vectors.
        l_max: highest degree of harmonics and of A.
        correlation: factors in a product, at most 3.
        n_layers: 1, 2, ...; the last one makes scalars only.
        n_bessel: radial functions that enter the network.
        power: of the polynomial cutoff.
        radial_widths: hidden layers of the radial network.
        readout_width: hidden units of the last layer's readout.
        first_residual: the first layer also adds its input, transformed for each species; otherwise its A are.
        density: divide A by 1 + a learned number of neighbours instead of by the average number.
        transform: (a, q, p) of y = 1 / (1 + a s^q / (1 + s^(q-p))), s = 2 r / (R_i + R_j), R covalent radii: Bessel
            functions of y instead of r. None = of r.
        label_mode: "replace", "add" or "factored": how species (orbits) of one element share (see
            `jorbit.basis.label_embedding`).
        parents: element of each species, for "add" and "factored"; None = each its own.
        rank: of "factored".
        block: atoms computed together on one thread of a CPU, when there are more than 256; several threads take more.

    Example:
        >>> MACE(n_species=1).needs.cutoff
        5.0

    References:
        Batatia, Kovács, Simm, Ortner and Csányi, NeurIPS 2022 (arXiv:2206.07697).
    """

    channels: int = 32
    hidden_l: int = 0
    l_max: int = 3
    correlation: int = 3
    n_layers: int = 2
    n_bessel: int = 8
    power: int = 5
    radial_widths: tuple[int, ...] = (64, 64, 64)
    readout_width: int = 16
    first_residual: bool = True
    density: bool = False
    transform: tuple[float, float, float] | None = None
    label_mode: str = "replace"
    parents: tuple[int, ...] | None = None
    rank: int = 4
    block: int = 16

    @classmethod
    def tiny(cls, n_species: int = 2) -> "MACE":
        return cls(
            n_species=n_species,
            cutoff=3.0,
            channels=2,
            hidden_l=1,
            l_max=1,
            n_bessel=3,
            radial_widths=(4,),
            readout_width=2,
        )

    def _check(self) -> None:
        wrong = (
            self.n_layers < 1
            or self.channels < 1
            or not 0 <= self.hidden_l <= self.l_max
            or not self.radial_widths
            or (self.parents is not None and len(self.parents) != self.n_species)
        )
        if wrong:
            raise ConfigError(
                "Wanted layers and channels of 1 or more, 0 <= hidden_l <= l_max, widths of the radial network and a "
                f"parent for each of the {self.n_species} species; got {self}."
            )

    def layer_shape(self, layer: int) -> LayerShape:
        """What one layer is made of: the first gets scalars, the last makes scalars."""
        return LayerShape(
            n_species=self.n_species,
            cutoff=self.cutoff,
            channels=self.channels,
            l_in=self.hidden_l if layer else 0,
            l_out=0 if layer == self.n_layers - 1 else self.hidden_l,
            l_max=self.l_max,
            correlation=self.correlation,
            n_bessel=self.n_bessel,
            power=self.power,
            residual=layer > 0 or self.first_residual,
            density=self.density,
            transform=self.transform,
        )

    @property
    def message_layers(self) -> int:
        """How many times atoms hear from their neighbours, one after the other."""
        return self.n_layers

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        self._check()
        dtype, neighbors = graph.positions.dtype, graph.within(self.cutoff)
        block = shared_block(self.block) if graph.n_atoms > AT_ONCE else graph.n_atoms
        average = self.average_neighbors(dtype)
        vectors = pair_vectors(graph, neighbors)
        lengths = jnp.zeros_like(vectors[..., 0])
        if self.transform is not None:
            radii = jnp.asarray(RADII, dtype)[graph.numbers]
            lengths = 0.5 * (radii[:, None] + gather_neighbors(radii, neighbors))
        pairs = (vectors, lengths, gather_neighbors(graph.species, neighbors), graph.species)
        scalars = self._by_species("embedding", dtype, self.channels)
        features = self.charged(scalars[graph.species], graph)[:, None, :]
        energy = jnp.zeros_like(graph.positions[:, 0])
        for layer in range(self.n_layers):
            shape = self.layer_shape(layer)
            weights: dict[str, Any] = self._layer_weights(layer, shape, dtype) | {"average": average}
            if self.transform is None and tabulated(graph.n_atoms, dtype):
                weights["units"] = units_of_distance(
                    weights["radial"], self.cutoff, self.n_bessel, self.power, table=True
                )
            inputs = (*pairs, features)
            up = {
                l: self._normal(f"up_{layer}_{l}", dtype, self.channels, self.channels) for l in range(shape.l_in + 1)
            }
            if layer or self.total_charge:  # without charge, scalars by species are quicker
                inputs = (*inputs, mix_degrees(features, up)[neighbors.index])
            else:
                weights["scalars"] = scalars @ (up[0] / math.sqrt(self.channels))
            features, part = map_atom_blocks(
                lambda *arrays, s=shape, w=weights: layer_features(s, w, *arrays), inputs, block
            )
            energy = energy + part
        return self.energies(graph, energy, features[:, 0])

    def _layer_weights(self, layer: int, shape: LayerShape, dtype: jnp.dtype) -> dict[str, Any]:
        """Parameters of a layer; scale factors by numbers of inputs are applied where the weights are used."""
        n, degrees, n_paths = self.channels, range(shape.l_max + 1), len(shape.message_paths)
        widths = (self.n_bessel, *self.radial_widths)
        hidden = [self._normal(f"radial_{layer}_{k}", dtype, *widths[k : k + 2]) for k in range(len(widths) - 1)]
        last = self._normal(f"radial_{layer}_{len(hidden)}", dtype, widths[-1], n_paths * n)
        skipped = range(min(shape.l_in, shape.l_out) + 1) if shape.residual else degrees
        weights = {
            "radial": hidden,
            "last": last,
            "mix": {l: self._normal(f"mix_{layer}_{l}", dtype, shape.n_paths_to(l) * n, n) for l in degrees},
            "skip": {l: self._by_species(f"skip_{layer}_{l}", dtype, n, n) for l in skipped},
            "products": {},
            "update": {l: self._normal(f"update_{layer}_{l}", dtype, n, n) for l in range(shape.l_out + 1)},
        }
        for l in range(shape.l_out + 1):  # noqa: E741
            size = len(shape.products(l))
            weights["products"][l] = self._by_species(f"products_{layer}_{l}", dtype, size, n, spread=1.0 / size)
        if self.density:
            weights["density"] = self._normal(f"density_{layer}", dtype, self.n_bessel, 1)[:, 0] / math.sqrt(
                self.n_bessel
            )
        last_of_several = 0 < layer == self.n_layers - 1
        sizes = (n, self.readout_width, 1) if last_of_several else (n, 1)
        weights["readout"] = tuple(
            self._normal(f"readout_{layer}_{k}", dtype, *sizes[k : k + 2]) for k in range(len(sizes) - 1)
        )
        return weights

    def _normal(self, name: str, dtype: jnp.dtype, *shape: int) -> Array:
        return self.param(name, nn.initializers.normal(1.0), shape, dtype)

    def _by_species(self, name: str, dtype: jnp.dtype, *shape: int, spread: float = 1.0) -> Array:
        """A weight for each species: [species, *shape]."""
        embedding = self._embedding(math.prod(shape))

        def init(key: Array) -> Params:
            start = spread * jax.random.normal(key, (embedding.n_elements, embedding.n_features), dtype)
            drawn = (jax.random.fold_in(key, 1),) if isinstance(embedding, Factored) else ()
            return jax.tree.map(jnp.asarray, embedding.warm_start(start, *drawn))

        return embedding.table(self.param(name, init)).reshape(self.n_species, *shape)

    def _embedding(self, size: int) -> LabelEmbedding:
        parents = tuple(range(self.n_species)) if self.parents is None else self.parents
        options = {"rank": self.rank} if self.label_mode == "factored" else {}
        return label_embedding(self.label_mode, parents, size, **options)

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["MACE", Params]:
        """The same energies over more species: every new species starts with the weights of the one it comes from.

        Args:
            params: of this model.
            parents: species of this model that each new one comes from.
            neighbors: orbits enter as centres and as neighbours alike; not used.
        """
        chosen = np.array(parents)
        fine = self.clone(n_species=len(parents), parents=tuple(int(p) for p in parents))

        def finer(name: str, value: Any) -> Any:
            if not isinstance(value, dict):
                return value
            table = np.asarray(self._embedding(_n_features(value)).table(value))
            return fine._embedding(table.shape[1]).warm_start(table)

        old: Any = params["constants"]
        constants = {k: np.asarray(v)[chosen] if np.ndim(v) else v for k, v in old.items()}
        return fine, {**params, "params": {k: finer(k, v) for k, v in params["params"].items()}, "constants": constants}


def _n_features(table: dict[str, Any]) -> int:
    return np.shape(table["elements" if "elements" in table else "labels"])[1]
