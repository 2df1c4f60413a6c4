"""Bonds that persist, and what they hold together: molecules, frameworks that span the cell, single atoms."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from jorbit.core.species import SYMBOLS
from jorbit.orbits.classes import cut, make_pools
from jorbit.orbits.frames import Trajectory
from jorbit.orbits.lattice import displacements
from jorbit.orbits.options import OrbitOptions
from jorbit.orbits.statistics import PairStatistics

SURE = 0.1  # a pair bonded in less than this fraction of the frames is not, one in more than 1 - SURE is
NEAR_ENOUGH = 4.0  # Å; being in place is measured against distances up to this one
LIKE_SPREADS = 2.0  # spreads of one kind of pair that differ by less than this factor are one class


@dataclasses.dataclass(frozen=True)
class Fragment:
    """Atoms held together by persistent bonds.

    Attributes:
        atoms: indices, ascending.
        kind: "molecule", "framework" (bonded to its own periodic images), or "atom".
        rigid: described by distance classes rather than by bonds.
        formula: such as "C2H6O".
    """

    atoms: tuple[int, ...]
    kind: str
    rigid: bool
    formula: str


def find_bonds(
    statistics: PairStatistics, trajectory: Trajectory, options: OrbitOptions
) -> tuple[Bool[np.ndarray, "atoms atoms"], Bool[np.ndarray, "atoms atoms"]]:
    """Persistent bonds, decided for whole classes of distances, and the pairs that are bonded only now and then.

    A class in which some pairs are always bonded and others never is none; its pairs are judged one by one.
    """
    numbers = trajectory.numbers
    bonded = np.zeros(statistics.mean.shape, dtype=bool)
    candidates = statistics.bonded > 0
    for pool in make_pools(statistics, numbers, candidates, options.gap):
        for members in pool.members():
            i, j = pool.i[members], pool.j[members]
            p = statistics.bonded[i, j]
            mixed = p.min() < SURE and p.max() > 1 - SURE
            yes = p > options.p_bond if mixed else np.full(len(p), p.mean() > options.p_bond)
            bonded[i[yes], j[yes]] = True
    unsure = (statistics.bonded > SURE) & (statistics.bonded < 1 - SURE)
    return bonded | bonded.T, unsure


def components(adjacent: Bool[np.ndarray, "atoms atoms"]) -> Int[np.ndarray, " atoms"]:
    """Number of the connected component of each atom, in order of their smallest member.

    Example:
        >>> components(np.array([[0, 0, 1], [0, 0, 0], [1, 0, 0]], dtype=bool)).tolist()
        [0, 1, 0]
    """
    n = len(adjacent)
    component = np.full(n, -1, dtype=np.int64)
    neighbors = [np.flatnonzero(row) for row in adjacent]
    count = 0
    for seed in range(n):
        if component[seed] >= 0:
            continue
        component[seed] = count
        stack = [seed]
        while stack:
            for k in neighbors[stack.pop()]:
                if component[k] < 0:
                    component[k] = count
                    stack.append(int(k))
        count += 1
    return component


def formula(numbers: Int[np.ndarray, " atoms"]) -> str:
    """Carbon and hydrogen first, then by symbol (the order of Hill).

    Example:
        >>> formula(np.array([8, 6, 6, 1, 1, 1, 1, 1, 1]))
        'C2H6O'
    """
    symbols = [SYMBOLS[z] for z in numbers]
    counts = {s: symbols.count(s) for s in sorted(set(symbols))}
    first = [s for s in ("C", "H") if s in counts] if "C" in counts else []
    return "".join(
        s + (str(counts[s]) if counts[s] > 1 else "") for s in [*first, *(s for s in counts if s not in first)]
    )


def find_fragments(
    statistics: PairStatistics,
    trajectory: Trajectory,
    bonded: Bool[np.ndarray, "atoms atoms"],
    options: OrbitOptions,
) -> tuple[Fragment, ...]:
    """Connected components of the persistent bonds.

    A framework is rigid while its distances spread by less than `inter_sigma` (or `rel_sigma` times the shortest);
    molecules are described by bonds wherever they are; nothing is rigid without periodic directions.
    """
    owner = components(bonded)
    found = []
    for k in range(int(owner.max()) + 1):
        atoms = np.flatnonzero(owner == k)
        spans = trajectory.pbc.any() and _spans(atoms, bonded, statistics, trajectory)
        kind = "framework" if spans else ("atom" if len(atoms) == 1 else "molecule")
        rigid = bool(trajectory.pbc.any() and kind == "atom")
        if kind == "framework":
            off = ~np.eye(len(atoms), dtype=bool)
            block = np.ix_(atoms, atoms)
            spread = float(np.median(statistics.spread[block][off])) if len(atoms) > 1 else 0.0
            nearest = float(statistics.mean[block][off].min()) if len(atoms) > 1 else 0.0
            rigid = spread < tolerance(nearest, options)
        found.append(Fragment(tuple(atoms.tolist()), kind, rigid, formula(trajectory.numbers[atoms])))
    return tuple(found)


def tolerance(nearest: float, options: OrbitOptions) -> float:
    """Spread (Å) below which things at a distance `nearest` count as being in place; a criterion after Lindemann."""
    return max(options.inter_sigma, options.rel_sigma * min(nearest, NEAR_ENOUGH))


def _spans(
    atoms: Int[np.ndarray, " members"],
    bonded: Bool[np.ndarray, "atoms atoms"],
    statistics: PairStatistics,
    trajectory: Trajectory,
) -> bool:
    """Walk along the bonds: is an atom met again in another cell?"""
    if statistics.n_bonds is not None:
        block = np.ix_(atoms, atoms)
        if (statistics.n_bonds[block][bonded[block]] > 1.5).any() or (np.diag(statistics.n_bonds)[atoms] > 0.5).any():
            return True
    positions, place = trajectory.positions[0], {}
    place[int(atoms[0])] = positions[atoms[0]]
    stack = [int(atoms[0])]
    while stack:
        i = stack.pop()
        neighbors = np.flatnonzero(bonded[i])
        steps = displacements(positions[neighbors] - positions[i], trajectory.lattice)
        for j, step in zip(neighbors.tolist(), steps, strict=True):
            there = place[i] + step
            if j not in place:
                place[j] = there
                stack.append(j)
            elif np.abs(place[j] - there).max() > 0.1:
                return True
    return False


def localized(
    statistics: PairStatistics, fragments: tuple[Fragment, ...], n_atoms: int, options: OrbitOptions
) -> tuple[Bool[np.ndarray, "fragments fragments"], Int[np.ndarray, " atoms"], Int[np.ndarray, " fragments"]]:
    """Which fragments stay in place relative to each other.

    Judged for classes: pairs of fragments of two sorts (kind and formula) whose mean spreads are alike.

    Returns:
        The answer for each pair of fragments; the fragment of each atom; the sort of each fragment.
    """
    owner = np.empty(n_atoms, dtype=np.int64)
    for k, fragment in enumerate(fragments):
        owner[list(fragment.atoms)] = k
    names = sorted({(f.kind, f.formula) for f in fragments})
    sort = np.array([names.index((f.kind, f.formula)) for f in fragments])
    n = len(fragments)
    if n == 1:
        return np.zeros((1, 1), dtype=bool), owner, sort
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(n))
    size = np.bincount(owner, minlength=n).astype(np.float64)
    spread = _reduce_blocks(np.add, statistics.spread, order, starts) / np.outer(size, size)
    nearest = _reduce_blocks(np.minimum, statistics.mean, order, starts)
    result = np.zeros((n, n), dtype=bool)
    a, b = np.triu_indices(n, 1)
    key = np.minimum(sort[a], sort[b]) * len(names) + np.maximum(sort[a], sort[b])
    for k in np.unique(key):
        pairs = np.flatnonzero(key == k)
        pairs = pairs[np.argsort(spread[a[pairs], b[pairs]], kind="stable")]
        values = spread[a[pairs], b[pairs]]
        for members in np.split(pairs, np.flatnonzero(np.diff(cut(np.log(values + 1e-3), np.log(LIKE_SPREADS)))) + 1):
            left, right = a[members], b[members]
            within = tolerance(float(nearest[left, right].min()), options)
            result[left, right] = np.median(spread[left, right]) < within
    return result | result.T, owner, sort


def _reduce_blocks(
    function: np.ufunc, matrix: Float[np.ndarray, "atoms atoms"], order: np.ndarray, starts: np.ndarray
) -> Float[np.ndarray, "fragments fragments"]:
    rows = function.reduceat(matrix[order][:, order], starts, axis=0)
    return function.reduceat(rows, starts, axis=1)
