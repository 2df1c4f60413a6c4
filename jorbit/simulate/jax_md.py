"""The border to jax-md: its boxes (column cells), perturbations, fractional coordinates and neighbour lists.

jax-md keeps lattice vectors as columns, its `quantity.stress` has the opposite sign of ours, and under a changing box
its positions are fractional while its forces are Cartesian. All of that is converted here and nowhere else.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer
from jaxtyping import Float

from jorbit.core.errors import CapacityError, ConfigError, MissingInputError, StructureError
from jorbit.core.graph import Graph
from jorbit.core.outputs import AtomOutputs
from jorbit.core.protocols import Params
from jorbit.core.pytree import pytree, static
from jorbit.core.structure import Structure
from jorbit.graphs.batching import round_up
from jorbit.graphs.cell_list import DeviceNeighbors, approach, farthest_step, geometry, plan_search, search, update
from jorbit.graphs.device_neighborhoods import add_neighborhoods, from_dense
from jorbit.potential.potential import Potential
from jorbit.simulate.boxes import Box, inspect_displacement, rows_from_box
from jorbit.simulate.which_atoms import atoms_by_name, atoms_of_structure

_search = jax.jit(search, static_argnums=0)


@pytree
class NeighborList:
    """Neighbour lists of one potential, with the interface of jax-md's.

    Attributes:
        lists: one list per cutoff of the potential.
        fractional_coordinates: whether positions are fractional.
    """

    lists: DeviceNeighbors
    fractional_coordinates: bool = static()

    @property
    def did_buffer_overflow(self) -> Array:
        """True when the list is incomplete. Energies computed with it are NaN: allocate a new one."""
        return self.lists.overflow

    @property
    def format(self) -> Any:
        """jax-md's name of the layout of `idx`."""
        from jax_md import partition

        return partition.Dense

    @property
    def idx(self) -> Array:
        """Neighbours of each atom at the largest cutoff, `n_atoms` in empty slots, as in jax-md's Dense format.

        An atom that is a neighbour through several images is there several times: jax-md's own functions, which know
        the nearest image only, want a box of twice cutoff and skin.
        """
        n_atoms = self.lists.reference.shape[0]
        if not self.lists.index:
            return jnp.full((n_atoms, 0), n_atoms, jnp.int32)
        return jnp.where(self.lists.mask[-1], self.lists.index[-1], n_atoms)

    def update(self, position: Array, **kwargs: Any) -> "NeighborList":
        """The list for new positions, and a new `box=` if given; can be compiled. Other keywords are ignored."""
        box = kwargs.get("box")
        dtype = position.dtype
        cell = self.lists.cell if box is None else rows_from_box(box, dtype)
        cell = cell.astype(dtype)
        cartesian = jnp.matmul(position, cell, precision="highest") if self.fractional_coordinates else position
        return dataclasses.replace(self, lists=update(self.lists, cartesian, cell))

    def follow(self, position: Array, before: Array, box: Box = None) -> tuple["NeighborList", Array]:
        """The list after one step of an integrator, and whether the old one may have missed pairs at its end.

        Searched again in time for a next step that is twice as long as this one.

        Args:
            position: after the step.
            before: before it.
            box: after it, where it changes.
        """
        cell = (self.lists.cell if box is None else rows_from_box(box, position.dtype)).astype(position.dtype)
        plan = self.lists.plan
        if self.fractional_coordinates:
            cartesian, start = jnp.matmul(position, cell, precision="highest"), before
        else:
            cartesian, start = position, jnp.matmul(before, geometry(plan, cell)[1], precision="highest")
        step = farthest_step(self.lists, start, cartesian, cell)
        lists = update(self.lists, cartesian, cell, jnp.maximum(4.0 * step, 0.1 * plan.skin))
        missed = approach(self.lists, cartesian, cell) >= plan.skin
        return dataclasses.replace(self, lists=lists), missed


@dataclasses.dataclass(frozen=True, eq=False)
class NeighborFunctions:
    """`allocate` (on the host, decides sizes) and `update` (can be compiled), as jax-md's neighbor_fn."""

    cutoffs: tuple[float, ...]
    cell: np.ndarray
    pbc: np.ndarray
    numbers: np.ndarray
    fractional_coordinates: bool
    skin: float
    headroom: float

    def allocate(self, position: Array, extra_capacity: int = 0, **kwargs: Any) -> NeighborList:
        """A list with room for these positions.

        Args:
            position: as in the simulation, Cartesian (Å) or fractional.
            extra_capacity: more slots per atom than the positions call for.
            kwargs: `box=` replaces the box; other keywords are ignored.

        Raises:
            StructureError: wrong shape, NaN, or a box that makes no sense.
        """
        if isinstance(position, Tracer):
            raise ConfigError("neighbor_fn.allocate decides array sizes and cannot be compiled: call it outside jit.")
        box = kwargs.get("box")
        cell = self.cell if box is None else np.asarray(rows_from_box(box), dtype=np.float64)
        host = np.asarray(position, dtype=np.float64)
        if host.shape != (len(self.numbers), 3):
            raise StructureError(f"Wanted positions [{len(self.numbers)}, 3] as there are numbers, got {host.shape}.")
        host = host @ cell if self.fractional_coordinates else host
        structure = Structure(positions=host, numbers=self.numbers, cell=cell, pbc=self.pbc)
        headroom = self.headroom
        for _ in range(8):
            plan = plan_search(structure, self.cutoffs, skin=self.skin, headroom=headroom)
            plan = dataclasses.replace(
                plan,
                n_slots=tuple(round_up(n + extra_capacity) if extra_capacity else n for n in plan.n_slots),
                bin_capacity=plan.bin_capacity + extra_capacity,
            )
            dtype = jnp.asarray(position).dtype
            lists = _search(plan, jnp.asarray(host, dtype), jnp.asarray(cell, dtype))
            if not lists.overflow:
                return NeighborList(lists=lists, fractional_coordinates=self.fractional_coordinates)
            headroom *= 1.5
        raise CapacityError("No neighbour list could be allocated: atoms lie almost on top of each other.")

    def update(self, position: Array, neighbors: NeighborList, **kwargs: Any) -> NeighborList:
        """The list for new positions; can be compiled."""
        return neighbors.update(position, **kwargs)

    def __call__(self, position: Array, neighbors: NeighborList | None = None, **kwargs: Any) -> NeighborList:
        """`allocate` without neighbors, `update` with them, as some functions of jax-md call it."""
        return self.allocate(position, **kwargs) if neighbors is None else neighbors.update(position, **kwargs)

    def __iter__(self) -> Iterator[Callable]:
        """So that `allocate, update = neighbor_fn` works."""
        return iter((self.allocate, self.update))


@dataclasses.dataclass(frozen=True, eq=False)
class EnergyFunction:
    """energy_fn(R, neighbor=..., box=..., perturbation=..., **ignored) -> total energy in eV."""

    potential: Potential
    params: Params
    cell: np.ndarray
    pbc: np.ndarray
    numbers: np.ndarray
    species: np.ndarray
    charge: float
    fractional_coordinates: bool

    def __call__(self, position: Array, neighbor: Any = None, **kwargs: Any) -> Float[Array, ""]:
        """Total energy, eV; NaN when the neighbour list has overflowed or a position is not finite."""
        return self.outputs(position, neighbor, **kwargs).energy.sum()

    def outputs(
        self,
        position: Array,
        neighbor: Any = None,
        *,
        box: Box = None,
        perturbation: Any = None,
        params: Params = None,
        species: Any = None,
        **_: Any,
    ) -> AtomOutputs:
        """Per-atom energies (and charges, features) of all terms, with the arguments of `energy_fn`.

        `species` puts atoms of other rows of the potential's table on the same places.
        """
        graph, ok = self._graph_and_check(position, neighbor, box, perturbation)
        if species is not None:
            numbers = jnp.asarray(np.array(self.potential.species.numbers, np.int32))[species]
            graph = dataclasses.replace(graph, species=species, numbers=numbers)
        outputs = self.potential.outputs(self.params if params is None else params, graph)
        return dataclasses.replace(outputs, energy=outputs.energy * jnp.where(ok, 1.0, jnp.nan).astype(position.dtype))

    def graph(self, position: Array, neighbor: Any = None, *, box: Box = None, **_: Any) -> Graph:
        """What the potential sees, with the arguments of `energy_fn`; positions are NaN where it would give NaN."""
        graph, ok = self._graph_and_check(position, neighbor, box, None)
        return dataclasses.replace(
            graph, positions=graph.positions * jnp.where(ok, 1.0, jnp.nan).astype(position.dtype)
        )

    def _graph_and_check(self, position: Array, neighbor: Any, box: Box, perturbation: Any) -> tuple[Graph, Array]:
        if position.shape != (len(self.numbers), 3):
            raise StructureError(
                f"Wanted positions [{len(self.numbers)}, 3] as there are numbers, got {position.shape}."
            )
        graph = self._graph(position, box)
        deformation = None if perturbation is None else rows_from_box(perturbation, position.dtype)
        lists, ok = self._lists(neighbor, graph)
        return add_neighborhoods(graph, lists, deformation), ok & jnp.all(jnp.isfinite(position))

    def _graph(self, position: Array, box: Box) -> Graph:
        n_atoms, dtype = len(self.numbers), position.dtype
        cell = jnp.asarray(self.cell, dtype) if box is None or not self.pbc.any() else rows_from_box(box, dtype)
        if self.fractional_coordinates:
            from jax_md import space

            with jax.default_matmul_precision("highest"):
                position = space.transform(cell.T, position)  # its derivative leaves forces Cartesian
        return Graph(
            positions=position,
            numbers=jnp.asarray(self.numbers, jnp.int32),
            species=jnp.asarray(self.species, jnp.int32),
            owner=jnp.zeros(n_atoms, jnp.int32),
            cell=cell[None],
            charge=jnp.full(1, self.charge, dtype),
            neighborhoods=(),
            atom_mask=jnp.ones(n_atoms, bool),
            structure_mask=jnp.ones(1, bool),
            pbc=jnp.asarray(self.pbc, bool)[None],
        )

    def _lists(self, neighbor: Any, graph: Graph) -> tuple[DeviceNeighbors, Array]:
        if isinstance(neighbor, NeighborList):
            if neighbor.lists.plan.cutoffs != self.potential.cutoffs:
                raise MissingInputError(
                    f"The neighbour list was made for cutoffs {neighbor.lists.plan.cutoffs} Å, the potential needs "
                    f"{self.potential.cutoffs}. Use the neighbor_fn that came with this energy_fn."
                )
            return neighbor.lists, ~neighbor.lists.overflow
        index: Any = getattr(neighbor, "idx", None)
        if getattr(index, "shape", (0,))[0] == len(self.numbers):  # jax-md's own list in its Dense format
            lists = from_dense(
                index,
                graph.positions,
                graph.cell[0],
                structure_cell=self.cell,
                pbc=(bool(self.pbc[0]), bool(self.pbc[1]), bool(self.pbc[2])),
                cutoffs=self.potential.cutoffs,
            )
            return lists, ~jnp.asarray(neighbor.did_buffer_overflow)
        raise MissingInputError(
            f"energy_fn needs neighbor=..., got {type(neighbor).__name__}. Make one with the neighbor_fn that came "
            "with it: neighbors = neighbor_fn.allocate(R), then neighbors.update(R) in the loop."
        )


def to_jax_md(
    potential: Potential,
    params: Params,
    displacement_fn: Callable,
    box: Box = None,
    species: Any = None,
    *,
    numbers: Any = None,
    structure: Structure | None = None,
    charge: float = 0.0,
    fractional_coordinates: bool | None = None,
    dr_threshold: float = 0.5,
    capacity_multiplier: float = 1.25,
) -> tuple[NeighborFunctions, EnergyFunction]:
    """The potential as jax-md wants it: every integrator, minimiser and `quantity` runs with it unchanged.

    Cells may be skewed and smaller than the cutoff (all images are found), atoms may lie outside the box, and
    boundaries may be open (`space.free()`). With an overflowed list energies are NaN, so that it is not overlooked.
    `jax_md.quantity.stress` without velocities is minus the stress of `jorbit.predict`.

    Args:
        potential: sum of terms.
        params: its parameters. `energy_fn(..., params=other)` uses others, to differentiate with respect to them.
        displacement_fn: of `jax_md.space`. Tells periodic from open, and fractional from Cartesian positions.
        box: scalar, vector [3] or matrix [3, 3] with lattice vectors as COLUMNS, Å; None with open boundaries.
        species: row of the potential's SpeciesTable for each atom.
        numbers: atomic numbers, [atoms].
        structure: the start, instead of the two: a potential with orbits assigns them to its atoms.
        charge: total charge, e; that of the structure when there is one.
        fractional_coordinates: whether R is fractional; found out from `displacement_fn` when not given.
        dr_threshold: skin of the neighbour list, Å; it is searched again before an atom has moved by half of it. With 0
            it is searched at every update, and the forces after a step still see the list from before the step.
        capacity_multiplier: how much larger arrays are than the first configuration needs.

    Returns:
        (neighbor_fn, energy_fn). `energy_fn.outputs(...)` returns energies per atom.

    Raises:
        MissingInputError: neither species nor numbers.
        UnknownSpeciesError: an element the potential does not know.
        ConfigError, StructureError: box, displacement_fn and fractional_coordinates contradict each other.

    Example:
        >>> from jax_md import space
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> displacement, shift = space.periodic(20.0)
        >>> neighbor_fn, energy_fn = to_jax_md(argon, {"lennard_jones": {}}, displacement, 20.0, numbers=[18, 18])
        >>> R = jnp.array([[0.0, 0.0, 0.0], [3.8164, 0.0, 0.0]])
        >>> round(float(energy_fn(R, neighbor=neighbor_fn.allocate(R))), 6)
        -0.010341
    """
    if structure is not None:
        numbers, species, charge = atoms_of_structure(potential, species, numbers, structure, charge)
    numbers, species = atoms_by_name(potential, species, numbers)
    cell, pbc, fractional = inspect_displacement(displacement_fn, box, fractional_coordinates)
    start = Structure(positions=np.zeros((len(numbers), 3)), numbers=numbers, cell=cell, pbc=pbc, charge=float(charge))
    for part in potential.selective:
        if getattr(part, "is_long_range", False):  # whose sums may not reach as far as the box
            part.check_structure(start)
    neighbor_fn = NeighborFunctions(
        cutoffs=potential.cutoffs,
        cell=cell,
        pbc=pbc,
        numbers=numbers,
        fractional_coordinates=fractional,
        skin=float(dr_threshold),
        headroom=float(capacity_multiplier),
    )
    energy_fn = EnergyFunction(
        potential=potential,
        params=params,
        cell=cell,
        pbc=pbc,
        numbers=numbers,
        species=species,
        charge=float(charge),
        fractional_coordinates=fractional,
    )
    return neighbor_fn, energy_fn


def functions_for(
    potential: Potential,
    params: Params,
    structure: Structure,
    *,
    skin: float,
    capacity_multiplier: float,
    fractional_coordinates: bool = False,
) -> tuple[NeighborFunctions, EnergyFunction]:
    """(neighbor_fn, energy_fn) for a Structure, with the structure's own periodicity."""
    structure = potential.labelled([structure])[0]
    species = potential.species.index(structure.numbers, structure.orbits)
    cell = np.where(np.asarray(structure.pbc)[:, None], structure.cell, 0.0)
    common: dict[str, Any] = dict(
        cell=cell, pbc=np.asarray(structure.pbc), fractional_coordinates=fractional_coordinates
    )
    numbers = np.asarray(structure.numbers)
    return (
        NeighborFunctions(
            cutoffs=potential.cutoffs, numbers=numbers, skin=skin, headroom=capacity_multiplier, **common
        ),
        EnergyFunction(
            potential=potential, params=params, numbers=numbers, species=species, charge=structure.charge, **common
        ),
    )
