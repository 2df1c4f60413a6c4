"""Values and derivatives of the classical descriptors against dscribe, featomic and torchani, in float64.

    python benchmarks/parity/descriptors.py --peer-python PYTHON_WITH_THE_PEERS

The peers (dscribe with ase < 3.26, featomic, torchani) live in an environment of their own. For every case they compute
features and d features / d positions, where they offer it; these are put into jorbit's order and normalisation (the
"convention" of the case says how) and compared. Writes benchmarks/results/parity_descriptors.json, and the peers'
numbers with their provenance to tests/descriptors/golden.json for the ordinary tests.

Derivatives "analytic" and "autograd" are the peer's own; "numerical" are its central differences, with their error.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
POSITIONS = [[0.01, 0.02, 0.12], [0.03, 0.76, -0.47], [-0.02, -0.75, -0.49], [1.3, 0.4, 1.9]]
CELL = [[3.4, 0.0, 0.0], [0.9, 3.7, 0.0], [-0.6, 0.8, 3.9]]  # shorter than the cutoff: images of one atom
BOX = [[11.0, 0.0, 0.0], [0.0, 11.5, 0.0], [0.0, 0.0, 12.0]]
STRUCTURES = {
    "molecule": {"positions": POSITIONS, "numbers": [8, 1, 1, 14], "cell": None},
    "crystal": {"positions": POSITIONS, "numbers": [8, 1, 1, 14], "cell": CELL},
    "box": {"positions": POSITIONS, "numbers": [8, 1, 1, 14], "cell": BOX},
}
SPECIES = [1, 8, 14]
CUTOFF, SIGMA, N, L = 4.0, 0.5, 3, 2
SOAP = {"n_species": 3, "cutoff": CUTOFF, "n_radial": N, "l_max": L, "sigma": SIGMA}
ACSF = {
    "n_species": 3,
    "cutoff": CUTOFF,
    "g2": [[0.0, 0.0], [0.1, 0.0], [1.0, 1.5]],
    "g4": [[0.01, 1.0, 1.0], [0.05, 2.0, -1.0], [0.1, 4.0, 1.0]],
    "g5": [[0.02, 1.0, -1.0], [0.03, 1.5, 1.0]],
}
ANI2X = {
    "cutoff": 5.1,
    "radial_eta": 19.7,
    "angular_eta": 12.5,
    "zeta": 14.1,
    "start": 0.8,
    "n_angular_shifts": 8,
    "n_angles": 4,
}
FLAT = "weight 1 for all distances that occur: the peer has no weighting with analytic derivatives"


def case(name, descriptor, options, structure, peer, settings, derivatives, convention):  # type: ignore[no-untyped-def]
    return locals()


def soap_case(what: str, structure: str, derivatives: str | None = None, compression: str = "off", **options) -> dict:  # type: ignore[no-untyped-def]
    weighting = None if derivatives else {"function": "poly", "r0": CUTOFF, "c": 1.0, "m": 1.0}
    settings = {
        "r_cut": CUTOFF,
        "n_max": N,
        "l_max": L,
        "sigma": SIGMA,
        "rbf": options.get("family", "gto"),
        "weighting": weighting,
        "compression": {"mode": compression},
    }
    options |= {"envelope": "shifted_cosine" if derivatives else "cubic"}
    convention = "features sorted by (species, species, l, n, n')" + (f"; {FLAT}" if derivatives else "")
    return case(what, "soap", SOAP | options, structure, "dscribe.SOAP", settings, derivatives, convention)


def featomic_case(structure: str) -> dict:
    settings = {
        "cutoff": {"radius": CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": 0.5}},
        "density": {"type": "Gaussian", "width": SIGMA},
        "basis": {
            "type": "TensorProduct",
            "max_angular": L,
            "radial": {"type": "Gto", "max_radial": N - 1},
            "spline_accuracy": None,
        },
    }
    convention = (
        "times (-1)^l pi sqrt(8) (pi sigma^2)^(3/2) (density of -r, normalised Gaussians), divided by sqrt(2) for two "
        "different species; of the two equal orders (n, n') one is taken"
    )
    options = SOAP | {"family": "gto_powers", "envelope": "shifted_cosine", "width": 0.5}
    name = f"SOAP powers, {structure}"
    return case(name, "soap", options, structure, "featomic.SoapPowerSpectrum", settings, "analytic", convention)


def matrix_case(kind: str, structure: str, derivatives: str | None) -> dict:
    peer = {"coulomb": "CoulombMatrix", "sine": "SineMatrix", "ewald": "EwaldSumMatrix"}[kind]
    options = {"n_atoms": 6, "periodic": "ewald" if kind == "ewald" else "sine"}
    settings = {"n_atoms_max": 6, "permutation": "eigenspectrum"} | ({"accuracy": 1e-14} if kind == "ewald" else {})
    convention = "the peer sorts by magnitude; sorted again by value, zeros of absent atoms last"
    name = f"{kind} matrix, {structure}"
    return case(name, "coulomb_matrix", options, structure, f"dscribe.{peer}", settings, derivatives, convention)


def aev_case(like: str, structure: str) -> dict:
    options = {"n_species": 3} | (ANI2X if like == "2x" else {})
    settings = {"like": like, "num_species": 3}
    convention = "none; parameters of the peer, kept in float32, set to their exact values"
    return case(f"AEV {like}, {structure}", "aev", options, structure, "torchani", settings, "autograd", convention)


CASES = [
    soap_case("SOAP gto, molecule, derivatives", "molecule", "analytic"),
    soap_case("SOAP gto, crystal", "crystal"),
    soap_case("SOAP polynomial, crystal", "crystal", family="polynomial"),
    soap_case("SOAP with total density", "crystal", compression="mu1nu1", pairs="with_total"),
    soap_case("SOAP of same species", "crystal", compression="crossover", pairs="same_species"),
    soap_case("SOAP of all species as one", "crystal", compression="mu2", species_mixing=[[1.0, 1.0, 1.0]]),
    featomic_case("molecule"),
    featomic_case("crystal"),
    *(
        case(
            f"ACSF, {structure}",
            "acsf",
            ACSF,
            structure,
            "dscribe.ACSF",
            {"r_cut": CUTOFF, "g2_params": ACSF["g2"][1:], "g4_params": ACSF["g4"], "g5_params": ACSF["g5"]},
            derivatives,
            "the peer's G1 is G2 with eta = 0; its species pairs run (0,0), (1,0), (1,1), (2,0), ...",
        )
        for structure, derivatives in (("molecule", "numerical"), ("crystal", None))
    ),
    aev_case("1x", "molecule"),
    aev_case("2x", "molecule"),
    aev_case("1x", "box"),
    matrix_case("coulomb", "molecule", "numerical"),
    matrix_case("sine", "crystal", None),
    matrix_case("ewald", "crystal", None),
]


# ---- with the peers ----------------------------------------------------------------------------------------------


def peer_atoms(structure: dict):  # type: ignore[no-untyped-def]
    import ase

    cell = structure["cell"]
    return ase.Atoms(structure["numbers"], structure["positions"], cell=cell, pbc=cell is not None)


def from_dscribe(one: dict) -> tuple[np.ndarray, np.ndarray | None]:
    import dscribe.descriptors

    atoms, kind = peer_atoms(STRUCTURES[one["structure"]]), one["peer"].split(".")[1]
    settings = {k: v for k, v in one["settings"].items() if v is not None}
    create = {"accuracy": settings.pop("accuracy")} if "accuracy" in settings else {}
    if kind in ("SOAP", "ACSF"):
        settings |= {"species": SPECIES, "periodic": one["structure"] != "molecule"}
    peer = getattr(dscribe.descriptors, kind)(**settings)
    values = np.atleast_2d(peer.create(atoms, **create))
    if one["derivatives"] is None:
        return values, None
    more = {"attach": True} if kind in ("SOAP", "ACSF") else {}
    method = {"analytic": "analytical"}.get(one["derivatives"], one["derivatives"])
    found = peer.derivatives(atoms, method=method, return_descriptor=False, **more)
    found = found if found.ndim == 4 else found[None]  # [centres, atoms, 3, features]
    return values, np.moveaxis(found, -1, 1)


def from_featomic(one: dict) -> tuple[np.ndarray, np.ndarray]:
    import featomic

    atoms = peer_atoms(STRUCTURES[one["structure"]])
    blocks = featomic.SoapPowerSpectrum(**one["settings"]).compute(atoms, gradients=["positions"])
    n, size, scale = len(atoms), len(SPECIES) * N, math.pi * math.sqrt(8.0) * (math.pi * SIGMA**2) ** 1.5
    order = {(p, q, degree): k for k, (degree, p, q) in enumerate(soap_order(size))}
    values, slopes = np.zeros((n, len(order))), np.zeros((n, len(order), n, 3))
    for key, block in blocks.items():
        a, b = (SPECIES.index(int(key[f"neighbor_{k}_type"])) for k in (1, 2))
        centres = [int(s[1]) for s in block.samples.values]
        gradient = block.gradient("positions")
        for column, (degree, n1, n2) in enumerate(np.asarray(block.properties.values).tolist()):
            p, q = a * N + n1, b * N + n2
            if p > q:
                continue
            k = order[p, q, degree]
            factor = (-1) ** degree * scale / (1.0 if a == b else math.sqrt(2.0))
            values[centres, k] = factor * np.asarray(block.values)[:, column]
            for row, (sample, _, atom) in enumerate(np.asarray(gradient.samples.values).tolist()):
                slopes[centres[sample], k, atom] += factor * np.asarray(gradient.values)[row, :, column]
    return values, slopes


def soap_order(size: int) -> list[tuple[int, int, int]]:
    return [(degree, p, q) for degree in range(L + 1) for p in range(size) for q in range(p, size)]


def from_torchani(one: dict) -> tuple[np.ndarray, np.ndarray]:
    import torch
    from torchani.aev import AEVComputer
    from torchani.aev._terms import ANIAngular, ANIRadial

    like, structure = f"like_{one['settings']['like']}", STRUCTURES[one["structure"]]
    radial, angular = getattr(ANIRadial, like)(), getattr(ANIAngular, like)()
    peer = AEVComputer(radial, angular, num_species=one["settings"]["num_species"]).double()
    first, n_s, n_a = (0.9, 4, 8) if like == "like_1x" else (0.8, 8, 4)
    exact = {  # the peer rounds its parameters to float32
        radial.eta: [16.0 if like == "like_1x" else 19.7],
        angular.eta: [8.0 if like == "like_1x" else 12.5],
        angular.zeta: [32.0 if like == "like_1x" else 14.1],
        radial.shifts: [first + (radial.cutoff - first) * k / 16 for k in range(16)],
        angular.shifts: [first + (angular.cutoff - first) * k / n_s for k in range(n_s)],
        angular.sections: [math.pi * (k + 0.5) / n_a for k in range(n_a)],
    }
    for buffer, numbers in exact.items():
        meant = torch.tensor(numbers, dtype=torch.float64)
        if (meant - buffer).abs().max() > 1e-5:
            raise SystemExit(f"torchani's {like} has other parameters: {buffer.tolist()}, not {numbers}")
        buffer.copy_(meant)
    index = torch.tensor([[SPECIES.index(z) for z in structure["numbers"]]])
    periodic = structure["cell"] is not None
    cell = torch.tensor(structure["cell"], dtype=torch.float64) if periodic else None
    pbc = torch.tensor([True, True, True]) if periodic else None
    positions = torch.tensor([structure["positions"]], dtype=torch.float64)
    values = peer(index, positions, cell, pbc)[0]
    slopes = torch.autograd.functional.jacobian(lambda x: peer(index, x, cell, pbc)[0], positions)[:, :, 0]  # type: ignore[index]
    return values.numpy(), slopes.numpy()


def mapped(one: dict, values: np.ndarray, slopes: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """A peer's columns in jorbit's order (see the convention of the case)."""
    columns = np.arange(values.shape[1])
    if one["peer"] == "dscribe.SOAP":
        columns = np.argsort(np.array(dscribe_soap_columns(one)), kind="stable")
    if one["peer"] == "dscribe.ACSF":
        pairs = [(a, b) for a in range(3) for b in range(a + 1)]
        order = [pairs.index((b, a)) for a in range(3) for b in range(a, 3)]
        n_g2, n_angular = len(ACSF["g2"]), len(ACSF["g4"]) + len(ACSF["g5"])
        angular = [3 * n_g2 + k * n_angular + m for k in order for m in range(n_angular)]
        columns = np.array([*range(3 * n_g2), *angular])
    if one["descriptor"] == "coulomb_matrix":
        n = len(STRUCTURES[one["structure"]]["numbers"])
        columns = np.array([*np.argsort(-values[0, :n]), *range(n, values.shape[1])])
    return values[:, columns], None if slopes is None else slopes[:, columns]


def dscribe_soap_columns(one: dict) -> list[int]:
    """The place in jorbit of each of dscribe's columns, which are ordered by species pair, l, n, n'."""
    import jorbit.descriptors

    labels = make(one, jorbit.descriptors.DESCRIPTORS).labels
    theirs = sorted(range(len(labels)), key=lambda k: tuple(labels[k][i] for i in (0, 2, 4, 1, 3)))
    return theirs


def worker() -> None:
    import importlib.metadata

    functions = {"dscribe": from_dscribe, "featomic": from_featomic, "torchani": from_torchani}
    results = []
    for one in CASES:
        package = one["peer"].split(".")[0]
        values, slopes = functions[package](one)
        results.append(
            {
                "version": importlib.metadata.version(package),
                "values": values.tolist(),
                "slopes": None if slopes is None else slopes.tolist(),
            }
        )
    print("RESULT " + json.dumps(results))


# ---- with jorbit -------------------------------------------------------------------------------------------------


def make(one: dict, table):  # type: ignore[no-untyped-def]
    def frozen(value):  # type: ignore[no-untyped-def]
        return tuple(frozen(x) for x in value) if isinstance(value, list) else value

    return table.load(one["descriptor"])(**{k: frozen(v) for k, v in one["options"].items()})


def from_jorbit(one: dict) -> tuple[np.ndarray, np.ndarray]:
    import jax
    import jax.numpy as jnp

    from jorbit.core.species import SpeciesTable
    from jorbit.core.structure import Structure
    from jorbit.descriptors import DESCRIPTORS
    from jorbit.graphs.batching import build_graph

    descriptor, s = make(one, DESCRIPTORS), STRUCTURES[one["structure"]]
    periodic = s["cell"] is not None
    structure = Structure(
        positions=np.array(s["positions"]),
        numbers=np.array(s["numbers"]),
        cell=np.array(s["cell"]) if periodic else np.zeros((3, 3)),
        pbc=np.full(3, periodic),
    )
    n, cutoff = structure.n_atoms, descriptor.needs.cutoff
    graph = build_graph(
        structure, SpeciesTable.from_numbers(SPECIES), [] if cutoff is None else [cutoff], dtype=jnp.float64
    )
    rows = 1 if one["descriptor"] == "coulomb_matrix" else n  # all atoms hold the spectrum of their structure

    def features(positions):  # type: ignore[no-untyped-def]
        return descriptor(graph.replace(positions=positions))[:rows]

    values, slopes = jax.jit(lambda r: (features(r), jax.jacfwd(features)(r)))(graph.positions)
    return np.asarray(values), np.asarray(slopes)[:, :, :n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", default=sys.executable, help="interpreter with dscribe, featomic and torchani")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    if (options := parser.parse_args()).worker:
        return worker()
    import jax

    sys.path.insert(0, str(ROOT / "benchmarks"))
    import common

    jax.config.update("jax_enable_x64", True)
    done = subprocess.run([options.peer_python, "-W", "ignore", __file__, "--worker"], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        raise SystemExit(done.stderr[-3000:])
    rows, golden = [], []
    for one, found in zip(CASES, json.loads(lines[0].removeprefix("RESULT ")), strict=True):
        slopes = None if found["slopes"] is None else np.array(found["slopes"])
        theirs, their_slopes = mapped(one, np.array(found["values"]), slopes)
        ours, our_slopes = from_jorbit(one)
        row = {k: one[k] for k in ("name", "peer", "settings", "structure", "derivatives", "convention")}
        row |= {"version": found["version"], "max_abs_feature": float(np.abs(theirs).max())}
        row["value_error"] = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
        if their_slopes is not None:
            if their_slopes.shape[1] != ours.shape[1]:
                raise SystemExit(f"{one['name']}: derivatives of shape {their_slopes.shape}")
            row["max_abs_derivative"] = float(np.abs(their_slopes).max())
            row["derivative_error"] = float(np.abs(our_slopes - their_slopes).max() / np.abs(their_slopes).max())
        rows.append(row)
        error = row.get("derivative_error")
        print(f"{one['name']:34s} {one['peer']:26s} {row['value_error']:.1e} {'' if error is None else f'{error:.1e}'}")
        golden.append(
            {k: one[k] for k in one}
            | {"version": found["version"], "atoms": STRUCTURES[one["structure"]], "features": rounded(theirs)}
            | ({} if their_slopes is None else {"pulled": rounded(pulled(their_slopes))})
        )
    what = "classical descriptors against their best-kept packages; errors relative to the largest number of the case"
    common.write("parity_descriptors", what, rows, **common.environment())
    lines = ",\n".join(json.dumps(one) for one in golden)
    path = ROOT / "tests" / "descriptors" / "golden.json"
    path.write_text(f"[\n{lines}\n]\n")
    print(f"written to {path.relative_to(ROOT)}")


def pulled(slopes: np.ndarray) -> np.ndarray:
    """sum over rows i and features f of cos(1 + i + f) d feature / d positions: [atoms, 3]."""
    i, f = np.indices(slopes.shape[:2])
    return np.einsum("if,ifkx->kx", np.cos(1.0 + i + f), slopes)


def rounded(values: np.ndarray) -> list:
    """13 digits."""
    return np.vectorize(lambda x: float(f"{x:.13g}"))(values).tolist()


if __name__ == "__main__":
    main()
