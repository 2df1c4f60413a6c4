"""Potentials as calculators of ASE: Voigt stress, a neighbour skin, and few compilations."""

import dataclasses
from pathlib import Path
from typing import Any

import ase
import ase.calculators.calculator
import jax
import jax.numpy as jnp
import numpy as np
from ase.stress import full_3x3_to_voigt_6_stress

from jorbit.core.compilation import counted_jit
from jorbit.core.errors import CapacityError, ConfigError, SimulationError
from jorbit.core.graph import Graph
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Capacity, Params
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import ORBIT_KEY, from_ase
from jorbit.graphs.batching import build_graph, round_up
from jorbit.graphs.device_neighborhoods import without_skin
from jorbit.graphs.neighbors import find_pairs
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.potential.potential import Potential
from jorbit.simulate.precision import float_precision


def _evaluate(potential: Potential, params: Params, graph: Graph) -> Prediction:
    """Energy and derivatives with the pairs of the skin masked out: the lists reach farther than the potential."""
    return energy_and_derivatives(potential, params, without_skin(graph, potential.cutoffs))


_compiled = counted_jit(_evaluate, "ase_calculator", static_argnums=0)


class Calculator(ase.calculators.calculator.Calculator):
    """Energy, forces and stress of a potential for ASE.

    The neighbour list is made with a skin and kept until an atom has moved by half of it, or the cell, the periodicity
    or the elements change; results are exact all the same. Compiled once per bucket of atom counts;
    `jorbit.core.compilation.compilations()["ase_calculator"]` counts.

    Args:
        model: path of a model file, or (potential, params).
        skin: Å.
        dtype: "float64" or "float32".

    Raises:
        ModelFileError: a file that is missing or no model file.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> pair = ase.Atoms("Ar2", [[0, 0, 0], [3.8164, 0, 0]], calculator=Calculator((argon, {"lennard_jones": {}})))
        >>> round(pair.get_potential_energy(), 6)
        -0.010341
    """

    # Names are ASE's.
    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012

    def __init__(self, model: Any, *, skin: float = 0.5, dtype: str = "float64"):
        super().__init__()
        if isinstance(model, str | Path):
            from jorbit.potential.artefact import load

            model = load(model)
        if not (isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], Potential)):
            raise ConfigError(f"Wanted a model file or (potential, params), got {type(model).__name__}.")
        if not skin >= 0:
            raise ConfigError(f"Wanted a skin of 0 Å or more, got {skin}.")
        self.potential = model[0]
        self.skin = float(skin)
        self.dtype = dtype
        with float_precision(dtype):
            self.model_parameters = jax.tree.map(jnp.asarray, model[1])
        self.n_rebuilds = 0
        self._graph: Graph | None = None
        self._built_for: Structure | None = None

    def check_state(self, atoms: ase.Atoms, tol: float = 1e-15) -> list[str]:
        """What has changed since the last calculation; ASE itself overlooks the total charge and orbits."""
        changes = super().check_state(atoms, tol)
        if self.atoms is not None:
            before, now = (
                (x.info.get("charge", 0.0), x.arrays.get(ORBIT_KEY, np.zeros(0)).tobytes()) for x in (self.atoms, atoms)
            )
            changes += [name for name, a, b in zip(("charge", ORBIT_KEY), before, now, strict=True) if a != b]
        return changes

    def calculate(
        self,
        atoms: ase.Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = ase.calculators.calculator.all_changes,
    ) -> None:
        """Fill `results`: energies in eV, forces in eV/Å, stress (only with a full cell) in eV/Å^3, Voigt order.

        Raises:
            StructureError: atoms that make no sense: none at all, NaN positions, a singular cell.
            UnknownSpeciesError: an element the potential does not know.
            OrbitError: atoms that do not fit the orbits of the potential.
            SimulationError: the energy is not finite.
        """
        super().calculate(atoms, properties, system_changes)  # stores a copy of the atoms
        current = self.atoms
        structure = self._labelled(from_ase(current))  # type: ignore[arg-type]
        n_atoms = structure.n_atoms
        with float_precision(self.dtype):
            graph = self._graph_for(structure)
            prediction = jax.device_get(_compiled(self.potential, self.model_parameters, graph))
        energy, forces = float(prediction.energy[0]), np.asarray(prediction.forces[:n_atoms], np.float64)
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise SimulationError(
                f"The energy ({energy}) or a force is not finite; the closest two atoms are {_closest(structure):.3g} "
                "Å apart. Atoms at one place, or a configuration far outside what the potential was fitted to."
            )
        self.results = {
            "energy": energy,
            "free_energy": energy,
            "energies": np.asarray(prediction.energies[:n_atoms], np.float64),
            "forces": forces,
        }
        if np.linalg.matrix_rank(structure.cell) == 3:
            self.results["stress"] = full_3x3_to_voigt_6_stress(np.asarray(prediction.stress[0], np.float64))

    def _graph_for(self, structure: Structure) -> Graph:
        old, graph = self._built_for, self._graph
        if graph is not None and old is not None and self._still_valid(old, structure):
            positions = np.zeros(graph.positions.shape)
            positions[: structure.n_atoms] = structure.positions
            return dataclasses.replace(graph, positions=jnp.asarray(positions, self.dtype))
        cutoffs = [c + self.skin for c in self.potential.cutoffs]
        room = None
        if graph is not None and graph.n_atoms == round_up(structure.n_atoms):
            room = Capacity(graph.n_atoms, 1, tuple(n.index.shape[1] for n in graph.neighborhoods))
        try:
            graph = build_graph(structure, self.potential.species, cutoffs, capacity=room, dtype=self.dtype)
        except CapacityError:  # more neighbours than before
            graph = build_graph(structure, self.potential.species, cutoffs, dtype=self.dtype)
        self._graph, self._built_for = graph, structure
        self.n_rebuilds += 1
        return graph

    def _labelled(self, structure: Structure) -> Structure:
        """With the orbits of the potential; those of the last call are kept while atoms move by half the skin."""
        old = self._built_for
        if old is not None and old.orbits is not None and structure.orbits is None:
            guess = dataclasses.replace(structure, orbits=old.orbits) if old.n_atoms == structure.n_atoms else None
            if guess is not None and self._still_valid(old, guess):
                return guess
        return self.potential.labelled([structure])[0]

    def _still_valid(self, old: Structure, new: Structure) -> bool:
        def same(a: Any, b: Any) -> bool:
            return np.array_equal(np.asarray(a), np.asarray(b))

        if not (same(old.numbers, new.numbers) and same(old.orbits, new.orbits) and old.charge == new.charge):
            return False
        if not (same(old.pbc, new.pbc) and same(old.cell, new.cell)):
            return False
        moved = np.linalg.norm(new.positions - old.positions, axis=1).max()
        return bool(moved < self.skin / 2)  # False for NaN


def _closest(structure: Structure) -> float:
    for radius in (1.0, 4.0):
        distances = find_pairs(structure, radius).distances
        if len(distances):
            return float(distances.min())
    return float("inf")
