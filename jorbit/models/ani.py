"""ANI: atomic environment vectors and a network for each element."""

import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.basis.symmetry_functions import species_pairs
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.descriptors.aev import AEV
from jorbit.models.layers.activations import ACTIVATIONS, check_activation
from jorbit.models.layers.atom_network import AtomNetwork
from jorbit.models.layers.species_networks import map_species


class ANI(AtomNetwork):
    """E_i = scale_z network_z(AEV_i) + shift_z, z the species of atom i.

    See `jorbit.descriptors.aev` for the descriptor. Atoms are sorted by species, so that each runs through the network
    of its own species only. Angular functions have a shorter cutoff and mask the longer list.

    Attributes:
        n_species: rows of the species table.
        cutoff: of the radial functions, Å.
        angular_cutoff: Å.
        hidden: widths of the hidden layers.
        activation: "silu" (smooth) or another of `jorbit.models.layers.activations`; "celu" as in the ANI codes, whose
            second derivative jumps at 0.
        envelope: "quadratic" (smooth to second derivatives at the cutoffs) or "cosine" as published: the second
            derivative jumps there.
        radial_eta, angular_eta: 1/Å^2.
        zeta: sharpness in the angle.
        start: first shift, Å.
        n_radial, n_angular_shifts, n_angles: numbers of shifts and angles.

    Example:
        >>> ANI(n_species=4).descriptor.n_features
        384

    References:
        Smith, Isayev and Roitberg, Chem. Sci. 8, 3192 (2017).
    """

    cutoff: float = 5.2
    angular_cutoff: float = 3.5
    hidden: tuple[int, ...] = (160, 128, 96)
    activation: str = "silu"
    envelope: str = "quadratic"
    radial_eta: float = 16.0
    angular_eta: float = 8.0
    zeta: float = 32.0
    start: float = 0.9
    n_radial: int = 16
    n_angular_shifts: int = 4
    n_angles: int = 8

    @classmethod
    def tiny(cls, n_species: int = 2) -> "ANI":
        small = AEV.tiny(n_species)
        same = ("cutoff", "angular_cutoff", "radial_eta", "angular_eta", "zeta", "start")
        same += ("n_radial", "n_angular_shifts", "n_angles")
        return cls(n_species=n_species, hidden=(4, 3), **{name: getattr(small, name) for name in same})

    @property
    def descriptor(self) -> AEV:
        """The atomic environment vector that the networks read."""
        return AEV(
            n_species=self.n_species,
            cutoff=self.cutoff,
            angular_cutoff=self.angular_cutoff,
            radial_eta=self.radial_eta,
            angular_eta=self.angular_eta,
            zeta=self.zeta,
            start=self.start,
            n_radial=self.n_radial,
            n_angular_shifts=self.n_angular_shifts,
            n_angles=self.n_angles,
            envelope=self.envelope,
        )

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff, inner=(self.angular_cutoff,) if self.angular_cutoff < self.cutoff else ())

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        check_activation(self.activation)
        if not self.hidden or min(self.hidden) < 1:
            raise ConfigError(f"Wanted widths of one or more hidden layers, got {self.hidden}.")
        if self.total_charge:
            raise ConfigError("ANI reads descriptors alone: take schnet, painn, mace or hiphop to read a total charge.")
        features = self.descriptor(graph)
        sizes = (self.descriptor.n_features, *self.hidden, 1)
        layers = [self._layer(k, sizes[k], sizes[k + 1], features.dtype) for k in range(len(sizes) - 1)]
        activate = ACTIVATIONS[self.activation]

        def network(weights: list[tuple[Array, Array]], x: Array) -> Array:
            for kernel, bias in weights[:-1]:
                x = activate(x @ kernel + bias[None])
            kernel, bias = weights[-1]
            return x @ kernel[:, 0] + bias[0]

        return self.energies(graph, map_species(network, layers, features, graph.species, self.n_species))

    def _layer(self, k: int, n_in: int, n_out: int, dtype: jnp.dtype) -> tuple[Array, Array]:
        """Kernel and bias of each species."""
        normal = nn.initializers.normal(1.0 / math.sqrt(n_in))
        kernel = self.param(f"kernel_{k}", normal, (self.n_species, n_in, n_out), dtype)
        return kernel, self.param(f"bias_{k}", nn.initializers.zeros, (self.n_species, n_out), dtype)

    @property
    def species_tables(self) -> tuple[str, ...]:
        return tuple(f"{kind}_{k}" for kind in ("kernel", "bias") for k in range(len(self.hidden) + 1))

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["ANI", Params]:
        """The same energies over more species: networks, and what they read of each neighbour, start from the parents'.

        Args:
            params: of this model.
            parents: species of this model that each new one comes from.
            neighbors: orbits enter as centres and as neighbours alike; not used.
        """
        fine, new = super().refined(params, parents, neighbors)
        old_pairs = {pair: k for k, pair in enumerate(zip(*species_pairs(self.n_species), strict=True))}
        chosen = np.array(parents)
        a, b = (np.array(parents)[side] for side in species_pairs(len(parents)))
        pairs = np.array([old_pairs[p] for p in zip(np.minimum(a, b), np.maximum(a, b), strict=True)])
        n_angular = self.n_angular_shifts * self.n_angles
        radial = (chosen[:, None] * self.n_radial + np.arange(self.n_radial)).ravel()
        angular = self.n_species * self.n_radial + (pairs[:, None] * n_angular + np.arange(n_angular)).ravel()
        learned = new["params"]
        first = learned["kernel_0"][:, np.concatenate([radial, angular])]
        return fine, {**new, "params": {**learned, "kernel_0": first}}
