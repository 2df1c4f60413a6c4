"""Uncertainty: is it calibrated, what does watching cost, does it save simulations, does it save labels?

    python benchmarks/bench_uncertainty.py [calibration networks cost dynamics active]

writes benchmarks/results/uncertainty.json.

All on ethanol_gfn2 (shipped; GFN2-xTB at 300, 600 and 1000 K) except GAP, which is calibrated on mlearn's Si in
JORBIT_DATA as well. Parts can be run one by one; rows of other parts are kept.
"""

import argparse
import json
import pathlib
import tempfile
import time

import numpy as np
from common import RESULTS, Stopwatch, environment, write

MODEL = {"cutoff": 4.0, "max_degree": (8, 5, 3)}
WHAT = "calibration of deviations, cost of the watchman, dynamics at 2000 K with and without it, labels saved"


def ethanol(temperature: float | None = None) -> list:
    import jorbit

    frames = jorbit.read("ethanol_gfn2")
    return [f for f in frames if temperature is None or f.info["temperature"] == temperature]


def parts_of_ethanol() -> tuple[list, list, list]:
    """200 frames to learn, 50 to scale by, 100 to measure on, of all temperatures."""
    frames = ethanol()
    frames = [frames[k] for k in np.random.default_rng(0).permutation(len(frames))]
    return frames[:200], frames[200:250], frames[250:350]


def ace_potential():
    import jorbit
    from jorbit.models.linear_ace import LinearACE
    from jorbit.terms.reference_energy import ReferenceEnergy

    species = jorbit.SpeciesTable.from_numbers([1, 6, 8])
    return jorbit.Potential((ReferenceEnergy(n_species=3), LinearACE(n_species=3, **MODEL)), species)


def calibration_row(name: str, uncertainty, params, held_out: list, test: list) -> dict:
    """Numbers on `test` before and after scaling on `held_out`."""
    from jorbit.train.calibration import calibrate, measure_calibration

    scaled, found = calibrate(uncertainty, params, held_out)
    before, after = (measure_calibration(u, params, test) for u in (uncertainty, scaled))
    row = {"part": "calibration", "name": name, "n_held_out": len(held_out), "n_test": len(test)}
    for quantity in before:
        row[quantity] = {
            "scale": found[quantity].scale,
            "error_over_deviation_before": before[quantity].ratio,
            "error_over_deviation": after[quantity].ratio,
            "nll_before": before[quantity].nll,
            "nll": after[quantity].nll,
            "miscalibration_area_before": before[quantity].miscalibration_area,
            "miscalibration_area": after[quantity].miscalibration_area,
            "rank_correlation": after[quantity].rank_correlation,
        }
        print(name, quantity, {k: round(v, 3) for k, v in row[quantity].items()}, flush=True)
    return row


def calibration(arguments: argparse.Namespace) -> list[dict]:
    import jorbit
    from jorbit.descriptors.soap import SOAP
    from jorbit.models.gap import GAP
    from jorbit.train.gap import fit_gap
    from jorbit.train.uncertainty import fit_uncertainty

    train, held_out, test = parts_of_ethanol()
    rows = []
    _, params, report = jorbit.fit(train, ace_potential())
    rows.append(calibration_row("linear_ace, ethanol, 200 frames", fit_uncertainty(report), params, held_out, test))
    soap = SOAP(n_species=3, cutoff=4.0, n_radial=6, l_max=4)
    _, params, report = fit_gap(train, GAP(descriptor=soap, n_points=200), optimize=False)
    rows.append(calibration_row("gap, ethanol, 200 frames", fit_uncertainty(report), params, held_out, test))
    return rows + silicon()


def networks(arguments: argparse.Namespace) -> list[dict]:
    import jax

    import jorbit
    from jorbit.models.hipnn import HipNN
    from jorbit.potential.uncertainty import Ensemble
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train.gradient import train_by_gradient
    from jorbit.train.gradient_config import GradientConfig
    from jorbit.train.uncertainty import last_layer_uncertainty

    train, held_out, test = parts_of_ethanol()
    rows = []
    species = jorbit.SpeciesTable.from_numbers([1, 6, 8])
    network = HipNN(n_species=3, cutoff=4.0, n_features=16, n_sensitivities=10, n_atom_layers=1)
    potential = jorbit.Potential((ReferenceEnergy(n_species=3), network), species)
    settings = GradientConfig(epochs=80, batch_size=8, learning_rate=0.003)
    result = train_by_gradient(potential, train, held_out, settings)
    params = jax.device_get(result[0])
    layer = last_layer_uncertainty(potential, params, train)
    rows.append(calibration_row("hipnn, last layer, ethanol, 200 frames", layer, params, held_out, test))
    shallow = Ensemble.shallow(layer, 16)
    rows.append(calibration_row("hipnn, 16 last layers drawn, ethanol, 200 frames", shallow, params, held_out, test))
    return [row | {"part": "networks"} for row in rows]


def silicon() -> list[dict]:
    """GAP as in bench_gap.py, with fewer points; its deviations are six times too small there."""
    from pruning_linear import SYSTEMS

    from jorbit.core.errors import JorbitError
    from jorbit.datasets import load_dataset
    from jorbit.descriptors.soap import SOAP
    from jorbit.models.gap import GAP
    from jorbit.train.gap import fit_gap
    from jorbit.train.uncertainty import fit_uncertainty

    try:
        data = load_dataset("mlearn_si")
        train, test = data.split("train"), data.split("test")
    except JorbitError as error:
        print(f"no silicon: {error}")
        return []
    soap = SOAP(
        n_species=1, cutoff=SYSTEMS["Si"][0], n_radial=8, l_max=6, sigma=0.5, envelope="shifted_cosine", width=0.8
    )
    noise = {"sigma_energy": 0.001, "sigma_forces": 0.05, "sigma_virial": 0.05}
    _, params, report = fit_gap(train, GAP(descriptor=soap, n_points=300), optimize=False, **noise)
    row = calibration_row("gap, mlearn Si, 300 points", fit_uncertainty(report), params, test[::2], test[1::2])
    return [row]


def cost(arguments: argparse.Namespace) -> list[dict]:
    """Processor seconds per step with and without a watchman, in turns; medians of the ratios of pairs."""
    import jax
    import jax.numpy as jnp

    import jorbit
    from jorbit.core.units import FS
    from jorbit.models.hipnn import HipNN
    from jorbit.simulate.integrators import Surroundings, make_integrator
    from jorbit.simulate.jax_md import functions_for
    from jorbit.simulate.watchman import Watch, watched
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train.grades import distance_grade, selection_grade
    from jorbit.train.uncertainty import fit_uncertainty, last_layer_uncertainty

    train = ethanol(300.0)[:100]
    potential, params, report = jorbit.fit(train, ace_potential())
    posterior = fit_uncertainty(report)
    species = jorbit.SpeciesTable.from_numbers([1, 6, 8])
    network = jorbit.Potential(
        (ReferenceEnergy(n_species=3), HipNN(n_species=3, cutoff=4.0, n_features=64, n_sensitivities=20)), species
    )
    weights = jax.jit(lambda g: network.init(jax.random.key(0), g))(network.graph(train[0].structure))
    weights = jax.device_get(weights)
    layer = last_layer_uncertainty(network, weights, train[:20])
    cases = [
        ("linear_ace, energy", potential, params, [Watch(posterior), Watch(posterior, every=1)]),
        ("linear_ace, forces", potential, params, [Watch(posterior, "forces")]),
        ("linear_ace, selection", potential, params, [Watch(selection_grade(potential, train))]),
        ("linear_ace, distance", potential, params, [Watch(distance_grade(potential, train))]),
        ("hipnn, last layer, energy", network, weights, [Watch(layer), Watch(layer, every=1)]),
        ("hipnn, last layer, forces", network, weights, [Watch(layer, "forces"), Watch(layer, "forces", every=1)]),
    ]
    rows = []
    structure, dtype = train[0].structure, jnp.float64
    for name, p, w, watches in cases:
        neighbor_fn, energy_fn = functions_for(p, w, structure, skin=0.5, capacity_multiplier=1.25)

        def energy(position, neighbor, energy_fn=energy_fn, **kwargs):
            return energy_fn(position, neighbor=neighbor.update(position), **kwargs)

        surroundings = Surroundings(n_atoms=structure.n_atoms, kT=0.0258)
        plain = make_integrator("nve", energy, 0.5, surroundings)
        position = jnp.asarray(structure.positions, dtype)
        neighbors, mass = neighbor_fn.allocate(position), jnp.asarray(12.0 / FS**0 * np.ones((9, 1)), dtype)

        def stepper(integrator, neighbors=neighbors, position=position, mass=mass):
            def many(state):
                def step(_, carry):
                    state, lists = carry
                    state = integrator.apply(state, neighbor=lists)
                    return state, lists.update(state.position)

                return jax.lax.fori_loop(0, 200, step, (state, neighbors))[0]

            start = integrator.init(
                jax.random.key(0), position, mass=mass, neighbor=neighbors, momenta=jnp.zeros_like(position), kT=0.0
            )
            run = jax.jit(many)
            jax.block_until_ready(run(start))

            def timed() -> float:
                begun = time.process_time()
                jax.block_until_ready(run(start))
                return (time.process_time() - begun) / 200

            return timed

        alone = stepper(plain)
        for watch in watches:
            guarded = stepper(watched(watch, plain, energy_fn))
            pairs = [(alone(), guarded()) for _ in range(arguments.repeats)]
            row = {
                "part": "cost",
                "name": f"{name}, every {watch.interval} steps",
                "us_per_step": 1e6 * float(np.median([a for a, _ in pairs])),
                "us_per_step_watched": 1e6 * float(np.median([b for _, b in pairs])),
                "extra": float(np.median([b / a for a, b in pairs]) - 1.0),
            }
            print(row, flush=True)
            rows.append(row)
    return rows


def dynamics(arguments: argparse.Namespace) -> list[dict]:
    """2000 K with a model of 300 K: errors against GFN2-xTB where the watchman stops, and what happens without him."""
    import jorbit
    from jorbit.core.errors import SimulationError
    from jorbit.datasets.label import label
    from jorbit.simulate.watchman import Watch
    from jorbit.train.calibration import calibrate
    from jorbit.train.uncertainty import fit_uncertainty

    cold = ethanol(300.0)
    potential, params, report = jorbit.fit(cold[:100], ace_potential())
    uncertainty, _ = calibrate(fit_uncertainty(report), params, cold[100:150])
    rows = []
    for seed in range(arguments.seeds):
        for name, watch in (("alone", None), ("stop above 0.3 eV", Watch(uncertainty, stop_above=0.3))):
            row = {"part": "dynamics", "name": f"{name}, seed {seed}", "temperature_K": 2000.0}
            try:
                result = jorbit.simulate.run(
                    potential, params, cold[0].structure, integrator="nvt_langevin", temperature=2000.0, n_steps=4000,
                    friction=0.02, seed=seed, watch=watch, progress=False,
                )  # fmt: skip
                last = next(label([jorbit.Frame(structure=result.structure)]))
                off = None
                if last.labels.energy is not None:
                    off = float(jorbit.predict(potential, params, result.structure).energy[0]) - last.labels.energy
                row |= {
                    "time_fs": result.n_steps * 0.5,
                    "hottest_K": float(result.temperatures.max()),
                    "lowest_energy_below_start_eV": float(
                        result.potential_energies[0] - result.potential_energies.min()
                    ),
                    "error_at_the_end_eV": off,
                    "stopped": result.stopped,
                }
            except SimulationError as error:
                row |= {"blown_up": str(error)}
            print(row, flush=True)
            rows.append(row)
    return rows


def active(arguments: argparse.Namespace) -> list[dict]:
    """Test error against labels: random frames, of all temperatures or cold ones, chosen ones, and found by dynamics.

    The 20 frames to start from and the test frames are of 300, 600 and 1000 K, and so is the pool.
    """
    import jorbit
    from jorbit.cli.active import explorer, labeller
    from jorbit.train.active import run_active
    from jorbit.train.active_config import fitter, load_active_config, start_frames
    from jorbit.train.metrics import evaluate

    rows = []
    per_round, rounds, n_test = arguments.per_round, arguments.rounds, 150
    base = {
        "data": {"train": "ethanol_gfn2", "train_size": 20, "test": n_test},
        "potential": [{"name": "reference_energy"}, {"name": "linear_ace", **MODEL, "max_degree": [8, 5, 3]}],
        "rounds": rounds,
        "select": {"per_round": per_round},
    }
    split = start_frames(load_active_config(base))
    test_positions = {np.asarray(f.structure.positions).tobytes() for f in split.test}
    pool = [f for f in ethanol() if np.asarray(f.structure.positions).tobytes() not in test_positions]
    started = {np.asarray(f.structure.positions).tobytes() for f in split.train}
    rest = [f for f in pool if np.asarray(f.structure.positions).tobytes() not in started]
    known = {np.asarray(f.structure.positions).tobytes(): f for f in pool}

    sources = {"random": rest, "random of 300 K": [f for f in rest if f.info["temperature"] == 300.0]}
    for name, source in {} if arguments.skip_random else sources.items():
        order = np.random.default_rng(arguments.seed).permutation(len(source))
        for n in [20 + k * per_round for k in range(rounds + 1)] + [500]:
            frames = [*split.train, *[source[k] for k in order[: n - 20]]]
            potential, params, _ = jorbit.fit(frames, ace_potential())
            errors = evaluate(potential, params, split.test)
            row = {"part": "active", "name": f"{name}, {n} labels", "n_labels": n, "force_mae": errors.force_mae}
            rows.append(row | {"energy_mae_per_atom": errors.energy_mae_per_atom})
            print(rows[-1], flush=True)

    def from_pool(model, starts, k):
        taken = {np.asarray(s.positions).tobytes() for s in starts}
        return [f.structure for key, f in known.items() if key not in taken]

    explore = {"temperatures": [300.0, 600.0, 1000.0], "steps": arguments.steps, "every": 25, "stop_above": 0.3}
    for name in arguments.ways:
        config = load_active_config(base | {"explore": explore, "seed": arguments.seed})
        watch = Stopwatch()
        with tempfile.TemporaryDirectory() as folder:
            history = run_active(
                pathlib.Path(folder) / "run",
                split.train,
                config.plan,
                fit=fitter(config, split.train),
                explore=from_pool if name == "pool" else explorer(config),
                label=labeller(config),
                test=split.test,
                tell=lambda line: print(line, flush=True),
            )
        for m in history:
            rows.append({"part": "active", "name": f"{name}, {m['n_labels']} labels"} | m)
        rows[-1] |= watch.read()
    return rows


def main() -> None:
    parts = {"calibration": calibration, "networks": networks, "cost": cost, "dynamics": dynamics, "active": active}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list(parts))
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--per-round", type=int, default=40)
    parser.add_argument("--skip-random", action="store_true", help="keep the rows of random frames of an earlier run")
    parser.add_argument("--ways", nargs="*", default=["pool", "dynamics"])
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    import jax

    jax.config.update("jax_enable_x64", True)
    path = RESULTS / "uncertainty.json"
    for part in arguments.parts:
        before, watch = environment(), Stopwatch()
        rows = parts[part](arguments)
        old = json.loads(path.read_text()) if path.exists() else {"rows": [], "environment": {}}
        new = {r["name"].split(",")[0] for r in rows} if part == "active" else set()
        kept = [r for r in old["rows"] if r["part"] != part or (new and r["name"].split(",")[0] not in new)]
        notes = old["environment"] | {part: before | watch.read() | {"load_after": environment()["load_average"]}}
        write("uncertainty", WHAT, kept + rows, environment=notes)


if __name__ == "__main__":
    main()
