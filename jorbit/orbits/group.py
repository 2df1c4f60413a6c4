"""The automorphism group of a whole graph: components by themselves, then exchanges of like components."""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jorbit.core.errors import CapacityError
from jorbit.orbits.automorphisms import Budget, Exhausted, Symmetry, find_map, merge_orbits, symmetry_of
from jorbit.orbits.fragments import components
from jorbit.orbits.graph import ColoredGraph
from jorbit.orbits.refinement import Refiner, first_members, make_refiner


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Automorphisms of a graph.

    Attributes:
        orbits: number of each atom's orbit, in order of first appearance.
        generators: permutations; generator[i] is the atom that takes the place of i.
        order: number of automorphisms.
        exact: False if the search gave up: orbits are cells of refinement, the rest describes a subgroup.
    """

    orbits: Int[np.ndarray, " atoms"]
    generators: tuple[Int[np.ndarray, " atoms"], ...]
    order: int
    exact: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Part:
    """A connected component with its symmetry."""

    atoms: Int[np.ndarray, " members"]
    refiner: Refiner
    symmetry: Symmetry


def automorphism_group(graph: ColoredGraph, max_branches: int) -> Group:
    """Orbits, generators and order of the automorphism group.

    Args:
        graph: vertex and edge colours.
        max_branches: dead ends after which the search gives up.
    """
    n = graph.n_atoms
    budget = Budget(max_branches)
    owner = components(graph.edges > 0)
    atoms_of = np.split(np.argsort(owner, kind="stable"), np.cumsum(np.bincount(owner))[:-1])
    leaders: dict[bytes, list[tuple[Part, int]]] = defaultdict(list)
    generators: list[Int[np.ndarray, " atoms"]] = []
    last_copy: dict[int, Int[np.ndarray, " members"]] = {}
    order, exact = 1, True
    for atoms in atoms_of:
        refiner = make_refiner(graph.vertices[atoms], graph.edges[np.ix_(atoms, atoms)])
        hashes = refiner.refine(refiner.start())
        alike = leaders[np.sort(hashes).tobytes()]
        for k, (part, copies) in enumerate(alike):
            try:
                image = find_map(part.refiner, part.symmetry.path, 0, refiner, hashes, budget)
            except Exhausted:
                image, exact = None, False
            if image is None:
                continue
            # the group of a copy is that of its leader carried over; and neighbours in the list change places
            local = atoms[image]
            generators += [_lift(n, local, local[g]) for g in part.symmetry.generators]
            before = last_copy[id(part)]
            generators.append(_lift(n, np.concatenate([before, local]), np.concatenate([local, before])))
            last_copy[id(part)] = local
            alike[k] = (part, copies + 1)
            break
        else:
            part = Part(atoms, refiner, symmetry_of(refiner, budget))
            exact = exact and part.symmetry.exact
            generators += [_lift(n, atoms, atoms[g]) for g in part.symmetry.generators]
            last_copy[id(part)] = atoms
            alike.append((part, 1))
    for alike in leaders.values():
        for part, copies in alike:
            order *= part.symmetry.order**copies * math.factorial(copies)
    merged = np.arange(n)
    for generator in generators:
        merged = merge_orbits(merged, generator)
    if not exact:
        refiner = make_refiner(graph.vertices, graph.edges)
        merged = first_members(refiner.refine(refiner.start()))
    orbits = np.unique(merged, return_inverse=True)[1].reshape(-1)
    return Group(orbits, tuple(g.astype(np.int32) for g in generators), order, exact)


def _lift(
    n_atoms: int, places: Int[np.ndarray, " members"], images: Int[np.ndarray, " members"]
) -> Int[np.ndarray, " atoms"]:
    permutation = np.arange(n_atoms)
    permutation[places] = images
    return permutation


def enumerate_group(
    generators: Sequence[Int[np.ndarray, " atoms"]], n_atoms: int, cap: int
) -> Int[np.ndarray, "permutations atoms"]:
    """All products of the generators, identity first, by breadth-first multiplication.

    Raises:
        CapacityError: more than `cap`.

    Example:
        >>> enumerate_group([np.array([1, 2, 0])], 3, 10).tolist()
        [[0, 1, 2], [1, 2, 0], [2, 0, 1]]
    """
    identity = np.arange(n_atoms, dtype=np.int32)
    found = {identity.tobytes(): identity}
    fresh = [identity]
    while fresh:
        grown = []
        for permutation in fresh:
            for generator in generators:
                product = permutation[generator].astype(np.int32)
                if product.tobytes() not in found:
                    found[product.tobytes()] = product
                    grown.append(product)
                    if len(found) > cap:
                        raise CapacityError(
                            f"The group has more than {cap} permutations. Ask for more (cap=...), or take a subgroup."
                        )
        fresh = grown
    return np.stack(list(found.values()))


def subgroup(
    generators: Sequence[Int[np.ndarray, " atoms"]], n_atoms: int, cap: int
) -> Int[np.ndarray, "permutations atoms"]:
    """A group of at most `cap` permutations: generators are added in turn while the group they generate fits.

    The whole group when it fits. Never an arbitrary part of it: kernels summed over a list that is no group are not
    symmetric.
    """
    kept: list[Int[np.ndarray, " atoms"]] = []
    permutations = np.arange(n_atoms, dtype=np.int32)[None]
    for generator in generators:
        try:
            permutations = enumerate_group([*kept, generator], n_atoms, cap)
        except CapacityError:
            continue
        kept.append(generator)
    return permutations
