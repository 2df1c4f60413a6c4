"""One coloured graph for a whole trajectory: its automorphisms are the symmetries the data show."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Int

from jorbit.orbits.classes import PairClass, Pool, describe, make_pools
from jorbit.orbits.fragments import Fragment, find_bonds, find_fragments, localized
from jorbit.orbits.frames import Trajectory
from jorbit.orbits.options import OrbitOptions
from jorbit.orbits.statistics import PairStatistics


@dataclasses.dataclass(frozen=True, eq=False)
class ColoredGraph:
    """Atoms with colours, pairs with colours.

    Attributes:
        vertices: colour of each atom: its element, refined by labels given.
        edges: colour of each pair, symmetric; 0 = no edge. The diagonal counts bonds to own images.
        bonds: which edges are persistent bonds.
        fragments: what the bonds hold together.
        classes: the classes behind the colours, and those that were dropped.
        cuts: for each pair of elements, (position, width of the gap) of every cut between distance classes, Å.
        separation: narrowest gap between distance classes over the narrowest allowed; infinite without any.
        unsure: pairs of one fragment, or bridging two, that are bonded in some frames only.
    """

    vertices: Int[np.ndarray, " atoms"]
    edges: Int[np.ndarray, "atoms atoms"]
    bonds: Bool[np.ndarray, "atoms atoms"]
    fragments: tuple[Fragment, ...]
    classes: tuple[PairClass, ...]
    cuts: tuple[tuple[tuple[int, int], float, float], ...]
    separation: float
    unsure: tuple[tuple[int, int], ...]

    @property
    def n_atoms(self) -> int:
        return len(self.vertices)


def build_graph(
    statistics: PairStatistics,
    trajectory: Trajectory,
    options: OrbitOptions,
    initial_labels: Int[np.ndarray, " atoms"] | None = None,
) -> ColoredGraph:
    """Fragments from persistent bonds; bonds inside molecules, distance classes inside and between what is in place.

    Args:
        statistics: of all pairs.
        trajectory: where they come from.
        options: mode and thresholds.
        initial_labels: further differences between atoms, such as charge states; any integers.
    """
    numbers, n = trajectory.numbers, trajectory.n_atoms
    keys = list(zip(numbers.tolist(), [0] * n if initial_labels is None else initial_labels.tolist(), strict=True))
    if options.mode == "identity":
        keys = [(z, k) for k, (z, _) in enumerate(keys)]
    names = sorted(set(keys))
    vertices = np.array([names.index(key) for key in keys], dtype=np.int32)
    edges = np.zeros((n, n), dtype=np.int32)
    bonds, unsure = find_bonds(statistics, trajectory, options)
    fragments = find_fragments(statistics, trajectory, bonds, options)
    if options.mode in ("species", "identity"):
        return ColoredGraph(vertices, edges, bonds, fragments, (), (), np.inf, ())
    candidates, kinds = _candidates(statistics, trajectory, fragments, options)
    if options.rmax is not None:
        candidates &= statistics.mean < options.rmax
    classes: list[PairClass] = []
    by_bond = bonds & ~_inside_rigid(fragments, n) if options.mode != "distance" else np.zeros_like(bonds)
    color = _color_bonds(edges, by_bond, statistics, numbers, options, classes)
    cuts, separation = [], np.inf
    for pool in make_pools(statistics, kinds, candidates & ~by_bond, options.gap):
        color, kept = _color_distances(edges, pool, color, statistics, numbers, options, classes)
        ends = sorted((int(numbers[pool.i[0]]), int(numbers[pool.j[0]])))
        cuts += [((ends[0], ends[1]), float(at), float(width)) for at, width in pool.cuts]
        if kept and len(pool.cuts):
            separation = min(separation, float(pool.cuts[:, 1].min()) / pool.width)
    doubtful = tuple((int(i), int(j)) for i, j in np.argwhere(np.triu(unsure & ~candidates, 1)))
    return ColoredGraph(
        vertices,
        edges,
        bonds,
        fragments,
        tuple(classes),
        tuple(cuts),
        separation,
        doubtful,
    )


def _candidates(
    statistics: PairStatistics, trajectory: Trajectory, fragments: tuple[Fragment, ...], options: OrbitOptions
) -> tuple[Bool[np.ndarray, "atoms atoms"], Int[np.ndarray, " atoms"]]:
    """Pairs that distance classes may join, and the kinds of atoms among which they are compared."""
    n = trajectory.n_atoms
    off_diagonal = ~np.eye(n, dtype=bool)
    if options.mode == "distance":
        return off_diagonal, trajectory.numbers.astype(np.int64)
    if options.mode == "bond" or not trajectory.pbc.any():
        return np.zeros((n, n), dtype=bool), trajectory.numbers.astype(np.int64)
    in_place, owner, sort = localized(statistics, fragments, n, options)
    candidates = in_place[np.ix_(owner, owner)] | _inside_rigid(fragments, n)
    kinds = trajectory.numbers.astype(np.int64) * (int(sort.max()) + 1) + sort[owner]
    return candidates & off_diagonal, kinds


def _inside_rigid(fragments: tuple[Fragment, ...], n_atoms: int) -> Bool[np.ndarray, "atoms atoms"]:
    inside = np.zeros((n_atoms, n_atoms), dtype=bool)
    for fragment in fragments:
        if fragment.rigid:
            inside[np.ix_(fragment.atoms, fragment.atoms)] = True
    return inside


def _color_bonds(
    edges: Int[np.ndarray, "atoms atoms"],
    by_bond: Bool[np.ndarray, "atoms atoms"],
    statistics: PairStatistics,
    numbers: Int[np.ndarray, " atoms"],
    options: OrbitOptions,
    classes: list[PairClass],
) -> int:
    """Colour bonds by the number of bonded images; returns the highest colour used."""
    color = 1
    for pool in make_pools(statistics, numbers.astype(np.int64), by_bond, options.gap):
        for members in pool.members():
            i, j = pool.i[members], pool.j[members]
            count = 1 if statistics.n_bonds is None else max(1, round(float(np.mean(statistics.n_bonds[i, j]))))
            edges[i, j] = edges[j, i] = count
            color = max(color, count)
            classes.append(describe(pool, members, statistics, numbers, "bond"))
    if statistics.n_bonds is not None:
        own = np.diag(statistics.n_bonds)
        for z in np.unique(numbers):
            atoms = np.flatnonzero((numbers == z) & by_bond.any(axis=1))
            if len(atoms):
                edges[atoms, atoms] = round(float(own[atoms].mean()))
                color = max(color, int(edges[atoms[0], atoms[0]]))
    return color


def _color_distances(
    edges: Int[np.ndarray, "atoms atoms"],
    pool: Pool,
    color: int,
    statistics: PairStatistics,
    numbers: Int[np.ndarray, " atoms"],
    options: OrbitOptions,
    classes: list[PairClass],
) -> tuple[int, bool]:
    """Give each class of a pool that varies little its own colour; returns the highest colour, and whether any did."""
    kept = False
    for members in pool.members():
        i, j = pool.i[members], pool.j[members]
        steady = np.median(statistics.spread[i, j]) <= options.rel_sigma * np.median(statistics.mean[i, j])
        if steady:
            color += 1
            edges[i, j] = edges[j, i] = color
            kept = True
        classes.append(describe(pool, members, statistics, numbers, "distance" if steady else "dropped"))
    return color, kept
