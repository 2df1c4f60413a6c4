"""Does a descriptor tell two environments, or two structures, apart?"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment

from jorbit.core.errors import ConfigError
from jorbit.core.protocols import ChecksStructures, Descriptor
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Structure
from jorbit.graphs.batching import build_graph


@dataclasses.dataclass(frozen=True, eq=False)
class Separation:
    """Outcome of `separate`; true when the two are told apart.

    Attributes:
        separated: whether any feature differs by more than the tolerance.
        distance: largest difference of a feature, relative to the largest size of that feature.
        features: indices of the features that differ.
    """

    separated: bool
    distance: float
    features: tuple[int, ...]

    def __bool__(self) -> bool:
        return self.separated


def separate(
    a: Structure, b: Structure, descriptor: Descriptor, *, center: int | None = 0, tolerance: float = 1e-6
) -> Separation:
    """Whether the features of an atom differ between two structures, in float64.

    Two environments with equal features get equal energies from every model on the descriptor, whatever is learned.

    Args:
        a, b: structures; elements are given to the species of the descriptor in order of atomic number.
        descriptor: any.
        center: index of the atom whose environment is compared. None compares all atoms, matched so that the features
            agree as well as they can: whether an energy summed over atoms could differ.
        tolerance: smallest relative difference that counts.

    Raises:
        ConfigError: more elements than the descriptor has species, different numbers of atoms with center=None, or
            features that are not finite.
        StructureError: one that the descriptor is not for, such as a cell longer than it has waves for.

    Example:
        >>> from jorbit.descriptors.cartesian import Cartesian
        >>> water = np.array([[0.0, 0, 0], [0.8, 0.6, 0], [-0.8, 0.6, 0]])
        >>> bent, straight = (Structure(positions=water * s, numbers=np.array([8, 1, 1])) for s in (1, [1.25, 0, 1]))
        >>> distances, angles = (Cartesian(n_species=2, invariants=f"hop13:2,{l}") for l in (0, 1))
        >>> bool(separate(bent, straight, distances)), bool(separate(bent, straight, angles))
        (False, True)
    """
    table = SpeciesTable.from_numbers(sorted({int(z) for s in (a, b) for z in s.numbers}))
    n_species = getattr(descriptor, "n_species", len(table))
    if n_species < len(table):
        raise ConfigError(
            f"The structures hold {len(table)} elements, the descriptor has {n_species} species. Make it with "
            f"n_species={len(table)}."
        )
    if isinstance(descriptor, ChecksStructures):
        for s in (a, b):
            descriptor.check_structure(s)
    cutoffs = [] if descriptor.needs.cutoff is None else [descriptor.needs.cutoff]
    with jax.enable_x64(True):
        graphs = [build_graph(s, table, cutoffs, dtype=jnp.float64) for s in (a, b)]
        compiled = jax.jit(lambda graph: descriptor(graph))
        one, two = (np.asarray(compiled(g))[: s.n_atoms] for g, s in zip(graphs, (a, b), strict=True))
    if not (np.isfinite(one).all() and np.isfinite(two).all()):
        raise ConfigError(
            f"Features of {type(descriptor).__name__} are NaN or infinite for these structures, which cannot be "
            "compared: more atoms, or a longer cell, than it was made for?"
        )
    if center is None:
        if len(one) != len(two):
            raise ConfigError(
                f"All atoms can be matched between structures of one size, got {len(one)} and {len(two)}."
            )
        scale = _scale(one, two)
        cost = np.abs(one[:, None] / scale - two[None] / scale).max(axis=2)
        rows, columns = linear_sum_assignment(np.where(cost < tolerance, 0.0, cost))
        one, two = one[rows], two[columns]
    else:
        one, two = one[center][None], two[center][None]
    difference = (np.abs(one - two) / _scale(one, two)).max(axis=0)
    differing = tuple(int(k) for k in np.flatnonzero(difference > tolerance))
    return Separation(bool(differing), float(difference.max()), differing)


def _scale(one: Float[np.ndarray, "atoms features"], two: Float[np.ndarray, "atoms features"]) -> np.ndarray:
    """Size of each feature; features that are rounding noise beside the largest are measured by it."""
    size = np.maximum(np.abs(one), np.abs(two)).max(axis=0)
    return np.maximum(size, 1e-6 * max(size.max(), 1e-300))
