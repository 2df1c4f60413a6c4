"""Automorphisms against BLISS, brute force and the counts of the specification."""

import itertools

import igraph
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from orbit_systems import LEVELS, MOLECULES, bond_graph, same_partition

from jorbit.core.errors import CapacityError
from jorbit.orbits.automorphisms import merge_orbits
from jorbit.orbits.graph import ColoredGraph
from jorbit.orbits.group import automorphism_group, enumerate_group, subgroup
from jorbit.orbits.refinement import make_refiner, partitions_by_level


def graph_of(vertices: np.ndarray, edges: np.ndarray) -> ColoredGraph:
    return ColoredGraph(vertices.astype(np.int32), edges.astype(np.int32), edges > 0, (), (), (), np.inf, ())


def bliss(vertices: np.ndarray, edges: np.ndarray) -> tuple[int, np.ndarray]:
    """Order and orbits by igraph's BLISS; edge colours become layers: one copy of the atoms for each binary digit."""
    n, layers = len(vertices), max(1, int(edges.max()).bit_length())
    pairs, colors = [], []
    for layer in range(layers):
        colors += [int(v) * layers + layer for v in vertices]
        rows, columns = np.nonzero(np.triu((edges >> layer) & 1, 1))
        pairs += [(int(i) + layer * n, int(j) + layer * n) for i, j in zip(rows, columns, strict=True)]
        if layer:
            pairs += [(k + (layer - 1) * n, k + layer * n) for k in range(n)]
    graph = igraph.Graph(n=n * layers, edges=pairs)
    orbits = np.arange(n)
    for generator in graph.automorphism_group(color=colors):
        orbits = merge_orbits(orbits, np.array(generator[:n]))
    return int(graph.count_automorphisms(color=colors)), orbits


def check(vertices: np.ndarray, edges: np.ndarray) -> None:
    group = automorphism_group(graph_of(vertices, edges), 2000)
    order, orbits = bliss(vertices, edges)
    assert group.exact and group.order == order
    assert same_partition(group.orbits, orbits)
    for g in group.generators:
        assert np.array_equal(vertices, vertices[g])
        assert np.array_equal(edges, edges[np.ix_(g, g)])  # P A P^T = A


@pytest.mark.parametrize("name", MOLECULES)
def test_bond_graphs_of_molecules_have_the_known_orbits_and_group_orders(name):
    smiles, n_atoms, n_orbits, order = MOLECULES[name]
    numbers, bonds = bond_graph(smiles)
    assert len(numbers) == n_atoms
    group = automorphism_group(graph_of(numbers, bonds), 2000)
    assert (group.orbits.max() + 1, group.order, group.exact) == (n_orbits, order, True)
    check(numbers, bonds)


@pytest.mark.parametrize("name", LEVELS)
def test_levels_are_the_known_sequences_and_each_refines_the_one_before(name):
    numbers, bonds = bond_graph(MOLECULES[name][0])
    levels = partitions_by_level(make_refiner(numbers, bonds))
    assert tuple(int(level.max()) + 1 for level in levels) == LEVELS[name]
    assert same_partition(levels[0], numbers)
    for coarse, fine in itertools.pairwise(levels):
        pairs = set(zip(fine.tolist(), coarse.tolist(), strict=True))
        assert len(pairs) == fine.max() + 1  # every fine cell lies in one coarse cell


@given(seed=st.integers(0, 10_000))
def test_random_colored_graphs_agree_with_bliss(seed):
    """Circulants and random graphs, some in several copies: much symmetry and little."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 13))
    edges = np.zeros((n, n), dtype=np.int64)
    if rng.random() < 0.5:
        steps = {int(s): int(rng.integers(1, 4)) for s in rng.integers(1, n, size=2)}
        for i, (s, c) in itertools.product(range(n), steps.items()):
            edges[i, (i + s) % n] = edges[(i + s) % n, i] = c
    else:
        edges = np.triu(rng.integers(0, 3, size=(n, n)) * (rng.random((n, n)) < 0.4), 1)
        edges = edges + edges.T
    np.fill_diagonal(edges, 0)
    vertices = rng.integers(0, 2, size=n) if rng.random() < 0.5 else np.zeros(n, dtype=np.int64)
    copies = int(rng.integers(1, 4))
    order = rng.permutation(n * copies)
    check(np.tile(vertices, copies)[order], np.kron(np.eye(copies, dtype=np.int64), edges)[np.ix_(order, order)])


@pytest.mark.parametrize("kind", ["shrikhande", "rook", "petersen", "cube"])
def test_strongly_regular_graphs_which_refinement_cannot_divide(kind):
    """192, 1152, 120 and 48 automorphisms: textbook numbers."""
    if kind == "petersen":
        pairs = list(itertools.combinations(range(5), 2))
        edges = np.array([[int(not set(a) & set(b)) for b in pairs] for a in pairs])
    elif kind == "cube":
        edges = np.array([[int(bin(a ^ b).count("1") == 1) for b in range(8)] for a in range(8)])
    else:
        cells = list(itertools.product(range(4), repeat=2))
        near = {(0, 1), (1, 0), (1, 1), (0, 3), (3, 0), (3, 3)}
        shrikhande = [[int(((a[0] - b[0]) % 4, (a[1] - b[1]) % 4) in near) for b in cells] for a in cells]
        rook = [[int(a != b and (a[0] == b[0] or a[1] == b[1])) for b in cells] for a in cells]
        edges = np.array(shrikhande if kind == "shrikhande" else rook)
    vertices = np.zeros(len(edges), dtype=np.int64)
    group = automorphism_group(graph_of(vertices, edges), 2000)
    assert group.order == {"shrikhande": 192, "rook": 1152, "petersen": 120, "cube": 48}[kind]
    assert group.orbits.max() == 0
    check(vertices, edges)


def trap() -> tuple[np.ndarray, np.ndarray]:
    """Decalin beside bicyclopentyl: refinement sees no difference between their atoms."""
    parts = [bond_graph("C1CCC2CCCCC2C1"), bond_graph("C1CCCC1C1CCCC1")]
    numbers = np.concatenate([p[0] for p in parts])
    bonds = np.zeros((56, 56), dtype=np.int32)
    bonds[:28, :28], bonds[28:, 28:] = parts[0][1], parts[1][1]
    return numbers, bonds


def test_exact_search_escapes_the_trap_of_refinement():
    numbers, bonds = trap()
    assert automorphism_group(graph_of(numbers, bonds), 2000).orbits.max() + 1 == 12
    assert partitions_by_level(make_refiner(numbers, bonds))[-1].max() + 1 == 6
    # the trap as one connected graph, where components cannot help: all carbon atoms tied to one more atom
    n = len(numbers)
    tied = np.zeros((n + 1, n + 1), dtype=np.int64)
    tied[:n, :n] = bonds
    tied[n, :n] = tied[:n, n] = np.where(numbers == 6, 2, 0)
    check(np.append(numbers, 9), tied)


def test_a_search_without_budget_says_so_and_returns_cells():
    numbers, bonds = trap()
    group = automorphism_group(graph_of(numbers, bonds), 0)
    assert not group.exact and group.orbits.max() + 1 == 6


def test_closure_lagrange_and_orbit_stabiliser():
    numbers, bonds = bond_graph(MOLECULES["toluene"][0])
    group = automorphism_group(graph_of(numbers, bonds), 2000)
    elements = enumerate_group(group.generators, len(numbers), 1000)
    assert len(elements) == group.order and np.array_equal(elements[0], np.arange(len(numbers)))
    known = {e.tobytes() for e in elements}
    assert all(a[b].astype(np.int32).tobytes() in known for a in elements for b in elements)
    for atom in range(len(numbers)):
        stabiliser = (elements[:, atom] == atom).sum()
        assert stabiliser * (group.orbits == group.orbits[atom]).sum() == group.order
    for cap in range(1, 13):
        part = subgroup(group.generators, len(numbers), cap)
        assert len(part) <= cap and group.order % len(part) == 0  # Lagrange
    with pytest.raises(CapacityError, match="more than 5"):
        enumerate_group(group.generators, len(numbers), 5)


def test_small_graphs_against_all_permutations():
    rng = np.random.default_rng(1)
    for _ in range(30):
        n = int(rng.integers(2, 7))
        edges = np.triu(rng.integers(0, 3, size=(n, n)), 1)
        edges = edges + edges.T
        count = sum(np.array_equal(edges, edges[np.ix_(p, p)]) for p in itertools.permutations(range(n)))
        assert automorphism_group(graph_of(np.zeros(n, dtype=np.int64), edges), 2000).order == count


def test_hundreds_of_like_molecules_are_quick_and_their_group_is_huge():
    """333 water molecules: 333! 2^333 automorphisms."""
    import math

    numbers, bonds = np.tile([8, 1, 1], 333), np.kron(np.eye(333, dtype=np.int32), [[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    group = automorphism_group(graph_of(numbers, bonds), 2000)
    assert group.order == math.factorial(333) * 2**333 and group.orbits.max() + 1 == 2
