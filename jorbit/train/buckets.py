"""Frames of different sizes in few static shapes: one compilation per bucket, not per frame."""

import collections
from collections.abc import Iterable, Sequence

from jorbit.core.protocols import Capacity
from jorbit.core.structure import Structure
from jorbit.graphs.batching import capacity_for, round_up


def frame_capacities(structures: Iterable[Structure], cutoffs: Sequence[float]) -> list[Capacity]:
    """A one-structure capacity per structure; structures with the same rounded number of atoms share one.

    Args:
        structures: any sizes.
        cutoffs: of the neighbourhoods, ascending, Å.

    Example:
        >>> import numpy as np
        >>> atom = Structure(positions=np.zeros((1, 3)), numbers=np.array([18]))
        >>> frame_capacities([atom, atom], [3.0])[0].n_atoms
        4
    """
    alone = [capacity_for([s], cutoffs) for s in structures]
    slots: dict[int, tuple[int, ...]] = {}
    for c in alone:
        have = slots.get(c.n_atoms, c.n_slots)
        slots[c.n_atoms] = tuple(max(a, b) for a, b in zip(have, c.n_slots, strict=True))
    shared = {n: Capacity(n_atoms=n, n_structures=1, n_slots=s) for n, s in slots.items()}
    return [shared[c.n_atoms] for c in alone]


def batches(
    structures: Iterable[Structure], cutoffs: Sequence[float], batch_atoms: int
) -> list[tuple[list[int], Capacity]]:
    """Group structures into batches of about `batch_atoms` atoms; batches of one bucket share a capacity.

    Args:
        structures: any sizes; looked at one after the other.
        cutoffs: of the neighbourhoods, ascending, Å.
        batch_atoms: aim; a structure with more atoms is a batch of its own.

    Returns:
        Indices of the structures of each batch, and its capacity. Every index occurs once.
    """
    members: dict[Capacity, list[int]] = collections.defaultdict(list)
    for k, capacity in enumerate(frame_capacities(structures, cutoffs)):
        members[capacity].append(k)
    result = []
    for capacity, indices in members.items():
        together = min(len(indices), max(1, batch_atoms // capacity.n_atoms))
        shared = Capacity(
            n_atoms=round_up(together * capacity.n_atoms) if together > 1 else capacity.n_atoms,
            n_structures=together,
            n_slots=capacity.n_slots,
        )
        result += [(indices[k : k + together], shared) for k in range(0, len(indices), together)]
    return result
