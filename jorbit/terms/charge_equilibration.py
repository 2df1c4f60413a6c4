"""Charges that make the electrostatic energy least: electronegativity equalisation (QEq, EEM)."""

import dataclasses
import math
from collections.abc import Mapping
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erfc
from jaxtyping import Float

from jorbit.basis.cutoff import polynomial_cutoff
from jorbit.basis.electrostatics import (
    Splitting,
    charge_flag,
    check_background,
    check_charge,
    coulomb_potential,
    surroundings,
)
from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors, sum_over_structures
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Needs, Params
from jorbit.core.species import SYMBOLS
from jorbit.core.structure import Structure
from jorbit.core.units import COULOMB

# Electronegativity and hardness of Rappé and Goddard (1991), Table I, eV and eV/e.
TABLE = {
    "H": (4.5280, 13.8904),
    "Li": (3.006, 4.772),
    "C": (5.343, 10.126),
    "N": (6.899, 11.760),
    "O": (8.741, 13.364),
    "F": (10.874, 14.948),
    "Na": (2.843, 4.592),
    "Si": (4.168, 6.974),
    "P": (5.463, 8.000),
    "S": (6.928, 8.972),
    "Cl": (8.564, 9.892),
    "K": (2.421, 3.840),
    "Br": (7.790, 8.850),
    "Rb": (2.331, 3.692),
    "I": (6.822, 7.524),
    "Cs": (2.183, 3.422),
}
SOLVERS = ("auto", "direct", "iterative")
DIRECT = 64  # atoms of a batch up to which "auto" factorises a matrix

Pairs = Mapping[str, float | int] | tuple[tuple[str, float | int], ...]


@dataclasses.dataclass(frozen=True)
class ChargeEquilibration:
    """min over q of sum_i (X_i q_i + 1/2 J_i q_i^2) + 1/2 sum_ij q_i q_j (ij), where q add up to the total charge.

    (ij) is the Coulomb energy of two Gaussians of charge, k erf(r / sqrt(2 (w_i^2 + w_j^2))) / r, summed as `Ewald`
    does in bulk, slabs and open space. The charges go to the terms that follow, the energy counts. Widths follow from
    the hardness: k / (sqrt(pi) w_i) = J_i, the Gaussian with itself, so that there always is a minimum.

    Attributes:
        n_species: rows of the species table.
        cutoff: of real-space sums, Å. What Gaussians feel less than points is switched off smoothly there: some
            thousandths of an eV/e^2 for the soft heavy alkalis, nothing for others.
        accuracy, max_length, background: as in `jorbit.terms.ewald.Ewald`.
        electronegativities, hardnesses: symbol -> eV and eV/e, where not those of Rappé and Goddard; start values of
            parameters that training by gradients changes.
        width: factor on w; below 1 the least energy may be at infinite charges.
        solver: "direct" factorises one matrix for the batch; "iterative" takes conjugate gradients and no more memory
            than the sums; "auto" is direct up to 64 atoms. Derivatives are implicit in both.
        tolerance: of the iterations, relative.

    Example:
        >>> ChargeEquilibration(n_species=2).solver
        'auto'

    References:
        Rappé and Goddard, J. Phys. Chem. 95, 3358 (1991). Mortier, Ghosh and Shankar, J. Am. Chem. Soc. 108, 4315
        (1986). Ko, Finkler, Goedecker and Behler, Nat. Commun. 12, 398 (2021), for Gaussians in periodic cells.
    """

    n_species: int
    cutoff: float = 8.0
    accuracy: float = 1e-5
    max_length: float = 20.0
    background: str = "none"
    electronegativities: Pairs = ()
    hardnesses: Pairs = ()
    width: float = 1.0
    solver: str = "auto"
    tolerance: float = 1e-8
    is_long_range: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_background(self.background)
        Splitting(self.cutoff, self.accuracy, self.max_length)
        if self.solver not in SOLVERS or not self.width > 0:
            raise ConfigError(
                f"Wanted a solver in {SOLVERS} and a width above 0, got {self.solver!r} and {self.width}."
            )
        for name in ("electronegativities", "hardnesses"):
            given = dict(getattr(self, name))
            unknown = sorted(set(given) - set(SYMBOLS[1:]))
            if unknown:
                raise ConfigError(f"{name} wants symbols of elements, such as {{'Ag': 4.4}}, got {unknown}.")
            object.__setattr__(self, name, tuple(sorted((k, float(v)) for k, v in given.items())))
        if any(not float(v) > 0 for v in dict(self.hardnesses).values()):
            raise ConfigError(f"A hardness must be positive, or charges grow without limit; got {self.hardnesses}.")

    @classmethod
    def tiny(cls, n_species: int = 2) -> "ChargeEquilibration":
        return cls(n_species=n_species, cutoff=4.0, accuracy=1e-6, max_length=11.0)

    @property
    def splitting(self) -> Splitting:
        """Of the sums."""
        return Splitting(self.cutoff, self.accuracy, self.max_length)

    @property
    def needs(self) -> Needs:
        return Needs(cutoff=self.cutoff, layers=None)

    def check_structure(self, structure: Structure) -> None:
        """Raise for structures that cannot be computed.

        Raises:
            StructureError: an element without electronegativity or hardness, a charged cell without a background, or
                too large a cell.
        """
        self.splitting.check(structure, "charge_equilibration")
        check_charge(structure, self.background, "charge_equilibration")
        first, second = (dict(x) for x in (self.electronegativities, self.hardnesses))
        present = {SYMBOLS[int(z)] for z in np.unique(structure.numbers)}
        missing = sorted(s for s in present if s not in TABLE and not (s in first and s in second))
        if missing:
            raise StructureError(
                f"charge_equilibration has no electronegativity or hardness for {', '.join(missing)}: give both, such "
                f"as electronegativities={{{missing[0]!r}: 4.5}}, hardnesses={{{missing[0]!r}: 6.5}} (eV)."
            )

    def init(self, key: Array, graph: Graph, upstream: AtomOutputs) -> Params:
        """Shifts of the tabulated values of each species: zero."""
        zeros = jnp.zeros(self.n_species, graph.positions.dtype)
        return {"electronegativity_shifts": zeros, "log_hardness_factors": zeros}

    def apply(self, params: Params, graph: Graph, upstream: AtomOutputs) -> AtomOutputs:
        dtype, real = graph.positions.dtype, graph.atom_mask
        table = _table(self.electronegativities, self.hardnesses)
        values = jnp.asarray(table, dtype)[graph.numbers]
        chi = jnp.where(real, values[:, 0] + params["electronegativity_shifts"][graph.species], 0.0)
        # Only differences move charge: without the mean, nothing large is left to cancel.
        count = jnp.maximum(sum_over_structures(real.astype(dtype), graph), 1.0)
        mean = (sum_over_structures(chi, graph) / count)[graph.owner]
        chi = jnp.where(real, chi - mean, 0.0)
        # A hardness stays positive whatever training does.
        hardness = jnp.where(real, values[:, 1] * jnp.exp(params["log_hardness_factors"][graph.species]), 1.0)
        where = surroundings(graph, self.splitting)
        screening = self._screening(graph, hardness)

        def product(charges: Float[Array, "atoms sets"]) -> Float[Array, "atoms sets"]:
            charges = jnp.where(real[:, None], charges, 0.0)
            potential = coulomb_potential(graph, charges, self.splitting, where)
            near = jnp.einsum("as,asc->ac", screening, gather_neighbors(charges, graph.within(self.cutoff)))
            return hardness[:, None] * charges + potential - near

        direct = self.solver == "direct" or (self.solver == "auto" and graph.n_atoms <= DIRECT)
        charges = _direct(product, chi, graph) if direct else _iterative(product, chi, graph, self.tolerance)
        energy = charges * (chi + 0.5 * product(charges[:, None])[:, 0]) + mean * (graph.charge / count)[graph.owner]
        flag = charge_flag(graph, charges, where, self.background)
        return AtomOutputs(energy=jnp.where(real, energy * flag, 0.0), charges=charges)

    def _screening(self, graph: Graph, hardness: Float[Array, " atoms"]) -> Float[Array, "atoms slots"]:
        """What Gaussians feel less than points do, eV/e^2."""
        neighbors = graph.within(self.cutoff)
        vectors = pair_vectors(graph, neighbors)
        r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
        widths = self.width * COULOMB / (math.sqrt(math.pi) * hardness)
        squared = widths[:, None] ** 2 + gather_neighbors(widths, neighbors) ** 2
        squared = jnp.where(neighbors.mask, squared, 1.0)
        kernel = COULOMB * erfc(r / jnp.sqrt(2.0 * squared)) / r * polynomial_cutoff(r, self.cutoff)
        return jnp.where(neighbors.mask, kernel, 0.0)

    def refined(self, params: Params, parents: tuple[int, ...], neighbors: str) -> tuple["ChargeEquilibration", Params]:
        """The same over more species."""
        fine = {name: np.asarray(value)[np.array(parents)] for name, value in params.items()}
        return dataclasses.replace(self, n_species=len(parents)), fine


def _table(first: Pairs, second: Pairs) -> Float[np.ndarray, "numbers 2"]:
    """Electronegativity and hardness by atomic number; harmless ones where nothing is known."""
    table = np.ones((len(SYMBOLS), 2))
    numbers: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS)}
    for symbol, row in TABLE.items():
        table[numbers[symbol]] = row
    for column, given in enumerate((first, second)):
        for symbol, value in dict(given).items():
            table[numbers[symbol], column] = value
    return table


def _direct(product, chi: Array, graph: Graph) -> Float[Array, " atoms"]:  # type: ignore[no-untyped-def]
    """Solve [A, C; C^T, 0] [q, mu] = [-chi, Q] for all structures at once."""
    n, m, dtype = graph.n_atoms, graph.n_structures, chi.dtype
    matrix = product(jnp.eye(n, dtype=dtype))
    member = ((graph.owner[:, None] == jnp.arange(m, dtype=jnp.int32)[None]) & graph.atom_mask[:, None]).astype(dtype)
    together = (member @ member.T) > 0
    alone = ~graph.atom_mask
    matrix = jnp.where(together, matrix, 0.0) + jnp.diag(alone.astype(dtype))
    empty = jnp.diag((member.sum(axis=0) == 0).astype(dtype))
    whole = jnp.block([[matrix, member], [member.T, empty]])
    total = jnp.where(member.sum(axis=0) > 0, graph.charge.astype(dtype), 0.0)
    return jnp.linalg.solve(whole, jnp.concatenate([-chi, total]))[:n]


def _iterative(product, chi: Array, graph: Graph, tolerance: float) -> Float[Array, " atoms"]:  # type: ignore[no-untyped-def]
    """Conjugate gradients among charges that add up to zero; derivatives solve the same equations once more."""
    count = jnp.maximum(sum_over_structures(jnp.ones_like(chi), graph), 1.0)

    def neutral(x: Array) -> Array:
        return jnp.where(graph.atom_mask, x - (sum_over_structures(x, graph) / count)[graph.owner], 0.0)

    def matrix(x: Array) -> Array:
        inside = neutral(product(neutral(x)[:, None])[:, 0])
        return inside + (x - neutral(x))  # regular outside the subspace, so that solutions are unique

    start = jnp.where(graph.atom_mask, (graph.charge.astype(chi.dtype) / count)[graph.owner], 0.0)
    right = neutral(-chi - product(start[:, None])[:, 0])
    limit = max(tolerance, 20.0 * float(jnp.finfo(chi.dtype).eps))
    steps = 20 + int(4 * math.sqrt(graph.n_atoms)) * 5

    def solve(operator, b: Array) -> Array:  # type: ignore[no-untyped-def]
        return jax.scipy.sparse.linalg.cg(operator, b, tol=limit, maxiter=steps)[0]

    return start + neutral(jax.lax.custom_linear_solve(matrix, right, solve, symmetric=True))
