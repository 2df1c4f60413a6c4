"""Isolated atoms in a data set: found by their config_type, or because they are alone."""

from collections.abc import Iterable

from jorbit.core.errors import DataError
from jorbit.core.structure import Frame


def is_isolated_atom(frame: Frame) -> bool:
    """True for one atom that says config_type=IsolatedAtom (any spelling), or one atom without periodicity.

    Example:
        >>> import numpy as np
        >>> from jorbit.core.structure import Structure
        >>> is_isolated_atom(Frame(structure=Structure(positions=np.zeros((1, 3)), numbers=np.array([8]))))
        True
    """
    if frame.structure.n_atoms != 1:
        return False
    kind = str(frame.info.get("config_type", "")).lower().replace("_", "").replace("-", "").replace(" ", "")
    return kind in ("isolatedatom", "isolated") or not frame.structure.pbc.any()


def split_isolated(frames: Iterable[Frame]) -> tuple[list[Frame], dict[int, float]]:
    """Separate the isolated atoms from the rest.

    Returns:
        The other frames in their order, and atomic number -> energy of the free atom in eV.

    Raises:
        DataError: two different energies for one element.

    Example:
        >>> from jorbit.datasets import read
        >>> rest, energies = split_isolated(read("ethanol_gfn2"))
        >>> len(rest), energies
        (2000, {})
    """
    rest: list[Frame] = []
    energies: dict[int, float] = {}
    for frame in frames:
        energy = frame.labels.energy
        if not is_isolated_atom(frame) or energy is None:
            rest.append(frame)
            continue
        number = int(frame.structure.numbers[0])
        if abs(energies.setdefault(number, energy) - energy) > 1e-6:
            raise DataError(
                f"Two energies for the isolated atom with atomic number {number}: {energies[number]} and {energy} eV. "
                "Keep one; files from different methods must not be mixed."
            )
    return rest, energies
