"""Would other frames have given the same orbits? The partition on halves and subsets, and with wider classes."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from jorbit.core.species import SYMBOLS
from jorbit.orbits.frames import Trajectory
from jorbit.orbits.graph import ColoredGraph, build_graph
from jorbit.orbits.options import OrbitOptions
from jorbit.orbits.refinement import first_members, make_refiner
from jorbit.orbits.statistics import PairStatistics

FEW_FRAMES = 50
MOBILE = 2.5  # an atom whose distances spread by this factor more than those of its element's median leaves its site
NEARLY = 2.0  # cuts narrower than this times the least width are close calls


def adjusted_rand_index(a: Int[np.ndarray, " atoms"], b: Int[np.ndarray, " atoms"]) -> float:
    """Agreement of two partitions: 1 for equal ones, 0 on average for random ones.

    Example:
        >>> adjusted_rand_index(np.array([0, 0, 1]), np.array([5, 5, 3]))
        1.0

    References:
        L. Hubert and P. Arabie, Comparing partitions, J. Classification 2, 193-218 (1985), doi:10.1007/BF01908075.
    """

    def pairs(counts: np.ndarray) -> float:
        return float((counts * (counts - 1) / 2).sum())

    _, a = np.unique(a, return_inverse=True)
    _, b = np.unique(b, return_inverse=True)
    if np.array_equal(_first_appearance(a), _first_appearance(b)):
        return 1.0
    joint = np.bincount(a.reshape(-1) * (int(b.max()) + 1) + b.reshape(-1))
    both, only_a, only_b = pairs(joint), pairs(np.bincount(a.reshape(-1))), pairs(np.bincount(b.reshape(-1)))
    expected = only_a * only_b / max(len(a) * (len(a) - 1) / 2, 1.0)
    return (both - expected) / (0.5 * (only_a + only_b) - expected)


def _first_appearance(labels: Int[np.ndarray, " atoms"]) -> Int[np.ndarray, " atoms"]:
    return first_members(labels.reshape(-1).astype(np.uint64))


def cells(graph: ColoredGraph, level: int | None) -> Int[np.ndarray, " atoms"]:
    """Cells of colour refinement after `level` rounds, or in the end."""
    refiner = make_refiner(graph.vertices, graph.edges)
    hashes = refiner.start()
    if level is None:
        return first_members(refiner.refine(hashes))
    for _ in range(level):
        hashes = refiner.round(hashes)
    return first_members(hashes)


def _same_graph(a: ColoredGraph, b: ColoredGraph) -> bool:
    """Equal up to the names of the colours."""
    if not np.array_equal(a.edges > 0, b.edges > 0):
        return False
    pairs = np.unique(np.stack([a.edges.ravel(), b.edges.ravel()]), axis=1)
    return len(np.unique(pairs[0])) == pairs.shape[1] == len(np.unique(pairs[1]))


def check_subsets(
    graph: ColoredGraph,
    subsets: Sequence[PairStatistics],
    trajectory: Trajectory,
    options: OrbitOptions,
    initial_labels: Int[np.ndarray, " atoms"] | None,
) -> float | None:
    """Lowest adjusted Rand index between the partition and those found on parts of the trajectory, or None."""
    if not subsets:
        return None
    whole, worst = cells(graph, options.level), 1.0
    for statistics in subsets:
        other = build_graph(statistics, trajectory, options, initial_labels)
        if not _same_graph(graph, other):
            worst = min(worst, adjusted_rand_index(whole, cells(other, options.level)))
    return worst


def warnings_of(
    graph: ColoredGraph,
    statistics: PairStatistics,
    trajectory: Trajectory,
    options: OrbitOptions,
    stability: float | None,
    initial_labels: Int[np.ndarray, " atoms"] | None,
) -> tuple[str, ...]:
    """What a reader of the labels should know before trusting them; one sentence or two each."""
    if options.mode in ("species", "identity"):
        return ()
    found = []
    if statistics.n_frames < FEW_FRAMES:
        what = "One frame shows" if statistics.n_frames == 1 else f"{statistics.n_frames} frames show"
        found.append(
            f"{what} little about what moves and what persists: bonds and distance classes may be accidental. "
            f"Wanted at least {FEW_FRAMES} frames, better 200 or more."
        )
    if stability is not None and stability < 1.0:
        found.append(
            f"The orbits depend on the frames: on halves or 80 % of the trajectory the adjusted Rand index falls to "
            f"{stability:.3f}. Use a longer trajectory, or a lower level."
        )
    if graph.unsure:
        pairs = ", ".join(_pair(trajectory, i, j, statistics) for i, j in graph.unsure[:5])
        more = f" and {len(graph.unsure) - 5} more" if len(graph.unsure) > 5 else ""
        found.append(
            f"Bonds break or form: {pairs}{more}. Fixed labels do not hold for a reactive trajectory; cut it where the "
            "reaction happens, or check that these are no bonds (f_cov, p_bond)."
        )
    found += _mobile_atoms(graph, statistics, trajectory, options)
    if graph.separation < NEARLY:
        wider = dataclasses.replace(options, gap=NEARLY * _widest_gap(graph, options))
        other = build_graph(statistics, trajectory, wider, initial_labels)
        mine, theirs = cells(graph, options.level), cells(other, options.level)
        if adjusted_rand_index(mine, theirs) < 1.0:
            found.append(
                f"Distance classes are not well separated (narrowest gap {graph.separation:.2f} times the least that "
                f"counts): with gap={wider.gap:.2f} Å there are {theirs.max() + 1} cells instead of {mine.max() + 1}. "
                "Look at the histogram of the classes and choose gap=..., or use more frames."
            )
    return tuple(found)


def _widest_gap(graph: ColoredGraph, options: OrbitOptions) -> float:
    narrow = [width for _, _, width in graph.cuts]
    return max(options.gap, min(narrow) / graph.separation if narrow else 0.0)


def _pair(trajectory: Trajectory, i: int, j: int, statistics: PairStatistics) -> str:
    a, b = SYMBOLS[trajectory.numbers[i]], SYMBOLS[trajectory.numbers[j]]
    return f"{a}{i}-{b}{j} (bonded in {100 * statistics.bonded[i, j]:.0f} % of the frames)"


def _mobile_atoms(
    graph: ColoredGraph, statistics: PairStatistics, trajectory: Trajectory, options: OrbitOptions
) -> list[str]:
    """Atoms of frameworks and single atoms whose distances vary far more than those of their like: they diffuse."""
    fixed = np.zeros(trajectory.n_atoms, dtype=bool)
    for fragment in graph.fragments:
        fixed[list(fragment.atoms)] = fragment.rigid
    if not trajectory.pbc.any() or fixed.sum() < 3:
        return []
    spread = np.median(statistics.spread[np.ix_(fixed, fixed)], axis=1)
    atoms, numbers = np.flatnonzero(fixed), trajectory.numbers[fixed]
    restless = []
    for z in np.unique(numbers):
        mine = numbers == z
        limit = max(MOBILE * float(np.median(spread[mine])), 2.0 * options.inter_sigma)
        restless += atoms[mine][spread[mine] > limit].tolist()
    if not restless:
        return []
    names = ", ".join(f"{SYMBOLS[trajectory.numbers[k]]}{k}" for k in restless[:5])
    more = f" and {len(restless) - 5} more" if len(restless) > 5 else ""
    return [
        f"Atoms leave their sites: {names}{more}. Fixed labels do not hold while atoms diffuse; use a part of the "
        "trajectory in which they stay, or give them labels of their own (initial_labels)."
    ]
