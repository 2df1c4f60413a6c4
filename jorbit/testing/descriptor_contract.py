"""The contract of descriptors: invariant, smooth, zero on padding, compiled once."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.core.compilation import compilations, counted_jit
from jorbit.core.graph import Graph
from jorbit.core.protocols import Capacity, Descriptor
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph, capacity_for, round_up
from jorbit.testing import systems, transformations
from jorbit.testing.finite_difference import finite_difference
from jorbit.testing.requirements import require, require_close, require_finite
from jorbit.testing.systems import N_ATOMS, N_STRUCTURES, SPECIES, sample_systems


@dataclasses.dataclass(frozen=True, eq=False)
class DescriptorCase:
    """A tiny descriptor and its compiled functions.

    Attributes:
        name: for messages.
        descriptor: the instance.
        capacity: the padded sizes most checks share.
        features: compiled descriptor(graph).
        pull: compiled gradient of sum(features * weights) with respect to positions.
    """

    name: str
    descriptor: Descriptor
    capacity: Capacity
    features: Callable[[Graph], Array]
    pull: Callable[[Graph, Array], Array]

    def graph(self, *structures: Structure, dtype: Any = jnp.float64, capacity: Capacity | None = None) -> Graph:
        """Structures in one graph of the shared capacity."""
        cutoff = self.descriptor.needs.cutoff
        cutoffs = [] if cutoff is None else [cutoff]
        return build_graph(structures, SPECIES, cutoffs, capacity=capacity or self.capacity, dtype=dtype)

    def __call__(self, *structures: Structure) -> np.ndarray:
        """Padded features."""
        return np.asarray(self.features(self.graph(*structures)))


def descriptor_case(cls: type) -> DescriptorCase:
    """The tiny instance of a descriptor class with `tiny(n_species)`."""
    with jax.enable_x64(True):
        require(hasattr(cls, "tiny"), f"{cls.__name__} has no classmethod tiny(n_species): its smallest instance.")
        descriptor = cls.tiny(len(SPECIES))
        cutoffs = [] if descriptor.needs.cutoff is None else [descriptor.needs.cutoff]
        slots = capacity_for(list(sample_systems().values()), cutoffs).n_slots
        capacity = Capacity(N_ATOMS, N_STRUCTURES, tuple(round_up(n + 2) for n in slots))

        def weighted(positions: Array, graph: Graph, weights: Array) -> Array:
            return jnp.sum(descriptor(dataclasses.replace(graph, positions=positions)) * weights)

        return DescriptorCase(
            name=cls.__name__,
            descriptor=descriptor,
            capacity=capacity,
            features=counted_jit(lambda graph: descriptor(graph), f"contract of {cls.__name__}"),
            pull=jax.jit(lambda graph, weights: jax.grad(weighted)(graph.positions, graph, weights)),
        )


def check_features_are_invariant(case: DescriptorCase) -> None:
    """Rotation, reflection, translation and permutation; the width is n_features."""
    rng = np.random.default_rng(1)
    for label, s in sample_systems().items():
        n, before = s.n_atoms, case(s)
        require(before.shape == (N_ATOMS, case.descriptor.n_features), f"{case.name}: features of {before.shape}.")
        for proper in (True, False):
            turned = transformations.rotated(s, transformations.random_rotation(rng, proper=proper))
            what = "rotated" if proper else "reflected"
            require_close(case(turned)[:n], before[:n], 1e-10, f"{case.name}, {label}: {what} features")
        shifted = transformations.translated(s, np.array([11.3, -7.1, 0.4]))
        require_close(case(shifted)[:n], before[:n], 1e-10, f"{case.name}, {label}: translated features")
        order = rng.permutation(n)
        permuted = transformations.permuted(s, order)
        require_close(case(permuted)[:n], before[order], 1e-10, f"{case.name}, {label}: permuted features")


def check_padding_and_batching_change_nothing(case: DescriptorCase) -> None:
    """Zero on padding; alone, in a batch and in other sizes the same features."""
    members = [systems.water(), systems.triclinic_crystal(), systems.rattled_silicon()]
    batch, start = case(*members), 0
    for s in members:
        alone = case(s)
        require(not np.any(alone[s.n_atoms :]), f"{case.name}: features of padding atoms are not zero.")
        here = slice(start, start + s.n_atoms)
        require_close(batch[here], alone[: s.n_atoms], 1e-12, f"{case.name}: features in a batch")
        start += s.n_atoms
    require(not np.any(batch[start:]), f"{case.name}: features of padding atoms are not zero.")
    roomy = Capacity(5, 1, tuple(2 * n for n in case.capacity.n_slots))
    other = case.features(case.graph(systems.triclinic_crystal(), capacity=roomy))
    wanted = case(systems.triclinic_crystal())[:3]
    require_close(np.asarray(other)[:3], wanted, 1e-12, f"{case.name}: features in another capacity")


def check_first_and_second_derivatives_are_finite(case: DescriptorCase) -> None:
    """And are the differences of features and of first derivatives; also for one atom, for two, and on padding."""
    rng = np.random.default_rng(2)
    weights = jnp.asarray(rng.normal(size=(N_ATOMS, case.descriptor.n_features)))
    second = jax.jit(
        lambda graph, v: jax.jvp(
            lambda r: case.pull(dataclasses.replace(graph, positions=r), weights), (graph.positions,), (v,)
        )[1]
    )
    samples = sample_systems() | {"one atom": systems.single_atom(), "two atoms": systems.dimer(1.1)}
    for label, s in samples.items():
        direction = np.zeros((N_ATOMS, 3))
        direction[: s.n_atoms] = rng.normal(size=(s.n_atoms, 3))
        graph = case.graph(s)
        first, curvature = np.asarray(case.pull(graph, weights)), np.asarray(second(graph, jnp.asarray(direction)))
        require_finite(first, f"{case.name}, {label}: first derivatives")
        require_finite(curvature, f"{case.name}, {label}: second derivatives")
        require(not np.any(first[s.n_atoms :]), f"{case.name}, {label}: derivatives of padding atoms are not zero.")

        def moved(h: float, s: Structure = s, v: np.ndarray = direction) -> Structure:
            return transformations.moved(s, h * v[: s.n_atoms])

        wanted = finite_difference(lambda h, m=moved: np.sum(case(m(h)) * np.asarray(weights)))
        require_close(np.sum(first * direction), wanted, 1e-6, f"{case.name}, {label}: first derivatives")
        wanted = finite_difference(lambda h, m=moved: case.pull(case.graph(m(h)), weights))
        require_close(curvature, wanted, 1e-6, f"{case.name}, {label}: second derivatives")


def check_an_atom_crosses_the_cutoff_smoothly(case: DescriptorCase) -> None:
    """Features and their derivatives do not jump when a third atom leaves the neighbourhood."""
    cutoff = case.descriptor.needs.cutoff
    if cutoff is None:
        return
    weights = jnp.asarray(np.random.default_rng(3).normal(size=(N_ATOMS, case.descriptor.n_features)))
    inside, outside = (systems.crossing_trimer(cutoff + d) for d in (-1e-5, 1e-5))
    scan = [systems.crossing_trimer(x * cutoff) for x in (0.5, 0.6, 0.7, 0.8, 0.9)]
    scale = max(float(np.abs(case(s) - case(outside)).max()) for s in scan)
    slope = max(float(np.abs(case.pull(case.graph(s), weights)[2]).max()) for s in scan)
    require(scale > 0, f"{case.name}: an atom inside the cutoff makes no difference at all.")
    require_close(case(inside), case(outside), 1e-4, f"{case.name}: features at the cutoff", scale=scale)
    got, wanted = (case.pull(case.graph(s), weights) for s in (inside, outside))
    require_close(got, wanted, 1e-3, f"{case.name}: derivatives at the cutoff", scale=slope)


def check_float32_is_close_to_float64(case: DescriptorCase) -> None:
    """Within 1e-4 of the largest feature, and in the dtype of the positions."""
    s = systems.triclinic_crystal()
    single = case.features(case.graph(s, dtype=jnp.float32))
    require(single.dtype == jnp.float32, f"{case.name}: features of a float32 graph are {single.dtype}.")
    require_close(single, case(s), 1e-4, f"{case.name}: features in float32")


def check_one_capacity_is_traced_once(case: DescriptorCase) -> None:
    """New structures do not compile again."""
    counter = f"contract of {case.name}"
    case(systems.water())
    before = compilations()[counter]
    case(systems.rattled_silicon(), systems.water())
    require(compilations()[counter] == before, f"{case.name}: the same shapes were compiled again.")
    twin: Any = case.descriptor
    twin = dataclasses.replace(twin)
    require(twin == case.descriptor and hash(twin) == hash(case.descriptor), f"{case.name}: equals are not equal.")


DESCRIPTOR_CHECKS: tuple[Callable[[DescriptorCase], None], ...] = (
    check_features_are_invariant,
    check_padding_and_batching_change_nothing,
    check_first_and_second_derivatives_are_finite,
    check_an_atom_crosses_the_cutoff_smoothly,
    check_float32_is_close_to_float64,
    check_one_capacity_is_traced_once,
)


def check_descriptor(cls: type) -> None:
    """Run a registered descriptor through its whole contract.

    Raises:
        ContractError: says which promise is broken, and by how much.
    """
    case = descriptor_case(cls)
    with jax.enable_x64(True):
        for check in DESCRIPTOR_CHECKS:
            check(case)
