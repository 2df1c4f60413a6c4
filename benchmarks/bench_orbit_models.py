"""Linear ACE with and without orbits on the seed systems: parameters, errors by orbit, error against number of orbits.

Every model is fitted to the same frames and measured on the same held-out ones:

* ``elements``: one set of coefficients per element;
* ``orbits``: one per orbit of the central atom, neighbours told apart by element (`LinearACE.channel_of`);
* ``orbits around orbits``: neighbours told apart by orbit as well, which is affordable for few orbits only.

"level" is the number of rounds of colour refinement behind the labels: 0 = elements, null = exact orbits. Errors by
orbit use the exact orbits for every model. Rows are written as they are done; what is there already is kept.

    python benchmarks/bench_orbit_models.py
    python benchmarks/bench_orbit_models.py --systems ethanol --frames 50 --test 20
    python benchmarks/bench_orbit_models.py --draw    # figure and table from the results, without measuring
"""

import argparse
import json
import pathlib

import numpy as np
from common import RESULTS, Stopwatch, environment, write

NAME = "orbit_models"
SYSTEMS = {
    "ethanol": ("ethanol_gfn2", {}),
    "naphthyridine": ("naphthyridine_gfn2", {}),
    "D-alanine": ("dalanine_gfn2", {}),
    "D-histidine": ("dhistidine_gfn2", {}),
    "graphene N3V1": ("graphene_n3_gfn1", {}),
    # 120 frames of tilting octahedra: means of equivalent distances still differ by up to 0.4 Å
    "CsPbI3 slab": ("cspbi3_slab_gfn1", {"gap": 0.5}),
    "D-alanine on graphene": ("dalanine_on_graphene_gfn1", {}),
    "Ac-Phe-Ala5-Lys": ("acphe_ala5_lys_gfn2", {}),
}
DEGREES = ((6, 3), (8, 4, 2), (8, 5, 3))
LADDER = (6, 3)  # degrees at which the number of orbits is varied
SMALL = (6,)  # degrees of models whose neighbours are orbits
MOST_PARAMETERS = 2600
CUTOFF = 4.5  # Å


def fit_and_measure(frames, test, orbits, level, degrees, neighbors) -> dict | None:
    """One model: its size and errors, in meV, meV/atom and meV/Å; None when it is too large."""
    import jorbit
    from jorbit.basis.label_embedding import parent_rows
    from jorbit.models.linear_ace import LinearACE
    from jorbit.potential import Potential
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train import evaluate, orbit_table

    reference = orbits.get(level)
    table = (
        orbit_table(reference) if level != 0 else jorbit.SpeciesTable.from_numbers(frames[0].structure.numbers.tolist())
    )
    channels = tuple(parent_rows(table).tolist()) if table.has_orbits and neighbors == "elements" else None
    most = None
    if table.has_orbits and neighbors == "orbits":
        rows = table.index(frames[0].structure.numbers, reference.structure_orbits)
        most = tuple(np.bincount(rows, minlength=len(table)).tolist())
    model = LinearACE(len(table), cutoff=CUTOFF, max_degree=degrees, channel_of=channels, max_factors=most)
    if model.n_parameters > MOST_PARAMETERS:
        return None
    watch = Stopwatch()
    potential = Potential((ReferenceEnergy(len(table)), model), table)
    potential, params, _ = jorbit.fit(frames, potential, orbits=reference if table.has_orbits else None)
    seconds = watch.read()
    metrics = evaluate(potential, params, test, orbits=orbits[None])
    return {
        "n_rows_of_species_table": len(table),
        "n_functions": model.n_functions,
        "n_parameters": model.n_parameters,
        "fit_seconds": seconds,
        "energy_mae_mev_per_atom": 1e3 * metrics.energy_mae_per_atom,
        "force_mae_mev_per_angstrom": 1e3 * metrics.force_mae,
        "force_rmse_mev_per_angstrom": 1e3 * metrics.force_rmse,
        "force_mae_by_orbit": {n: 1e3 * e["force_mae"] for n, e in metrics.force_errors_by_orbit().items()},
    }


def measure(name: str, n_train: int, n_test: int, done: dict) -> list[dict]:
    """All models of one system."""
    import jorbit

    dataset, options = SYSTEMS[name]
    train, test = (jorbit.read(f"{dataset}:{split}")[:n] for split, n in (("train", n_train), ("test", n_test)))
    everything = jorbit.read(dataset)
    exact = jorbit.find_orbits(everything, **options)
    orbits = {None: exact} | {k: jorbit.find_orbits(everything, level=k, **options) for k in range(1, 4)}
    plan = [(0, d, "elements") for d in DEGREES] + [(None, d, "elements") for d in DEGREES]
    seen = {exact.n_orbits, len(set(exact.numbers.tolist()))}
    for k in (1, 2, 3):
        if orbits[k].n_orbits not in seen:
            seen.add(orbits[k].n_orbits)
            plan.append((k, LADDER, "elements"))
    plan += [(0, SMALL, "elements"), (None, SMALL, "elements"), (None, SMALL, "orbits")]
    rows = []
    for level, degrees, neighbors in plan:
        key = json.dumps([name, level, degrees, neighbors, len(train)])
        if key in done:
            rows.append(done[key])
            continue
        measured = fit_and_measure(train, test, orbits, level, degrees, neighbors)
        if measured is None:
            continue
        row = {
            "key": key,
            "system": name,
            "dataset": dataset,
            "orbit_options": options,
            "n_atoms": everything[0].structure.n_atoms,
            "n_orbits_of_system": exact.n_orbits,
            "group_order": str(exact.group_order),
            "level": level,
            "model": "elements" if level == 0 else ("orbits" if neighbors == "elements" else "orbits around orbits"),
            "max_degree": list(degrees),
            "train_frames": len(train),
            "test_frames": len(test),
            **measured,
            "environment": environment(),
        }
        rows.append(row)
        print(
            f"{name}: {row['model']} level {level} degrees {degrees}: {row['n_parameters']} parameters, force MAE "
            f"{row['force_mae_mev_per_angstrom']:.1f} meV/Å, energy MAE {row['energy_mae_mev_per_atom']:.2f} meV/atom, "
            f"{row['fit_seconds']}",
            flush=True,
        )
        save([*done.values(), *rows])
    return rows


def save(rows: list[dict]) -> None:
    unique = {row["key"]: row for row in rows}
    what = "Linear ACE on GFN-xTB data of the seed systems, with and without orbits; errors on held-out frames"
    write(NAME, what, list(unique.values()), cutoff_angstrom=CUTOFF)


def draw(path: pathlib.Path) -> None:
    """Error against parameters for each system, and against the number of orbits for all."""
    import matplotlib.figure

    rows = json.loads((RESULTS / f"{NAME}.json").read_text())["rows"]
    systems = list(dict.fromkeys(row["system"] for row in rows))
    n_columns = 4
    n_lines = -(-(len(systems) + 1) // n_columns)
    figure = matplotlib.figure.Figure(figsize=(4.2 * n_columns, 3.6 * n_lines), layout="constrained")
    axes = np.atleast_1d(figure.subplots(n_lines, n_columns)).ravel()
    for axis, system in zip(axes, systems, strict=False):
        for kind, marker in (("elements", "o"), ("orbits", "s"), ("orbits around orbits", "^")):
            mine = [r for r in rows if r["system"] == system and r["model"] == kind and r["level"] in (0, None)]
            mine.sort(key=lambda r: r["n_parameters"])
            if mine:
                x, y = zip(*((r["n_parameters"], r["force_mae_mev_per_angstrom"]) for r in mine), strict=True)
                axis.loglog(x, y, marker=marker, label=kind)
        axis.set(title=system, xlabel="parameters", ylabel="force MAE (meV/Å)")
        axis.legend(fontsize=8)
    last = axes[len(systems)]
    for system in systems:
        mine = [
            r for r in rows if r["system"] == system and r["max_degree"] == list(LADDER) and "around" not in r["model"]
        ]
        mine.sort(key=lambda r: r["n_rows_of_species_table"])
        x, y = zip(*((r["n_rows_of_species_table"], r["force_mae_mev_per_angstrom"]) for r in mine), strict=True)
        last.semilogy(x, y, marker="o", label=system)
    last.set(title=f"degrees {LADDER}", xlabel="labels told apart (elements ... orbits)", ylabel="force MAE (meV/Å)")
    last.legend(fontsize=7)
    for axis in axes[len(systems) + 1 :]:
        axis.set_visible(False)
    figure.savefig(path, dpi=110)


def tables() -> str:
    """Sizes and errors of all models; the error on each orbit for the models of degrees `LADDER`."""
    data = json.loads((RESULTS / f"{NAME}.json").read_text())
    rows = data["rows"]
    lines = [f"# {data['what']}", "", f"Cutoff {data['cutoff_angstrom']} Å. Errors are mean absolute errors.", ""]
    lines += ["| system | model | labels | degrees | functions | parameters | force, meV/Å | energy, meV/atom |"]
    lines += ["|---|---|---:|---|---:|---:|---:|---:|"]
    for r in rows:
        size = f"{r['n_rows_of_species_table']} | {r['max_degree']} | {r['n_functions']} | {r['n_parameters']}"
        errors = f"{r['force_mae_mev_per_angstrom']:.1f} | {r['energy_mae_mev_per_atom']:.2f}"
        lines.append(f"| {r['system']} | {r['model']} | {size} | {errors} |")
    lines += ["", f"## Force error by orbit, meV/Å, degrees {list(LADDER)}", ""]
    for system in dict.fromkeys(r["system"] for r in rows):
        mine = {
            r["model"]: r["force_mae_by_orbit"]
            for r in rows
            if r["system"] == system and r["level"] in (0, None) and r["max_degree"] == list(LADDER)
        }
        lines += [f"| {system} | {' | '.join(next(iter(mine.values())))} |"]
        lines += ["|---|" + "---:|" * len(next(iter(mine.values())))]
        lines += [f"| {kind} | {' | '.join(f'{v:.1f}' for v in by.values())} |" for kind, by in mine.items()] + [""]
    runs = sorted({(r["environment"]["commit"], r["train_frames"], r["test_frames"]) for r in rows})
    lines.append("Commit, training frames, held-out frames: " + "; ".join(f"{c}, {a}, {b}" for c, a, b in runs) + ".")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Read the command line, measure what is missing, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--frames", type=int, default=200, help="training frames (fewer where there are fewer)")
    parser.add_argument("--test", type=int, default=100, help="held-out frames")
    parser.add_argument("--draw", action="store_true", help="figure and table of the results; measures nothing")
    options = parser.parse_args()
    if options.draw:
        draw(RESULTS / f"{NAME}.png")
        (RESULTS / f"{NAME}.md").write_text(tables(), encoding="utf-8")
        return
    old = RESULTS / f"{NAME}.json"
    done = {row["key"]: row for row in json.loads(old.read_text())["rows"]} if old.exists() else {}
    for name in options.systems:
        for row in measure(name, options.frames, options.test, done):
            done[row["key"]] = row
    save(list(done.values()))


if __name__ == "__main__":
    main()
