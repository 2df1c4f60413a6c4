"""Colour refinement (the one-dimensional Weisfeiler-Leman method) with 64-bit hashes as colours.

One round gives atom i the colour (c_i, multiset of (c_j, colour of the edge ij) over all j). The multiset is stored as
the sum over j of h(c_j) w(ij) modulo 2^64, with h a mixing function and w one odd random number per edge colour. The
sum does not depend on how atoms are numbered, so colours of different graphs compare as they are. Two different
multisets share a sum with a probability of about 2^-64; every symmetry derived from colours is verified exactly.

References:
    B. Weisfeiler and A. Leman, The reduction of a graph to canonical form and the algebra which appears therein,
    Nauchno-Technicheskaya Informatsia 2 (9), 12-16 (1968).
    G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom number generators, OOPSLA 2014,
    doi:10.1145/2660193.2660195: the mixing function.
"""

import dataclasses

import numpy as np
from jaxtyping import Int, UInt64

Hashes = UInt64[np.ndarray, " atoms"]
SPARSE = 0.2  # below this fraction of pairs with an edge, lists are faster than matrices


def mix(values: np.ndarray) -> np.ndarray:
    """The 64-bit finaliser of SplitMix."""
    z = values.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _edge_weights(colors: np.ndarray) -> np.ndarray:
    """0 for no edge, else an odd number that looks random."""
    weights = mix(mix(colors.astype(np.uint64)) + np.uint64(0x5851F42D4C957F2D)) | np.uint64(1)
    return np.where(colors > 0, weights, np.uint64(0))


@dataclasses.dataclass(frozen=True, eq=False)
class Refiner:
    """A graph prepared for refinement, as a matrix or as lists.

    Attributes:
        vertices, edges: colours as in ColoredGraph.
        matrix: weight of each pair, or None.
        targets, weights, starts: edges sorted by atom, when there is no matrix.
    """

    vertices: Int[np.ndarray, " atoms"]
    edges: Int[np.ndarray, "atoms atoms"]
    matrix: UInt64[np.ndarray, "atoms atoms"] | None
    targets: Int[np.ndarray, " directed_edges"]
    weights: UInt64[np.ndarray, " directed_edges"]
    starts: Int[np.ndarray, " atoms"]

    @property
    def n_atoms(self) -> int:
        return len(self.vertices)

    def start(self) -> Hashes:
        """Colours before the first round."""
        return mix(self.vertices.astype(np.uint64) * np.uint64(2) + np.uint64(1))

    def sums(self, hashes: Hashes) -> Hashes:
        """sum_j h(c_j) w(ij) of each atom i."""
        mixed = mix(hashes)
        if self.matrix is not None:
            return self.matrix @ mixed
        if not len(self.targets):
            return np.zeros(self.n_atoms, dtype=np.uint64)
        terms = np.append(mixed[self.targets] * self.weights, np.uint64(0))
        total = np.add.reduceat(terms, self.starts)
        empty = np.append(self.starts[1:], len(self.targets)) == self.starts
        return np.where(empty, np.uint64(0), total)

    def round(self, hashes: Hashes) -> Hashes:
        """Colours after one more round."""
        return mix(hashes * np.uint64(3) + self.sums(hashes))

    def refine(self, hashes: Hashes) -> Hashes:
        """Colours when no further round would divide a cell; the number of rounds is the same for like graphs."""
        n_colors = len(np.unique(hashes))
        while n_colors < self.n_atoms:
            refined = self.round(hashes)
            n_refined = len(np.unique(refined))
            if n_refined == n_colors:
                return hashes
            hashes, n_colors = refined, n_refined
        return hashes


def maps(source: Refiner, target: Refiner, image: Int[np.ndarray, " atoms"]) -> bool:
    """Is atom i -> image[i] an isomorphism? Decided exactly, on the colours themselves."""
    if not np.array_equal(source.vertices, target.vertices[image]):
        return False
    if source.matrix is None or target.matrix is None:
        rows = np.repeat(np.arange(source.n_atoms), np.diff(np.append(source.starts, len(source.targets))))
        if len(source.targets) != len(target.targets):
            return False
        columns = source.targets
        return bool(np.array_equal(source.edges[rows, columns], target.edges[image[rows], image[columns]]))
    step = max(1, 250_000 // max(1, source.n_atoms))
    for first in range(0, source.n_atoms, step):  # most wrong guesses are found out in the first rows
        rows = slice(first, first + step)
        if not np.array_equal(source.edges[rows], target.edges[np.ix_(image[rows], image)]):
            return False
    return True


def make_refiner(vertices: Int[np.ndarray, " atoms"], edges: Int[np.ndarray, "atoms atoms"]) -> Refiner:
    """Prepare a graph, or a part of one."""
    n = len(vertices)
    rows, targets = np.nonzero(edges)
    starts = np.searchsorted(rows, np.arange(n))
    if len(rows) > SPARSE * n * n and n > 1:
        matrix = _edge_weights(edges)
        return Refiner(vertices, edges, matrix, targets[:0], np.zeros(0, dtype=np.uint64), np.zeros(n, dtype=np.int64))
    return Refiner(vertices, edges, None, targets, _edge_weights(edges[rows, targets]), starts)


def first_members(hashes: Hashes) -> Int[np.ndarray, " atoms"]:
    """Colours as small integers, numbered in order of first appearance.

    Example:
        >>> first_members(np.array([7, 3, 7], dtype=np.uint64)).tolist()
        [0, 1, 0]
    """
    _, first, inverse = np.unique(hashes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first, kind="stable")] = np.arange(len(first))
    return rank[inverse.reshape(-1)]


def partitions_by_level(refiner: Refiner) -> list[Int[np.ndarray, " atoms"]]:
    """Partition after 0, 1, 2, ... rounds, until one more changes nothing; each refines the one before."""
    hashes = refiner.start()
    levels = [first_members(hashes)]
    while True:
        hashes = refiner.round(hashes)
        finer = first_members(hashes)
        if finer.max() == levels[-1].max():
            return levels
        levels.append(finer)
