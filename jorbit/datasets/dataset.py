"""A named, citable list of frames in a fixed order."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class FrameDataset:
    """Frames and what one has to know about them before using them.

    Attributes:
        name: the name under which `load_dataset` finds it.
        frames: structures and labels (eV, Å), always in the same order.
        description: what was computed, and how.
        citation: what to cite.
        licence: as stated by the source.
        source: where the numbers come from.
        splits: name -> indices into `frames`; official splits where there are any.
        isolated_energies: atomic number -> energy in eV of the free atom at the same level of theory.

    Example:
        >>> from jorbit.datasets import load_dataset
        >>> data = load_dataset("ethanol_gfn2")
        >>> len(data), sorted(data.isolated_energies)
        (2000, [1, 6, 8])
    """

    name: str
    frames: tuple[Frame, ...]
    description: str
    citation: str
    licence: str
    source: str
    splits: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    isolated_energies: Mapping[int, float] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Frame:
        return self.frames[index]

    def __iter__(self) -> Iterator[Frame]:
        return iter(self.frames)

    def __repr__(self) -> str:
        return f"FrameDataset({self.name!r}, {len(self)} frames, splits {sorted(self.splits)})"

    def split(self, name: str) -> list[Frame]:
        """The frames of one split, in its order.

        Raises:
            DataError: the data set has no split of that name.
        """
        if name not in self.splits:
            known = ", ".join(sorted(self.splits)) or "none"
            raise DataError(f"{self.name} has no split {name!r}. Splits: {known}.")
        return [self.frames[index] for index in self.splits[name]]
