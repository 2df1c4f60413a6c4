"""What a file of results looks like as a Markdown table; one function for each kind of file."""


def table(headers: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; the first column is left-aligned, the others right."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value: float | None, digits: int = 3) -> str:
    """A number with `digits` significant digits, without an exponent; a dash for None."""
    if value is None:
        return "-"
    whole = len(str(int(abs(value))))
    return f"{value:.0f}" if whole >= digits else f"{value:.{digits}g}"


SHARE = "force_mae_by_mean_force"


def conditions(environment: dict) -> str:
    """Where and when something was measured."""
    versions = f"jax {environment.get('versions', {}).get('jax', 'unknown')}"
    versions += f", commit {environment['commit']}" if "commit" in environment else ""
    load = environment.get("load_average", environment.get("load_average_before"))
    busy = f", load average {', '.join(f'{x:g}' for x in load)}" if load else ""
    cores = environment.get("cores", environment.get("threads"))
    return f"{environment.get('date', '')[:10]}, {versions}, {cores} cores{busy}"


def conditions_of_rows(rows: list[dict]) -> str:
    """Where and when rows were measured that carry this themselves, each occasion once."""
    return "; ".join(dict.fromkeys(conditions(row["environment"]) for row in rows if "environment" in row))


def days_of_rows(rows: list[dict]) -> str:
    """Days and commits of rows that carry their environments, and the busiest load of the machine on each of them."""
    loads: dict[str, float] = {}
    for row in rows:
        when = row["environment"]
        name = f"{when.get('date', '')[:10]}, jax {when.get('versions', {}).get('jax', 'unknown')}"
        name += f", commit {when.get('commit', 'unknown')}"
        loads[name] = max(loads.get(name, 0.0), row.get("load_average", max(when.get("load_average") or [0.0])))
    return "; ".join(f"{name}, load average at most {load:.1f}" for name, load in loads.items())


def rmd17(data: dict) -> str:
    rows = []
    for row in data["rows"]:
        energy, force = row["published"]["linear ACE"]
        rows.append(
            [
                row["molecule"],
                number(row["force_mae_mev_per_angstrom"]),
                number(force),
                number(row["energy_mae_mev"]),
                number(energy),
                number(row["n_parameters"], 1),
                number(row["fit_seconds"]["wall_s"], 2),
            ]
        )
    headers = ["molecule", "force MAE, meV/Å", "published", "energy MAE, meV", "published", "parameters", "fit, s"]
    refitted = ", ".join(row["molecule"] for row in data["rows"] if row.get("validation_frames_fitted_too"))
    note = f" Of {refitted} the 50 frames were fitted as well, once they had chosen the ridge." if refitted else ""
    return (
        f"**rMD17**: {data['what']}. Published: linear ACE in Batatia et al., arXiv:2206.07697, Table 1.{note}\n\n"
        f"{table(headers, rows)}\n\nMeasured {conditions(data['rows'][-1]['environment'])}."
    )


def bpa(data: dict) -> str:
    blocks = []
    for row in data["rows"]:
        peers = list(dict.fromkeys(name for test in row["tests"].values() for name in test["published"]))
        rows = []
        for column, test in row["tests"].items():
            own = f"{number(test['energy_rmse_mev'])} / {number(test['force_rmse_mev_per_angstrom'])}"
            published = [" / ".join(map(number, test["published"].get(peer, (None, None)))) for peer in peers]
            rows.append([column, test["test_frames"], own, *published])
        headers = ["", "frames tested here", "jorbit linear ACE", *peers]
        blocks.append(
            f"**{row['set']}**: {data['what']}, energy (meV) / force (meV/Å). Published numbers are on the published "
            f"test files.\n\n{table(headers, rows)}\n\n"
            f"{row['n_parameters']:,} parameters, fit {number(row['fit_seconds']['wall_s'], 2)} s; measured "
            f"{conditions(row['environment'])}."
        )
    return "\n\n".join(blocks)


def ace_speed(data: dict, sizes: tuple[int, ...] | None = None) -> str:
    rows = []
    for row in data["rows"]:
        if "failed" in row or (sizes is not None and row["n_atoms"] not in sizes):
            continue
        rows.append(
            [
                f"{row['tool']}, {row['dtype']}",
                str(row["n_functions"]),
                str(row["n_atoms"]),
                number(row.get("us_per_atom model")),
                number(row.get("us_per_atom with list")),
            ]
        )
    headers = ["", "functions", "atoms", "µs/atom, given neighbours", "µs/atom, with neighbour search"]
    threads = ", ".join(sorted({str(row["threads"]) for row in data["rows"]}))
    return (
        f"**Speed of ACE**: {data['what']}, {threads} thread(s), compilation apart.\n\n{table(headers, rows)}\n\n"
        f"Measured {conditions(data['environment'])}."
    )


def ace_speed_briefly(data: dict) -> str:
    return ace_speed(data, sizes=(1000,))


def neighbors(data: dict) -> str:
    sizes = sorted({row["n_atoms"] for row in data["rows"]})
    tools = list(dict.fromkeys(row["tool"] for row in data["rows"]))
    times = {(row["tool"], row["n_atoms"]): row.get("us_per_atom") for row in data["rows"]}
    rows = [[tool, *[number(times.get((tool, n))) for n in sizes]] for tool in tools]
    headers = ["µs/atom", *[f"{n:,} atoms" for n in sizes]]
    return f"**Neighbour search**: {data['what']}.\n\n{table(headers, rows)}\n\nMeasured {conditions(data)}."


def pruning(data: dict) -> str:
    """Complete and pruned ACE, and peers, on the elements that have them."""
    columns = {
        "ACE, complete, linear": ("linear, complete, K4 l3 nu3",),
        "pruned, linear": ("linear, pruned, K4 l3 nu3",),
        "pruned, quadratic": ("quadratic, pruned, K4 l3 nu3",),
        "larger, pruned, quadratic": ("quadratic, pruned, K6 l4 nu3",),
        "python-ace": ("python-ace 300",),
        "qSNAP": ("qSNAP 2J=6",),
        "GAP": ("GAP",),
    }
    found: dict[str, dict[str, dict]] = {}
    for row in data["rows"]:
        found.setdefault(row["element"], {})[row["key"].partition(" | ")[2]] = row
    rows = []
    for element in [e for e in ("Ni", "Cu", "Li", "Mo", "Si", "Ge") if e in found]:
        cells = []
        for names in columns.values():
            row = next((found[element][n] for n in names if n in found[element]), {})
            error = row.get("force_mae_mev_per_angstrom")
            cells.append("-" if error is None else f"{number(error)} ({row['n_features']})")
        rows.append([element, *cells])
    return (
        "**Pruned ACE** on the mlearn sets, train and test as given: force MAE in meV/Å (features per atom).\n\n"
        f"{table(['', *columns], rows)}\n\nPruning by rank loses accuracy under a linear readout and gains it back "
        "under a quadratic one; all rows, cheaper baselines and costs: benchmarks/results/pruning.json."
    )


def orbits(data: dict) -> str:
    """What the finder sees in real trajectories."""
    rows = []
    for row in data["rows"]:
        own, other = row["jorbit"], row.get("sgdml", {})
        if "n_orbits" not in own:
            continue
        theirs = (
            str(other["n_permutations"]) if "n_permutations" in other else "no end" if other.get("gave up") else "-"
        )
        order = own["group_order"]
        rows.append(
            [
                f"{row['system']} ({row['n_frames']} frames)",
                str(row["n_atoms"]),
                str(own["n_orbits"]),
                order if isinstance(order, str) else f"{order:,}",
                number(own["stability"], 2),
                number(own["first_run"]["wall_s"], 2),
                theirs,
                number(other.get("wall_s"), 2),
            ]
        )
    headers = ["", "atoms", "orbits", "group order", "stability", "s, with compilation", "sgdml: permutations", "s"]
    scale = "; ".join(f"{r['system']}, {r['n_frames']} frames: {number(r['wall_s'], 2)} s" for r in data["scaling"])
    return (
        f"**Orbits**: {data['what']}\n\n{table(headers, rows)}\n\nMade-up crystals: {scale}. "
        f"Measured {conditions(data['environment'])}."
    )


def orbit_models(data: dict) -> str:
    """The linear ACE with elements and with orbits at the same degrees, and with elements at more functions."""
    rows = []
    for system in dict.fromkeys(row["system"] for row in data["rows"]):
        mine = [r for r in data["rows"] if r["system"] == system]

        def cell(model: str, degrees: list[int], rows: list[dict] = mine) -> str:
            for r in rows:
                if r["model"] == model and r["max_degree"] == degrees and r["level"] in (0, None):
                    return f"{number(r['force_mae_mev_per_angstrom'])} ({r['n_functions']}; {r['n_parameters']})"
            return "-"

        first = mine[0]
        rows.append(
            [
                system,
                str(first["n_orbits_of_system"]),
                cell("elements", [6, 3]),
                cell("orbits", [6, 3]),
                cell("elements", [8, 4, 2]),
                cell("elements", [8, 5, 3]),
            ]
        )
    headers = ["", "orbits", "elements", "orbits, same functions", "elements, larger", "elements, largest"]
    return (
        f"**Orbits in the linear ACE**: {data['what']}; force MAE in meV/Å (functions per atom; parameters).\n\n"
        f"{table(headers, rows)}\n\nOrbits save functions, which is time in a simulation. For the same error they "
        "need as many parameters in molecules, fewer in the slab, more on sheets. By orbit, and against the number of "
        "labels: benchmarks/results/orbit_models.md."
    )


def models_briefly(data: dict) -> str:
    """Crystals on one thread."""
    rows = [row for row in data["rows"] if row["system"].startswith("Si") and row["threads"] == 1]
    more = "[docs/benchmarks.md](docs/benchmarks.md) has molecules, training and two threads."
    return f"{models({**data, 'rows': rows})} {more}"


def models(data: dict) -> str:
    """Energy and forces of networks, beside the package each of them comes from."""
    groups: dict[tuple, list[dict]] = {}
    for row in sorted(data["rows"], key=lambda row: (row["row"], row["system"], row["threads"])):
        if "failed" not in row:
            groups.setdefault((row["row"], row["system"], row["threads"]), []).append(row)
    rows, shown = [], []
    for (name, system, threads), found in groups.items():
        own = [row for row in found if row["tool"] == "jorbit"]
        for peer in [row for row in found if row["tool"] != "jorbit"] or [None]:
            cells = [name, system, str(threads)]
            for row in (*own, peer):
                cells.append("-" if row is None else number(row["us_per_atom model"]["wall"]))
            cells.insert(4, "-" if peer is None else peer["tool"])
            faster = None if peer is None else peer["model"]["wall_s"] / own[0]["model"]["wall_s"]
            cells.append(number(faster, 2))
            cells += [number(None if row is None else row.get("peak_MB")) for row in (*own, peer)]
            rows.append(cells)
        shown += found
    headers = ["", "system", "threads", "jorbit, µs/atom", "beside", "µs/atom", "times faster"]
    headers += ["jorbit, peak MB", "peak MB"]
    return (
        f"**Networks**: {data['what']} (8 octanols: 216 atoms). Waiting time with the neighbours given.\n\n"
        f"{table(headers, rows)}\n\nMeasured {days_of_rows(shown)}."
    )


def sgdml(data: dict) -> str:
    """Fits and predictions of the kernel model beside the package sgdml."""
    rows = []
    for row in data["rows"]:
        if "jorbit_s" not in row:
            continue
        way = f", by {row['way']}" if row.get("way", "").startswith("predict(") else ""
        cells = [f"{row['what']}, {row['n_train']} training frames{way}", row["peer"], str(row["threads"])]
        beside = ["ended with an error", ""]
        if "ratio" in row:
            beside = [number(1e3 * row["sgdml_s"]), number(row["ratio"], 2)]
        rows.append([*cells, number(1e3 * row["jorbit_s"]), *beside])
    headers = ["", "beside", "threads", "jorbit, ms", "sgdml, ms", "times faster"]
    return f"**sGDML**: {data['what']}\n\n{table(headers, rows)}\n\nMeasured {conditions(data['environment'])}."


def sgdml_orbits(data: dict) -> str:
    """Kernel models with groups of permutations: errors against the orbits of a system."""
    sets: dict[str, list[dict]] = {}
    for row in data["rows"]:
        sets.setdefault(row["set"], []).append(row)
    rows = []
    for name, mine in sorted(sets.items(), key=lambda item: item[1][0]["n_orbits_bond_graph"]):
        by_group = {row["group"]: row["force_mae_meV_A"] for row in mine}
        best = min(mine, key=lambda row: row["force_mae_meV_A"])
        cells = [number(by_group.get(group)) for group in ("none", "feasible", "bond graph", "species")]
        orbits = str(best["n_orbits_bond_graph"])
        rows.append([name, str(best["n_atoms"]), orbits, *cells, best["group"], number(100 * best[SHARE], 3)])
    headers = ["", "atoms", "orbits", "none", "feasible", "bond graph", "species", "best group", "% of the mean force"]
    return (
        "**sGDML and orbits**: force MAE, meV/Å, of other frames of the same xTB trajectories, 24 to 60 to train, "
        "by the group of permutations; last the best one's error over the mean force. More in "
        "[sgdml_orbits.md](../benchmarks/results/sgdml_orbits.md) and "
        f"[its picture](../benchmarks/results/sgdml_orbits.png).\n\n{table(headers, rows)}\n\n"
        f"Measured {conditions(data['environment'])}."
    )


def sgdml_large(data: dict) -> str:
    """The iterative solver on a molecule whose kernel matrix fits nowhere."""
    rows = []
    for row in data["rows"]:
        cells = [row["molecule"], str(row["n_atoms"]), str(row["n_train"]), f"{row['n_rows']:,}"]
        cells += [number(row["closed_form_gib"]), number(row["memory_gib"]), str(row["iterations"])]
        cells += [number(row["fit_seconds"]["wall_s"]), number(row["fit_seconds"]["cpu_s"])]
        cells += [number(row["force_mae_mev_per_angstrom"]), number(row["mean_force_mev_per_angstrom"])]
        rows.append(cells)
    headers = ["", "atoms", "frames", "equations", "closed form, GiB", "given, GiB", "iterations", "fit, s"]
    headers += ["CPU s", "force MAE, meV/Å", "mean force"]
    return (
        "**sGDML, iterative**: conjugate gradients behind a Nyström preconditioner, matrix-free, within the memory "
        f"given; labels GFN2-xTB.\n\n{table(headers, rows)}\n\nMeasured {days_of_rows(data['rows'])}."
    )


def gap(data: dict) -> str:
    """Gaussian processes beside quippy's, and whether their standard deviations are right."""
    rows = []
    for row in data["rows"]:
        peer = row.get("quippy") or {}
        rows.append(
            [
                f"{row['element']}, scales: {row['scales']}",
                number(row["force_mae_mev_per_angstrom"]),
                number(peer.get("force_mae_mev_per_angstrom")),
                number(row["energy_mae_mev_per_atom"]),
                number(peer.get("energy_mae_mev_per_atom")),
                number(row["us_per_atom"]),
                number(peer.get("us_per_atom")),
                number(row.get("rms_of_force_error_over_predicted"), 2),
                number(row.get("rms_of_energy_error_over_predicted", row.get("rms_of_error_over_predicted")), 2),
                number(row.get("rank_correlation_of_force_error_and_predicted"), 2),
            ]
        )
    headers = ["", "force MAE, meV/Å", "quippy", "energy MAE, meV/atom", "quippy", "µs/atom", "quippy"]
    headers += ["rms error / predicted, forces", "energies", "rank correlation, forces"]
    return (
        f"**GAP**: {data['what']}. The last columns are of standard deviations on test frames, scaled on every second "
        f"frame, judged by the others.\n\n"
        f"{table(headers, rows)}\n\n"
        f"Measured {conditions(data['rows'][-1]['environment'])}."
    )


def sgdml_rmd17(data: dict) -> str:
    """Errors on revised MD17 beside published rows and the package sgdml."""

    def pair(energy: float | None, force: float | None) -> str:
        return "" if energy is None else f"{number(energy)} / {number(force)}"

    rows = []
    for row in data["rows"]:
        own = row["jorbit"]
        cells = [row["molecule"], str(row["sigma"]), str(len(row["permutations"]))]
        cells.append(pair(own["energy_mae_mev"], own["force_mae_mev_per_angstrom"]))
        cells += [pair(*row["published"].get(name, (None, None))) for name in ("GAP", "FCHL19", "linear ACE")]
        cells.append(pair(*(row.get("published_sgdml_on_md17_labels") or (None, None))))
        beside = row.get("beside_sgdml") or {}
        cells.append("" if not beside else f"{beside['force_mae_over_sgdml']:.4f} ({beside['n_train']} frames)")
        rows.append(cells)
    headers = [
        "",
        "σ",
        "permutations",
        "jorbit",
        "GAP",
        "FCHL19",
        "linear ACE",
        "sGDML, MD17 labels",
        "force MAE / sgdml's",
    ]
    return (
        f"**sGDML on revised MD17**: MAE of energy, meV / forces, meV/Å, after 1000 training frames. Published rows of "
        f"the same labels: 950 + 50; those of sGDML are of other labels, for orientation.\n\n{table(headers, rows)}\n\n"
        f"Measured {conditions(data['rows'][-1]['environment'])}."
    )


def uncertainty(data: dict) -> str:
    """Calibration of standard deviations, and labels saved by choosing them."""
    rows, curves, costs, runs = [], {}, [], []
    keys = ("error_over_deviation_before", "error_over_deviation", "miscalibration_area", "rank_correlation")
    for row in data["rows"]:
        if row["part"] in ("calibration", "networks"):
            for kind in ("energy", "forces"):
                if kind in row:
                    rows.append([row["name"], kind, *(number(row[kind].get(key), 2) for key in keys)])
        elif row["part"] == "cost":
            cells = (row["us_per_step"], row["us_per_step_watched"], 100 * row["extra"])
            costs.append([row["name"], *map(number, cells)])
        elif row["part"] == "dynamics":
            end = "blown up" if "blown_up" in row else "stopped" if row["stopped"] else "went on"
            cells = ("time_fs", "hottest_K", "lowest_energy_below_start_eV", "error_at_the_end_eV")
            runs.append([row["name"], end, *(number(row.get(key)) for key in cells)])
        elif row["part"] == "active":
            way, _, labels = row["name"].partition(", ")
            curves.setdefault(int(labels.split()[0]), {})[way] = 1e3 * row["force_mae"]
    headers = ["", "", "rms error / deviation, before", "after", "miscalibration area", "rank correlation"]
    ways = list(dict.fromkeys(way for points in curves.values() for way in points))
    learned = [[str(n), *(number(curves[n].get(way)) for way in ways)] for n in sorted(curves)]
    parts = [f"**Uncertainty**: {data['what']}.", table(headers, rows)]
    parts += ["Force MAE of a linear ACE of ethanol, meV/Å, against the number of labels, chosen in these ways:"]
    parts += [table(["labels", *ways], learned)]
    if costs:
        parts += ["What a watchman costs: NVE of one ethanol, processor time of a step, one thread:"]
        parts += [table(["", "alone, µs", "watched, µs", "more, %"], costs)]
    if runs:
        parts += ["Ethanol at 2000 K with a linear ACE of 300 K, and its energy against GFN2-xTB where the run ended:"]
        names = ["", "end", "fs", "hottest, K", "deepest energy below the start, eV", "error at the end, eV"]
        parts += [table(names, runs)]
    when = data["environment"]
    told = [f"{part}: {conditions(when[part])}" for part in ("calibration", "active", "cost") if part in when]
    return "\n\n".join([*parts, f"Measured {'; '.join(told) or conditions(when)}."])


def lammps(data: dict) -> str:
    """Steps of LAMMPS with forces of jorbit."""
    rows = []
    for row in data["rows"]:
        cells = [f"{row['name']}, {row['dtype']}", str(row["ranks"]), f"{max(row['seen']):,}"]
        rows.append([*cells, number(row["evaluation_ms"]), number(row.get("calculator_ms"))])
    headers = ["", "ranks", "atoms seen by a rank", "evaluation, ms", "in ASE, ms"]
    return (
        "**LAMMPS**: 8000 atoms of Si, processor time of the slowest rank, one thread each.\n\n"
        f"{table(headers, rows)}\n\nMeasured {conditions(data['environment'])}."
    )
