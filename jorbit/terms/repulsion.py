"""Repulsion below the shortest distances of the training data: fitted to them, and raised until a model is safe."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.screened_coulomb import zbl_energy
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors, sum_over_slots
from jorbit.core.ops import gather_neighbors
from jorbit.core.outputs import AtomOutputs, BatchLabels
from jorbit.core.protocols import Needs, Params
from jorbit.orbits.covalent_radii import RADII

Slopes = Callable[[Float[np.ndarray, " distances"]], Float[np.ndarray, "species species distances"]]
SHORTEST = 0.1  # Å


@dataclasses.dataclass(frozen=True)
class Repulsion:
    """E_i = 1/2 sum_j A_ab ZBL(r) s(r / c_ab) for atoms of species a and b.

    ZBL is the universal screened repulsion of nuclei, s a polynomial that ends it with two continuous derivatives. The
    reach c_ab is the shortest distance of such a pair in the training data, so that no training frame feels it at all;
    pairs that never come within the cutoff there get the sum of their covalent radii. The strength A_ab is 1, or as
    much more as it takes that two such atoms, with everything else in the potential, repel each other from 0.1 Å to
    (1 - margin) c_ab (`secured`). Training does both by itself.

    Attributes:
        n_species: rows of the species table.
        cutoff: Å; the largest reach.
        margin: how far below the shortest distance of the data pairs repel for certain, as a part of that distance; the
            smaller, the harder.
        stiffness: steepest slope of the sum that counts as repulsive, eV/Å (a positive number).

    Example:
        >>> Repulsion(n_species=2).fixed_parameters
        ('reach', 'strength')

    References:
        Ziegler, Biersack and Littmark, The Stopping and Range of Ions in Matter, vol. 1, Pergamon (1985).
    """

    n_species: int
    cutoff: float = 3.0
    margin: float = 0.03
    stiffness: float = 0.1
    is_short_range: ClassVar[bool] = True
    calibrated_on_all: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not (self.cutoff > 0 and 0 < self.margin < 1 and self.stiffness >= 0):
            raise ConfigError(
                "Repulsion wants a cutoff above 0 Å, a margin between 0 and 1 and a stiffness of 0 or more, got "
                f"{self.cutoff}, {self.margin} and {self.stiffness}."
            )

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Repulsion":
        return cls(n_species=n_species)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def fixed_parameters(self) -> tuple[str, ...]:
        """Training leaves them as `calibrate` and `secured` set them."""
        return ("reach", "strength")

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """The reach that the covalent radii of most elements suggest, 2/3 of the cutoff, and strength 1."""
        shape, dtype = (self.n_species, self.n_species), graph.positions.dtype
        return {"reach": jnp.full(shape, self.cutoff / 1.5, dtype), "strength": jnp.ones(shape, dtype)}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        a, b = graph.species[:, None], gather_neighbors(graph.species, neighbors)
        reach = jnp.clip(_both_ways(params["reach"])[a, b], SHORTEST, self.cutoff)
        energy = _both_ways(params["strength"])[a, b] * _shape(
            r, reach, graph.numbers[:, None], gather_neighbors(graph.numbers, neighbors)
        )
        return AtomOutputs(energy=0.5 * sum_over_slots(energy, neighbors))

    def calibrate(self, params: Params, batches: Iterable[tuple[Graph, BatchLabels]]) -> Params:
        """Take the reach of every pair of species from the structures; 0 where one of the two has no atoms there.

        Args:
            params: as from `init`.
            batches: graphs of the training data.
        """
        shortest = np.full((self.n_species, self.n_species), np.inf)
        numbers = np.zeros(self.n_species, int)
        for graph, _ in batches:
            neighbors = graph.within(self.cutoff)
            r = np.linalg.norm(np.asarray(pair_vectors(graph, neighbors), np.float64), axis=-1)
            mask, species = np.asarray(neighbors.mask), np.asarray(graph.species)
            a = np.broadcast_to(species[:, None], mask.shape)[mask]
            np.minimum.at(shortest, (a, species[np.asarray(neighbors.index)][mask]), r[mask])
            real = np.asarray(graph.atom_mask)
            numbers[species[real]] = np.asarray(graph.numbers)[real]
        shortest = np.minimum(shortest, shortest.T)
        radii = RADII[numbers][:, None] + RADII[numbers][None, :]
        reach = np.clip(np.where(np.isfinite(shortest), shortest, radii), SHORTEST, self.cutoff)
        there = numbers > 0  # what the other elements of the table are, `secured` knows
        reach = np.where(there[:, None] & there, reach, 0.0).astype(np.asarray(params["reach"]).dtype)
        return {"reach": reach, "strength": np.ones_like(reach)}

    def secured(self, params: Params, numbers: tuple[int, ...], slopes: Slopes) -> Params:
        """Raise strengths until pairs repel each other, with the rest of the potential, wherever they are too close.

        Species that had no atoms in the data get the reach of their covalent radii first.

        Args:
            params: after `calibrate`.
            numbers: atomic number of each row of the species table.
            slopes: dE/dr of the rest of the potential for two atoms alone, eV/Å, at the given distances.
        """
        reach, radii = np.array(params["reach"], np.float64), RADII[np.array(numbers)]
        unknown = reach == 0.0
        reach[unknown] = np.clip(radii[:, None] + radii, SHORTEST, self.cutoff)[unknown]
        strength = np.array(params["strength"], np.float64)
        # Steps in proportion to the distance: radial functions of 1/r are the narrower the nearer atoms are.
        distances = np.geomspace(SHORTEST, max((1.0 - self.margin) * reach.max(), SHORTEST + 1e-3), 1200)
        others = slopes(distances)
        h = 1e-4
        for a, b in zip(*np.triu_indices(len(reach)), strict=True):
            end = (1.0 - self.margin) * reach[a, b]
            if end <= SHORTEST:
                continue
            here = np.minimum(distances, end)  # of one size, so that nothing is compiled twice
            rest = np.interp(here, distances, np.nan_to_num(others[a, b]))  # NaN: a model of one molecule only
            at = [_shape_host(here + d, float(reach[a, b]), numbers[a], numbers[b]) for d in (-h, h)]
            own = (at[0] - at[1]) / (2 * h)  # how steeply it falls, positive
            strength[a, b] = max(strength[a, b], float(np.max((rest + self.stiffness) / own)))
        strength = np.maximum(strength, strength.T)
        if not unknown.any() and np.array_equal(strength, params["strength"]):
            return params
        new = {"reach": reach, "strength": strength}
        return {**params, **{name: value.astype(np.asarray(params[name]).dtype) for name, value in new.items()}}

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["Repulsion", Params]:
        """The same repulsion over more species."""
        grid = np.ix_(list(parents), list(parents))
        fine = {name: np.asarray(value)[grid] for name, value in params.items()}
        return dataclasses.replace(self, n_species=len(parents)), fine


def _both_ways(table: Array) -> Array:
    """A pair has no first atom."""
    return 0.5 * (table + table.T)


def _shape(r: Array, reach: Array, z_i: Array, z_j: Array) -> Array:
    return zbl_energy(r, z_i, z_j) * polynomial_cutoff(r / reach, 1.0)


def _shape_host(r: np.ndarray, reach: float, number_i: int, number_j: int) -> np.ndarray:
    """The same in numpy's float64, whatever JAX is set to."""
    with jax.enable_x64(True):
        z = [jnp.full(r.shape, int(n)) for n in (number_i, number_j)]
        return np.asarray(_shape(jnp.asarray(r), jnp.full(r.shape, reach), *z))
