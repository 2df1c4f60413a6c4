"""NeuralIL: Bessel descriptors, an embedding of the atom's own species, and one residual network."""

import math
from collections.abc import Iterable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.core.protocols import Params
from jorbit.descriptors.bessel import Bessel
from jorbit.models.layers.atom_network import AtomNetwork
from jorbit.models.layers.feature_statistics import FeatureStatistics

EPSILON = 1e-3  # of variances in layer normalisations


class NeuralIL(AtomNetwork):
    """E_i = scale_z network(p_i, e_z) + shift_z, z the species of atom i: one network for all species.

    p are the descriptors of `jorbit.descriptors.bessel`, centred and divided by their spread on atoms of species z
    (constants, found by `calibrate`), e_z a learned embedding. Each layer is x -> silu(y + S x), y made of x by three
    linear maps, each with a layer normalisation N and silu between them; S x = x, or N(W x) where the width changes.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å.
        n_max: highest order of the radial functions of the descriptor.
        embedding_width: length of e_z.
        hidden: widths of the residual layers.

    Example:
        >>> NeuralIL(n_species=5).descriptor.n_features
        225

    References:
        Montes-Campos, Carrete, Bichelmaier, Varela and Madsen, J. Chem. Inf. Model. 62, 88 (2022) (descriptors and
        embedding); Chen, Hu, Nian and Yang, Entropy 22, 193 (2020) (residual layers for regression), as in the
        programs of the former.
    """

    n_max: int = 4
    embedding_width: int = 2
    hidden: tuple[int, ...] = (64, 32, 16, 16, 16)

    @classmethod
    def tiny(cls, n_species: int = 2) -> "NeuralIL":
        return cls(n_species=n_species, cutoff=3.0, n_max=2, hidden=(6, 4, 4))

    @property
    def descriptor(self) -> Bessel:
        """What the network reads."""
        return Bessel(n_species=self.n_species, cutoff=self.cutoff, n_max=self.n_max)

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        if not self.hidden or min(*self.hidden, self.embedding_width) < 1:
            raise ConfigError(f"Wanted widths of 1 or more, got {self.hidden} and {self.embedding_width}.")
        features = self.descriptor(graph)
        shape, dtype = (self.n_species, self.descriptor.n_features), features.dtype
        shift = self.variable("constants", "feature_shift", jnp.zeros, shape, dtype).value
        scale = self.variable("constants", "feature_scale", jnp.ones, shape, dtype).value
        own = self.embedding(graph, self.embedding_width, dtype)
        x = jnp.concatenate([(features - shift[graph.species]) / scale[graph.species], own], axis=1)
        for k, width in enumerate(self.hidden):
            x = self._residual(k, x, width)
        kernel = self.param("readout", nn.initializers.normal(1.0 / math.sqrt(x.shape[1])), (x.shape[1],), dtype)
        return self.energies(graph, x @ kernel, x)

    def _residual(self, k: int, x: Float[Array, "atoms n_in"], width: int) -> Float[Array, "atoms {width}"]:
        short, y = x, x
        for m in range(3):
            y = self._normalized(f"layer_{k}_{m}", y, width)
            y = jax.nn.silu(y) if m < 2 else y
        if x.shape[1] != width:
            short = self._normalized(f"skip_{k}", x, width)
        return jax.nn.silu(y + short)

    def _normalized(self, name: str, x: Float[Array, "atoms n_in"], width: int) -> Float[Array, "atoms {width}"]:
        dtype, normal = x.dtype, nn.initializers.normal(1.0 / math.sqrt(x.shape[1]))
        kernel = self.param(f"{name}_kernel", normal, (x.shape[1], width), dtype)
        bias = self.param(f"{name}_bias", nn.initializers.zeros, (width,), dtype)
        gain = self.param(f"{name}_gain", nn.initializers.ones, (width,), dtype)
        shift = self.param(f"{name}_shift", nn.initializers.zeros, (width,), dtype)
        y = x @ kernel + bias[None]
        y = y - y.mean(axis=1, keepdims=True)
        y = y * jax.lax.rsqrt(jnp.mean(y * y, axis=1, keepdims=True) + EPSILON)
        return y * gain[None] + shift[None]

    def calibrate(self, params: Params, batches: Iterable[tuple[Graph, BatchLabels]]) -> Params:
        """Scales of energies and descriptors from training data; what is trained stays as it is.

        Args:
            params: as from `init`.
            batches: graphs with the labels that this term is to learn.
        """
        statistics = FeatureStatistics(self.descriptor, self.n_species)
        found = super().calibrate(params, statistics.watched(batches))
        old = found["constants"]
        values = {"feature_shift": statistics.mean, "feature_scale": statistics.scale}
        return {**found, "constants": {**old, **{k: jnp.asarray(v, old[k].dtype) for k, v in values.items()}}}

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["NeuralIL", Params]:
        """The same energies over more species: c_a is the sum over the species that come from a.

        Args:
            params: of this model.
            parents: species of this model that each new one comes from.
            neighbors: orbits enter as centres and as neighbours alike; not used.
        """
        fine, new = super().refined(params, parents, neighbors)
        old = {label: k for k, label in enumerate(self.descriptor.labels)}
        children = np.bincount(parents, minlength=self.n_species)
        source, copies, parts = [], [], []
        for a, b, n, degree in fine.descriptor.labels:
            left, right = sorted((parents[a], parents[b]))
            source.append(old[left, right, n, degree])
            copies.append(2.0 if a != b and left == right else 1.0)  # c_a c_b stands for c_b c_a, too
            parts.append(float(children[left] * children[right]))
        constants, learned = dict(new["constants"]), dict(new["params"])
        constants["feature_shift"] = constants["feature_shift"][:, source] / np.array(parts)
        constants["feature_scale"] = constants["feature_scale"][:, source] / np.array(copies)
        first, n_old = ("layer_0_0_kernel", "skip_0_kernel"), len(old)
        for name in first:
            if name in learned:
                kernel = np.asarray(learned[name])
                learned[name] = np.concatenate([kernel[:n_old][source], kernel[n_old:]])
        return fine, {**new, "params": learned, "constants": constants}
