"""GAP on mlearn: errors beside quippy's at the same settings, time per atom, and how well the variance is calibrated.

    JORBIT_DATA=... python benchmarks/bench_gap.py [Si Mo ...]      # writes benchmarks/results/gap.json

SOAP with n_max 8, l_max 6, sigma 0.5 Å, zeta 4, 600 sparse points by CUR, on the training frames of the set; tested on
its test frames. The rows of quippy come from benchmarks/results/pruning.json (gap_fit, the same SOAP and points, its
regularisers fixed). The radial functions differ (quippy: an older basis), so the numbers are near, not the same.
"""

import argparse
import json
import time

import numpy as np
from common import RESULTS, Stopwatch, environment, write
from pruning_linear import SYSTEMS

N_POINTS = 600
NOISE = {"sigma_energy": 0.001, "sigma_forces": 0.05, "sigma_virial": 0.05}


def run(element: str, optimize: bool) -> dict:
    """Fit, test, and compare predicted with actual errors."""
    import jax

    jax.config.update("jax_enable_x64", True)
    import jorbit
    from jorbit.datasets import load_dataset
    from jorbit.descriptors.soap import SOAP
    from jorbit.models.gap import GAP
    from jorbit.train.gap import fit_gap
    from jorbit.train.metrics import evaluate

    data = load_dataset(f"mlearn_{element.lower()}")
    train, test = data.split("train"), data.split("test")
    soap = SOAP(
        n_species=1, cutoff=SYSTEMS[element][0], n_radial=8, l_max=6, sigma=0.5, envelope="shifted_cosine", width=0.8
    )
    watch = Stopwatch()
    potential, params, report = fit_gap(
        train, GAP(descriptor=soap, n_points=N_POINTS), optimize=optimize, progress=True, **NOISE
    )
    seconds = watch.read()
    errors = evaluate(potential, params, test)
    spread = report.posterior.predictive_std([f.structure for f in test])
    off, expected = [], []
    for frame, s in zip(test, spread, strict=True):
        off.append(float(jorbit.predict(potential, params, frame).energy[0]) - frame.labels.energy)
        expected.append(s.energy)
    z = np.array(off) / np.array(expected)
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
        "scales": "marginal likelihood" if optimize else "fixed",
        "n_points": N_POINTS,
        "energy_mae_mev_per_atom": 1e3 * errors.energy_mae_per_atom,
        "force_mae_mev_per_angstrom": 1e3 * errors.force_mae,
        "hyper_parameters": {k: v for k, v in report.provenance()["scales"].items()},
        "log_evidence": report.log_evidence,
        "fit_seconds": seconds,
        "seconds_by_stage": report.seconds,
        "us_per_atom": 1e6 * float(np.median(times)) / largest.structure.n_atoms,
        "rms_of_error_over_predicted": float(np.sqrt((z**2).mean())),
        "rank_correlation_of_error_and_predicted": _spearman(np.abs(off), expected),
        "errors_mev": [1e3 * x for x in off],
        "predicted_std_mev": [1e3 * x for x in expected],
        "environment": environment(),
    }
    print(json.dumps({k: v for k, v in row.items() if not k.endswith("_mev")})[:900], flush=True)
    return row


def _spearman(a: object, b: object) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(a, b)[0])


def main() -> None:
    """Measure the elements asked for; other rows in the results stay."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("elements", nargs="*", default=["Si", "Mo"])
    options = parser.parse_args()
    before = RESULTS / "gap.json"
    old = json.loads(before.read_text())["rows"] if before.exists() else []
    rows = {f"{r['element']}, {r['scales']}": r for r in old}
    peers = {}
    path = RESULTS / "pruning.json"
    if path.exists():
        for r in json.loads(path.read_text())["rows"]:
            if r.get("tool") == "GAP":
                names = ("force_mae_mev_per_angstrom", "energy_mae_mev_per_atom", "us_per_atom")
                peers[r["element"]] = {n: r.get(n) for n in names}
    for element in options.elements:
        for optimize in (False, True):
            row = run(element, optimize) | {"quippy": peers.get(element)}
            rows[f"{element}, {row['scales']}"] = row
            write("gap", "GAP on mlearn, train and test as given, SOAP n 8 l 6, 600 points", list(rows.values()))


if __name__ == "__main__":
    main()
