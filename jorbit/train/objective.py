"""What gradient training minimises: a weighted sum of registered losses."""

import dataclasses
import math
from collections.abc import Iterable, Mapping

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from jorbit.core.errors import ConfigError, DataError
from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.core.protocols import Loss
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.core.structure import Frame
from jorbit.losses.charges import ChargesLoss
from jorbit.losses.energy import EnergyLoss
from jorbit.losses.forces import ForcesLoss
from jorbit.losses.huber import HuberLoss
from jorbit.losses.stress import StressLoss

CHARGE_TOLERANCE = 0.1  # e; charges in files are rounded
_SQUARED = {"energy": EnergyLoss, "forces": ForcesLoss, "stress": StressLoss}


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """Weights of the mean squared errors: energies, (eV/atom)^2, forces, (eV/Å)^2, stresses, (eV/Å^3)^2, charges, e^2.

    They multiply squared errors, as do the weights of labels: each mean is one by the weights of the labels of a batch.
    `FitWeights` of closed-form fits are another thing: they multiply errors of whole structures before the squares.

    Attributes:
        energy, forces, stress, charges: 0 leaves the kind out. Charges need a term that predicts them.
        huber_energy, huber_forces, huber_stress: where the loss of this kind turns linear, in eV/atom, eV/Å or eV/Å^3;
            None for squares everywhere. Twice the Huber loss is used, so that small errors cost the same either way.

    Example:
        >>> [weight for weight, _ in LossWeights(stress=0.0, huber_forces=0.1).objective().parts]
        [100.0, 2.0]
    """

    energy: float = 100.0
    forces: float = 1.0
    stress: float = 100.0
    huber_energy: float | None = None
    huber_forces: float | None = None
    huber_stress: float | None = None
    charges: float = 0.0

    def objective(self) -> "Objective":
        """The loss itself."""
        parts: list[tuple[float, Loss]] = []
        for kind, squared in _SQUARED.items():
            weight, delta = getattr(self, kind), getattr(self, f"huber_{kind}")
            if weight and delta is not None:
                parts.append((2.0 * weight, HuberLoss(kind, delta)))  # type: ignore[arg-type]
            elif weight:
                parts.append((weight, squared()))
        if self.charges:
            parts.append((self.charges, ChargesLoss()))
        return Objective(tuple(parts))


@dataclasses.dataclass(frozen=True)
class Objective:
    """sum_k weight_k loss_k(prediction, labels). Frozen and hashable: part of the identity of a compiled step.

    Attributes:
        parts: (weight, loss); any registered loss.

    Example:
        >>> Objective(((1.0, ForcesLoss()),)).parts[0][0]
        1.0
    """

    parts: tuple[tuple[float, Loss], ...]

    def __post_init__(self) -> None:
        weights = [w for w, _ in self.parts]
        if not weights or not all(math.isfinite(w) and w > 0 for w in weights):
            raise ConfigError(f"A loss needs at least one part with a positive finite weight, got weights {weights}.")

    def __call__(self, prediction: Prediction, labels: BatchLabels, graph: Graph) -> Float[Array, ""]:
        total = jnp.zeros((), graph.positions.dtype)
        for weight, loss in self.parts:
            total = total + weight * loss(prediction, labels, graph)
        return total


def check_charge_labels(frames: Iterable[Frame], factors: Float[np.ndarray, " frames"] | None = None) -> None:
    """Raise unless charges can be learned: there are some, and those of each frame add up to its total charge.

    Args:
        frames: labelled structures.
        factors: on the weights of the labels of each; frames of factor 0 are not looked at.

    Raises:
        DataError: no charges, or a frame whose total charge is another.
    """
    n_labels = 0
    for k, frame in enumerate(frames):
        if frame.labels.charges is None or (factors is not None and not factors[k]):
            continue
        n_labels += 1
        total = float(np.sum(frame.labels.charges))
        if abs(total - frame.structure.charge) > CHARGE_TOLERANCE:
            raise DataError(
                f"The charges of frame {k} add up to {total:.2f} e, but its total charge is "
                f"{frame.structure.charge:g} e, which predicted charges are shifted to. Set its total charge "
                "(charge=... in an extxyz header), or leave the charges out."
            )
    if not n_labels:
        raise DataError(
            "The loss has a weight for charges, but no frame has any. Wanted one number for each atom, in a column "
            "'charges' of an extxyz file; or set the weight to 0."
        )


def structure_factors(
    frames: Iterable[Frame], by_kind: Mapping[str, float], *, all_there: bool = True
) -> Float[np.ndarray, " frames"]:
    """Factor on the weights of all labels of each frame, by its config_type; 1 where nothing is said.

    Args:
        frames: labelled structures; one in memory at a time.
        by_kind: config_type -> factor on the weights of energy, forces, stress and charges; 0 leaves a frame out.
        all_there: whether every config_type that is named must be that of a frame.

    Raises:
        ConfigError: a config_type that no frame has.

    Example:
        >>> from jorbit.core.structure import Structure
        >>> atom = Structure(positions=np.zeros((1, 3)), numbers=np.array([18]))
        >>> some = [Frame(structure=atom, info={"config_type": "hot"}), Frame(structure=atom)]
        >>> structure_factors(some, {"hot": 0.5}).tolist()
        [0.5, 1.0]
    """
    kinds = [str(f.info.get("config_type", "")) for f in frames]
    unknown = sorted(set(by_kind) - set(kinds))
    if unknown and all_there:
        raise ConfigError(f"structure_weights names {unknown}, but the config_types are {sorted(set(kinds))}.")
    return np.array([by_kind.get(kind, 1.0) for kind in kinds], dtype=np.float64)


def species_factors(table: SpeciesTable, weights: Mapping[str, float]) -> list[float]:
    """Factor on the weight of the forces of each row of the species table.

    Args:
        table: elements, or elements with orbits.
        weights: name of a row ("Br1"), or of an element ("Br", all its orbits) -> factor; 1 where nothing is said.

    Raises:
        ConfigError: a name that the table does not have.

    Example:
        >>> species_factors(SpeciesTable(((1, 0), (35, 0), (35, 1))), {"Br": 2.0, "Br1": 5.0})
        [1.0, 2.0, 5.0]
    """
    elements = [SYMBOLS[z] for z in table.numbers]
    unknown = sorted(set(weights) - set(table.names) - set(elements))
    if unknown:
        raise ConfigError(f"species_weights names {unknown}, but the species are {', '.join(table.names)}.")
    pairs = zip(table.names, elements, strict=True)
    return [float(weights.get(name, weights.get(element, 1.0))) for name, element in pairs]
