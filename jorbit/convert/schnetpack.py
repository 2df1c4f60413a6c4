"""Models of schnetpack: SchNet and PaiNN with an atomwise energy -> reference energies + schnet or painn."""

import math
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jorbit.convert.foreign import open_pickle, unit_in_ev
from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.protocols import Params
from jorbit.core.species import SYMBOLS, SpeciesTable
from jorbit.models.painn import PaiNN
from jorbit.models.schnet import SchNet
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy

RADIAL = {"GaussianRBF": "gaussian", "BesselRBF": "bessel"}
HARMLESS = ("CastTo32", "CastTo64")  # postprocessors that change no energy
EVEN = 1e-5  # Å; centres in float32 are this close to evenly spaced ones


def convert_schnetpack(
    path: pathlib.Path, *, trust: bool = False, energy_unit: float | str = 1.0, elements: str | None = None
) -> tuple[Potential, Params]:
    """A model trained by schnetpack as a potential in float64; lengths must be in Å.

    Args:
        path: what `torch.save(model, path)` wrote, such as best_model.
        trust: open the pickle.
        energy_unit: of the model's energies, by name or in eV: schnetpack's files do not say what the data were in.
        elements: symbols of those it was trained on, "H,C,O": the file holds a row for each of a hundred. None keeps
            all of them, trained or not.

    Raises:
        ModelFileError: not trusted, or a model that jorbit has no equal of; says which part.
        ConfigError: schnetpack is not installed, or no such element.
    """
    content = open_pickle(path, trust=trust, module="schnetpack")
    return potential_of(*describe(content), energy_unit=unit_in_ev(energy_unit), elements=elements)


def describe(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Options and float64 arrays of a schnetpack model: all that `potential_of` needs, in plain types.

    Raises:
        ModelFileError: not a model of schnetpack, or one with parts that jorbit has no equal of.
    """
    network: Any = getattr(model, "representation", None)
    kind = type(network).__name__
    readouts = [m for m in getattr(model, "output_modules", ()) if type(m).__name__ == "Atomwise"]
    if kind not in ("SchNet", "PaiNN") or not readouts:
        raise ModelFileError(
            f"Wanted a schnetpack NeuralNetworkPotential with SchNet or PaiNN and an Atomwise energy, got a "
            f"{type(model).__name__} with {kind} and {len(readouts)} of these."
        )
    readout, radial = readouts[0], network.radial_basis
    after = [p for p in model.postprocessors if type(p).__name__ not in HARMLESS] if model.do_postprocessing else []
    offsets = [p for p in after if type(p).__name__ == "AddOffsets" and p._property == readout.output_key]
    activation = {"SchNet": "shifted_softplus", "PaiNN": "silu"}[kind]
    first = network.interactions[0]
    inner = first.filter_network[0] if kind == "SchNet" else first.interatomic_context_net[0]
    widths = [int(layer.out_features) for layer in readout.outnet]
    n = int(network.embedding.embedding_dim) if hasattr(network.embedding, "embedding_dim") else 0
    unknown = [
        text
        for wrong, text in (
            (len(readouts) > 1, "several atomwise outputs"),
            (n == 0 or len(network.electronic_embeddings) > 0, "an embedding of more than the element"),
            (kind == "SchNet" and network.n_filters != n, "filters of another width"),
            (type(radial).__name__ not in RADIAL, f"the radial functions {type(radial).__name__}"),
            (kind == "SchNet" and type(radial).__name__ != "GaussianRBF", "other radial functions than Gaussians"),
            (type(network.cutoff_fn).__name__ != "CosineCutoff", f"the cutoff {type(network.cutoff_fn).__name__}"),
            (_name(inner.activation) != activation, f"the activation {_name(inner.activation)}"),
            (_name(readout.outnet[0].activation) != "silu", f"the output {_name(readout.outnet[0].activation)}"),
            (widths != [max(n // 2, 1), 1], f"an output network of widths {widths}"),
            (readout.aggregation_mode != "sum", f"the aggregation {readout.aggregation_mode}"),
            (len(after) != len(offsets), f"postprocessors {[type(p).__name__ for p in after]}"),
        )
        if wrong
    ]
    if unknown:
        raise ModelFileError(f"The schnetpack model has {', '.join(unknown)}, which jorbit's models do not have.")

    def array(tensor: Any) -> np.ndarray:
        return tensor.detach().cpu().double().numpy()

    options = {
        "kind": kind,
        "cutoff": float(network.cutoff),
        "n_features": n,
        "n_layers": len(network.interactions),
        "n_radial": int(radial.n_rbf),
        "radial": RADIAL[type(radial).__name__],
    }
    if kind == "PaiNN":
        options |= {"epsilon": float(network.mixing[0].epsilon), "share_filters": bool(network.share_filters)}
    elif hasattr(radial, "offsets"):
        options["centers"] = array(radial.offsets).tolist()
    arrays = {f"network.{k}": array(v) for k, v in network.state_dict().items() if not k.startswith("radial_basis")}
    arrays |= {f"readout.{k}": array(v) for k, v in readout.outnet.state_dict().items()}
    arrays["offsets"] = np.zeros(len(arrays["network.embedding.weight"]))
    for p in offsets:
        if p.add_atomrefs:
            known = array(p.atomref)[: len(arrays["offsets"])]
            arrays["offsets"][: len(known)] += known
        if p.add_mean:
            arrays["offsets"] += float(p.mean)
    return options, arrays


def _name(activation: Any) -> str:
    return getattr(activation, "__name__", type(activation).__name__)


def potential_of(
    options: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    *,
    energy_unit: float = 1.0,
    elements: str | None = None,
) -> tuple[Potential, Params]:
    """The potential that computes what the described model computes.

    Args:
        options, arrays: from `describe`.
        energy_unit: of the model's energies, eV.
        elements: symbols of those to keep; None keeps all.
    """
    count = len(arrays["network.embedding.weight"])
    numbers = list(range(1, min(count, len(SYMBOLS))))
    if elements is not None:
        symbols = [symbol.strip() for symbol in elements.split(",")]
        known: dict[str, int] = {symbol: z for z, symbol in enumerate(SYMBOLS[:count]) if z}
        unknown = [symbol for symbol in symbols if symbol not in known]
        if unknown:
            raise ConfigError(f"Wanted symbols of elements, such as H,C,O; got {', '.join(unknown)}.")
        numbers = [known[symbol] for symbol in symbols]
    species = SpeciesTable.from_numbers(numbers)
    rows = np.array(species.numbers)
    n = len(species)
    learned: dict[str, Any] = {"embedding": arrays["network.embedding.weight"][rows]}
    if options["kind"] == "SchNet":
        name, model, layers = "schnet", *_schnet(options, arrays, n)
    else:
        name, model, layers = "painn", *_painn(options, arrays, n)
    constants = {"energy_scale": np.full(n, float(energy_unit)), "energy_shift": np.zeros(n)}
    if name == "painn":
        constants["average_neighbors"] = np.ones(())
    params = {
        "reference_energy": {"energies": energy_unit * arrays["offsets"][rows]},
        name: {"params": learned | layers, "constants": constants},
    }
    terms: Any = (ReferenceEnergy(n), model)
    return Potential(terms, species=species), params


def _schnet(options: Mapping[str, Any], arrays: Mapping[str, np.ndarray], n_species: int) -> tuple[SchNet, Params]:
    wanted = np.linspace(0.0, options["cutoff"], options["n_radial"])
    if np.abs(np.array(options.get("centers", wanted)) - wanted).max() > EVEN:
        raise ModelFileError("The Gaussians of the schnetpack model are not spread evenly from 0 to the cutoff.")
    model = SchNet(
        n_species=n_species,
        cutoff=options["cutoff"],
        n_features=options["n_features"],
        n_gaussians=options["n_radial"],
        n_interactions=options["n_layers"],
        envelope="cosine",
        readout_activation="silu",
    )
    found: Params = {"hidden": _dense(arrays, "readout.0"), "readout": _dense(arrays, "readout.1")}
    for k in range(options["n_layers"]):
        block = f"network.interactions.{k}"
        filters = [_dense(arrays, f"{block}.filter_network.{m}") for m in range(2)]
        found[f"message_{k}"] = {f"kernel_{m}": filters[m]["kernel"] for m in range(2)}
        found[f"message_{k}"] |= {f"bias_{m}": filters[m]["bias"] for m in range(2)}
        found[f"in_{k}"] = _dense(arrays, f"{block}.in2f")
        found[f"out_{k}"] = _dense(arrays, f"{block}.f2out.0")
        found[f"update_{k}"] = _dense(arrays, f"{block}.f2out.1")
    return model, found


def _painn(options: Mapping[str, Any], arrays: Mapping[str, np.ndarray], n_species: int) -> tuple[PaiNN, Params]:
    n, softening = options["n_features"], math.sqrt(options["epsilon"])
    model = PaiNN(
        n_species=n_species,
        cutoff=options["cutoff"],
        n_features=n,
        n_layers=options["n_layers"],
        n_radial=options["n_radial"],
        radial=options["radial"],
        envelope="cosine",
        softening=softening,
    )
    found: dict[str, np.ndarray] = {}

    def put(name: str, layer: Mapping[str, np.ndarray], columns: Any = slice(None)) -> None:
        found[f"{name}_kernel"] = layer["kernel"][:, columns]
        found[f"{name}_bias"] = layer["bias"][columns]

    put("readout_0", _dense(arrays, "readout.0"))
    put("readout_1", _dense(arrays, "readout.1"))
    filters = _dense(arrays, "network.filter_net")
    if options["radial"] == "bessel":  # ours are normalised
        filters["kernel"] = filters["kernel"] / math.sqrt(2.0 / options["cutoff"])
    own, vector, product = (slice(m * n, (m + 1) * n) for m in range(3))
    order = np.r_[own, product, vector]  # of what an update adds; theirs has the vectors before the products
    for k in range(options["n_layers"]):
        first = 0 if options["share_filters"] else 3 * n * k
        put(f"filter_{k}", filters, slice(first, first + 3 * n))
        for m in range(2):
            put(f"message_{k}_{m}", _dense(arrays, f"network.interactions.{k}.interatomic_context_net.{m}"))
        mix = arrays[f"network.mixing.{k}.mu_channel_mix.weight"].T
        found |= {f"right_{k}": mix[:, :n], f"left_{k}": mix[:, n:]}
        put(f"update_{k}_0", _dense(arrays, f"network.mixing.{k}.intraatomic_context_net.0"))
        # theirs is sqrt(v^2 + epsilon), ours less its value at v = 0
        found[f"update_{k}_0_bias"] = found[f"update_{k}_0_bias"] + softening * found[f"update_{k}_0_kernel"][n:].sum(0)
        put(f"update_{k}_1", _dense(arrays, f"network.mixing.{k}.intraatomic_context_net.1"), order)
    return model, found


def _dense(arrays: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    layer = {"kernel": arrays[f"{name}.weight"].T}
    return layer | ({"bias": arrays[f"{name}.bias"]} if f"{name}.bias" in arrays else {})
