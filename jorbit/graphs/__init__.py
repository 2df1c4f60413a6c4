"""Structure -> Graph: neighbour search, batching, and the border to ase.Atoms."""

from jorbit.graphs.batching import build_graph, capacity_for, pad_labels, round_up, unbatch
from jorbit.graphs.neighbors import PairList, find_pairs

__all__ = ["PairList", "build_graph", "capacity_for", "find_pairs", "pad_labels", "round_up", "unbatch"]
