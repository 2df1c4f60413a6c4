"""Force errors of kernel models against the number of orbits, with groups of permutations from none to too many.

    python benchmarks/bench_sgdml_orbits.py [set ...]       # --plot draws what is there

Shipped xTB sets: four molecules in vacuum and on graphene, and Ac-Phe-Ala5-Lys (99 atoms, a group of six
million permutations, of which a subgroup within a budget is taken). The groups: none; "feasible", what the trajectory
visits; "bond graph", all automorphisms of the statistics graph, at most 24 of a subgroup; "species", a subgroup of at
most 24 of all exchanges of like atoms, most of which never happen. σ is the best of three for held-out frames; errors
are of other frames. Writes benchmarks/results/sgdml_orbits.json, a table .md and a plot .png.
"""

import argparse
import json
import pathlib
import sys

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]
# frames to train on, to choose σ, and to test
SETS = {
    "ethanol_gfn2": (60, 60, 200),
    "naphthyridine_gfn2": (60, 60, 200),
    "dalanine_gfn2": (60, 60, 200),
    "dhistidine_gfn2": (60, 60, 200),
    "ethanol_on_graphene_gfn1": (60, 20, 40),
    "naphthyridine_on_graphene_gfn1": (40, 15, 25),
    "dalanine_on_graphene_gfn1": (60, 20, 40),
    "dhistidine_on_graphene_gfn1": (40, 15, 25),
    "acphe_ala5_lys_gfn2": (24, 15, 65),
}
BUDGETS = (4, 12)  # of permutations of the largest molecule
SIGMAS, SIGMAS_OF_LARGE = [10.0, 20.0, 40.0], [20.0, 40.0, 80.0]  # the latter with more than 40 atoms


def groups_of(name: str, structures: list) -> tuple[dict[str, np.ndarray], object]:
    """Groups of permutations by name, and the orbits of the set."""
    import jorbit
    from jorbit.train.sgdml_permutations import choose_permutations

    large = name.startswith("acphe")
    orbits = jorbit.find_orbits(structures, feasible=not large)
    groups = {"none": choose_permutations("none", structures)[0]}
    if large:
        for budget in BUDGETS:
            groups[f"budget {budget}"] = choose_permutations(f"budget:{budget}", structures, orbits=orbits)[0]
        return groups, orbits
    species = jorbit.find_orbits(structures, mode="species")
    groups["feasible"] = choose_permutations("feasible", structures, orbits=orbits, most=24)[0]
    groups["bond graph"] = choose_permutations("topological", structures, orbits=orbits, most=24)[0]
    groups["species"] = choose_permutations("budget:24", structures, orbits=species)[0]
    return groups, orbits


def measure(name: str) -> list[dict]:
    """One row for each different group."""
    import jorbit
    from benchmarks.common import Stopwatch
    from jorbit.models.sgdml import predict_geometries

    n_train, n_valid, n_test = SETS[name]
    frames = jorbit.read(name)
    order = np.random.default_rng(0).permutation(len(frames))
    train, valid, test = np.split(order[: n_train + n_valid + n_test], [n_train, n_train + n_valid])
    structures = [frames[k].structure for k in range(0, len(frames), max(1, len(frames) // 300))]
    groups, orbits = groups_of(name, structures)
    positions = np.stack([frames[k].structure.positions for k in test])
    reference = np.stack([frames[k].labels.forces for k in test])
    sigmas = SIGMAS_OF_LARGE if orbits.n_atoms > 40 else SIGMAS
    rows: list[dict] = []
    for kind, group in groups.items():
        watch = Stopwatch()
        fitted = jorbit.fit_sgdml(
            [frames[k] for k in train], validation=[frames[k] for k in valid], sigma=sigmas, permutations=group
        )
        forces = predict_geometries(fitted.potential.terms[0], fitted.params["sgdml"], positions)[1]  # type: ignore[arg-type]
        error = 1e3 * np.abs(forces - reference)
        rows.append(
            {
                "set": name,
                "n_atoms": orbits.n_atoms,
                "group": kind,
                "n_permutations": len(group),
                "n_orbits": _orbits(group),
                "n_orbits_bond_graph": orbits.n_orbits,
                "n_train": n_train,
                "n_test": n_test,
                "sigma": fitted.report.sigma,
                "force_mae_meV_A": float(error.mean()),
                "force_mae_by_mean_force": float(error.mean() / (1e3 * np.abs(reference).mean())),
                "by_orbit": {
                    orbits.names[k]: float(error[:, orbits.labels == k].mean()) for k in range(orbits.n_orbits)
                },
                "fit_seconds": watch.read(),
            }
        )
        print({k: v for k, v in rows[-1].items() if k != "by_orbit"}, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", default=list(SETS))
    parser.add_argument("--plot", action="store_true", help="draw what is there, and measure nothing")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    from benchmarks.common import RESULTS, environment, write

    path = RESULTS / "sgdml_orbits.json"
    old = json.loads(path.read_text()) if path.exists() else {"rows": [], "environment": {}}
    rows = old["rows"]
    for name in () if options.plot else options.sets:
        rows = [r for r in rows if r["set"] != name] + measure(name)
        rows.sort(key=lambda r: list(SETS).index(r["set"]))
        write("sgdml_orbits", "force errors of sGDML by group of permutations", rows, environment=environment())
    (RESULTS / "sgdml_orbits.md").write_text(table(rows))
    plot(rows, RESULTS / "sgdml_orbits.png")


def plot(rows: list[dict], path: pathlib.Path) -> None:
    """Errors against the orbits of the groups, and those of the best group against chemical diversity."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    marks = {"none": "o", "feasible": "s", "bond graph": "D", "species": "x"}
    for k, found in enumerate(_by_set(rows)):
        mine, name = sorted(found, key=lambda r: r["n_orbits"]), found[0]["set"]
        x = [r["n_orbits"] for r in mine]
        y = [100 * r["force_mae_by_mean_force"] for r in mine]
        left.plot(x, y, "-", color=f"C{k}", lw=0.8, label=name.rsplit("_", 1)[0].replace("_", " "))
        for r, a, b in zip(mine, x, y, strict=True):
            left.plot(a, b, marks.get(r["group"], "D"), color=f"C{k}", ms=5)
        best = min(mine, key=lambda r: r["force_mae_by_mean_force"])
        right.plot(best["n_orbits_bond_graph"], 100 * best["force_mae_by_mean_force"], "o", color=f"C{k}")
    left.set(xlabel="orbits of the group (o none, □ feasible, ◇ graph, x species)", ylabel="force MAE / mean force, %")
    right.set(xlabel="orbits of the system (chemical diversity)", ylabel="force MAE / mean force, %, best group")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.set_xscale("log")
        axes.set_xticks([5, 10, 20, 40, 80], ["5", "10", "20", "40", "80"])
        axes.minorticks_off()
        axes.set_xlim(4.5, 1.15 * max(r["n_orbits"] for r in rows))
    figure.savefig(path, dpi=120)


def _orbits(group: np.ndarray) -> int:
    """Number of sets of atoms that the permutations exchange."""
    return len({tuple(sorted(set(column))) for column in group.T.tolist()})


def table(rows: list[dict]) -> str:
    """The rows as Markdown."""
    lines = [
        "Force MAE of sGDML on other frames of the same trajectories.",
        "",
        "| set | atoms | frames | group | permutations | orbits | σ | force MAE, meV/Å | / mean force |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['set']} | {r['n_atoms']} | {r['n_train']} | {r['group']} | {r['n_permutations']} | "
            f"{r['n_orbits']} | {r['sigma']:g} | {r['force_mae_meV_A']:.1f} | {r['force_mae_by_mean_force']:.3f} |"
        )
    best = [min(mine, key=lambda r: r["force_mae_by_mean_force"]) for mine in _by_set(rows)]
    if len(best) > 3:
        from scipy.stats import spearmanr

        rank = spearmanr([r["n_orbits_bond_graph"] for r in best], [r["force_mae_by_mean_force"] for r in best])
        lines += ["", f"Rank correlation of error / mean force (best group) with the orbits of a system: {rank[0]:.2f}"]
        lines[-1] += f" over {len(best)} systems (p = {rank[1]:.1g})."
    return "\n".join(lines) + "\n"


def _by_set(rows: list[dict]) -> list[list[dict]]:
    return [[r for r in rows if r["set"] == name] for name in dict.fromkeys(r["set"] for r in rows)]


if __name__ == "__main__":
    main()
