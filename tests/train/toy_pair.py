"""A potential whose answer is known: Gaussians of the distance, one coefficient each per pair of species."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jorbit import Frame, Labels, Potential, SpeciesTable, Structure, predict
from jorbit.core.graph import apply_strain, pair_vectors
from jorbit.core.ops import gather_neighbors, safe_norm
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import DesignRows, Needs
from jorbit.graphs import unbatch
from jorbit.terms.reference_energy import ReferenceEnergy


@dataclasses.dataclass(frozen=True)
class ToyPair:
    n_species: int
    cutoff: float = 3.0
    n_gaussians: int = 4
    penalty: float = 1.0

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    @property
    def n_parameters(self) -> int:
        return self.n_species * (self.n_species + 1) // 2 * self.n_gaussians

    def features(self, graph) -> jax.Array:
        """[atoms, parameters]: half of each pair's Gaussians."""
        neighbors = graph.within(self.cutoff)
        r = safe_norm(pair_vectors(graph, neighbors))
        centers = jnp.asarray(np.linspace(0.9, self.cutoff - 0.4, self.n_gaussians), r.dtype)
        envelope = jnp.where(neighbors.mask, (1.0 - (r / self.cutoff) ** 2) ** 2, 0.0)
        gaussians = jnp.exp(-((r[..., None] - centers[None, None, :]) ** 2) / 0.3) * envelope[..., None]
        a = jnp.broadcast_to(graph.species[:, None], r.shape)
        b = gather_neighbors(graph.species, neighbors)
        high, low = jnp.maximum(a, b), jnp.minimum(a, b)
        pair = jax.nn.one_hot(high * (high + 1) // 2 + low, self.n_species * (self.n_species + 1) // 2, dtype=r.dtype)
        features = 0.5 * jnp.einsum("asp,asg->apg", pair, gaussians).reshape(graph.n_atoms, -1)
        return jnp.where(graph.atom_mask[:, None], features, 0.0)

    def init(self, key, graph, upstream) -> Any:
        return {"c": jnp.zeros(self.n_parameters, graph.positions.dtype)}

    def apply(self, params, graph, upstream) -> AtomOutputs:
        return AtomOutputs(energy=self.features(graph) @ params["c"])

    def design(self, graph) -> DesignRows:
        def total(positions, strain):
            return self.features(apply_strain(dataclasses.replace(graph, positions=positions), strain)).sum(axis=0)

        strain = jnp.zeros((1, 3, 3), graph.positions.dtype)
        by_position, by_strain = jax.jacrev(total, argnums=(0, 1))(graph.positions, strain)
        return DesignRows(
            energy=total(graph.positions, strain),
            forces=-jnp.moveaxis(by_position, 0, -1),
            virial=jnp.moveaxis(by_strain[:, 0], 0, -1),
        )

    def unflatten(self, vector) -> Any:
        return {"c": np.asarray(vector)}

    def prior_scale(self) -> np.ndarray:
        return np.full(self.n_parameters, self.penalty) * np.linspace(1.0, 2.0, self.n_parameters)


@dataclasses.dataclass(frozen=True)
class RandomStart(ToyPair):
    """The toy, from coefficients that depend on the key."""

    def init(self, key, graph, upstream):
        return {"c": jax.random.normal(key, (self.n_parameters,), graph.positions.dtype)}


@dataclasses.dataclass(frozen=True)
class FixedSpring:
    """Not linear in its parameter: E = sum over pairs of exp(-stiffness r) / 2."""

    cutoff: float = 3.0

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    def init(self, key, graph, upstream) -> Any:
        return {"stiffness": jnp.full((), 1.3, graph.positions.dtype)}

    def apply(self, params, graph, upstream) -> AtomOutputs:
        neighbors = graph.within(self.cutoff)
        r = safe_norm(pair_vectors(graph, neighbors))
        pairs = jnp.where(neighbors.mask, jnp.exp(-params["stiffness"] * r), 0.0)
        return AtomOutputs(energy=jnp.where(graph.atom_mask, 0.5 * pairs.sum(axis=1), 0.0))


TABLE = SpeciesTable.from_numbers([1, 8])
TOY = Potential(terms=(ReferenceEnergy(n_species=2), ToyPair(n_species=2)), species=TABLE)
PAIR_ONLY = Potential(terms=(ToyPair(n_species=2),), species=TABLE)


def coefficients() -> np.ndarray:
    return np.random.default_rng(7).normal(size=12)


def true_params(potential: Potential = TOY) -> dict:
    known = {"reference_energy": {"energies": np.array([-3.0, -20.0])}, "toy_pair": {"c": coefficients()}}
    return {n: known[n] for n in potential.names}


def random_structures(n: int, *, periodic: bool, seed: int = 0) -> list[Structure]:
    """Molecules of 3 to 6 atoms, or triclinic crystals of 3 or 4 (smaller than the cutoff), in mixed compositions."""
    rng = np.random.default_rng(seed)
    result = []
    for k in range(n):
        n_atoms = 3 + k % (2 if periodic else 4)
        numbers = np.where(np.arange(n_atoms) <= (k // 4) % 2, 8, 1)
        if periodic:
            cell = np.diag(rng.uniform(2.4, 3.0, 3)) + rng.uniform(-0.4, 0.4, (3, 3))
            positions, pbc = rng.uniform(size=(n_atoms, 3)) @ cell, np.ones(3, bool)
        else:
            cell, pbc = np.zeros((3, 3)), np.zeros(3, bool)
            positions = rng.uniform(0.0, 2.6, (n_atoms, 3))
        result.append(Structure(positions=positions, numbers=numbers, cell=cell, pbc=pbc))
    return result


def labelled(
    structures: list[Structure],
    potential: Potential,
    params: dict,
    kinds: tuple[str, ...] = ("energy", "forces", "stress"),
) -> list[Frame]:
    """Frames with exact float64 labels, obtained by differentiating the energy (not from design rows)."""
    with jax.enable_x64(True):
        graph = potential.graph(structures, dtype=jnp.float64)  # one batch: one compilation
        predictions = unbatch(predict(potential, params, graph), structures)
    frames = []
    for s, p in zip(structures, predictions, strict=True):
        labels = Labels(
            energy=float(p.energy[0]) if "energy" in kinds else None,
            forces=np.array(p.forces) if "forces" in kinds else None,
            stress=np.array(p.stress[0]) if "stress" in kinds and s.volume > 0 else None,
        )
        frames.append(Frame(structure=s, labels=labels))
    return frames
