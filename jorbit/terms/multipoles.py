"""Charges, dipoles and quadrupoles that belong to kinds of atoms and bonds, and their electrostatic energy."""

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.electrostatics import Splitting, charge_flag, check_background, check_charge, surroundings
from jorbit.basis.multipoles import Moments, cutoff_energies, multipole_energies, splitting_for_moments
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors, neutralized
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Structure

METHODS = ("ewald", "cutoff")
FADE = 12  # power of the polynomial that ends bonds: 0.98 of a moment is left at 0.7 bond_cutoff

ByAtom = Mapping[str, float | int] | tuple[tuple[str, float | int], ...]


@dataclasses.dataclass(frozen=True)
class Multipoles:
    """Energy of q_i, mu_i = sum_j p_ij s(r_ij) u_ij and T_i = sum_j t_ij s(r_ij) (3 u_ij u_ij - 1) / 2, j bonded to i.

    u_ij is the direction from i to j, s fades from 1 to 0 where bonds end, p and t are fixed numbers for each kind of
    bond as i sees it: so moments are fixed in the frame of the bonds, turn along with molecules, and forces hold all
    torques. The charges are shifted alike for all atoms of a structure until they add up to its total charge. Bonded
    atoms interact, too; a model beside it learns the rest. Charges and dipoles go to the terms that follow.

    Attributes:
        charges: symbol -> e.
        dipoles: "OH" -> p of an O that is bonded to an H, e Å, positive where the moment points to the H.
        quadrupoles: "OH" -> t, e Å^2, positive where positive charge lies along the bond.
        bond_cutoff: Å.
        method: "ewald", with all images and without a cutoff in molecules; "cutoff": pairs up to `cutoff` only, whose
            energies fade out there.
        cutoff, accuracy, max_length, background: as in `jorbit.terms.ewald.Ewald`; the sums are split so that dipoles
            and quadrupoles have this accuracy, too.

    Example:
        >>> water = Multipoles(charges={"O": -0.4, "H": 0.2}, dipoles={"OH": 0.1}, quadrupoles={"HO": -0.05})
        >>> water.dipoles
        (('OH', 0.1),)

    References:
        Stone, The Theory of Intermolecular Forces, Oxford University Press (2013), chapter 3, for the tensors.
        Smith, CCP5 Newsletter 46, 18 (1998), for their Ewald sum.
    """

    charges: ByAtom = ()
    dipoles: ByAtom = ()
    quadrupoles: ByAtom = ()
    bond_cutoff: float = 2.0
    method: str = "ewald"
    cutoff: float = 6.0
    accuracy: float = 1e-5
    max_length: float = 20.0
    background: str = "none"
    is_long_range: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_background(self.background)
        Splitting(self.cutoff, self.accuracy, self.max_length)
        if self.method not in METHODS or not 0 < self.bond_cutoff <= self.cutoff:
            raise ConfigError(
                f"Wanted a method in {METHODS} and 0 < bond_cutoff <= cutoff, got {self.method!r}, {self.bond_cutoff} "
                f"and {self.cutoff} Å."
            )
        for name, n in (("charges", 1), ("dipoles", 2), ("quadrupoles", 2)):
            given = {key: float(value) for key, value in dict(getattr(self, name)).items()}
            unknown = sorted(key for key in given if _numbers(key, n) is None)
            if unknown:
                what = "{'O': -0.4}" if n == 1 else "{'OH': 0.1} for O beside H"
                raise ConfigError(f"{name} wants symbols of elements, such as {what}, got {unknown}.")
            object.__setattr__(self, name, tuple(sorted(given.items())))

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Multipoles":
        return cls(
            charges={"H": 0.4, "O": -0.6, "Si": 1.2},
            dipoles={"OH": 0.1, "OSi": -0.2, "SiSi": 0.3},
            quadrupoles={"OH": 0.2, "SiO": -0.1, "SiSi": 0.2},
            bond_cutoff=3.0,
            cutoff=4.5,
            accuracy=1e-4,
            max_length=12.0,
        )

    @property
    def splitting(self) -> Splitting:
        """Of the sums."""
        return splitting_for_moments(Splitting(self.cutoff, self.accuracy, self.max_length))

    @property
    def needs(self) -> Needs:
        return Needs(
            cutoff=self.cutoff, inner=(self.bond_cutoff,) if self.bond_cutoff < self.cutoff else (), layers=None
        )

    def check_structure(self, structure: Structure) -> None:
        """Raise for structures that cannot be summed.

        Raises:
            StructureError: charged and periodic without a background, a slab that is charged, or too large a cell.
        """
        if self.method == "ewald":
            self.splitting.check(structure, "multipoles")
            check_charge(structure, self.background, "multipoles")

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """No free parameters."""
        return {}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        moments = self.moments(graph)
        if self.method == "cutoff":
            energy = cutoff_energies(graph, moments, self.cutoff)
        else:
            where = surroundings(graph, self.splitting)
            flag = charge_flag(graph, moments.charges, where, self.background)
            energy = multipole_energies(graph, moments, self.splitting, where) * flag
        return AtomOutputs(energy=energy, charges=moments.charges, dipoles=moments.dipoles)

    def moments(self, graph: Graph) -> Moments:
        """Charges, dipoles and quadrupoles of all atoms."""
        dtype = graph.positions.dtype
        neighbors = graph.within(self.cutoff)
        if any(abs(n.cutoff - self.bond_cutoff) < 1e-9 for n in graph.neighborhoods):
            neighbors = graph.within(self.bond_cutoff)
        vectors = pair_vectors(graph, neighbors)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        fade = jnp.where(neighbors.mask, polynomial_cutoff(r, self.bond_cutoff, FADE), 0.0)
        unit = vectors / r[..., None]
        pair = graph.numbers[:, None] * len(SYMBOLS) + gather_neighbors(graph.numbers, neighbors)
        along = jnp.asarray(_table(self.dipoles, 2), dtype)[pair] * fade
        strength = jnp.asarray(_table(self.quadrupoles, 2), dtype)[pair]
        across = strength * fade
        dipoles = jnp.einsum("as,asx->ax", along, unit)
        quadrupoles = 1.5 * jnp.einsum("as,asx,asy->axy", across, unit, unit)
        # A sum over slots as a product with the fade, 0 in empty ones: see jorbit.core.graph.sum_over_slots.
        trace = jnp.einsum("as,as->a", strength, fade, precision="highest")
        quadrupoles = quadrupoles - 0.5 * trace[:, None, None] * jnp.eye(3, dtype=dtype)[None]
        charges = neutralized(jnp.asarray(_table(self.charges, 1), dtype)[graph.numbers], graph)
        return Moments(charges=charges, dipoles=dipoles, quadrupoles=quadrupoles)

    def with_twins(self, twins: tuple[tuple[str, str], ...]) -> "Multipoles":
        """The same, where other elements have the moments of known ones: pairs (new symbol, known symbol)."""
        return dataclasses.replace(
            self, **{name: _twins(getattr(self, name), twins) for name in ("charges", "dipoles", "quadrupoles")}
        )


def _twins(values: ByAtom, twins: tuple[tuple[str, str], ...]) -> ByAtom:
    """With an entry for every way to put twins in the places of the symbols of one."""
    found: dict[str, float] = {}
    for key, value in dict(values).items():
        choices = [[symbol, *(new for new, old in twins if old == symbol)] for symbol in _symbols(key)]
        found |= {"".join(chosen): value for chosen in itertools.product(*choices)}
    return tuple(sorted((found | dict(values)).items()))


def _symbols(key: str) -> list[str]:
    return re.findall("[A-Z][a-z]?", key)


def _numbers(key: str, n: int) -> tuple[int, ...] | None:
    """Atomic numbers of n symbols in a row; None where there are others."""
    symbols = _symbols(key)
    if len(symbols) != n or "".join(symbols) != key or not set(symbols) <= set(SYMBOLS[1:]):
        return None
    known: list[str] = list(SYMBOLS)
    return tuple(known.index(symbol) for symbol in symbols)


def _table(values: ByAtom, n: int) -> Float[np.ndarray, " kinds"]:
    """Values by atomic number, or by those of a pair; zero where nothing is given."""
    table = np.zeros((len(SYMBOLS),) * n)
    for key, value in dict(values).items():
        table[_numbers(key, n)] = value
    return table.reshape(-1)
