"""find_orbits: from a trajectory to labels."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jorbit.core.errors import ConfigError
from jorbit.core.structure import Frame, Structure
from jorbit.orbits.feasibility import feasible_group
from jorbit.orbits.frames import read_trajectory
from jorbit.orbits.graph import ColoredGraph, build_graph
from jorbit.orbits.group import automorphism_group
from jorbit.orbits.options import OrbitOptions
from jorbit.orbits.reference import make_reference
from jorbit.orbits.refinement import make_refiner, partitions_by_level
from jorbit.orbits.result import OrbitResult, canonical_labels
from jorbit.orbits.stability import cells, check_subsets, warnings_of
from jorbit.orbits.statistics import PairStatistics, make_groups, pair_statistics


def find_orbits(
    frames: Iterable[Frame | Structure],
    *,
    feasible: bool = False,
    initial_labels: Int[np.ndarray, " atoms"] | None = None,
    **options: Any,
) -> OrbitResult:
    """Find out which atoms of a trajectory are interchangeable.

    One coloured graph is made for the whole trajectory: persistent bonds inside molecules, classes of mean distances
    inside and between whatever stays in place in a crystal, slab or sheet. Atoms that an automorphism of this graph
    exchanges share an orbit. Deterministic; one pass over the frames.

    Args:
        frames: the same atoms in the same order, from molecular dynamics or similar; a few hundred. Frames or
            Structures; positions need not be wrapped, cells may vary.
        feasible: look for the part of the group that the data visit, too (`result.feasible`).
        initial_labels: differences between atoms that distances do not show, such as charge states.
        options: fields of `OrbitOptions`: mode, level, gap, p_bond, f_cov, rel_sigma, inter_sigma, rmax, ...

    Returns:
        Labels, generators and order of the group, and how far to trust them.

    Raises:
        DataError: frames with different atoms, order or periodic directions; no frames.
        StructureError: a frame no model could use; cells not of one trajectory; a crystal without pbc.
        ConfigError: an option that does not exist or makes no sense.

    Example:
        >>> import jorbit
        >>> orbits = jorbit.find_orbits(jorbit.read("ethanol_gfn2")[:100], level=1)
        >>> orbits.n_orbits, orbits.labels.tolist()
        (5, [2, 3, 4, 0, 1, 1, 1, 1, 1])
    """
    unknown = sorted(set(options) - set(OrbitOptions.__dataclass_fields__))
    if unknown:
        known = ", ".join(OrbitOptions.__dataclass_fields__)
        raise ConfigError(f"There is no option {unknown[0]!r}: wanted feasible, initial_labels, {known}.")
    chosen = OrbitOptions(**options).check()
    trajectory = read_trajectory(frames, chosen.max_frames)
    if initial_labels is not None:
        initial_labels = _check_labels(initial_labels, trajectory.n_atoms)
    groups = make_groups(trajectory.n_frames, chosen.n_blocks, chosen.n_bootstraps, chosen.seed)
    statistics, subsets = pair_statistics(trajectory, groups, chosen.f_cov)
    graph = build_graph(statistics, trajectory, chosen, initial_labels)
    group = automorphism_group(graph, chosen.max_branches)
    by_level = partitions_by_level(make_refiner(graph.vertices, graph.edges))
    stability = check_subsets(graph, subsets, trajectory, chosen, initial_labels)
    warnings = warnings_of(graph, statistics, trajectory, chosen, stability, initial_labels)
    if feasible and trajectory.n_frames == 1:
        warnings = (*warnings, "One frame cannot show which symmetries the data visit: all of them count as feasible.")
    use_orbits = chosen.level is None and chosen.exact
    if use_orbits and not group.exact:
        warnings = (
            *warnings,
            f"The exact search gave up after {chosen.max_branches} dead ends: the labels are cells of colour "
            "refinement, which may join orbits, and the group is a subgroup. Allow more (max_branches=...).",
        )
    partition = group.orbits if use_orbits else cells(graph, chosen.level)
    return OrbitResult(
        numbers=trajectory.numbers.astype(np.int64),
        labels=canonical_labels(trajectory.numbers, partition),
        generators=group.generators,
        group_order=group.order,
        level=chosen.level,
        level_labels=tuple(canonical_labels(trajectory.numbers, p) for p in by_level),
        exact=use_orbits and group.exact,
        stability=stability,
        separation=graph.separation,
        spread=_spread(statistics, graph),
        fragments=graph.fragments,
        classes=graph.classes,
        cuts=graph.cuts,
        warnings=warnings,
        options=chosen,
        reference=make_reference(trajectory, graph),
        n_frames=trajectory.n_given,
        feasible=feasible_group(trajectory, group.generators) if feasible else None,
    )


def _check_labels(labels: Int[np.ndarray, " atoms"], n_atoms: int) -> Int[np.ndarray, " atoms"]:
    found = np.asarray(labels)
    if found.shape != (n_atoms,) or not np.issubdtype(found.dtype, np.integer):
        raise ConfigError(
            f"initial_labels: wanted {n_atoms} integers, one for each atom, got {found.dtype} of shape {found.shape}."
        )
    return found


def _spread(statistics: PairStatistics, graph: ColoredGraph) -> Float[np.ndarray, " atoms"]:
    """Median spread of the distances of each atom to the others of its fragment; of single atoms, to all others."""
    result = np.zeros(graph.n_atoms)
    for fragment in graph.fragments:
        atoms = np.array(fragment.atoms)
        others = atoms if len(atoms) > 1 else np.arange(graph.n_atoms)
        block = statistics.spread[np.ix_(atoms, others)]
        if len(others) > 1:
            result[atoms] = np.median(block[atoms[:, None] != others[None]].reshape(len(atoms), -1), axis=1)
    return result
