"""Models of mace-torch (foundation models too) -> reference energies + zbl + mace."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from jorbit.basis.coupling import clebsch_gordan, coupled_degrees
from jorbit.convert.foreign import import_package, open_pickle
from jorbit.convert.mace_weights import describe_layers, layer_parameters
from jorbit.core.errors import ModelFileError
from jorbit.core.protocols import Params
from jorbit.core.species import SpeciesTable
from jorbit.models.mace import MACE
from jorbit.orbits.covalent_radii import RADII
from jorbit.potential.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.terms.zbl import ZBL

BLOCKS = {  # class of mace-torch -> (adds its transformed input, divides by a learned number of neighbours)
    "RealAgnosticInteractionBlock": (False, False),
    "RealAgnosticResidualInteractionBlock": (True, False),
    "RealAgnosticDensityInteractionBlock": (False, True),
    "RealAgnosticDensityResidualInteractionBlock": (True, True),
}
BOHR, COULOMB = 0.529, 14.3996  # Å and eV Å, as mace-torch rounds them


def convert_mace(path: pathlib.Path, *, trust: bool = False, head: str | None = None) -> tuple[Potential, Params]:
    """A model saved by mace-torch as a potential in float64.

    Args:
        path: what `torch.save(model, path)` wrote: MACE or ScaleShiftMACE, as training and the foundation models do.
        trust: open the pickle.
        head: which of several heads; None = the only one, or the one called "default".

    Raises:
        ModelFileError: not trusted, or a model that jorbit has no equal of; says which part.
        ConfigError: mace-torch is not installed.
    """
    model = open_pickle(path, trust=trust, module="mace.modules", package="mace-torch")
    return potential_of(*describe(model), head=head)


def describe(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Options (plain values) and arrays (float64) of a torch module.

    Raises:
        ModelFileError: a module that is not a MACE, or one with parts that jorbit has no equal of.
    """
    kind = type(model).__name__
    if kind not in ("MACE", "ScaleShiftMACE"):
        raise ModelFileError(f"Wanted a MACE or ScaleShiftMACE, got a {kind}. Other models have no converter.")
    radial, last = model.radial_embedding, model.readouts[-1]
    transform = getattr(radial, "distance_transform", None)
    repulsion = getattr(model, "pair_repulsion_fn", None)
    heads = [str(h) for h in getattr(model, "heads", None) or ["Default"]]
    options: dict[str, Any] = {
        "kind": kind,
        "numbers": [int(z) for z in model.atomic_numbers],
        "heads": heads,
        "cutoff": float(model.r_max),
        "l_max": int(max(ir.l for _, ir in model.spherical_harmonics.irreps_out)),
        "hidden": str(model.products[0].linear.irreps_out),
        "blocks": [type(block).__name__ for block in model.interactions],
        "correlation": [max(_correlations(p)) for p in model.products],
        "n_bessel": int(radial.out_dim),
        "power": int(radial.cutoff_fn.p),
        "radial_widths": [int(n) for n in model.interactions[0].conv_tp_weights.hs[1:-1]],
        "average": [float(block.avg_num_neighbors) for block in model.interactions],
        "transform": None if transform is None else [float(getattr(transform, x)) for x in ("a", "q", "p")],
        "readout_width": _readout_width(last) // len(heads),
        "zbl": None if repulsion is None else _repulsion(repulsion),
        "unknown": _unknown_parts(model),
        "signs": _signs(),
        "layers": [],
    }
    if not options["unknown"]:
        options["layers"] = describe_layers(model)
    arrays = {k: v.detach().cpu().double().numpy() for k, v in model.state_dict().items() if v.is_floating_point()}
    return options, {k: v for k, v in arrays.items() if v.size and "output_mask" not in k}


def _correlations(product: Any) -> list[int]:
    return [int(c.correlation) for c in product.symmetric_contractions.contractions]


def _readout_width(readout: Any) -> int:
    return int(readout.hidden_irreps.dim) if hasattr(readout, "hidden_irreps") else 0


def _repulsion(zbl: Any) -> dict[str, Any]:
    return {
        "length": float(zbl.a_prefactor) * BOHR,
        "exponent": float(zbl.a_exp),
        "power": int(zbl.p),
        "amplitudes": [float(c) for c in zbl.c],
        "rates": [3.2, 0.9423, 0.4028, 0.2016],
    }


def _signs() -> dict[str, int]:
    """Couplings of e3nn that are minus those of jorbit (both are normalised, so only a sign is left)."""
    o3 = import_package("e3nn.o3")
    signs = {}
    for l1 in range(5):
        for l2 in range(5):
            for l3 in coupled_degrees(l1, l2):
                if (l1 + l2 + l3) % 2 == 0:
                    overlap = float((o3.wigner_3j(l1, l2, l3).numpy() * clebsch_gordan(l1, l2, l3)).sum())
                    signs[f"{l1} {l2} {l3}"] = 1 if overlap > 0 else -1
    return signs


def _unknown_parts(model: Any) -> list[str]:
    """Parts that change energies and that jorbit has no equal of."""
    radial = model.radial_embedding
    parts = []
    if type(radial.bessel_fn).__name__ != "BesselBasis":
        parts.append(f"radial functions {type(radial.bessel_fn).__name__}")
    if hasattr(radial, "distance_transform") and type(radial.distance_transform).__name__ != "AgnesiTransform":
        parts.append(f"distance transform {type(radial.distance_transform).__name__}")
    if not getattr(radial, "apply_cutoff", True):
        parts.append("a cutoff applied after the radial network")
    if hasattr(model, "joint_embedding"):
        parts.append("embeddings of charge, spin or other inputs")
    if type(model.readouts[-1]).__name__ not in ("LinearReadoutBlock", "NonLinearReadoutBlock"):
        parts.append(f"readout {type(model.readouts[-1]).__name__}")
    parts += [f"interaction {type(b).__name__}" for b in model.interactions if type(b).__name__ not in BLOCKS]
    return parts


def potential_of(
    options: Mapping[str, Any], arrays: Mapping[str, np.ndarray], head: str | None = None
) -> tuple[Potential, Params]:
    """The potential and its parameters from what `describe` read; needs neither torch nor mace-torch.

    Raises:
        ModelFileError: parts that jorbit has no equal of, or a head that is not there.
    """
    chosen = _head(list(options["heads"]), head)
    channels, hidden_l = _hidden(options)
    residual, density = zip(*(BLOCKS[name] for name in options["blocks"]), strict=True)
    n_species, n_layers = len(options["numbers"]), len(options["blocks"])
    model = MACE(
        n_species=n_species,
        cutoff=options["cutoff"],
        channels=channels,
        hidden_l=hidden_l if n_layers > 1 else 0,
        l_max=options["l_max"],
        correlation=options["correlation"][0],
        n_layers=n_layers,
        n_bessel=options["n_bessel"],
        power=options["power"],
        radial_widths=tuple(options["radial_widths"]),
        readout_width=options["readout_width"] or 1,
        first_residual=residual[0],
        density=density[0],
        transform=None if options["transform"] is None else tuple(options["transform"]),
    )
    scale, shift = (np.atleast_1d(arrays.get(f"scale_shift.{k}", d)) for k, d in (("scale", 1.0), ("shift", 0.0)))
    scale, shift = float(scale[chosen % len(scale)]), float(shift[chosen % len(shift)])
    params: dict[str, Any] = {"embedding": {"labels": _embedding(options, arrays, channels)}}
    for layer in range(n_layers):
        params |= layer_parameters(model, layer, options, arrays, chosen)
    constants = {
        "energy_scale": np.full(n_species, scale),
        "energy_shift": np.full(n_species, shift),
        "average_neighbors": np.array(options["average"][0]),
    }
    energies = np.atleast_2d(arrays["atomic_energies_fn.atomic_energies"])[chosen % _n_heads(arrays)]
    terms: list[Any] = [ReferenceEnergy(n_species=n_species), model]
    new: dict[str, Any] = {
        "reference_energy": {"energies": energies},
        "mace": {"params": params, "constants": constants},
    }
    if options["zbl"] is not None:
        terms.insert(1, _zbl(options, scale))
        new["zbl"] = {}
    species = SpeciesTable(tuple((int(z), 0) for z in options["numbers"]))
    return Potential(terms=tuple(terms), species=species), new


def _n_heads(arrays: Mapping[str, np.ndarray]) -> int:
    return np.atleast_2d(arrays["atomic_energies_fn.atomic_energies"]).shape[0]


def _head(heads: list[str], wanted: str | None) -> int:
    if len(heads) == 1 and wanted is None:
        return 0
    names = [h.lower() for h in heads]
    name = "default" if wanted is None else wanted.lower()
    if name not in names:
        raise ModelFileError(f"The model has the heads {', '.join(heads)}: say which with --set head=NAME (head=...).")
    return names.index(name)


def _hidden(options: Mapping[str, Any]) -> tuple[int, int]:
    """Channels and highest degree of "128x0e+128x1o"; says what has no equal."""
    wrong = list(options["unknown"])
    residual, density = zip(*(BLOCKS.get(name, (True, False)) for name in options["blocks"]), strict=True)
    if not all(residual[1:]) or len(set(density)) > 1:
        wrong.append(f"the order of blocks {options['blocks']}")
    if len(set(options["correlation"])) > 1 or not 1 <= options["correlation"][0] <= 3:
        wrong.append(f"correlations {options['correlation']}")
    if len(set(options["average"])) > 1:
        wrong.append("averages that differ between layers")
    irreps = [part.strip().split("x") for part in options["hidden"].split("+")]
    channels = {int(n) for n, _ in irreps}
    if [ir for _, ir in irreps] != [f"{l}{'eo'[l % 2]}" for l in range(len(irreps))] or len(channels) != 1:
        wrong.append(f"features {options['hidden']}")
    if wrong:
        raise ModelFileError(f"jorbit's mace has no equal of this model: {'; '.join(wrong)}.")
    return channels.pop(), len(irreps) - 1


def _embedding(options: Mapping[str, Any], arrays: Mapping[str, np.ndarray], channels: int) -> np.ndarray:
    n_species = len(options["numbers"])
    return arrays["node_embedding.linear.weight"].reshape(n_species, channels) / np.sqrt(n_species)


def _zbl(options: Mapping[str, Any], scale: float) -> ZBL:
    """Reaches as far as the two largest atoms touch; multiplied by the scale that mace-torch applies to it as well."""
    zbl = options["zbl"]
    reach = 2.0 * max(float(RADII[z]) for z in options["numbers"])
    coulomb = COULOMB * (scale if options["kind"] == "ScaleShiftMACE" else 1.0)
    return ZBL(
        cutoff=min(reach, options["cutoff"]),
        power=zbl["power"],
        length=zbl["length"],
        exponent=zbl["exponent"],
        coulomb=coulomb,
        amplitudes=tuple(zbl["amplitudes"]),
        rates=tuple(zbl["rates"]),
    )
