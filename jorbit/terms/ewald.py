"""Electrostatic energy of the charges (and dipoles) that earlier terms produced: bulk, slabs and molecules."""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

from jorbit.basis.electrostatics import (
    Splitting,
    charge_flag,
    check_background,
    check_charge,
    coulomb_potential,
    surroundings,
)
from jorbit.basis.multipoles import Moments, multipole_energies, splitting_for_moments
from jorbit.core.errors import ConfigError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.core.structure import Structure

WAVES = ("sum", "mesh")


@dataclasses.dataclass(frozen=True)
class Ewald:
    """E_i = 1/2 q_i phi_i with phi the potential of all other charges and all images, in eV.

    Structures with three periodic directions are summed in a conducting surrounding, slabs (two) without a field
    between their images, whatever empty space their cell has, and molecules (none) over all pairs. Shapes do not
    depend on the cell: `max_length` says how long lattice vectors may get, in a batch or under a barostat. Energies of
    longer ones are NaN inside compiled code and an error outside. When an earlier term produced dipoles of atoms, too,
    they take part, with each other and with the charges.

    Attributes:
        cutoff: of the sum in real space, Å. A longer one costs neighbours and saves waves.
        accuracy: of the sums, relative to the potential at 1 Å of the charge.
        max_length: longest lattice vector, Å.
        background: "none" refuses cells that repeat and are charged; "uniform" puts them into a background of the
            opposite charge (bulk only).
        waves: "sum" adds them one by one; "mesh" by Fourier transforms (smooth particle-mesh Ewald), for thousands of
            atoms: N log N instead of N^1.5 for N atoms. Moving everything together then changes energies by what
            `accuracy` leaves. Charges only.

    Example:
        >>> Ewald(cutoff=6.0, max_length=12.0).needs.upstream
        ('charges',)

    References:
        Ewald, Ann. Phys. 369, 253 (1921). Yeh and Berkowitz, J. Chem. Phys. 111, 3155 (1999), for slabs.
        Essmann, Perera, Berkowitz, Darden, Lee and Pedersen, J. Chem. Phys. 103, 8577 (1995), for the mesh.
        Hub, de Groot, Grubmüller and Groenhof, J. Chem. Theory Comput. 10, 381 (2014), for what a background does.
    """

    cutoff: float = 6.0
    accuracy: float = 1e-5
    max_length: float = 20.0
    background: str = "none"
    waves: str = "sum"
    is_long_range: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_background(self.background)
        if self.waves not in WAVES:
            raise ConfigError(f"Ewald wants waves in {WAVES}, got {self.waves!r}.")
        Splitting(self.cutoff, self.accuracy, self.max_length)

    @classmethod
    def tiny(cls, n_species: int = 2) -> "Ewald":
        return cls(cutoff=4.0, accuracy=1e-6, max_length=11.0)

    @classmethod
    def tiny_upstream(cls, n_species: int = 2) -> tuple[Any, ...]:
        """Terms that produce charges."""
        from jorbit.terms import TERMS

        return (TERMS.load("fixed_charges").tiny(n_species),)

    @property
    def splitting(self) -> Splitting:
        """Of the sum."""
        return Splitting(self.cutoff, self.accuracy, self.max_length)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff, upstream=("charges",), layers=None)

    def check_structure(self, structure: Structure) -> None:
        """Raise for structures that cannot be summed.

        Raises:
            StructureError: charged and periodic without a background, a slab that is charged, or too large a cell.
        """
        self.splitting.check(structure, "ewald")
        check_charge(structure, self.background, "ewald")

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """No free parameters."""
        return {}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        given: Any = upstream.charges
        charges = jnp.where(graph.atom_mask, given, 0.0)
        if upstream.dipoles is not None:
            return AtomOutputs(energy=self._with_dipoles(graph, charges, upstream.dipoles))
        where = surroundings(graph, self.splitting)
        by_mesh = self.waves == "mesh"
        potential = coulomb_potential(graph, charges[:, None], self.splitting, where, by_mesh=by_mesh)[:, 0]
        flag = charge_flag(graph, charges, where, self.background)
        return AtomOutputs(energy=0.5 * charges * potential * flag)

    def _with_dipoles(
        self, graph: Graph, charges: Float[Array, " atoms"], dipoles: Float[Array, "atoms 3"]
    ) -> Float[Array, " atoms"]:
        if self.waves == "mesh":
            raise ConfigError("Ewald sums dipoles wave by wave: wanted waves='sum', or no dipoles from earlier terms.")
        splitting = splitting_for_moments(self.splitting, 1)
        where = surroundings(graph, splitting)
        none = jnp.zeros((graph.n_atoms, 3, 3), charges.dtype)
        moments = Moments(charges=charges, dipoles=dipoles, quadrupoles=none)
        flag = charge_flag(graph, charges, where, self.background)
        return multipole_energies(graph, moments, splitting, where) * flag
