"""Compiled energies for programs that do not have jorbit: StableHLO with neighbours as an input.

The file is what `jax.export` serialises; jax alone reads it, on every platform it was written for:

    exported = jax.export.deserialize(open("model.stablehlo", "rb").read())
    result = exported.call(**inputs)  # energy, energies, forces, stress

`inputs` are plain arrays of fixed sizes, see `graph_arrays`; what they are is also written beside the file, as JSON.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jorbit.core.errors import ConfigError, DataError, MissingInputError
from jorbit.core.graph import Graph, Neighbors
from jorbit.core.protocols import Params
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.potential.potential import Potential
from jorbit.potential.state_files import write_whole

PLATFORMS = ("cpu", "cuda", "tpu")
OUTPUTS = ("energy", "energies", "forces", "stress")
_MEANING = {
    "positions": "Cartesian, Å; zeros on padding",
    "numbers": "atomic numbers; 0 on padding",
    "species": "row of the table of species; 0 on padding",
    "cell": "lattice vectors as rows, Å; zeros without a cell",
    "charge": "total charge, e",
    "pbc": "which lattice vectors repeat",
    "index": "neighbour j of atom i in each slot; 0 in empty slots",
    "shifts": "lattice image of j, whole numbers as floats: r_ij = r_j - r_i + shift @ cell",
    "mask": "which slots hold a neighbour",
}


def graph_arrays(graph: Graph) -> dict[str, np.ndarray]:
    """The plain arrays of a graph of one structure: what an exported function takes.

    Neighbours of the k-th cutoff (ascending) are `index_k`, `shifts_k` and `mask_k`.

    Raises:
        ConfigError: more than one structure.

    Example:
        >>> from jorbit.core.species import SpeciesTable
        >>> from jorbit.core.structure import Structure
        >>> from jorbit.terms.lennard_jones import LennardJones
        >>> argon = Potential(terms=(LennardJones(),), species=SpeciesTable.from_numbers([18]))
        >>> pair = Structure(positions=np.array([[0.0, 0, 0], [3.9, 0, 0]]), numbers=np.array([18, 18]))
        >>> sorted(graph_arrays(argon.graph(pair)))
        ['cell', 'charge', 'index_0', 'mask_0', 'numbers', 'pbc', 'positions', 'shifts_0', 'species']
    """
    if graph.n_structures != 1:
        raise ConfigError(f"An exported function takes one structure, got a batch of {graph.n_structures}.")
    arrays = {
        "positions": graph.positions,
        "numbers": graph.numbers,
        "species": graph.species,
        "cell": graph.cell[0],
        "charge": graph.charge[0],
        "pbc": graph.periodic[0],
    }
    for k, neighbors in enumerate(graph.neighborhoods):
        arrays |= {f"index_{k}": neighbors.index, f"shifts_{k}": neighbors.shifts, f"mask_{k}": neighbors.mask}
    return {name: np.asarray(array) for name, array in arrays.items()}


def export(
    potential: Potential, params: Params, graph: Graph, path: str | Path, platforms: Sequence[str] = ("cpu", "cuda")
) -> dict[str, Any]:
    """Write energy (eV), energies of atoms, forces (eV/Å) and stress (eV/Å^3) as one compiled function.

    Args:
        potential: sum of terms.
        params: its parameters, which become part of the file.
        graph: its sizes and float type are those of the function: build it of the largest structure to come.
        path: of the file; a description is written beside it, with .json added.
        platforms: those it shall run on.

    Returns:
        The description: inputs with shape, type and meaning, outputs, cutoffs (Å) and the table of species.

    Raises:
        ConfigError: an unknown platform, or a batch of structures.
        DataError: the file cannot be written.
        MissingInputError: flatbuffers is not installed.
    """
    unknown = sorted(set(platforms) - set(PLATFORMS))
    if unknown or not platforms:
        raise ConfigError(f"Wanted platforms of {PLATFORMS}, got {tuple(platforms)}.")
    arrays = graph_arrays(graph)
    cutoffs = [n.cutoff for n in graph.neighborhoods]

    def function(**inputs: Array) -> dict[str, Any]:
        prediction = energy_and_derivatives(potential, params, _graph(inputs, cutoffs))
        return {
            "energy": prediction.energy[0],
            "energies": prediction.energies,
            "forces": prediction.forces,
            "stress": prediction.stress[0],
        }

    with jax.enable_x64(graph.positions.dtype == jnp.float64):
        specimens = {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in arrays.items()}
        exported = jax.export.export(jax.jit(function), platforms=tuple(platforms))(**specimens)
    try:
        contents = exported.serialize()
    except ImportError as error:
        raise MissingInputError(
            "Writing compiled functions needs flatbuffers: pip install 'jorbit[export]'."
        ) from error
    about = {
        "inputs": {
            name: {"shape": a.shape, "dtype": str(a.dtype), "meaning": _MEANING[name.split("_")[0]]}
            for name, a in arrays.items()
        },
        "outputs": {name: str(aval.dtype) for name, aval in zip(OUTPUTS, _avals(exported), strict=True)},
        "units": "eV, Å, eV/Å, eV/Å^3; stress is positive under tension",
        "cutoffs": cutoffs,
        "species": [[z, orbit] for z, orbit in potential.species.rows],
        "platforms": list(platforms),
        "jax": jax.__version__,
    }
    path = Path(path)
    try:
        write_whole(path, bytes(contents))
        description = json.dumps(about, indent=1, ensure_ascii=False) + "\n"
        write_whole(path.with_name(path.name + ".json"), description.encode())
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}.") from error
    return about


def _avals(exported: Any) -> list[Any]:
    tree = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    return [tree[name] for name in OUTPUTS]


def _graph(inputs: dict[str, Array], cutoffs: Sequence[float]) -> Graph:
    numbers = inputs["numbers"]
    neighborhoods = tuple(
        Neighbors(cutoff=c, index=inputs[f"index_{k}"], shifts=inputs[f"shifts_{k}"], mask=inputs[f"mask_{k}"])
        for k, c in enumerate(cutoffs)
    )
    return Graph(
        positions=inputs["positions"],
        numbers=numbers,
        species=inputs["species"],
        owner=jnp.zeros_like(numbers),
        cell=inputs["cell"][None],
        charge=inputs["charge"][None],
        neighborhoods=neighborhoods,
        atom_mask=numbers > 0,
        structure_mask=jnp.ones((1,), bool),
        pbc=inputs["pbc"][None],
    )
