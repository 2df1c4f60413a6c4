"""GAP on mlearn: errors beside quippy's at the same settings, time per atom, and how well the variance is calibrated.

    JORBIT_DATA=... python benchmarks/bench_gap.py [Si Mo ...] [--kinds fixed likelihood bodies]
    python benchmarks/bench_gap.py --plot                          # benchmarks/results/gap_calibration.png only

SOAP with n_max 8, l_max 6, sigma 0.5 Å, zeta 4, 600 sparse points by CUR, on energies and forces of the training frames
of the set; tested on its test frames. "fixed": noise 1 meV per root of atoms and 50 meV/Å, delta 1 eV, as given to
quippy; "likelihood": the scales of highest marginal likelihood; "bodies": the same with a two-body kernel of 20 points
added (delta 1 eV; SOAP 0.3 eV). The rows of quippy come from benchmarks/results/pruning.json (gap_fit, the same SOAP,
points and noise). The radial functions differ (quippy: an older basis), so the numbers are near, not the same.
Every second test frame scales the standard deviations, the others judge them. Writes benchmarks/results/gap.json.
"""

import argparse
import dataclasses
import json
import time

import numpy as np
from common import RESULTS, Stopwatch, environment, write
from pruning_linear import SYSTEMS

N_POINTS = 600
NOISE = {"sigma_energy": 0.001, "sigma_forces": 0.05}
KINDS = {"fixed": "fixed", "likelihood": "marginal likelihood", "bodies": "fixed, with a two-body kernel"}
SMALLEST = 1e-3  # meV/Å, predicted, of what is drawn


def run(element: str, kind: str) -> dict:
    """Fit, test, and compare predicted with actual errors."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jorbit
    from jorbit.datasets import load_dataset
    from jorbit.descriptors.soap import SOAP
    from jorbit.models.gap import GAP
    from jorbit.models.gap_two_body import TwoBodyGAP
    from jorbit.train.calibration import calibrate
    from jorbit.train.gap import fit_gap
    from jorbit.train.metrics import evaluate
    from jorbit.train.uncertainty import fit_uncertainty

    data = load_dataset(f"mlearn_{element.lower()}")
    train, test = data.split("train"), data.split("test")
    soap = SOAP(
        n_species=1, cutoff=SYSTEMS[element][0], n_radial=8, l_max=6, sigma=0.5, envelope="shifted_cosine", width=0.8
    )
    plain = [dataclasses.replace(f, labels=dataclasses.replace(f.labels, stress=None)) for f in train]
    models: list = [GAP(descriptor=soap, n_points=N_POINTS)]
    if kind == "bodies":
        models = [TwoBodyGAP(cutoff=SYSTEMS[element][0], n_points=20), *models]
    delta = (1.0, 0.3) if kind == "bodies" else 1.0
    watch = Stopwatch()
    potential, params, report = fit_gap(plain, models, delta=delta, optimize=kind == "likelihood", **NOISE)
    seconds = watch.read()
    errors = evaluate(potential, params, test)
    scaled, _ = calibrate(fit_uncertainty(report), params, test[::2])
    judged = test[1::2]
    spread = report.posterior.predictive_std([f.structure for f in judged])
    off, expected, forces_off, forces_expected = [], [], [], []
    for frame, s in zip(judged, spread, strict=True):
        n, predicted = frame.structure.n_atoms, jorbit.predict(potential, params, frame)
        off.append((float(predicted.energy[0]) - frame.labels.energy) / n)
        expected.append(float(scaled.energy_scale) * s.energy / n)
        forces_off.append((np.asarray(predicted.forces)[:n] - frame.labels.forces).ravel())
        forces_expected.append(float(scaled.forces_scale) * s.forces.ravel())
    z = np.array(off) / np.array(expected)
    bins = binned(np.concatenate(forces_off), np.concatenate(forces_expected))
    zf = np.concatenate(forces_off) / np.concatenate(forces_expected)
    largest = max(test, key=lambda f: f.structure.n_atoms)
    graph = potential.graph([largest.structure], dtype=np.float64)
    jorbit.predict(potential, params, graph).forces.block_until_ready()
    times = []
    for _ in range(5):
        started = time.perf_counter()
        jorbit.predict(potential, params, graph).forces.block_until_ready()
        times.append(time.perf_counter() - started)
    row = {
        "element": element,
        "scales": KINDS[kind],
        "labels": "energies and forces",
        "n_points": N_POINTS,
        "energy_mae_mev_per_atom": 1e3 * errors.energy_mae_per_atom,
        "force_mae_mev_per_angstrom": 1e3 * errors.force_mae,
        "hyper_parameters": {k: v for k, v in report.provenance()["scales"].items()},
        "log_evidence": report.log_evidence,
        "fit_seconds": seconds,
        "seconds_by_stage": report.seconds,
        "us_per_atom": 1e6 * float(np.median(times)) / largest.structure.n_atoms,
        "energy_scale": float(scaled.energy_scale),
        "forces_scale": float(scaled.forces_scale),
        "rms_of_energy_error_over_predicted": float(np.sqrt((z**2).mean())),
        "rms_of_force_error_over_predicted": float(np.sqrt((zf**2).mean())),
        "forces_within_one_and_two_predicted": [float((np.abs(zf) < k).mean()) for k in (1.0, 2.0)],
        "rank_correlation_of_force_error_and_predicted": _spearman(
            np.abs(np.concatenate(forces_off)), np.concatenate(forces_expected)
        ),
        "force_bins_mev_per_angstrom": bins,
        "energy_errors_mev_per_atom": [1e3 * x for x in off],
        "energy_predicted_mev_per_atom": [1e3 * x for x in expected],
        "environment": environment(),
    }
    print(json.dumps({k: v for k, v in row.items() if not isinstance(v, list)})[:1200], flush=True)
    return row


def binned(off: np.ndarray, expected: np.ndarray, n: int = 10) -> list[dict[str, float]]:
    """Root mean squares of errors and of predicted deviations in parts of equal size, by the latter; meV/Å."""
    parts = np.array_split(np.argsort(expected), n)
    return [
        {
            "predicted": float(1e3 * np.sqrt((expected[p] ** 2).mean())),
            "error": float(1e3 * np.sqrt((off[p] ** 2).mean())),
        }
        for p in parts
    ]


def plot(rows: list[dict]) -> None:
    """Errors against predicted deviations: forces in ten parts, energies frame by frame."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for row in rows:
        if "force_bins_mev_per_angstrom" not in row:
            continue
        name, bins = f"{row['element']}, {row['scales']}", row["force_bins_mev_per_angstrom"]
        felt = [b for b in bins if b["predicted"] > SMALLEST]  # perfect crystals have no forces, and no error
        left.plot([b["predicted"] for b in felt], [b["error"] for b in felt], "o-", label=name)
        errors = np.abs(row["energy_errors_mev_per_atom"])
        right.plot(row["energy_predicted_mev_per_atom"], errors, "o", label=name)
    for axes, unit, what in ((left, "meV/Å", "RMS error of forces"), (right, "meV/atom", "|error| of energies")):
        axes.set(xscale="log", yscale="log", xlabel=f"predicted standard deviation, {unit}", ylabel=f"{what}, {unit}")
        ends = [min(*axes.get_xlim(), *axes.get_ylim()), max(*axes.get_xlim(), *axes.get_ylim())]
        axes.plot(ends, ends, "k:", lw=1)
    right.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    figure.savefig(RESULTS / "gap_calibration.png", dpi=120)


def _spearman(a: object, b: object) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])


def main() -> None:
    """Measure the elements asked for; other rows in the results stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elements", nargs="*", default=["Si", "Mo"])
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--plot", action="store_true", help="draw what is there, and measure nothing")
    options = parser.parse_args()
    rows = _rows()
    peers = {}
    path = RESULTS / "pruning.json"
    if path.exists():
        for r in json.loads(path.read_text())["rows"]:
            if r.get("tool") == "GAP":
                names = ("force_mae_mev_per_angstrom", "energy_mae_mev_per_atom", "us_per_atom", "fit_wall_s")
                peers[r["element"]] = {n: r.get(n) for n in names}
    for element in () if options.plot else options.elements:
        for kind in options.kinds:
            row = run(element, kind) | {"quippy": peers.get(element)}
            rows = _rows() | {f"{element}, {row['scales']}": row}
            write("gap", "GAP on mlearn, train and test as given, SOAP n 8 l 6, 600 points", list(rows.values()))
    plot(list(rows.values()))


def _rows() -> dict[str, dict]:
    path = RESULTS / "gap.json"
    old = json.loads(path.read_text())["rows"] if path.exists() else []
    return {f"{r['element']}, {r['scales']}": r for r in old}


if __name__ == "__main__":
    main()
