"""Models of torchani: environment vectors and a network for each element -> reference energies + ani."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jorbit.basis.symmetry_functions import species_pairs
from jorbit.convert.foreign import open_pickle, unit_in_ev
from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.core.units import HARTREE
from jorbit.models.ani import ANI
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy

ACTIVATIONS = {"TightCELU": "celu", "GELU": "exact_gelu"}
ENVELOPES = {"CutoffCosine": "cosine", "CutoffTriweight": "quadratic"}
EVEN = 1e-5  # Å or radians; shifts in float32 are this close to evenly spaced ones


def convert_torchani(
    path: pathlib.Path, *, trust: bool = False, member: int | None = None, energy_unit: float | str = HARTREE
) -> tuple[Potential, Params]:
    """A model of torchani as a potential in float64.

    Args:
        path: what `torch.save(model, path)` wrote.
        trust: open the pickle.
        member: which network of an ensemble, counted from 0; asked for when there are several.
        energy_unit: of the model's energies, by name or in eV.

    Raises:
        ModelFileError: not trusted, or a model that jorbit has no equal of; says which part.
        ConfigError: torchani is not installed, or no member of an ensemble was named.
    """
    content = open_pickle(path, trust=trust, module="torchani")
    return potential_of(*describe(content, member), energy_unit=unit_in_ev(energy_unit))


def describe(model: Any, member: int | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Options and float64 arrays of a torchani model: all that `potential_of` needs, in plain types.

    Raises:
        ModelFileError: not a model of torchani, or one with parts that jorbit has no equal of.
        ConfigError: an ensemble, and no or no such member.
    """
    potentials = getattr(model, "potentials", None)
    if potentials is None or "nnp" not in potentials or not hasattr(model, "energy_shifter"):
        raise ModelFileError(f"Wanted a model of torchani (ANI), got a {type(model).__name__}.")
    computer, networks = potentials["nnp"].aev_computer, potentials["nnp"].neural_networks
    if hasattr(networks, "members"):
        count = len(networks.members)
        if member is None and count > 1:
            raise ConfigError(f"The file holds {count} networks: say which one is wanted (member=0 to {count - 1}).")
        if not 0 <= (member or 0) < count:
            raise ConfigError(f"Wanted a member between 0 and {count - 1}, got {member}.")
        networks = networks.members[member or 0]
    radial, angular = computer.radial, computer.angular
    kinds = (type(networks).__name__, type(radial).__name__, type(angular).__name__)
    others = sorted(name for name in potentials if name != "nnp" and getattr(potentials[name], "_enabled", True))
    envelope = {type(term.cutoff_fn).__name__ for term in (radial, angular)}
    atomics = [networks.atomics[symbol] for symbol in model.symbols] if hasattr(networks, "atomics") else []
    activation = {type(network.activation).__name__ for network in atomics}
    depth = {len(network.layers) for network in atomics}
    unknown = [
        text
        for wrong, text in (
            (kinds != ("ANINetworks", "ANIRadial", "ANIAngular"), f"the parts {', '.join(kinds)}"),
            (bool(others), f"the potentials {', '.join(others)}"),
            (len(envelope) != 1 or not envelope <= set(ENVELOPES), f"the cutoff functions {sorted(envelope)}"),
            (len(activation) != 1 or not activation <= set(ACTIVATIONS), f"the activations {sorted(activation)}"),
            (len(depth) > 1, "networks of different depth"),
        )
        if wrong
    ]
    if unknown:
        raise ModelFileError(f"The torchani model has {' and '.join(unknown)}, which jorbit's ani does not have.")

    def array(tensor: Any) -> np.ndarray:
        return tensor.detach().cpu().double().numpy()

    options = {
        "numbers": [int(z) for z in model.atomic_numbers],
        "cutoff": float(radial.cutoff),
        "angular_cutoff": float(angular.cutoff),
        "envelope": ENVELOPES[envelope.pop()],
        "activation": ACTIVATIONS[activation.pop()],
        "radial_eta": float(radial.eta),
        "angular_eta": float(angular.eta),
        "zeta": float(angular.zeta),
        "shifts": array(radial.shifts).ravel().tolist(),
        "angular_shifts": array(angular.shifts).ravel().tolist(),
        "angles": array(angular.sections).ravel().tolist(),
    }
    arrays = {"self_energies": array(model.energy_shifter.self_energies)}
    if not getattr(model.energy_shifter, "_enabled", True):
        arrays["self_energies"] = np.zeros_like(arrays["self_energies"])
    for k, network in enumerate(atomics):
        for n, layer in enumerate([*network.layers, network.final_layer]):
            arrays[f"weight_{k}_{n}"] = array(layer.weight).T
            arrays[f"bias_{k}_{n}"] = np.zeros(layer.out_features) if layer.bias is None else array(layer.bias)
    return options, arrays


def potential_of(
    options: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, energy_unit: float = HARTREE
) -> tuple[Potential, Params]:
    """The potential that computes what the described model computes.

    Args:
        options, arrays: from `describe`.
        energy_unit: of the model's energies, eV.
    """
    numbers = options["numbers"]
    species = SpeciesTable.from_numbers(numbers)
    order = [numbers.index(z) for z in species.numbers]  # theirs, ascending by element
    depth = sum(name.startswith("weight_0_") for name in arrays)
    widths = [max(arrays[f"weight_{k}_{n}"].shape[1] for k in range(len(numbers))) for n in range(depth)]
    same = ("cutoff", "angular_cutoff", "envelope", "activation", "radial_eta", "angular_eta", "zeta")
    start = _start(options["shifts"], options["cutoff"], "radial shifts")
    if abs(_start(options["angular_shifts"], options["angular_cutoff"], "angular shifts") - start) > EVEN:
        raise ModelFileError("Radial and angular shifts of the torchani model start at different distances.")
    n_angles = len(options["angles"])
    _must_be_even(options["angles"], np.pi * (np.arange(n_angles) + 0.5) / n_angles, "angles")
    model = ANI(
        n_species=len(species),
        hidden=tuple(widths[:-1]),
        start=start,
        n_radial=len(options["shifts"]),
        n_angular_shifts=len(options["angular_shifts"]),
        n_angles=n_angles,
        **{name: options[name] for name in same},
    )
    rows = _feature_rows(model, order)
    learned = {}
    for n in range(depth):
        n_in = model.descriptor.n_features if n == 0 else widths[n - 1]
        kernel, bias = np.zeros((len(species), n_in, widths[n])), np.zeros((len(species), widths[n]))
        for k, theirs in enumerate(order):  # narrower networks are filled up with units that nobody reads
            weight = arrays[f"weight_{theirs}_{n}"]
            kernel[k, : weight.shape[0], : weight.shape[1]] = weight[rows] if n == 0 else weight
            bias[k, : weight.shape[1]] = arrays[f"bias_{theirs}_{n}"]
        learned |= {f"kernel_{n}": kernel, f"bias_{n}": bias}
    scale = np.full(len(species), float(energy_unit))
    constants = {"energy_scale": scale, "energy_shift": np.zeros(len(species))}
    params = {
        "reference_energy": {"energies": energy_unit * arrays["self_energies"][order]},
        "ani": {"params": learned, "constants": constants},
    }
    terms: Any = (ReferenceEnergy(len(species)), model)
    return Potential(terms, species=species), params


def _start(shifts: list[float], cutoff: float, what: str) -> float:
    """The first of shifts that go on evenly to the cutoff."""
    n, start = len(shifts), round(float(shifts[0]), 6)
    _must_be_even(shifts, start + (cutoff - start) * np.arange(n) / n, what)
    return start


def _must_be_even(values: list[float], wanted: np.ndarray, what: str) -> None:
    if np.abs(np.array(values) - wanted).max() > EVEN:
        raise ModelFileError(
            f"The {what} of the torchani model, {values}, are not evenly spaced up to their end, as those of ani are."
        )


def _feature_rows(model: ANI, order: list[int]) -> np.ndarray:
    """For each feature of ani where it stands among torchani's, whose elements have another order."""
    n, n_angular = model.n_species, model.n_angular_shifts * model.n_angles
    pairs = {tuple(int(x) for x in pair): k for k, pair in enumerate(zip(*species_pairs(n), strict=True))}
    at = np.array(order)
    left, right = species_pairs(n)
    theirs = [pairs[min(a, b), max(a, b)] for a, b in zip(at[left].tolist(), at[right].tolist(), strict=True)]
    radial = at[:, None] * model.n_radial + np.arange(model.n_radial)
    angular = n * model.n_radial + np.array(theirs)[:, None] * n_angular + np.arange(n_angular)
    return np.concatenate([radial.ravel(), angular.ravel()])
