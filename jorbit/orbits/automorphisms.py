"""Automorphisms of a coloured graph: individualise an atom, refine, verify; a stabiliser chain from the bottom up.

The first path individualises atoms until all have their own colour. Then, from its last step to its first, each other
atom of the cell individualised there is tried: is there an automorphism that keeps the atoms above in place and takes
the one to the other? What is found generates the stabilisers of the chain, and the product of the orbit lengths along
it is the order of the group. Symmetries that move few atoms are found at once: cells that are the same set of atoms on
both sides are mapped to themselves.

References:
    B. D. McKay and A. Piperno, Practical graph isomorphism II, J. Symb. Comput. 60, 94-112 (2014),
    doi:10.1016/j.jsc.2013.09.003.
    P. T. Darga, K. A. Sakallah, I. L. Markov, Faster symmetry discovery using sparsity of symmetries, DAC 2008,
    doi:10.1145/1391469.1391509.
"""

import dataclasses

import numpy as np
from jaxtyping import Int

from jorbit.orbits.refinement import Hashes, Refiner, maps, mix

_MARK = np.uint64(0xA0761D6478BD642F)


class Exhausted(Exception):
    """The search met more dead ends than it may."""


class Budget:
    """Dead ends left; the one thing in the search that counts."""

    def __init__(self, n_branches: int):
        self.left = n_branches

    def dead_end(self) -> None:
        if self.left <= 0:
            raise Exhausted
        self.left -= 1


@dataclasses.dataclass(frozen=True, eq=False)
class Path:
    """Refined colours along the first path, and the atom individualised at each step."""

    hashes: tuple[Hashes, ...]
    base: tuple[int, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Symmetry:
    """Automorphism group of a connected graph.

    Attributes:
        orbits: number of the orbit of each atom.
        generators: a strong generating set.
        order: number of automorphisms.
        path: the first path, to map other graphs onto this one.
        exact: False if the search gave up; then the orbits are the cells of refinement, and generators and order
            belong to the subgroup that was found.
    """

    orbits: Int[np.ndarray, " atoms"]
    generators: list[Int[np.ndarray, " atoms"]]
    order: int
    path: Path
    exact: bool


def individualize(refiner: Refiner, hashes: Hashes, atom: int) -> Hashes:
    """Give one atom a colour of its own, different at each step of a path, and refine."""
    marked = hashes.copy()
    step = np.array([len(np.unique(hashes))], dtype=np.uint64) * _MARK
    marked[atom] = mix(hashes[atom] ^ step)[0]
    return refiner.refine(marked)


def _target_cell(hashes: Hashes) -> Int[np.ndarray, " members"]:
    """The smallest cell that is not a single atom (of equals, the one with the lowest colour); empty if discrete."""
    values, counts = np.unique(hashes, return_counts=True)
    several = np.flatnonzero(counts > 1)
    if not len(several):
        return np.zeros(0, dtype=np.int64)
    chosen = several[np.argmin(counts[several])]
    return np.flatnonzero(hashes == values[chosen])


def first_path(refiner: Refiner) -> Path:
    """Individualise the first atom of the target cell until all atoms differ."""
    hashes = [refiner.refine(refiner.start())]
    base: list[int] = []
    while len(cell := _target_cell(hashes[-1])):
        base.append(int(cell[0]))
        hashes.append(individualize(refiner, hashes[-1], base[-1]))
    return Path(tuple(hashes), tuple(base))


def find_map(
    source: Refiner, path: Path, depth: int, target: Refiner, hashes: Hashes, budget: Budget
) -> Int[np.ndarray, " atoms"] | None:
    """An isomorphism source -> target that takes the colours path.hashes[depth] to `hashes`, or None.

    Raises:
        Exhausted: too many dead ends.
    """
    mine = path.hashes[depth]
    order, other = np.argsort(mine, kind="stable"), np.argsort(hashes, kind="stable")
    if not np.array_equal(mine[order], hashes[other]):
        budget.dead_end()
        return None
    image = np.empty(source.n_atoms, dtype=np.int64)
    image[order] = other
    if source is target:  # cells that hold the same atoms stay in place
        same = _same_cells(mine, hashes)
        image[same] = np.flatnonzero(same)
    if maps(source, target, image):
        return image
    if depth == len(path.base):
        budget.dead_end()
        return None
    for atom in np.flatnonzero(hashes == mine[path.base[depth]]):
        found = find_map(source, path, depth + 1, target, individualize(target, hashes, int(atom)), budget)
        if found is not None:
            return found
    return None


def _same_cells(a: Hashes, b: Hashes) -> np.ndarray:
    """Atoms whose cell in colouring `a` is the same set of atoms in colouring `b`."""
    agree = a == b
    values, inverse = np.unique(a, return_inverse=True)
    broken = np.zeros(len(values), dtype=bool)
    broken[inverse.reshape(-1)[~agree]] = True
    return ~broken[inverse.reshape(-1)]


def symmetry_of(refiner: Refiner, budget: Budget) -> Symmetry:
    """The automorphism group of one graph."""
    path = first_path(refiner)
    n = refiner.n_atoms
    generators: list[Int[np.ndarray, " atoms"]] = []
    merged = np.arange(n)  # orbits of the generators found so far; of the stabiliser of the base above this step
    order = 1
    try:
        for depth in reversed(range(len(path.base))):
            base = path.base[depth]
            hopeless: set[int] = set()
            for atom in np.flatnonzero(path.hashes[depth] == path.hashes[depth][base]):
                if merged[atom] == merged[base] or int(merged[atom]) in hopeless:
                    continue
                marked = individualize(refiner, path.hashes[depth], int(atom))
                found = find_map(refiner, path, depth + 1, refiner, marked, budget)
                if found is None:
                    hopeless.add(int(merged[atom]))
                    continue
                generators.append(found)
                merged = merge_orbits(merged, found)
                hopeless = {int(merged[k]) for k in hopeless}
            order *= int((merged == merged[base]).sum())
    except Exhausted:
        cells = np.unique(path.hashes[0], return_inverse=True)[1].reshape(-1)
        return Symmetry(cells, generators, order, path, False)
    return Symmetry(merged, generators, order, path, True)


def merge_orbits(
    orbits: Int[np.ndarray, " atoms"], permutation: Int[np.ndarray, " atoms"]
) -> Int[np.ndarray, " atoms"]:
    """Join the orbits that a permutation connects; each is named after its smallest member.

    Example:
        >>> merge_orbits(np.arange(4), np.array([1, 0, 2, 3])).tolist()
        [0, 0, 2, 3]
    """
    orbits = orbits.copy()
    while True:
        lowest = orbits.copy()
        np.minimum.at(lowest, orbits, orbits[permutation])
        np.minimum.at(lowest, orbits[permutation], orbits)
        joined = lowest[orbits]
        joined = joined[joined]
        if np.array_equal(joined, orbits):
            return orbits
        orbits = joined
