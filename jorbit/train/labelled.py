"""Frames with orbits before they are fitted: found, given, or carried along."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from jorbit.core.errors import ConfigError
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame
from jorbit.datasets.hdf5 import HDF5Frames
from jorbit.datasets.isolated import is_isolated_atom
from jorbit.potential.labelling import label_structures
from jorbit.potential.orbit_reference import FoundOrbits, as_reference, reference_of
from jorbit.potential.potential import Potential


def label_frames(frames: Sequence[Frame], orbits: Any) -> list[Frame]:
    """The frames with the orbits of a reference in place of their own; isolated atoms are left alone.

    Args:
        frames: the system that the orbits were found in, in any order of atoms, or copies of it.
        orbits: what `jorbit.find_orbits` returned.

    Raises:
        OrbitError: a structure that is not what the orbits belong to.

    Example:
        >>> import jorbit
        >>> frames = jorbit.read("ethanol_gfn2")[:60]
        >>> label_frames(frames, jorbit.find_orbits(frames))[0].structure.orbits.tolist()
        [0, 1, 0, 0, 1, 1, 2, 2, 2]
    """
    reference = as_reference(orbits)
    return _replaced(frames, lambda bare: label_structures(bare, reference.species, reference), bare=True)


def labelled_for(potential: Potential, frames: Sequence[Frame]) -> Sequence[Frame]:
    """The frames as the potential sees them: with its orbits, if it has any. Isolated atoms are left alone."""
    if potential.orbits is None and isinstance(frames, HDF5Frames):
        return frames  # stay in their file
    return _replaced(frames, potential.labelled, bare=False)


def fitted_reference(frames: Sequence[Frame], potential: Potential | None, orbits: Any) -> FoundOrbits | None:
    """The reference that a model fitted to these frames keeps, if there is one.

    Args:
        frames: training data, labelled already when `orbits` is given.
        potential: what will be fitted; None = the default, which knows the orbits found.
        orbits: what the caller gave, or None.

    Raises:
        ConfigError: orbits for a potential whose species table has others, or none.
    """
    if orbits is not None:
        reference = as_reference(orbits)
        if potential is not None and potential.species != reference.species:
            raise ConfigError(
                f"orbits= has {', '.join(reference.species.names)}, but the potential was made for "
                f"{', '.join(potential.species.names)}. Make it for the species table of the orbits "
                "(jorbit.train.orbit_table(orbits)), or leave the potential out."
            )
        return reference
    if potential is not None and (potential.orbits is not None or not potential.species.has_orbits):
        return None
    structures = [f.structure for f in frames if not is_isolated_atom(f)]
    if not structures or any(s.orbits is None for s in structures):
        return None
    return reference_of(structures) if SpeciesTable.from_structures(structures).has_orbits else None


def orbit_table(orbits: Any) -> SpeciesTable:
    """The species table of a model with these orbits: one row per (element, orbit).

    Args:
        orbits: what `jorbit.find_orbits` returned.

    Example:
        >>> import jorbit
        >>> orbit_table(jorbit.find_orbits(jorbit.read("ethanol_gfn2")[:60])).names
        ('H0', 'H1', 'H2', 'C0', 'C1', 'O')
    """
    return as_reference(orbits).species


def _replaced(frames: Sequence[Frame], function: Any, *, bare: bool) -> list[Frame]:
    chosen = [k for k, f in enumerate(frames) if not is_isolated_atom(f)]
    structures = [frames[k].structure for k in chosen]
    labelled = function([dataclasses.replace(s, orbits=None) for s in structures] if bare else structures)
    result = list(frames)
    for k, structure in zip(chosen, labelled, strict=True):
        if structure is not frames[k].structure:
            result[k] = dataclasses.replace(frames[k], structure=structure)
    return result
