"""Reference energies of the elements, and the mean energy per composition as a baseline."""

import dataclasses
import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.protocols import Params
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.core.structure import Frame, Structure
from jorbit.datasets.isolated import is_isolated_atom
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy

_AGREE = 1e-3  # eV; two calculations of the same isolated atom may differ by this much


class References(NamedTuple):
    """Energies per species, and the directions in which a fit may still change them.

    Attributes:
        energies: eV, per row of the species table.
        directions: [species, free]: orthonormal per element; empty when all energies are given.
        isolated: indices of the frames that were used as isolated atoms.
    """

    energies: Float[np.ndarray, " species"]
    directions: Float[np.ndarray, "species free"]
    isolated: frozenset[int]


def compositions(structures: Iterable[Structure], species: SpeciesTable) -> Float[np.ndarray, "structures species"]:
    """How many atoms of each species each structure holds."""
    rows = [np.bincount(species.index(s.numbers, s.orbits), minlength=len(species)) for s in structures]
    return np.array(rows, dtype=np.float64).reshape(len(rows), len(species))


def isolated_atoms(frames: Sequence[Frame]) -> dict[int, int]:
    """Atomic number -> index of the first frame that holds this atom alone, with an energy.

    A frame counts when it has one atom and either no periodic direction or the config_type IsolatedAtom.

    Raises:
        DataError: two such frames of one element disagree by more than 1 meV.
    """
    found: dict[int, int] = {}
    for k, frame in enumerate(frames):
        if not _is_isolated(frame):
            continue
        number = int(frame.structure.numbers[0])
        first = found.setdefault(number, k)
        energies = frames[first].labels.energy, frame.labels.energy
        if abs(energies[0] - energies[1]) > _AGREE:  # type: ignore[operator]
            raise DataError(
                f"Frames {first} and {k} both hold one isolated {SYMBOLS[number]} atom, with energies {energies[0]} "
                f"and {energies[1]} eV. Keep one, or give reference_energies as a dictionary."
            )
    return found


def _is_isolated(frame: Frame) -> bool:
    return is_isolated_atom(frame) and frame.labels.energy is not None


def _from_dict(given: Mapping[str | int, float]) -> dict[int, float]:
    result = {}
    for key, energy in given.items():
        if isinstance(key, str) and key not in SYMBOLS:
            close = difflib.get_close_matches(key.capitalize(), SYMBOLS, n=1, cutoff=0.3)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ConfigError(f"reference_energies names {key!r}, which is no element.{hint}")
        result[SYMBOLS.index(key) if isinstance(key, str) else int(key)] = float(energy)
    return result


def reference_energies(
    frames: Sequence[Frame],
    species: SpeciesTable,
    given: str | Mapping[str | int, float] | None = None,
    *,
    use_compositions: bool = True,
) -> References:
    """Energy of each element, from isolated atoms, from the user, or by least squares on compositions.

    Args:
        frames: training data.
        species: rows of the result; the orbits of an element share its energy.
        given: None uses isolated atoms where the data hold them and fits the rest; "isolated" insists on them;
            "fit" ignores them; a dictionary {symbol or atomic number: eV} gives all of them.
        use_compositions: False leaves energies that are not given at 0 (a fit in which energies weigh nothing).

    Returns:
        Energies, and the directions that the compositions in the data determine. Where compositions depend on each
        other (a data set of one molecule fixes only one sum) the fit has minimal norm. Orbits of one element always
        have one energy: it belongs to the free atom.

    Raises:
        ConfigError, DataError: an element without an energy; a name that is no element.

    Example:
        >>> reference_energies([], SpeciesTable.from_numbers([1]), {"H": -13.6}).energies.tolist()
        [-13.6]
    """
    numbers = np.array(species.numbers)
    isolated: dict[int, int] = {}
    if isinstance(given, str):
        if given not in ("fit", "isolated"):
            raise ConfigError(f"reference_energies must be None, 'fit', 'isolated' or a dictionary, got {given!r}.")
        isolated = {} if given == "fit" else isolated_atoms(frames)
    elif given is None:
        isolated = isolated_atoms(frames)
    fixed = {z: float(frames[k].labels.energy) for z, k in isolated.items()}  # type: ignore[arg-type]
    if isinstance(given, Mapping):
        fixed = _from_dict(given)
    missing = sorted({int(z) for z in numbers} - set(fixed))
    if missing and (given == "isolated" or isinstance(given, Mapping)):
        names = ", ".join(SYMBOLS[z] for z in missing)
        what = "an isolated atom in the data" if given == "isolated" else "an entry in reference_energies"
        raise ConfigError(f"{names} need {what}: add it, or use reference_energies='fit'.")

    used = frozenset(k for k, f in enumerate(frames) if isolated and _is_isolated(f))
    energies = np.array([fixed.get(int(z), 0.0) for z in numbers])
    directions = np.zeros((len(species), 0))
    elements = SpeciesTable.from_numbers(species.numbers)
    counts, targets = np.zeros((0, len(elements))), np.zeros(0)
    if missing and use_compositions:
        counts, targets = _energies_of_compositions((f for k, f in enumerate(frames) if k not in used), elements)
    if len(targets):
        row_of = elements.index(numbers)
        fixed_energies = np.array([fixed.get(z, 0.0) for z in elements.numbers])
        targets = targets - counts @ fixed_energies
        free = np.array([z not in fixed for z in elements.numbers])
        # Per atom, so that large structures do not decide alone.
        n_atoms = counts.sum(axis=1)
        unknown = counts[:, free] / n_atoms[:, None]
        _, values, basis = np.linalg.svd(unknown, full_matrices=False)
        basis = basis[values > 1e-8 * values[0]] if values[0] > 0 else basis[:0]
        by_element = np.zeros((len(elements), len(basis)))
        by_element[free] = basis.T
        directions = by_element[row_of]
        solution = np.linalg.lstsq(unknown @ basis.T, targets / n_atoms, rcond=None)[0]
        energies = energies + directions @ solution
    return References(energies, directions, used)


def _energies_of_compositions(
    frames: Iterable[Frame], elements: SpeciesTable
) -> tuple[Float[np.ndarray, "rows species"], Float[np.ndarray, " rows"]]:
    """Compositions and energies of the frames that have an energy, one frame in memory at a time."""
    counts, energies = [], []
    for frame in frames:
        if frame.labels.energy is not None and frame.labels.energy_weight:
            counts.append(compositions([dataclasses.replace(frame.structure, orbits=None)], elements)[0])
            energies.append(frame.labels.energy)
    return np.array(counts).reshape(len(counts), len(elements)), np.array(energies, dtype=np.float64)


def mean_energy_baseline(frames: Sequence[Frame], species: SpeciesTable | None = None) -> tuple[Potential, Params]:
    """The potential that knows compositions only: the mean energy of each, and zero forces. A floor for any model.

    Args:
        frames: training data with energies.
        species: the elements; those of the frames when not given.

    Raises:
        DataError: no frame has an energy.
    """
    if not any(f.labels.energy is not None for f in frames):
        raise DataError("A mean energy needs frames with energies; none of the frames has one.")
    table = species if species is not None else SpeciesTable.from_structures(f.structure for f in frames)
    term = ReferenceEnergy(n_species=len(table))
    potential = Potential(terms=(term,), species=table)
    energies = reference_energies(frames, table, "fit").energies
    return potential, {potential.names[0]: term.unflatten(energies)}
