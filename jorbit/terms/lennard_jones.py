"""Lennard-Jones pairs, switched off smoothly: noble gases, and the test bed of everything that simulates."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors, sum_over_slots
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params


@dataclasses.dataclass(frozen=True)
class LennardJones:
    """E_i = 1/2 sum_j 4 ε [(σ/r)^12 - (σ/r)^6] s(r), the same for every element.

    s is 1 up to `onset` and falls to 0 at `cutoff` as 1 - 10 x^3 + 15 x^4 - 6 x^5, x = (r - onset) / (cutoff - onset),
    so that energy, forces and Hessian are continuous everywhere.

    Attributes:
        epsilon: depth of the well, eV.
        sigma: distance at which a pair's energy is 0, Å.
        cutoff: Å.
        onset: where the switch begins, Å; below `cutoff`. The defaults of ε (120 K) and σ are Rahman's for argon.

    Example:
        >>> LennardJones().needs.cutoff
        8.0

    References:
        Rahman, Phys. Rev. 136, A405 (1964).
    """

    epsilon: float = 0.0103408
    sigma: float = 3.4
    cutoff: float = 8.0
    onset: float = 6.0

    def __post_init__(self) -> None:
        if not 0 <= self.onset < self.cutoff:  # or the switch would be 0 for every pair
            raise ConfigError(
                f"Wanted 0 <= onset < cutoff, got {self.onset} and {self.cutoff} Å. A shorter cutoff needs a shorter "
                "onset, such as three quarters of it."
            )

    @classmethod
    def tiny(cls, n_species: int = 2) -> "LennardJones":
        return cls(epsilon=0.02, sigma=1.5, cutoff=4.0, onset=2.0)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """No free parameters."""
        return {}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        squared = jnp.sum(vectors * vectors, axis=-1)
        inverse6 = (self.sigma**2 / squared) ** 3
        distance = jnp.sqrt(squared)
        x = jnp.clip((distance - self.onset) / (self.cutoff - self.onset), 0.0, 1.0)
        switch = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x**2)
        pair_energy = 4.0 * self.epsilon * (inverse6**2 - inverse6) * switch
        return AtomOutputs(energy=0.5 * sum_over_slots(pair_energy, neighbors))
