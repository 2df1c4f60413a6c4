"""Latent Ewald sums: charges that nobody labelled, read from local features, interact at all distances."""

import dataclasses
import math
from collections.abc import Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.basis.electrostatics import Splitting, coulomb_potential
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.ops import neutralized
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.core.protocols import Descriptor, Needs, Params
from jorbit.core.structure import Structure


@dataclasses.dataclass(frozen=True)
class LatentEwald:
    """E_i = 1/2 sum_c q_ic phi_ic with latent charges q_i = b_z + W_z (D_i - mean) / scale, smeared by `smearing`.

    phi is the potential of Gaussians of charge at a distance, k erf(r / (sqrt(2) smearing)) / r, summed over all waves
    in bulk and over all pairs in molecules. Each channel is shifted to add up to the total charge of the structure, as
    charges do: so the model sees that charge, and molecules far apart do not feel each other. W and b are trained with
    the rest of the potential by energies and forces alone; short distances are left to the local model beside it.

    Attributes:
        descriptor: local features D.
        n_species: rows of the species table.
        n_channels: latent charges of each atom.
        smearing: Å.
        accuracy: of the sum over waves.
        max_length: longest lattice vector, Å.

    Example:
        >>> from jorbit.descriptors.ace import ACE
        >>> model = LatentEwald(descriptor=ACE(n_species=2, max_degree=(4,)), n_species=2)
        >>> round(model.splitting.k_cutoff, 3)
        4.292

    References:
        Cheng, npj Comput. Mater. 11, 80 (2025). Written from the published formula; two things differ: charges are
        shifted, and the energy of a Gaussian with itself is left out, so that a molecule has the same energy in a large
        cell and without one.
    """

    descriptor: Descriptor
    n_species: int
    n_channels: int = 1
    smearing: float = 1.0
    accuracy: float = 1e-4
    max_length: float = 20.0
    is_long_range: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.n_channels >= 1 and self.smearing > 0):
            raise ConfigError(
                f"Wanted at least one channel and a smearing above 0 Å, got {self.n_channels} and {self.smearing}."
            )
        _ = self.splitting

    @classmethod
    def tiny(cls, n_species: int = 2) -> "LatentEwald":
        from jorbit.descriptors import DESCRIPTORS

        descriptor = DESCRIPTORS.load("acsf").tiny(n_species)
        return cls(descriptor, n_species, n_channels=2, accuracy=1e-6, max_length=11.0)

    @property
    def splitting(self) -> Splitting:
        """With alpha = 1 / (sqrt(2) smearing)."""
        cutoff = self.smearing * math.sqrt(-2.0 * math.log(self.accuracy)) if 0 < self.accuracy < 1 else 0.0
        return Splitting(cutoff, self.accuracy, self.max_length)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.descriptor.needs.cutoff, layers=None)

    @property
    def fixed_parameters(self) -> tuple[str, ...]:
        """Set by `calibrate`, not by training."""
        return ("constants/*",)

    def check_structure(self, structure: Structure) -> None:
        """Raise for structures whose waves do not fit, see `Splitting.check`."""
        self.splitting.check(structure, "latent_ewald")

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Small random weights: charges of zero would have no gradient, since energies are quadratic in them."""
        dtype, n = graph.positions.dtype, self.descriptor.n_features
        weights = 0.1 / math.sqrt(n) * jax.random.normal(key, (self.n_species, n, self.n_channels), dtype)
        bias = 0.1 * jax.random.normal(jax.random.fold_in(key, 1), (self.n_species, self.n_channels), dtype)
        constants = {"mean": jnp.zeros(n, dtype), "scale": jnp.ones(n, dtype)}
        return {"weights": weights, "bias": bias, "constants": constants}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        constants: Any = params["constants"]
        features = (self.descriptor(graph) - constants["mean"][None]) / constants["scale"][None]
        every = jnp.einsum("af,sfc->asc", features, params["weights"])
        chosen = jax.nn.one_hot(graph.species, self.n_species, dtype=features.dtype)
        charges = jnp.einsum("asc,as->ac", every, chosen) + params["bias"][graph.species]
        charges = jax.vmap(neutralized, in_axes=(1, None), out_axes=1)(charges, graph)
        potential = coulomb_potential(graph, charges, self.splitting, points=False)
        return AtomOutputs(energy=0.5 * jnp.sum(charges * potential, axis=1))

    def calibrate(self, params: Params, batches: Iterable[tuple[Graph, BatchLabels]]) -> Params:
        """Mean and standard deviation of each feature in the training data."""
        compute = jax.jit(lambda graph: self.descriptor(graph))
        rows = []
        for graph, _ in batches:
            rows.append(np.asarray(compute(graph), np.float64)[np.asarray(graph.atom_mask)])
            if sum(len(r) for r in rows) > 20_000:
                break
        features = np.concatenate(rows)
        spread = features.std(axis=0)
        old: Any = params["constants"]
        spread = np.where(spread > 1e-9 * max(spread.max(), 1e-300), spread, 1.0)
        found = {"mean": features.mean(axis=0), "scale": spread}
        return {**params, "constants": {k: jnp.asarray(v, old[k].dtype) for k, v in found.items()}}
