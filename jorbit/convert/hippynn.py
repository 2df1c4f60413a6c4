"""Models of hippynn, HIP-NN and HIP-HOP-NN -> reference energies + hipnn or hiphop."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jorbit.basis.contractions import Contraction
from jorbit.basis.invariant_sets import hop13
from jorbit.convert.foreign import open_pickle, unit_in_ev
from jorbit.core.errors import ModelFileError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.models.hiphop import EPSILON, HipHop
from jorbit.models.hipnn import HipNN
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy

STRUCTURE = "experiment_structure.pt"  # what hippynn's training writes beside
STATE = "best_model.pt"
NO_ENERGY = ("Gradient", "MultiGradient", "StressForce", "Dipole", "Quadrupole")  # physics layers that add no energy
# hippynn's numbers of the invariants, in whose order its weights stand.
NUMBERS = {
    Contraction.parse(text): number
    for number, text in enumerate(
        (
            "",
            "i,i",
            "ij,ij",
            "ij,jk,ki",
            "ijk,ijk",
            "ijk,ijl,abk,abl",
            "i,ij,j",
            "i,ij,jk,k",
            "i,j,k,ijk",
            "i,ijk,jkl,l",
            "ij,ikl,jkl",
            "ij,jk,ilm,klm",
            "ij,ijk,ab,abk",
        )
    )
}


def convert_hippynn(
    path: pathlib.Path, *, trust: bool = False, energy_unit: float | str = 1.0
) -> tuple[Potential, Params]:
    """A model trained by hippynn as a potential in float64.

    Args:
        path: experiment_structure.pt (with best_model.pt beside it), or what `torch.save(graph_module, path)` wrote.
        trust: open the pickle.
        energy_unit: of the model's energies, by name or in eV: hippynn does not write down what its data were in.

    Raises:
        ModelFileError: not trusted, or a model that jorbit has no equal of; says which part.
        ConfigError: hippynn is not installed.
    """
    content = open_pickle(path, trust=trust, module="hippynn")
    if isinstance(content, Mapping) and "training_modules" in content:
        module = content["training_modules"].model
        best = path.with_name(STATE)
        if not best.is_file():
            raise ModelFileError(f"{path} holds the network before training: wanted {STATE} in the same folder, too.")
        module.load_state_dict(open_pickle(best, trust=trust, module="hippynn"))
    else:
        module = content
    return potential_of(*describe(module), energy_unit=unit_in_ev(energy_unit))


def describe(module: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Options and float64 arrays of a hippynn GraphModule: all that `potential_of` needs, in plain types.

    Raises:
        ModelFileError: no network, or one with parts that jorbit has no equal of.
    """
    parts = {"Hipnn": [], "HEnergy": []}
    for part in module.modules() if hasattr(module, "modules") else ():
        names = [cls.__name__ for cls in type(part).__mro__]
        for kind in parts:
            parts[kind] += [part] if kind in names else []
        if type(part).__module__.startswith("hippynn.layers.physics") and names[0] not in NO_ENERGY:
            raise ModelFileError(f"The hippynn model has a {names[0]} besides its network, which is not converted.")
    if len(parts["Hipnn"]) != 1 or len(parts["HEnergy"]) != 1:
        raise ModelFileError(
            f"Wanted a hippynn GraphModule with one network and one hierarchical energy, got a {type(module).__name__} "
            f"with {len(parts['Hipnn'])} and {len(parts['HEnergy'])}."
        )
    network, readout = parts["Hipnn"][0], parts["HEnergy"][0]
    options = _options(network, readout)
    state = {f"network.{k}": v for k, v in network.state_dict().items() if hasattr(v, "detach")}
    state |= {f"readout.{k}": v for k, v in readout.state_dict().items()}
    return options, {k: v.detach().cpu().double().numpy() for k, v in state.items()}


def _options(network: Any, readout: Any) -> dict[str, Any]:
    """Everything that is not an array; refuses what hipnn and hiphop do not have."""
    kind, layer = type(network).__name__, network.interaction_layers[0]
    widths = {int(n) for n in (*network.feature_sizes[1:], *network.nf_middle)}
    sensitivity = type(layer.sensitivity).__name__
    unknown = [
        text
        for wrong, text in (
            (kind not in ("Hipnn", "HipHopNNModule"), f"the network {kind}"),
            (network.resnet is False, "a network without residual layers"),
            (len(widths) != 1, f"layers of different widths {sorted(widths)}"),
            (sensitivity not in ("InverseSensitivityModule", "GaussianSensitivityModule"), sensitivity),
            (type(getattr(layer.sensitivity, "cutoff", None)).__name__ != "CosCutoff", "another cutoff function"),
            (type(network.activation).__name__ != "Softplus", f"the activation {type(network.activation).__name__}"),
            (readout.layers[0].out_features != 1, "several energies"),
        )
        if wrong
    ]
    options = {
        "kind": kind,
        "species": [int(z) for z in network.species_set if int(z) > 0],
        "cutoff": float(network.dist_hard_max),
        "n_features": int(network.nf_middle[0]),
        "n_sensitivities": int(network.n_sensitivities),
        "n_interactions": int(network.ni),
        "n_atom_layers": int(network.n_layers_per_block),
        "soft_min": float(network.dist_soft_min),
        "soft_max": float(network.dist_soft_max),
        "first_is_interacting": bool(readout.first_is_interacting),
    }
    if kind == "HipHopNNModule" and not unknown:
        norm = layer.group_norm
        if norm is not None and norm.eps != EPSILON:
            unknown.append(f"a group norm with eps = {norm.eps} (not {EPSILON})")
        options |= {"n_max": int(network.n_max), "l_max": int(network.l_max), "group_norm": norm is not None}
    if unknown:
        raise ModelFileError(
            f"The hippynn model has {', '.join(unknown)}, which jorbit's hipnn and hiphop do not have."
        )
    return options


def potential_of(
    options: Mapping[str, Any], arrays: Mapping[str, np.ndarray], *, energy_unit: float = 1.0
) -> tuple[Potential, Params]:
    """The potential that computes what the described model computes.

    Args:
        options, arrays: from `describe`.
        energy_unit: of the model's energies, eV.
    """
    species = SpeciesTable.from_numbers(options["species"])
    order = [options["species"].index(z) for z in species.numbers]  # one-hot columns, ascending by element
    same = ("cutoff", "n_features", "n_sensitivities", "n_interactions", "n_atom_layers", "soft_min", "soft_max")
    settings = {k: options[k] for k in same} | {"n_species": len(species), "envelope": "cosine"}
    if options["kind"] == "HipHopNNModule":
        n_max, l_max = options["n_max"], options["l_max"]
        normalization = "group" if options["group_norm"] else "none"
        name, model = "hiphop", HipHop(invariants=f"hop13:{n_max},{l_max}", normalization=normalization, **settings)
    else:
        name, model = "hipnn", HipNN(**settings)
    learned: dict[str, Any] = {}
    for k in range(options["n_interactions"]):
        learned |= _block(arrays, k, options, order if k == 0 else None)
    first = 0 if options["first_is_interacting"] else 1
    learned["readout"] = {}
    for k in range(options["n_interactions"]):
        layer = f"readout.layers.{k + first}"
        learned["readout"] |= {f"kernel_{k}": arrays[f"{layer}.weight"][0], f"bias_{k}": arrays[f"{layer}.bias"][0]}
    alone = np.zeros(len(species)) if first == 0 else arrays["readout.layers.0.weight"][0][order]
    params = {
        "reference_energy": {"energies": energy_unit * alone},
        name: {"params": learned, "constants": {"readout": {"energy_scale": np.float64(energy_unit)}}},
    }
    terms: Any = (ReferenceEnergy(len(species)), model)
    return Potential(terms, species=species), params


def _block(
    arrays: Mapping[str, np.ndarray], k: int, options: Mapping[str, Any], order: list[int] | None
) -> dict[str, Any]:
    """Weights of one interaction block under jorbit's names; `order` sorts the features that come in."""

    def linear(layer: str, *, sort: bool = False) -> dict[str, np.ndarray]:
        weight = arrays[f"{layer}.weight"].T
        kernel = {"kernel": weight[order] if sort and order is not None else weight}
        return kernel | ({"bias": arrays[f"{layer}.bias"]} if f"{layer}.bias" in arrays else {})

    block = f"network.blocks.{k}"
    base = f"{block}.0.base_layer"
    interaction = arrays[f"{base}.int_weights"].transpose(0, 2, 1)
    found: dict[str, Any] = {
        f"message_{k}": {
            "centers": arrays[f"{base}.sensitivity.mu"][0],
            "widths": arrays[f"{base}.sensitivity.sigma"][0],
            "interaction_kernel": interaction if order is None else interaction[:, order],
        },
        f"self_{k}": linear(f"{base}.selfint", sort=True),
        f"update_{k}": {"out": linear(f"{block}.0.res_layer")},
        f"atoms_{k}": {},
    }
    if f"{block}.0.adjust_layer.weight" in arrays:
        found[f"update_{k}"]["adjust"] = linear(f"{block}.0.adjust_layer", sort=True)
    for n in range(options["n_atom_layers"]):
        found[f"atoms_{k}"][f"hidden_{n}"] = linear(f"{block}.{n + 1}.base_layer")
        found[f"atoms_{k}"][f"residual_{n}"] = {"out": linear(f"{block}.{n + 1}.res_layer")}
    if options["kind"] == "HipHopNNModule":
        numbers = [NUMBERS[c] for c in hop13(options["n_max"], options["l_max"]).contractions]
        at = [sorted(numbers).index(n) for n in numbers]
        found[f"mixing_{k}"] = {"mixing_kernel": arrays[f"{base}.mixing_weights"].transpose(1, 0, 2)[at]}
        if options["group_norm"]:
            for ours, theirs in (("gain", "weight"), ("bias", "bias")):
                rows = arrays[f"{base}.group_norm.{theirs}"].reshape(len(numbers), -1)
                found[f"mixing_{k}"][ours] = rows[at]
    return found
