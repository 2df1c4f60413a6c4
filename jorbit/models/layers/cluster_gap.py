"""What Gaussian processes of pairs and of triplets share: their options, sparse points and the sum over them."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params


@dataclasses.dataclass(frozen=True)
class ClusterGAP:
    """E_i = sum over sparse points s of alpha_s k_is; `atom_rows` of the kind of cluster gives k_is.

    Attributes:
        cutoff: Å.
        n_points: sparse points of all kinds of clusters together.
        length: of the kernel, Å.
        n_species: rows of the species table that an unfitted model knows.
    """

    cutoff: float
    n_points: int
    length: float = 1.0
    n_species: int = 1

    steps: ClassVar[float] = 20.0  # candidates nearer to each other than length / steps are one

    def __post_init__(self) -> None:
        if not (self.cutoff > 0 and self.length > 0) or self.n_points < 1 or self.n_species < 1:
            raise ConfigError(
                f"Wanted a positive cutoff and length, n_points >= 1 and n_species >= 1, got {self.cutoff}, "
                f"{self.length}, {self.n_points} and {self.n_species}."
            )

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def sampling(self) -> str:
        """How sparse points are usually chosen."""
        return "fps"

    @property
    def resolution(self) -> float | None:
        """Candidates nearer to each other than this, Å, are one."""
        return self.length / self.steps

    def atom_rows(self, params: Params, graph: Graph) -> Float[Array, "atoms points"]:
        """Sums over the clusters of each atom, and points: energies are these times the coefficients."""
        raise NotImplementedError

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        rows = self.atom_rows(params, graph)
        return AtomOutputs(energy=jnp.matmul(rows, params["coefficients"], precision="highest"))

    def with_points(
        self, points: Float[np.ndarray, "points distances"], species: Int[np.ndarray, "points members"]
    ) -> tuple[Any, dict[str, Any]]:
        """This model with other points, and parameters for it with coefficients of zero."""
        params = {"points": points, "species": species, "coefficients": np.zeros(len(points))}
        return dataclasses.replace(self, n_points=len(points)), params


def of_one_kind(params: Params) -> Bool[Array, "points points"]:
    """Whether two points are of the same species."""
    species = jnp.asarray(params["species"])
    return jnp.all(species[:, None] == species[None], axis=-1)
