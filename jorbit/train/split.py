"""Training, validation and test sets: seeded, disjoint, and the same on every machine."""

import collections
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame
from jorbit.datasets.hdf5 import HDF5Frames

Size = int | float | None


class Split(NamedTuple):
    """Disjoint lists of frames, or views of a file of frames."""

    train: Sequence[Frame]
    valid: Sequence[Frame]
    test: Sequence[Frame]


def _count(size: Size, total: int, name: str) -> int:
    if size is None:
        return 0
    if isinstance(size, bool) or size < 0 or (isinstance(size, float) and size > 1):
        raise DataError(f"The size {name}={size!r} must be a number of frames, or a fraction between 0.0 and 1.0.")
    return round(size * total) if isinstance(size, float) else int(size)


def random_split(
    frames: Sequence[Frame], *, train: Size = None, valid: Size = None, test: Size = None, seed: int = 0
) -> Split:
    """Shuffle with a seed and cut.

    Args:
        frames: what to split; not changed.
        train, valid, test: numbers of frames (int) or fractions of all (float), rounded; where rounding asks for more
            frames than there are, the largest fraction gives way. `train=None` takes what the others leave;
            `valid=None` and `test=None` are empty.
        seed: of the shuffle.

    Raises:
        DataError: more frames wanted than there are.

    Example:
        >>> from jorbit.core.structure import Structure
        >>> ten = [Frame(structure=Structure(positions=np.zeros((1, 3)), numbers=np.array([2])))] * 10
        >>> [len(part) for part in random_split(ten, train=6, test=0.2)]
        [6, 0, 2]
    """
    total = len(frames)
    sizes = {"train": train, "valid": valid, "test": test}
    counts = {name: _count(size, total, name) for name, size in sizes.items()}
    exact = {name: size * total for name, size in sizes.items() if isinstance(size, float)}
    excess = sum(counts.values()) - total
    if excess > 0 and sum((counts | exact).values()) <= total + 1e-6:  # by rounding only
        counts[max(exact, key=lambda name: counts[name])] -= excess
    n_valid, n_test = counts["valid"], counts["test"]
    n_train = max(total - n_valid - n_test, 0) if train is None else counts["train"]
    if n_train + n_valid + n_test > total:
        raise DataError(
            f"Wanted {n_train} training + {n_valid} validation + {n_test} test frames, but there are {total}. "
            "Ask for fewer, or give more data."
        )
    order = np.random.default_rng(seed).permutation(total)
    cuts = np.split(order, np.cumsum([n_train, n_valid, n_test]))[:3]
    if isinstance(frames, HDF5Frames):
        return Split(*(frames[np.sort(part)] for part in cuts))  # read later, in the order of the file
    return Split(*([frames[k] for k in part] for part in cuts))


def by_config_type(frames: Sequence[Frame], key: str = "config_type") -> dict[str, list[Frame]]:
    """Frames grouped by what their file said they are, in the order of first appearance; "" where it said nothing."""
    groups: dict[str, list[Frame]] = collections.defaultdict(list)
    for frame in frames:
        groups[str(frame.info.get(key, ""))].append(frame)
    return dict(groups)


def stratified_split(
    frames: Sequence[Frame],
    *,
    train: float | None = None,
    valid: float | None = None,
    test: float | None = None,
    seed: int = 0,
    key: str = "config_type",
) -> Split:
    """`random_split` within each config_type, by fractions, so that every kind is in every part in proportion."""
    result: tuple[list[Frame], ...] = ([], [], [])
    for group in by_config_type(frames, key).values():
        part = random_split(group, train=train, valid=valid, test=test, seed=seed)
        for whole, piece in zip(result, part, strict=True):
            whole.extend(piece)
    return Split(*result)
