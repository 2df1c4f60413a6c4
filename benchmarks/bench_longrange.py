"""What long-range terms add to a short-range model, and what they cost.

    JORBIT_DATA=FOLDER python benchmarks/bench_longrange.py [salt] [ions] [dimers] [water] [chains] [gold] [cost]

salt: NaCl in water (revPBE0-D3, O'Neill et al. 2023): a linear ACE that sees 4 Å, fitted in closed form to the boxes of
gen1a and tested on those of gen3, alone and to what point charges leave (rigid-water charges of SPC/E and ions of one
e, or all of them times 0.75, which stands for electronic screening: Leontyev and Stuchebrukhov 2011).
ions: Ag3+ and Ag3- (Ko et al. 2021), whose total charge a network reads or not.
dimers: charged (C), polar (P) and apolar (A) molecules pulled apart (BFDb, HSE06): ten near pairs to learn, three far
ones to test, by a SchNet that sees 5 Å, alone and with each long-range term; the curve holds distance, label and
prediction, eV. --plot draws results/longrange_dimers.png of what is there.
water: 64 molecules (RPBE-D3) with the Born effective charges of the set as point charges, divided by the refractive
index of 1.33 for electronic screening, or as they are.
chains: C10H2 and C10H3+ with labels of charges.
gold: Au2 on MgO, with and without aluminium far below, which decides how the gold stands (Ko et al. 2021).
peers: a mesh beside that of jax-pme (pip install jax-pme), only when asked for.
cost: processor seconds of energy and forces of rock salt against the number of atoms, one thread, and the slope of its
logarithm over the four largest systems.

Results are merged into results/longrange.json.
"""

import argparse
import dataclasses
import functools
import io
import lzma
import os
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import ase.io
import jax
import jax.numpy as jnp
import numpy as np
from ase.build import bulk
from common import RESULTS, environment, load_rows, write

import jorbit
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Frame, Labels
from jorbit.core.units import COULOMB
from jorbit.descriptors.ace import ACE
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.charges import Charges
from jorbit.models.linear_ace import LinearACE
from jorbit.models.painn import PaiNN
from jorbit.models.schnet import SchNet
from jorbit.potential import Potential
from jorbit.potential.derivatives import energy_and_derivatives
from jorbit.terms.ewald import Ewald
from jorbit.terms.fixed_charges import FixedCharges
from jorbit.terms.latent_ewald import LatentEwald
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.metrics import evaluate
from jorbit.train.objective import LossWeights

DATA = pathlib.Path(os.environ.get("JORBIT_DATA", "."))
SPCE = {"Na": 1.0, "Cl": -1.0, "O": -0.8476, "H": 0.4238}


def frames_of(path: pathlib.Path, pbc: bool) -> list[Frame]:
    text = lzma.open(path, "rt").read()
    frames = []
    for atoms in ase.io.read(io.StringIO(text), ":", format="extxyz"):
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        info = dict(atoms.info)
        atoms.pbc = pbc
        if not pbc:
            atoms.cell = None
        atoms.info["charge"] = info.get("charge", info.get("total_charge", 0.0))
        if "BEC" in atoms.arrays:
            info["BEC"] = atoms.arrays["BEC"]
        labels = Labels(energy=float(energy), forces=np.asarray(forces), charges=atoms.arrays.get("ref_charge"))
        frames.append(Frame(structure=from_ase(atoms), labels=labels, info=info))
    return frames


def salt() -> Iterator[tuple[str, dict]]:
    folder = DATA / "nacl_aq_revpbe0_d3"
    train = frames_of(folder / "nacl_aq_gen1a.extxyz.xz", True)[::8]
    test = frames_of(folder / "nacl_aq_gen3.extxyz.xz", True)[::15]
    species = SpeciesTable.from_numbers([1, 8, 11, 17])
    longest = max(float(np.linalg.norm(f.structure.cell, axis=1).max()) for f in train + test)
    model = LinearACE(n_species=4, cutoff=4.0, max_degree=(8, 5), l_max=3)
    for name, scale in (("short range", 0.0), ("charges * 0.75", 0.75), ("charges", 1.0)):
        charges = {k: scale * v for k, v in SPCE.items()}
        physics = (FixedCharges(4, charges), Ewald(cutoff=6.0, accuracy=1e-4, max_length=longest + 0.1))
        terms = (ReferenceEnergy(4), *(physics if scale else ()), model)
        started = time.process_time()
        potential, params, report = jorbit.fit(train, Potential(terms, species))
        seconds = time.process_time() - started
        yield (
            f"salt/{name}",
            {
                "train_frames": len(train),
                "test_frames": len(test),
                "n_parameters": report.n_parameters,
                "train": report.training.to_json(),
                "test": evaluate(potential, params, test).to_json(),
                "fit_processor_s": seconds,
            },
        )


def ions() -> Iterator[tuple[str, dict]]:
    frames = frames_of(DATA / "hdnnp4g_subset" / "ag3_2200.extxyz.xz", False)
    order = np.random.default_rng(0).permutation(len(frames))
    train, valid, test = ([frames[k] for k in order[a:b]] for a, b in ((0, 1000), (1000, 1200), (1200, 2200)))
    species = SpeciesTable.from_numbers([47])
    config = GradientConfig(epochs=150, batch_size=50, learning_rate=3e-3, loss=LossWeights(energy=100.0, forces=1.0))
    for name, total_charge in (("geometry alone", False), ("total charge", True)):
        model = PaiNN(n_species=1, cutoff=6.0, n_features=32, n_layers=2, n_radial=12, total_charge=total_charge)
        started = time.process_time()
        potential = Potential((ReferenceEnergy(1), model), species)
        params, _ = train_by_gradient(potential, train, valid, config)
        row = {"model": "PaiNN, 32 features", "train_frames": len(train), "test_frames": len(test)}
        errors = evaluate(potential, params, test).to_json()
        yield f"Ag3 ions/{name}", row | {"test": errors, "fit_processor_s": time.process_time() - started}


PAIRS = ("CC", "CP", "PP", "CA", "PA", "AA")


def dimers(pairs: tuple[str, ...] = PAIRS) -> Iterator[tuple[str, dict]]:
    species = SpeciesTable.from_numbers([1, 6, 7, 8])
    config = GradientConfig(epochs=800, batch_size=10, learning_rate=3e-3, loss=LossWeights(energy=1e4, forces=10.0))
    net = {"n_species": 4, "cutoff": 5.0, "n_features": 24, "n_interactions": 2, "n_gaussians": 16}
    latent = LatentEwald(ACE(n_species=4, cutoff=4.0, max_degree=(5, 4), l_max=2), 4, smearing=1.5, max_length=40.0)
    kinds = {
        "short range": (SchNet(**net),),
        "latent_ewald": (latent, SchNet(**net)),
        "charges + ewald": (SchNet(**net), Charges(4), Ewald(cutoff=5.0, max_length=40.0)),
        "ewald messages": (SchNet(**net, ewald_widths=(1.5, 3.0, 6.0), ewald_max_length=40.0),),
    }
    for pair in pairs:
        folder = DATA / "lode_biodimers"
        train, test = (bound(frames_of(folder / f"{pair}_{part}.extxyz.xz", False)) for part in ("train", "test"))
        for kind, terms in kinds.items():
            started = time.process_time()
            potential = Potential((ReferenceEnergy(4), *terms), species)
            params, _ = train_by_gradient(potential, train, config=config)
            frames = sorted([*train, *test], key=lambda f: f.info["distance"])
            found = [float(jorbit.predict(potential, params, f.structure).energy[0]) for f in frames]
            curve = [[float(f.info["distance"]), f.labels.energy, e] for f, e in zip(frames, found, strict=True)]
            errors = evaluate(potential, params, test).to_json()
            row = {"train_frames": len(train), "test_frames": len(test), "test": errors, "curve": curve}
            yield f"dimers {pair}/{kind}", row | {"fit_processor_s": time.process_time() - started}


def bound(frames: list[Frame]) -> list[Frame]:
    """Energies of the two molecules together less those of each alone."""
    bare = [dataclasses.replace(f.labels, energy=float(f.info["inter_energy"])) for f in frames]
    return [dataclasses.replace(f, labels=labels) for f, labels in zip(frames, bare, strict=True)]


def water() -> Iterator[tuple[str, dict]]:
    frames = frames_of(DATA / "water_rpbe_d3" / "water_rpbe_d3_bec_100.extxyz.xz", True)
    train, test = frames[0:100:5], frames[2:100:10]
    born = np.concatenate([np.asarray(f.info["BEC"]).reshape(-1, 3, 3) for f in train])
    oxygen = np.concatenate([f.structure.numbers == 8 for f in train])
    z = float(np.trace(born[oxygen], axis1=1, axis2=2).mean() / 3)
    longest = max(float(np.linalg.norm(f.structure.cell, axis=1).max()) for f in frames)
    model = LinearACE(n_species=2, cutoff=4.0, max_degree=(8, 5), l_max=3)
    for name, q in (("short range", 0.0), ("Born charges, screened", z / 1.33), ("Born charges", z)):
        physics = (FixedCharges(2, {"O": q, "H": -q / 2}), Ewald(cutoff=6.0, accuracy=1e-4, max_length=longest + 0.1))
        terms = (ReferenceEnergy(2), *(physics if q else ()), model)
        started = time.process_time()
        potential, params, _ = jorbit.fit(train, Potential(terms, SpeciesTable.from_numbers([1, 8])))
        row = {"train_frames": len(train), "test_frames": len(test), "charge_of_oxygen": q}
        row |= {"test": evaluate(potential, params, test).to_json()}
        yield f"water/{name}", row | {"fit_processor_s": time.process_time() - started}


def chains() -> Iterator[tuple[str, dict]]:
    frames = frames_of(DATA / "hdnnp4g_subset" / "carbon_chain_128.extxyz.xz", False)
    order = np.random.default_rng(0).permutation(len(frames))
    train, test = [frames[k] for k in order[:100]], [frames[k] for k in order[100:]]
    species = SpeciesTable.from_numbers([1, 6])
    net = {"n_species": 2, "cutoff": 5.0, "n_features": 32, "n_layers": 2, "n_radial": 12}
    electrostatics = (Charges(2), Ewald(cutoff=5.0, max_length=30.0))
    kinds = {
        "short range": (PaiNN(**net),),
        "charges + ewald": (PaiNN(**net), *electrostatics),
        "total charge, charges + ewald": (PaiNN(**net, total_charge=True), *electrostatics),
    }
    for name, terms in kinds.items():
        weight = 100.0 if len(terms) > 1 else 0.0
        config = GradientConfig(epochs=150, batch_size=5, learning_rate=3e-3, loss=LossWeights(charges=weight))
        started = time.process_time()
        potential = Potential((ReferenceEnergy(2), *terms), species)
        params, _ = train_by_gradient(potential, train, config=config)
        row = {"train_frames": len(train), "test_frames": len(test)}
        row |= {"test": evaluate(potential, params, test).to_json()}
        if weight:
            pairs = [(jorbit.predict(potential, params, f.structure).charges, f.labels.charges) for f in test]
            row["charge_rmse"] = float(np.sqrt(np.mean(np.concatenate([(a - b) ** 2 for a, b in pairs]))))
        yield f"carbon chains/{name}", row | {"fit_processor_s": time.process_time() - started}


def gold() -> Iterator[tuple[str, dict]]:
    """12 frames to learn, 6 to test, in the order of a fixed permutation."""
    frames = frames_of(DATA / "hdnnp4g_subset" / "au2_mgo_18.extxyz.xz", True)
    order = np.random.default_rng(0).permutation(len(frames))
    train, test = [frames[k] for k in order[:12]], [frames[k] for k in order[12:]]
    species = SpeciesTable.from_numbers([8, 12, 13, 79])
    longest = max(float(np.linalg.norm(f.structure.cell, axis=1).max()) for f in frames)
    net = {"n_species": 4, "cutoff": 5.0, "n_features": 32, "n_layers": 2, "n_radial": 12}
    reach = {"accuracy": 1e-4, "max_length": longest + 0.1}
    seen = ACE(n_species=4, cutoff=4.0, max_degree=(5, 4), l_max=2)
    messages = {"ewald_widths": (1.5, 3.0, 6.0), "ewald_max_length": longest + 0.1}
    kinds = {
        "short range": (PaiNN(**net),),
        "charges + ewald": (PaiNN(**net), Charges(4), Ewald(cutoff=5.0, **reach)),
        "ewald messages": (PaiNN(**net, **messages),),
        "latent_ewald": (LatentEwald(seen, 4, smearing=1.5, **reach), PaiNN(**net)),
    }
    for name, terms in kinds.items():
        weight = 100.0 if name == "charges + ewald" else 0.0
        config = GradientConfig(epochs=200, batch_size=2, learning_rate=3e-3, loss=LossWeights(charges=weight))
        started = time.process_time()
        potential = Potential((ReferenceEnergy(4), *terms), species)
        params, _ = train_by_gradient(potential, train, config=config)
        row = {"train_frames": len(train), "test_frames": len(test)}
        row |= {"test": evaluate(potential, params, test).to_json()}
        yield f"Au2-MgO/{name}", row | {"fit_processor_s": time.process_time() - started}


def cost() -> Iterator[tuple[str, dict]]:
    """Sums whose cutoff grows as N^(1/6), which balances them, and a mesh with the same cutoff for all."""
    seen: dict[str, list[tuple[int, float]]] = {"sum": [], "mesh": []}
    for repeats in (2, 3, 4, 6, 8, 10, 13, 16):
        atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * ((repeats,) * 3)
        atoms.rattle(0.05, seed=0)
        longest = 5.64 * repeats + 0.1
        balanced = min(5.0 * (len(atoms) / 64) ** (1 / 6), 0.49 * longest * 2)
        ways = {"sum": Ewald(balanced, 1e-4, longest), "mesh": Ewald(6.0, 1e-4, longest, waves="mesh")}
        for name, term in ways.items():
            if name == "sum" and repeats > 8:
                continue
            terms = (FixedCharges(2, {"Na": 1.0, "Cl": -1.0}), term)
            potential = Potential(terms, SpeciesTable.from_numbers([11, 17]))
            params = {"fixed_charges": {"shifts": np.zeros(2)}, "ewald": {}}
            graph = potential.graph(from_ase(atoms), dtype=jnp.float64)
            _, best = timed(jax.jit(lambda g, p=potential, q=params: energy_and_derivatives(p, q, g).forces), graph)
            row = {"n_atoms": len(atoms), "processor_s": best, "cutoff": term.cutoff}
            row |= {"mesh": term.splitting.mesh} if name == "mesh" else {"grid": term.splitting.grid}
            seen[name].append((len(atoms), best))
            yield f"cost {name}/{len(atoms)}", row
    for name, points in seen.items():  # N^1.5 of a sum that is balanced; N log N of a mesh is 1.1 over this range
        sizes, seconds = np.log(np.array(points)[-4:]).T
        yield f"cost {name}/exponent", {"from": points[-4][0], "exponent": float(np.polyfit(sizes, seconds, 1)[0])}


def peers() -> Iterator[tuple[str, dict]]:
    """Forces of 512 ions on a mesh, beside jax-pme's P3M with the same splitting: errors and processor seconds."""
    import jaxpme

    atoms = bulk("NaCl", "rocksalt", a=5.64, cubic=True) * (4, 4, 4)
    atoms.rattle(0.1, seed=0)
    charges = np.where(atoms.numbers == 11, 1.0, -1.0)
    params = {"fixed_charges": {"shifts": np.zeros(2)}, "ewald": {}}

    def ours(term: Ewald) -> tuple[np.ndarray, float]:
        terms = (FixedCharges(2, {"Na": 1.0, "Cl": -1.0}), term)
        potential = Potential(terms, SpeciesTable.from_numbers([11, 17]))
        graph = potential.graph(from_ase(atoms), dtype=jnp.float64)
        return timed(jax.jit(lambda g: energy_and_derivatives(potential, params, g).forces), graph)

    exact = ours(Ewald(6.0, 1e-11, 22.6))[0][: len(atoms)]
    for accuracy in (1e-3, 1e-4, 1e-5):
        term = Ewald(6.0, accuracy, 22.6, waves="mesh")
        forces, seconds = ours(term)
        error = float(np.sqrt(np.mean((forces[: len(atoms)] - exact) ** 2)))
        row = {"mesh": term.splitting.mesh, "force_rmse": error, "processor_s": seconds}
        yield f"mesh/jorbit {accuracy:g}", row
        smearing = 1.0 / (np.sqrt(2.0) * term.splitting.alpha)
        for points in (16, 32, 64):
            calculator = jaxpme.P3M(interpolation_nodes=5, prefactor=COULOMB)
            spacing = 2.3 * 22.56 / points  # which it rounds to a power of two
            inputs = calculator.prepare(atoms, charges, 6.0, spacing, smearing)
            arrays = [jnp.asarray(x) for x in inputs[:-1]]
            function = jax.jit(lambda a, c=calculator, w=smearing: c.energy_forces(*a, w)[1])
            forces, seconds = timed(function, arrays)
            error = float(np.sqrt(np.mean((forces - exact) ** 2)))
            row = {"mesh": list(inputs[-2].shape), "force_rmse": error, "processor_s": seconds}
            yield f"mesh/jax-pme P3M, splitting of {accuracy:g}, {points} points", row | {"version": "jax-pme 0.1.0"}


def timed(function: Callable, argument: Any) -> tuple[np.ndarray, float]:
    """The result, and the least processor seconds of three calls after the first."""
    result, best = np.asarray(function(argument)), np.inf
    for _ in range(3):
        started = time.process_time()
        jax.block_until_ready(function(argument))
        best = min(best, time.process_time() - started)
    return result, best


def plot(rows: list[dict]) -> None:
    """Binding curves of the dimers: labels, and what each model makes of them; results/longrange_dimers.png."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    curves = [
        (*row["name"].removeprefix("dimers ").split("/"), np.array(row["curve"])) for row in rows if "curve" in row
    ]
    pairs = list(dict.fromkeys(pair for pair, _, _ in curves))
    if not pairs:
        return
    columns = min(len(pairs), 3)
    n_rows = -(-len(pairs) // columns)
    size = (4.4 * columns, 3.6 * n_rows)
    figure, panels = plt.subplots(n_rows, columns, figsize=size, layout="constrained", squeeze=False)
    for unused in panels.flat[len(pairs) :]:
        unused.set_visible(False)
    for axes, pair in zip(panels.flat, pairs, strict=False):
        mine = [(model, curve) for p, model, curve in curves if p == pair]
        distance, label = mine[0][1][:, :2].T
        axes.plot(distance, label, "ko", ms=4, label="HSE06")
        for model, curve in mine:
            axes.plot(curve[:, 0], curve[:, 2], lw=1.2, label=model)
        axes.axvspan(distance[-4:-2].mean(), distance[-1], color="0.93")  # farther than what was learned
        axes.set(title=pair, xlabel="distance, Å", ylabel="binding energy, eV")
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(RESULTS / "longrange_dimers.png", dpi=120)


PARTS = {"salt": salt, "ions": ions, "dimers": dimers, "water": water, "chains": chains, "gold": gold, "cost": cost}
PARTS |= {"peers": peers}

if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; default: all but peers")
    parser.add_argument("--pairs", nargs="+", default=PAIRS, choices=PAIRS, help="of dimers")
    parser.add_argument("--plot", action="store_true", help="draw the curves that are there, and measure nothing")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    PARTS["dimers"] = functools.partial(dimers, options.pairs)
    for part in () if options.plot else options.parts or [p for p in PARTS if p != "peers"]:
        for name, row in PARTS[part]():
            print(name, {k: v for k, v in row.items() if k in ("processor_s", "n_atoms")}, row.get("test"), flush=True)
            rows = load_rows("longrange", "name") | {name: {"name": name} | row | {"environment": environment()}}
            write("longrange", "long-range terms: errors with and without them, and their cost", list(rows.values()))
    plot(list(load_rows("longrange", "name").values()))
