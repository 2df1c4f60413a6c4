"""(element, orbit) -> dense index: how chemistry and orbits reach the learned models."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from jorbit.core.errors import UnknownSpeciesError
from jorbit.core.structure import Structure

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb "
    "Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au "
    "Hg Tl Pb Bi Po At Rn Fr Ra Ac Th Pa U Np Pu Am Cm Bk Cf Es Fm Md No Lr Rf Db Sg Bh Hs Mt Ds Rg Cn Nh Fl Mc Lv "
    "Ts Og"
).split()


@dataclasses.dataclass(frozen=True)
class SpeciesTable:
    """The distinct kinds of atoms a model knows. Row i is (atomic number, orbit).

    Without orbits there is one row per element, with orbit 0.

    Example:
        >>> table = SpeciesTable.from_numbers([8, 1, 1])
        >>> table.rows, table.index(np.array([8, 1])).tolist()
        (((1, 0), (8, 0)), [1, 0])
    """

    rows: tuple[tuple[int, int], ...]

    @classmethod
    def from_numbers(cls, numbers: Iterable[int]) -> "SpeciesTable":
        """One row per distinct atomic number, ascending."""
        return cls(tuple((int(z), 0) for z in sorted({int(z) for z in numbers})))

    @classmethod
    def from_structures(cls, structures: Iterable[Structure]) -> "SpeciesTable":
        """One row per distinct (element, orbit) found, ascending."""
        rows: set[tuple[int, int]] = set()
        for s in structures:
            orbits = np.zeros(s.n_atoms, dtype=int) if s.orbits is None else s.orbits
            rows |= {(int(z), int(o)) for z, o in zip(s.numbers, orbits, strict=True)}
        return cls(tuple(sorted(rows)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def has_orbits(self) -> bool:
        """Whether the table tells atoms of one element apart; one that does not ignores the orbits of structures."""
        return any(orbit != 0 for _, orbit in self.rows)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Atomic number of each row."""
        return tuple(z for z, _ in self.rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Name of each row: the element's symbol, with its orbit where an element has several."""
        several = {z for z in self.numbers if self.numbers.count(z) > 1}
        return tuple(f"{SYMBOLS[z]}{o}" if z in several else SYMBOLS[z] for z, o in self.rows)

    def index(
        self, numbers: Int[np.ndarray, " atoms"], orbits: Int[np.ndarray, " atoms"] | None = None
    ) -> Int[np.ndarray, " atoms"]:
        """Row of each atom.

        Raises:
            UnknownSpeciesError: an atom that has no row.
        """
        orbits = np.zeros(len(numbers), dtype=int) if orbits is None or not self.has_orbits else orbits
        lookup = {row: i for i, row in enumerate(self.rows)}
        keys = [(int(z), int(o)) for z, o in zip(numbers, orbits, strict=True)]
        unknown = sorted({k for k in keys if k not in lookup})
        if unknown:
            names = ", ".join(SYMBOLS[z] + (f" (orbit {o})" if o else "") for z, o in unknown)
            raise UnknownSpeciesError(
                f"The model knows {', '.join(self.names)}, but the structure holds {names}. "
                "Use a model trained on these elements, or add frames that hold them to the training set."
            )
        return np.array([lookup[k] for k in keys], dtype=np.int32)
