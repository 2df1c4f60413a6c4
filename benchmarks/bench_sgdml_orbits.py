"""Force errors of kernel models against the number of orbits, with groups of permutations from none to too many.

    python benchmarks/bench_sgdml_orbits.py [--train 100]

Four shipped molecules in vacuum (GFN2-xTB). The groups: none; "feasible", what the trajectory visits; "bond graph", all
automorphisms; "species", a subgroup of at most 24 of all exchanges of like atoms, most of which never happen. σ is the
best of three for 60 validation frames; errors are of 200 other frames. Writes benchmarks/results/sgdml_orbits.json and
a table, sgdml_orbits.md.
"""

import argparse
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
SETS = ("ethanol_gfn2", "naphthyridine_gfn2", "dalanine_gfn2", "dhistidine_gfn2")
SIGMAS = [10.0, 20.0, 40.0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=int, default=100)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    import jorbit
    from benchmarks.common import RESULTS, environment, write
    from jorbit.models.sgdml import predict_geometries
    from jorbit.train.sgdml_permutations import choose_permutations

    rows = []
    for name in SETS:
        frames = jorbit.read(name)
        order = np.random.default_rng(0).permutation(len(frames))
        train, valid, test = np.split(order[: options.train + 260], [options.train, options.train + 60])
        structures = [frames[k].structure for k in range(0, len(frames), max(1, len(frames) // 300))]
        orbits = jorbit.find_orbits(structures, feasible=True)
        species = jorbit.find_orbits(structures, mode="species")
        groups = {
            "none": choose_permutations("none", structures)[0],
            "feasible": choose_permutations("feasible", structures, orbits=orbits)[0],
            "bond graph": choose_permutations("topological", structures, orbits=orbits)[0],
            "species": choose_permutations("budget:24", structures, orbits=species)[0],
        }
        for kind, group in groups.items():
            started = time.perf_counter()
            fitted = jorbit.fit_sgdml(
                [frames[k] for k in train], validation=[frames[k] for k in valid], sigma=SIGMAS, permutations=group
            )
            positions = np.stack([frames[k].structure.positions for k in test])
            forces = predict_geometries(fitted.potential.terms[0], fitted.params["sgdml"], positions)[1]  # type: ignore[arg-type]
            reference = np.stack([frames[k].labels.forces for k in test])
            error = 1e3 * np.abs(forces - reference)
            rows.append(
                {
                    "set": name,
                    "n_atoms": orbits.n_atoms,
                    "group": kind,
                    "n_permutations": len(group),
                    "n_orbits": _orbits(group),
                    "n_orbits_bond_graph": orbits.n_orbits,
                    "n_train": len(train),
                    "sigma": fitted.report.sigma,
                    "force_mae_meV_A": float(error.mean()),
                    "force_mae_by_mean_force": float(error.mean() / (1e3 * np.abs(reference).mean())),
                    "by_orbit": {
                        orbits.names[k]: float(error[:, orbits.labels == k].mean()) for k in range(orbits.n_orbits)
                    },
                    "fit_s": round(time.perf_counter() - started, 1),
                }
            )
            print({k: v for k, v in rows[-1].items() if k != "by_orbit"}, flush=True)
    write("sgdml_orbits", "force errors of sGDML by group of permutations", rows, environment=environment())
    (RESULTS / "sgdml_orbits.md").write_text(table(rows), encoding="utf-8")


def _orbits(group: np.ndarray) -> int:
    """Number of sets of atoms that the permutations exchange."""
    return len({tuple(sorted(set(column))) for column in group.T.tolist()})


def table(rows: list[dict]) -> str:
    lines = [
        f"Force MAE of sGDML after {rows[0]['n_train']} training frames, 200 other frames of the same trajectories.",
        "",
        "| set | group | permutations | orbits | σ | force MAE, meV/Å | / mean force |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['set']} | {r['group']} | {r['n_permutations']} | {r['n_orbits']} | {r['sigma']:g} | "
            f"{r['force_mae_meV_A']:.1f} | {r['force_mae_by_mean_force']:.3f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
