"""Electrostatic potential of point charges in bulk, slabs and open space: the sum of Ewald, one accuracy for all of it.

A structure that repeats in three directions is summed by Ewald's method in a conducting surrounding; one that repeats
in two by the same sums with empty space beside it and the correction for its dipole; one that does not repeat by all of
its pairs. A batch may hold all three.
"""

import dataclasses
import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.scipy.special import erf, erfc
from jaxtyping import Bool, Float

from jorbit.basis.kspace import grid_for, wave_potential
from jorbit.basis.mesh import mesh_for, mesh_potential
from jorbit.core.blocks import map_atom_blocks
from jorbit.core.errors import ConfigError, StructureError
from jorbit.core.graph import Graph, pair_vectors
from jorbit.core.ops import gather_neighbors, safe_norm, sum_over_structures
from jorbit.core.pytree import pytree
from jorbit.core.structure import Structure
from jorbit.core.units import COULOMB

BACKGROUNDS = ("none", "uniform")
NEUTRAL = 1e-3  # e: charges that add up to less are rounding
BLOCK = 256  # atoms whose distances to all others are held at a time in open space


@dataclasses.dataclass(frozen=True)
class Splitting:
    """How a Coulomb sum is split: erfc(alpha r) / r up to `cutoff`, waves up to `k_cutoff` for the rest.

    Both sums end where their terms have fallen by `accuracy`: erfc(alpha cutoff) ~ exp(-(alpha cutoff)^2) = accuracy =
    exp(-(k_cutoff / 2 alpha)^2). A longer cutoff needs fewer waves.

    Attributes:
        cutoff: Å.
        accuracy: of the potential of a unit charge, relative to that at 1 Å.
        max_length: capacity: lattice vectors up to this length have all their waves, Å.

    Example:
        >>> Splitting(cutoff=6.0, accuracy=1e-6, max_length=12.0).grid
        (9, 9, 9)
    """

    cutoff: float
    accuracy: float
    max_length: float

    def __post_init__(self) -> None:
        if not (self.cutoff > 0 and self.max_length > 0 and 0 < self.accuracy < 0.1):
            raise ConfigError(
                f"Wanted a cutoff and a max_length above 0 Å and an accuracy between 0 and 0.1, got {self.cutoff}, "
                f"{self.max_length} and {self.accuracy}."
            )

    @property
    def decades(self) -> float:
        """-ln(accuracy)."""
        return -math.log(self.accuracy)

    @property
    def alpha(self) -> float:
        """1/Å."""
        return math.sqrt(self.decades) / self.cutoff

    @property
    def k_cutoff(self) -> float:
        """1/Å."""
        return 2.0 * self.decades / self.cutoff

    @functools.cached_property
    def grid(self) -> tuple[int, int, int]:
        """Waves along each direction."""
        return grid_for(self.k_cutoff, (self.max_length, self.max_length, self.max_length))

    @functools.cached_property
    def mesh(self) -> tuple[int, int]:
        """Mesh points along each direction, and the order of splines, of a particle-mesh sum."""
        return mesh_for(self.alpha, self.k_cutoff, self.accuracy, self.max_length)

    def check(self, structure: Structure, name: str) -> None:
        """Raise for a structure that these sums do not reach.

        Args:
            structure: what will be computed.
            name: of the term, for the message.

        Raises:
            StructureError: a lattice vector (or a slab with the space beside it) longer than `max_length`, or a
                structure that repeats in one direction only.
        """
        pbc, cell = np.asarray(structure.pbc, dtype=bool), np.asarray(structure.cell, dtype=np.float64)
        if pbc.sum() == 1:
            raise StructureError(
                f"The term {name!r} sums over bulk (three periodic directions), slabs (two) and open space (none), but "
                "this structure repeats in one direction. Put the wire into a wide cell with pbc in all directions."
            )
        lengths = np.linalg.norm(cell, axis=1)[pbc]
        if pbc.sum() == 2:
            rows = cell[pbc]
            normal = np.cross(rows[0], rows[1])
            normal = normal / np.linalg.norm(normal)
            flat = jnp.asarray(np.vstack([rows, normal]))[None]
            shortest = float(_shortest_wave(flat, jnp.array([[True, True, False]]))[0])
            lengths = np.append(lengths, np.ptp(np.asarray(structure.positions) @ normal) + self.decades / shortest)
        longest = float(lengths.max(initial=0.0))
        if longest > self.max_length:
            what = "lattice vector" if pbc.all() else "lattice vector, or slab with the empty space it needs,"
            raise StructureError(
                f"The term {name!r} has waves for lattice vectors up to max_length={self.max_length:g} Å at an "
                f"accuracy of {self.accuracy:g}, but this structure has a {what} of {longest:.2f} Å: waves are cut "
                f"off too early. Set max_length={1.05 * longest:.0f} or more (a little more if the cell will grow)."
            )


@pytree
class Surroundings:
    """What the long-range sums need to know about each structure of a batch.

    Attributes:
        lattice: three vectors each; those of slabs with empty space beside them; the unit matrix in open space.
        reciprocal: rows b_d with b_d . a_e = 2 pi delta_de, 1/Å.
        volume: Å^3.
        normal: of slabs; zeros elsewhere.
        is_bulk, is_slab, is_open: one of them is True.
        is_reached: False where the waves do not reach, or which nothing here can sum.
    """

    lattice: Float[Array, "structures 3 3"]
    reciprocal: Float[Array, "structures 3 3"]
    volume: Float[Array, " structures"]
    normal: Float[Array, "structures 3"]
    is_bulk: Bool[Array, " structures"]
    is_slab: Bool[Array, " structures"]
    is_open: Bool[Array, " structures"]
    is_reached: Bool[Array, " structures"]


def reciprocal_lattice(
    lattice: Float[Array, "structures 3 3"],
) -> tuple[Float[Array, "structures 3 3"], Float[Array, " structures"]]:
    """Rows b_d with b_d . a_e = 2 pi delta_de (1/Å), and volumes (Å^3). Cross products: an inverse compiles slower."""
    cross = jnp.cross(jnp.roll(lattice, -1, axis=1), jnp.roll(lattice, -2, axis=1))
    volume = jnp.sum(lattice[:, 0] * cross[:, 0], axis=-1)
    return 2.0 * jnp.pi * cross / volume[:, None, None], jnp.abs(volume)


def _shortest_wave(lattice: Float[Array, "structures 3 3"], pbc: Bool[Array, "structures 3"]) -> Array:
    """Length of the shortest reciprocal vector of the directions that repeat, 1/Å; the others are normal to them."""
    reciprocal, _ = reciprocal_lattice(lattice)
    steps = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3), axis=-1).reshape(-1, 3)
    steps = steps[(steps != 0).any(axis=1)]
    waves = jnp.einsum("md,sdx->smx", jnp.asarray(steps, lattice.dtype), reciprocal)
    allowed = jnp.all(pbc[:, None, :] | jnp.asarray(steps == 0)[None], axis=-1)
    return jnp.sqrt(jnp.min(jnp.where(allowed, jnp.sum(waves**2, axis=-1), jnp.inf), axis=1))


def surroundings(graph: Graph, splitting: Splitting) -> Surroundings:
    """The lattices of a batch, completed where a direction does not repeat."""
    pbc, cell = graph.periodic, graph.cell
    count = pbc.sum(axis=1)
    is_bulk, is_slab, is_open = count == 3, count == 2, count == 0
    cross = jnp.cross(jnp.roll(cell, -1, axis=1), jnp.roll(cell, -2, axis=1))
    free = (~pbc & is_slab[:, None])[..., None]
    normal = jnp.where(free, cross, 0.0).sum(axis=1)
    length = safe_norm(normal)
    normal = normal / jnp.where(length > 0, length, 1.0)[:, None]
    eye = jnp.broadcast_to(jnp.eye(3, dtype=cell.dtype), cell.shape)
    flat = jnp.where(free, normal[:, None], cell)
    flat = jax.lax.stop_gradient(jnp.where(is_slab[:, None, None], flat, eye))
    # Empty space so wide that the slab does not feel its image: potentials fall off as exp(-G z).
    height = jnp.einsum("ax,ax->a", graph.positions, normal[graph.owner])
    height = jax.lax.stop_gradient(height)
    top = _by_structure(height, graph, -jnp.inf, jax.ops.segment_max)
    bottom = _by_structure(height, graph, jnp.inf, jax.ops.segment_min)
    gap = splitting.decades / _shortest_wave(flat, pbc | ~is_slab[:, None])
    depth = jnp.where(is_slab, jnp.maximum(top - bottom, 0.0) + gap, 1.0)
    lattice = jnp.where(free, normal[:, None] * depth[:, None, None], cell)
    lattice = jnp.where((is_bulk | is_slab)[:, None, None], lattice, eye)
    longest = jax.lax.stop_gradient(jnp.sqrt(jnp.max(jnp.sum(lattice**2, axis=-1), axis=1)))
    reached = is_open | ((is_bulk | is_slab) & (longest <= splitting.max_length * (1.0 + 1e-6)))
    reciprocal, volume = reciprocal_lattice(lattice)
    return Surroundings(
        lattice=lattice,
        reciprocal=reciprocal,
        volume=volume,
        normal=normal,
        is_bulk=is_bulk,
        is_slab=is_slab,
        is_open=is_open,
        is_reached=reached,
    )


def _by_structure(values: Array, graph: Graph, start: float, reduce: object) -> Array:
    values = jnp.where(graph.atom_mask, values, start)
    result = reduce(values, graph.owner, num_segments=graph.n_structures, indices_are_sorted=True)  # type: ignore[operator]
    return jnp.where(jnp.isfinite(result), result, 0.0)


def coulomb_potential(
    graph: Graph,
    charges: Float[Array, "atoms channels"],
    splitting: Splitting,
    where: Surroundings | None = None,
    *,
    points: bool = True,
    by_mesh: bool = False,
) -> Float[Array, "atoms channels"]:
    """Potential at each atom of all other charges (and of the images of its own), eV/e; NaN where sums do not reach.

    Charged bulk sits in a uniform background that makes it neutral (the mean potential is zero). The energy is
    1/2 sum_i q_i phi_i.

    Args:
        graph: with neighbours within `splitting.cutoff`.
        charges: e, zero on padding; several sets at once.
        splitting: of the sum.
        where: `surroundings(graph, splitting)`, if at hand.
        points: charges are points. False: they are smeared out, erf(alpha r) / r is all there is, and no neighbours are
            needed.
        by_mesh: waves are summed by Fourier transforms of a mesh, see `jorbit.basis.mesh`.

    References:
        Ewald, Ann. Phys. 369, 253 (1921). de Leeuw, Perram and Smith, Proc. R. Soc. A 373, 27 (1980).
        Yeh and Berkowitz, J. Chem. Phys. 111, 3155 (1999), for slabs.
    """
    where = surroundings(graph, splitting) if where is None else where
    repeats = where.is_bulk | where.is_slab
    alpha = splitting.alpha

    def periodic(charges: Array) -> Array:
        here = repeats[graph.owner] & graph.atom_mask
        member = (graph.owner[:, None] == jnp.arange(graph.n_structures, dtype=jnp.int32)[None]) & here[:, None]
        member = member.astype(charges.dtype)
        volume = where.volume[:, None]

        def weights(k: Array) -> Array:
            squared = jnp.sum(k * k, axis=-1)
            return 4.0 * jnp.pi / volume * jnp.exp(-squared / (4.0 * alpha**2)) / squared

        inverse = jnp.swapaxes(where.reciprocal, -1, -2)[graph.owner] / (2.0 * jnp.pi)
        fractional = jnp.einsum("ax,axd->ad", graph.positions, inverse, precision="highest")
        if by_mesh:
            size, order = splitting.mesh
            sizes, inside = (size, size, size), jnp.where(here[:, None], charges, 0.0)
            waves = mesh_potential(fractional, inside, graph.owner, where.reciprocal, weights, sizes, order)
        else:
            waves = wave_potential(fractional, charges, member, where.reciprocal, weights, splitting.grid)
        total = member.T @ charges
        background = jnp.pi / (alpha**2 * where.volume)[:, None] * total
        own = 2.0 * alpha / math.sqrt(math.pi) * charges + background[graph.owner]
        return jnp.where(here[:, None], waves - own + slab_correction(graph, charges, member, where)[..., 0], 0.0)

    far = jax.lax.cond(jnp.any(repeats), periodic, jnp.zeros_like, charges)
    open_space = jax.lax.cond(
        jnp.any(where.is_open & graph.structure_mask),
        lambda q: _direct_potential(graph, q, where.is_open, None if points else alpha),
        jnp.zeros_like,
        charges,
    )
    near = jnp.zeros_like(charges)
    if points:
        near = _screened_potential(graph, charges, splitting) * repeats[graph.owner][:, None].astype(charges.dtype)
    flag = jnp.where(where.is_reached, 1.0, jnp.nan).astype(charges.dtype)[graph.owner]
    flag = jnp.where(graph.atom_mask, flag, 0.0)
    return COULOMB * (near + far + open_space) * flag[:, None]


def _screened_potential(graph: Graph, charges: Array, splitting: Splitting) -> Array:
    """sum_j q_j erfc(alpha r) / r within the cutoff."""
    neighbors = graph.within(splitting.cutoff)
    vectors = pair_vectors(graph, neighbors)
    r = jnp.sqrt(jnp.sum(vectors * vectors, axis=-1))
    kernel = jnp.where(neighbors.mask, erfc(splitting.alpha * r) / r, 0.0)
    return jnp.einsum("as,asc->ac", kernel, gather_neighbors(charges, neighbors))


def slab_correction(
    graph: Graph, sources: Float[Array, "atoms kinds"], member: Array, where: Surroundings
) -> Float[Array, "atoms kinds 3"]:
    """-2 pi / V sum_j s_j ((z_i - z_j)^2 + L^2 / 6): takes away what the images across a slab of depth L add.

    Args:
        graph: positions.
        sources: of each atom, several kinds at once.
        member: [atoms, structures], 1 where an atom belongs to a structure.
        where: which structures are slabs.

    Returns:
        The value, and its first and second derivative along the normal of the slab; 0 elsewhere.

    References:
        Ballenegger, Arnold and Cerdà, J. Chem. Phys. 131, 094107 (2009), for slabs that are not neutral.
    """
    z = jnp.einsum("ax,ax->a", graph.positions, where.normal[graph.owner])
    middle = (member.T @ z) / jnp.maximum(member.sum(axis=0), 1.0)
    z = (z - middle[graph.owner])[:, None]
    depth = jnp.max(jnp.abs(jnp.einsum("sdx,sx->sd", where.lattice, where.normal)), axis=1)[graph.owner][:, None]
    moments = [(member.T @ (sources * z**n))[graph.owner] for n in range(3)]
    strength = jnp.where(where.is_slab, 2.0 * jnp.pi / where.volume, 0.0)[graph.owner][:, None]
    square = moments[2] - 2.0 * z * moments[1] + (z**2 + depth**2 / 6.0) * moments[0]
    derivatives = [square, 2.0 * (z * moments[0] - moments[1]), 2.0 * moments[0]]
    return -strength[..., None] * jnp.stack(derivatives, axis=-1)


def _direct_potential(graph: Graph, charges: Array, is_open: Array, alpha: float | None) -> Array:
    """sum_j q_j / r, or q_j erf(alpha r) / r, over all atoms of the same structure, a block of atoms at a time."""
    here = is_open[graph.owner] & graph.atom_mask
    names = jnp.arange(graph.n_atoms, dtype=jnp.int32)

    def potential(positions: Array, owner: Array, name: Array, mine: Array) -> Array:
        vectors = graph.positions[None] - positions[:, None]
        pair = (owner[:, None] == graph.owner[None]) & (name[:, None] != names[None])
        pair = pair & here[None] & mine[:, None]  # padding lies at the origin, where a real atom may be, too
        squared = jnp.sum(vectors * vectors, axis=-1)
        inverse = jax.lax.rsqrt(jnp.where(pair, squared, 1.0))
        kernel = inverse if alpha is None else inverse * erf(alpha / inverse)
        return jnp.where(pair, kernel, 0.0) @ charges

    result = map_atom_blocks(potential, (graph.positions, graph.owner, names, here), BLOCK, everywhere=True)
    return jnp.where(here[:, None], result, 0.0)


def check_background(background: str) -> None:
    """Raise unless `background` is one of BACKGROUNDS.

    Raises:
        ConfigError: another word.
    """
    if background not in BACKGROUNDS:
        raise ConfigError(f"background must be one of {BACKGROUNDS}, got {background!r}.")


def check_charge(structure: Structure, background: str, name: str) -> None:
    """Raise for a structure that repeats, is charged, and has nothing that neutralises it.

    Args:
        structure: what will be computed.
        background: "none" or "uniform".
        name: of the term, for the message.

    Raises:
        StructureError: no background was chosen, or the structure is a slab.
    """
    periodic = int(sum(bool(p) for p in structure.pbc))
    if abs(structure.charge) <= NEUTRAL or not periodic:
        return
    if background == "none":
        raise StructureError(
            f"The structure repeats and has a total charge of {structure.charge:g} e: its energy is infinite unless "
            f"something neutralises it. Choose background='uniform' for the term {name!r}, or correct the charge."
        )
    if periodic == 2:
        raise StructureError(
            f"The slab has a total charge of {structure.charge:g} e, and a uniform background is defined for bulk "
            "only. Add counter-ions, or set pbc in all directions."
        )


def charge_flag(
    graph: Graph, charges: Float[Array, " atoms"], where: Surroundings, background: str
) -> Float[Array, " atoms"]:
    """1, or NaN on the atoms of structures that `check_charge` refuses: compiled code cannot raise."""
    fixed = jax.lax.stop_gradient(charges)
    total, most = jnp.abs(sum_over_structures(fixed, graph)), sum_over_structures(jnp.abs(fixed), graph)
    rounding = NEUTRAL + 32.0 * jnp.finfo(charges.dtype).eps * most  # of the sum: 0.01 e in 30,000 atoms of float32
    refused = where.is_slab if background == "uniform" else where.is_slab | where.is_bulk
    flag = jnp.where(refused & (total > rounding), jnp.nan, 1.0).astype(charges.dtype)
    return jnp.where(graph.atom_mask, flag[graph.owner], 1.0)
