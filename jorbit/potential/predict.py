"""predict(): compiled energies, forces and stresses."""

import contextlib
from collections.abc import Sequence
from typing import overload

import jax

from jorbit.core.compilation import counted_jit
from jorbit.core.graph import Graph
from jorbit.core.outputs import Prediction
from jorbit.core.protocols import Params
from jorbit.core.structure import Frame, Structure
from jorbit.graphs.batching import unbatch
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.potential.potential import Potential

_predict = counted_jit(energy_and_derivatives, "predict", static_argnums=0)


@overload
def predict(potential: Potential, params: Params, graph: Graph | Structure | Frame) -> Prediction: ...
@overload
def predict(potential: Potential, params: Params, graph: Sequence[Structure | Frame]) -> list[Prediction]: ...
def predict(
    potential: Potential, params: Params, graph: Graph | Structure | Frame | Sequence[Structure | Frame]
) -> Prediction | list[Prediction]:
    """Energy (eV), per-atom energies, forces (eV/Å) and stress (eV/Å^3, positive under tension).

    Compiled once per capacity; `jorbit.core.compilation.compilations()["predict"]` counts.

    Args:
        potential: sum of terms.
        params: its parameters.
        graph: a padded Graph, or a Structure (or Frame), or a sequence of them.

    Returns:
        A padded Prediction for a Graph; an unpadded one (numpy) for a structure; a list for a sequence.

    Raises:
        StructureError, UnknownSpeciesError: what came makes no sense or is not known to the model.
    """
    if isinstance(graph, Graph):
        return _predict(potential, params, graph)
    single = isinstance(graph, Structure | Frame)
    items = [graph] if single else list(graph)  # type: ignore[arg-type]
    structures = [item.structure if isinstance(item, Frame) else item for item in items]
    with jax.enable_x64(True) if potential.needs_float64 else contextlib.nullcontext():
        results = [unbatch(_predict(potential, params, potential.graph(s)), [s])[0] for s in structures]
    return results[0] if single else results
