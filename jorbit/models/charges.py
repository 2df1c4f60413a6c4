"""Charges (and dipoles) of atoms from the features of any model: the input of electrostatics that is learned."""

import dataclasses
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors, neutralized
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Descriptor, Needs, Params


class Charges(nn.Module):
    """q_i = q_z + w . silu(W x_i + b), shifted alike for all atoms of a structure to its total charge. No energy.

    x are the features of the term before, a network, or those of a descriptor. With dipoles,
    mu_i = sum_j (u . x_i + v . x_j) s(r_ij) u_ij, which turn along with the structure; s ends smoothly at the cutoff.
    Terms that follow (`ewald`) make energies of both. Charges are fitted to labels when the loss gives them a weight
    (`loss: {charges: 1.0}`) and to energies and forces through the terms that follow.

    Attributes:
        n_species: rows of the species table.
        hidden: width of the hidden layer.
        descriptor: whose features are read; None reads those of the last term before that has some.
        dipoles: predict dipoles, too.
        cutoff: of the sum for dipoles, Å.

    Example:
        >>> Charges(n_species=2).needs.upstream
        ('features',)

    References:
        Unke and Meuwly, J. Chem. Theory Comput. 15, 3678 (2019), for charges of a network that are shifted.
    """

    n_species: int
    hidden: int = 32
    descriptor: Descriptor | None = None
    dipoles: bool = False
    cutoff: float = 4.0

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Charges":
        return cls(n_species=n_species, hidden=4)

    @classmethod
    def tiny_upstream(cls, n_species: int = 2) -> tuple[Any, ...]:
        """A term that produces features."""
        from jorbit.models import MODELS

        return (MODELS.load("schnet").tiny(n_species),)

    @property
    def needs(self) -> Needs:
        own = None if self.descriptor is None else self.descriptor.needs.cutoff
        wanted = sorted({c for c in (own, self.cutoff if self.dipoles else None) if c is not None}, reverse=True)
        upstream = ("features",) if self.descriptor is None else ()
        return Needs(cutoff=wanted[0] if wanted else None, inner=tuple(wanted[1:]), upstream=upstream, layers=None)

    @nn.compact
    def __call__(self, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        if self.hidden < 1:
            raise ConfigError(f"Wanted a hidden layer of 1 or more, got {self.hidden}.")
        given: Any = upstream.features
        x = given if self.descriptor is None else self.descriptor(graph)
        n, dtype = x.shape[1], x.dtype
        normal, zeros = nn.initializers.normal(1.0 / math.sqrt(n)), nn.initializers.zeros
        kernel = self.param("kernel_0", normal, (n, self.hidden), dtype)
        bias = self.param("bias_0", zeros, (self.hidden,), dtype)
        last = self.param("kernel_1", nn.initializers.normal(0.1 / math.sqrt(self.hidden)), (self.hidden,), dtype)
        by_species = self.param("charges", zeros, (self.n_species,), dtype)
        charges = by_species[graph.species] + jax.nn.silu(x @ kernel + bias[None]) @ last
        outputs = AtomOutputs(energy=jnp.zeros_like(charges), charges=neutralized(charges, graph))
        if not self.dipoles:
            return outputs
        own = x @ self.param("dipole_kernels", nn.initializers.normal(0.1 / math.sqrt(n)), (n, 2), dtype)
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        fade = jnp.where(neighbors.mask, polynomial_cutoff(r, self.cutoff), 0.0) / r
        strength = own[:, :1] + gather_neighbors(own[:, 1], neighbors)
        return dataclasses.replace(outputs, dipoles=jnp.einsum("as,asx->ax", strength * fade, vectors))

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple[Any, Params]:
        """The same charges over more species.

        Raises:
            ConfigError: a descriptor whose features are those of the old species.
        """
        if hasattr(self.descriptor, "n_species") and parents != tuple(range(self.n_species)):
            raise ConfigError(
                "Charges that read a descriptor cannot start from those of other species, since its features are made "
                "for a number of them. Fit them from the beginning, or let them read the features of a network."
            )
        learned = dict(params["params"])
        learned["charges"] = np.asarray(learned["charges"])[np.array(parents)]
        return self.clone(n_species=len(parents)), {**params, "params": learned}
