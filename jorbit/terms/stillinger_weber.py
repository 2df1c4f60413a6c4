"""Stillinger-Weber: pairs and angles that like to be tetrahedral; silicon, with numbers the literature knows."""

import dataclasses

import jax.numpy as jnp
from jax import Array

from jorbit.core.graph import Graph, pair_vectors, sum_over_slots
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params


@dataclasses.dataclass(frozen=True)
class StillingerWeber:
    """E_i = 1/2 sum_j ε A (B x^-4 - 1) e^(1/(x-a)) + λ ε sum_{j<k} (cos θ_jik + 1/3)^2 e^(γ/(x_ij-a) + γ/(x_ik-a)).

    x = r / σ < a; everything vanishes at x = a with all its derivatives. The same for every element. Angles cost no
    more than pairs: the square is a sum of squared moments of the neighbours' directions.

    Attributes:
        epsilon: eV. Twice this is the cohesive energy of the crystal; the default is that of the paper, 50 kcal/mol.
        sigma: Å.
        lambda_: strength of angles.
        gamma: range of angles.
        reach: a, the cutoff in units of sigma.
        a, b: of the pairs (A and B).

    Example:
        >>> round(StillingerWeber().needs.cutoff, 5)
        3.77118

    References:
        Stillinger, Weber, Phys. Rev. B 31, 5262 (1985).
    """

    epsilon: float = 2.16826
    sigma: float = 2.0951
    lambda_: float = 21.0
    gamma: float = 1.2
    reach: float = 1.8
    a: float = 7.049556277
    b: float = 0.6022245584

    @classmethod
    def tiny(cls, n_species: int = 2) -> "StillingerWeber":
        return cls(epsilon=0.3, sigma=1.6)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.reach * self.sigma)

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """No free parameters."""
        return {}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        near = graph.within(self.reach * self.sigma)
        vectors = pair_vectors(graph, near)
        squared = jnp.sum(vectors * vectors, axis=-1)
        # Closer to the cutoff exponentials are 0 in any float type, but 1 / (x - a) is not finite at it.
        inside = near.mask & (squared < (0.999 * self.reach * self.sigma) ** 2)
        r = jnp.sqrt(jnp.where(inside, squared, 1.0))
        x = jnp.where(inside, r / self.sigma, 1.0)
        pairs = self.epsilon * self.a * (self.b * x**-4 - 1.0) * jnp.exp(1.0 / (x - self.reach))
        decay = jnp.where(inside, jnp.exp(self.gamma / (x - self.reach)), 0.0)
        unit = vectors / r[:, :, None]
        weighted = decay[:, :, None] * unit
        # sum_jk d_j d_k (u_j.u_k + 1/3)^2 = |sum d u u|^2 + 2/3 |sum d u|^2 + (sum d)^2 / 9, less the terms j = k.
        second = jnp.einsum("asx,asy->axy", weighted, unit, precision="highest")
        first = jnp.einsum("as,asx->ax", decay, unit, precision="highest")
        angles = jnp.sum(second**2, axis=(1, 2)) + 2.0 / 3.0 * jnp.sum(first**2, axis=-1)
        angles = angles + sum_over_slots(decay, near) ** 2 / 9.0 - 16.0 / 9.0 * sum_over_slots(decay**2, near)
        energy = 0.5 * sum_over_slots(jnp.where(inside, pairs, 0.0), near) + 0.5 * self.lambda_ * self.epsilon * angles
        return AtomOutputs(energy=energy)
