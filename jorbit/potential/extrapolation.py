"""Extrapolation grades: how far atoms are from those of the training set, in features rather than in energies."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int
from scipy.linalg import lu_factor

from jorbit.core.graph import Graph
from jorbit.core.protocols import Descriptor
from jorbit.core.pytree import pytree, static
from jorbit.potential.feature_rows import SpeciesRows
from jorbit.potential.potential import Potential


@pytree
class SelectionGrade:
    """gamma_i = max_k |phi_i A^-1|_k, with A the training atoms (as rows of features) of largest determinant.

    Each atom is a combination of those in A; above 1 a coefficient is larger than for any training atom, and the energy
    of the atom is extrapolated. Rows of a weak prior fill up A where the training set has fewer directions than there
    are features: what was never seen has a large grade.

    Attributes:
        potential: whose linear terms have the features.
        rows: which they are.
        inverses: A^-1 for the atoms of each species.

    References:
        Podryabinkin and Shapeev, Comput. Mater. Sci. 140, 171 (2017); Lysogorskiy, Bochkarev, Mrovec and Drautz, Phys.
        Rev. Mater. 7, 043801 (2023).
    """

    potential: Potential = static()
    rows: SpeciesRows = static()
    inverses: Float[Array | np.ndarray, "species features features"]

    @property
    def unit(self) -> str:
        return ""

    def atoms(self, graph: Graph) -> Float[Array, " atoms"]:
        """The grade of each atom; 0 on padding."""
        features = self.rows.atoms(self.potential, {}, graph)
        total = jnp.zeros_like(features[:, 0])
        for z in range(self.inverses.shape[0]):
            inverse = jnp.asarray(self.inverses[z], features.dtype)
            grade = jnp.max(jnp.abs(jnp.matmul(features, inverse, precision="highest")), axis=1)
            total = total + jnp.where(graph.atom_mask & (graph.species == z), grade, 0.0)
        return total


@pytree
class DistanceGrade:
    """Distance to the nearest training atom of the species, over a distance that training atoms hardly ever exceed.

    Features are divided by their standard deviations over the training atoms of the species. The unit of length is the
    99th percentile of the distances from training atoms to the nearest other one that is kept.

    Attributes:
        descriptor: any one.
        references: kept training atoms, features scaled.
        species: of each of them.
        scales: what features are divided by, for each species.
        units: length that counts as 1, for each species.
    """

    descriptor: Descriptor = static()
    references: Float[Array | np.ndarray, "references features"]
    species: Int[Array | np.ndarray, " references"]
    scales: Float[Array | np.ndarray, "species features"]
    units: Float[Array | np.ndarray, " species"]

    @property
    def unit(self) -> str:
        return ""

    def atoms(self, graph: Graph) -> Float[Array, " atoms"]:
        """The grade of each atom; 0 on padding, infinite for a species without training atoms."""
        features = self.descriptor(graph)
        x = features / jnp.asarray(self.scales, features.dtype)[graph.species]
        y = jnp.asarray(self.references, features.dtype)
        cross = jnp.matmul(x, y.T, precision="highest")
        squares = jnp.sum(x**2, axis=1)[:, None] + jnp.sum(y**2, axis=1)[None, :] - 2.0 * cross
        same = graph.species[:, None] == jnp.asarray(self.species)[None, :]
        nearest = jnp.min(jnp.where(same, squares, jnp.inf), axis=1)
        positive = nearest > 0
        distance = jnp.where(positive, jnp.sqrt(jnp.where(positive, nearest, 1.0)), 0.0)
        return jnp.where(graph.atom_mask, distance / jnp.asarray(self.units, features.dtype)[graph.species], 0.0)


def farthest_points(
    features: Float[np.ndarray, "atoms features"], n: int, start: int = 0
) -> Int[np.ndarray, " points"]:
    """Indices of atoms, each the farthest from those before it.

    Example:
        >>> print(farthest_points(np.array([[0.0], [0.1], [5.0], [2.0]]), 3))
        [0 2 3]
    """
    taken = [start]
    distance = np.sum((features - features[start]) ** 2, axis=1)
    while len(taken) < min(n, len(features)):
        taken.append(int(np.argmax(distance)))
        distance = np.minimum(distance, np.sum((features - features[taken[-1]]) ** 2, axis=1))
    return np.array(taken)


def maximal_volume(
    rows: Float[np.ndarray, "rows columns"], tolerance: float = 1.05, most_swaps: int = 10_000
) -> tuple[Int[np.ndarray, " columns"], Float[np.ndarray, "rows columns"]]:
    """Rows that form a square matrix A of (nearly) largest determinant: no element of rows A^-1 exceeds `tolerance`.

    Gaussian elimination with row pivots gives the start; then the row with the largest coefficient takes the place of
    the row it belongs to, until none is left to gain by.

    Args:
        rows: of full column rank.
        tolerance: at which to stop.
        most_swaps: at which to stop in any case.

    Returns:
        The chosen rows, and rows A^-1.

    References:
        Goreinov, Oseledets, Savostyanov, Tyrtyshnikov and Zamarashkin, in Matrix Methods: Theory, Algorithms and
        Applications (World Scientific, 2010), 247.
    """
    n = rows.shape[1]
    order = np.arange(len(rows))
    for k, other in enumerate(lu_factor(rows, check_finite=False)[1][:n]):
        order[[k, other]] = order[[other, k]]
    chosen = order[:n].copy()
    coefficients = np.linalg.solve(rows[chosen].T, rows.T).T
    for _ in range(most_swaps):
        i, k = np.unravel_index(int(np.argmax(np.abs(coefficients))), coefficients.shape)
        if abs(coefficients[i, k]) <= tolerance:
            break
        change = coefficients[i].copy()
        change[k] -= 1.0
        coefficients -= np.outer(coefficients[:, k] / coefficients[i, k], change)
        chosen[k] = i
    return chosen, coefficients
