"""The contract checks fail for components that break one promise each."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from jax import Array

from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import safe_norm
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs
from jorbit.losses.energy import EnergyLoss
from jorbit.terms import TERMS
from jorbit.testing import LOSS_CHECKS, ContractError, term_contract
from jorbit.testing.term_contract import TERM_CHECKS, term_case


@dataclasses.dataclass(frozen=True)
class Pairs:
    """E_i = sum_j a (1 - r / cutoff)^3: keeps its contract."""

    cutoff: float = 3.0

    @classmethod
    def tiny(cls, n_species: int = 2):
        return cls()

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff)

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs):
        return {"a": jnp.ones((), graph.positions.dtype)}

    def distances(self, graph: Graph) -> Array:
        return safe_norm(pair_vectors(graph, graph.within(self.cutoff)))

    def density(self, graph: Graph) -> Array:
        terms = jnp.clip(1.0 - self.distances(graph) / self.cutoff, 0.0) ** 3
        return jnp.where(graph.within(self.cutoff).mask, terms, 0.0).sum(axis=1)

    def apply(self, params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        return AtomOutputs(energy=params["a"] * self.density(graph))


class KnowsDirections(Pairs):
    def apply(self, params, graph, upstream):
        stretched = graph.replace(positions=graph.positions * jnp.array([[1.0, 1.0, 1.01]], graph.positions.dtype))
        return Pairs.apply(self, params, stretched, upstream)


class KnowsThePaddedSize(Pairs):
    def apply(self, params, graph, upstream):
        return AtomOutputs(energy=self.density(graph) * graph.n_atoms)


class HasNoSlopeForLoneAtoms(Pairs):
    def apply(self, params, graph, upstream):
        neighbors = graph.within(self.cutoff)
        vectors = (
            pair_vectors(graph, neighbors) * jnp.clip(1.0 - self.distances(graph) / self.cutoff, 0.0)[..., None] ** 3
        )
        total = jnp.where(neighbors.mask[..., None], vectors, 0.0).sum(axis=1)
        return AtomOutputs(energy=jnp.sqrt(jnp.sum(total**2, axis=-1)))


class HidesPartOfTheForces(Pairs):
    def apply(self, params, graph, upstream):
        density = self.density(graph)
        return AtomOutputs(energy=density * jax.lax.stop_gradient(1.0 + density))


class HidesForcesOfSlabs(Pairs):
    def apply(self, params, graph, upstream):
        is_slab = (graph.periodic.sum(axis=1) == 2)[graph.owner]
        density = params["a"] * self.density(graph)
        return AtomOutputs(energy=jnp.where(is_slab, jax.lax.stop_gradient(density), density))


class JumpsAtTheCutoff(Pairs):
    def density(self, graph):
        near = jnp.exp(-self.distances(graph))
        return jnp.where(graph.within(self.cutoff).mask, near, 0.0).sum(axis=1)


class IsNotExtensive(Pairs):
    def apply(self, params, graph, upstream):
        density = self.density(graph)
        n = jax.ops.segment_sum(graph.atom_mask.astype(density.dtype), graph.owner, graph.n_structures)
        return AtomOutputs(energy=density / jnp.sqrt(n[graph.owner]))


class MixesStructures(Pairs):
    def apply(self, params, graph, upstream):
        density = self.density(graph)
        return AtomOutputs(energy=density * (1.0 + jnp.where(graph.atom_mask, density, 0.0).sum()))


class RoundsInFloat32(Pairs):
    def apply(self, params, graph, upstream):
        energy = Pairs.apply(self, params, graph, upstream).energy
        return AtomOutputs(
            energy=energy.astype(jnp.float16).astype(jnp.float32) if energy.dtype == jnp.float32 else energy
        )


class IsNeverEqual(Pairs):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


class LearnsNothing(Pairs):
    def apply(self, params, graph, upstream):
        energy = params["a"] * 0.0 + jax.lax.stop_gradient(params["a"]) * self.density(graph)
        return AtomOutputs(energy=energy)


BROKEN = {
    KnowsDirections: term_contract.check_energies_are_invariant_and_forces_turn_along,
    KnowsThePaddedSize: term_contract.check_padding_and_batching_change_nothing,
    HasNoSlopeForLoneAtoms: term_contract.check_first_and_second_derivatives_are_finite,
    HidesPartOfTheForces: term_contract.check_forces_and_stress_are_derivatives,
    HidesForcesOfSlabs: term_contract.check_forces_and_stress_are_derivatives,
    JumpsAtTheCutoff: term_contract.check_an_atom_crosses_the_cutoff_smoothly,
    IsNotExtensive: term_contract.check_energy_is_extensive,
    MixesStructures: term_contract.check_structures_of_a_batch_do_not_feel_each_other,
    RoundsInFloat32: term_contract.check_float32_is_close_to_float64,
    IsNeverEqual: term_contract.check_one_capacity_is_traced_once,
    LearnsNothing: term_contract.check_the_loss_falls_when_parameters_follow_its_gradient,
}


def registered(cls: type, monkeypatch: pytest.MonkeyPatch) -> type:
    monkeypatch.setitem(TERMS._all(), "under_test", f"{cls.__module__}:{cls.__qualname__}")
    return cls


def test_a_good_term_passes_every_check(monkeypatch, x64):
    case = term_case(registered(Pairs, monkeypatch))
    for check in TERM_CHECKS:
        if check is not term_contract.check_a_saved_term_comes_back_bit_for_bit:  # this module cannot be imported again
            check(case)


@pytest.mark.parametrize("cls", BROKEN, ids=lambda cls: cls.__name__)
def test_a_broken_promise_is_noticed(cls, monkeypatch, x64):
    with pytest.raises(ContractError):
        BROKEN[cls](term_case(registered(cls, monkeypatch)))


class CountsPadding(EnergyLoss):
    def __call__(self, prediction, labels, graph):
        return jnp.mean((prediction.energy - labels.energy) ** 2)


class IsNeverContent(EnergyLoss):
    def __call__(self, prediction, labels, graph):
        return EnergyLoss.__call__(self, prediction, labels, graph) + 1e-9


class HasAKinkAtZero(EnergyLoss):
    def __call__(self, prediction, labels, graph):
        return jnp.sqrt(EnergyLoss.__call__(self, prediction, labels, graph))


@pytest.mark.parametrize("cls", [CountsPadding, IsNeverContent, HasAKinkAtZero])
def test_a_bad_loss_is_noticed(cls, x64):
    with pytest.raises(ContractError):
        for check in LOSS_CHECKS:
            check(cls())
