"""Tables of what networks cost in training, where the time of HIP-HOP-NN goes, what networks and orbits reach."""

from result_tables import conditions, number, table


def training(data: dict) -> str:
    """A training step beside peers."""
    rows = []
    for row in data["rows"]:
        faster = row.get("times_faster", {}).get("wall")
        waiting = row.get("loader", {}).get("waiting_share")
        for tool, found in row["tools"].items():
            own = tool == "jorbit"
            if "failed" in found:
                continue
            rows.append(
                [
                    f"{tool}: {row['row']}",
                    row["system"],
                    str(row["threads"]),
                    number(1e3 * found["wall_s"]),
                    number(1e3 * found["cpu_s"]),
                    number(found["first_call_s"]),
                    number(found["peak_MB"]),
                    f"{faster:.1f}" if own and faster else "",
                    f"{100 * waiting:.0f} %" if own and waiting is not None else "",
                ]
            )
    headers = ["", "batch", "threads", "ms", "CPU ms", "first call, s", "peak MB", "times faster", "waits for data"]
    return (
        f"**Training of networks**: {data['what']}\n\n{table(headers, rows)}\n\n"
        f"Measured {conditions(data['rows'][-1]['environment'])}."
    )


def hiphop_parts(data: dict) -> str:
    """Parts of HIP-HOP-NN with their gradients."""
    rows = []
    for row in data["rows"]:
        for part, found in row["parts"].items():
            if part != "peak":
                cells = [number(found["cpu_us"]), number(found["GFlops"]), f"{100 * found['share_of_peak']:.0f} %"]
                rows.append([row["key"], part, *cells])
    headers = ["", "part", "µs/atom", "GF/s in matrix products", "of a large product's"]
    return (
        f"**Where the time of HIP-HOP-NN goes**: {data['what']}\n\n{table(headers, rows)}\n\nA message is gathered "
        "(sum over neighbours first) where it has few features, as the first one, and sent (weights first, one row per "
        "pair handed over) elsewhere: far fewer multiplications in smaller products, bound by memory rather than "
        "arithmetic. Invariants and their norm are element-wise work. A model is one first message, one "
        "message of the better kind for each further block, and as many mixings as blocks.\n\n"
        f"Measured {conditions(data['rows'][-1]['environment'])}."
    )


def networks(data: dict) -> str:
    """Networks on molecules trained at 300 K: one table for each set, budget and size of models."""
    groups: dict[tuple, list[dict]] = {}
    for row in data["rows"]:
        key = (row["set"], row["n_train"], row["budget_processor_minutes"], row["size"])
        groups.setdefault(key, []).append(row)
    blocks = []
    for (name, n_train, minutes, size), members in groups.items():
        columns = {column: test for row in members for column, test in row["tests"].items()}
        rows = [
            [
                row["model"] + (f" (seed {row['seed']})" if row["seed"] else ""),
                *[_both(row["tests"].get(column, {})) for column in columns],
                f"{row['n_parameters']:,}",
                number(row["fit_seconds"]["cpu_s"] / 60, 2),
                f"{row['epochs']:,}",
                number(row["us_per_atom"]),
            ]
            for row in members
        ]
        peers = dict.fromkeys(peer for test in columns.values() for peer in test["published"])
        for peer in peers:
            found = [test["published"].get(peer, (None, None)) for test in columns.values()]
            rows.append([f"published: {peer}", *[" / ".join(map(number, pair)) for pair in found], *["-"] * 4])
        headers = ["", *columns, "parameters", "training, minutes", "epochs", "µs/atom"]
        tested = "; ".join(f"{column}: {test['test_frames']}" for column, test in columns.items())
        blocks.append(
            f"**Networks on {name}**: {data['what']}, meV / meV/Å. {n_train} training frames, {minutes:g} minute(s) of "
            f"processor time for each network ({size} models); the published ones were trained as long as it took "
            f"and tested on the published files. Tested here: {tested}.\n\n{table(headers, rows)}\n\n"
            f"Measured {conditions(members[-1]['environment'])}."
        )
    return "\n\n".join(blocks)


def _both(test: dict) -> str:
    return f"{number(test.get('energy_rmse_mev'))} / {number(test.get('force_rmse_mev_per_angstrom'))}"


def orbit_networks(data: dict) -> str:
    """Networks with elements and with orbits: sizes, errors with their spread, verdicts."""
    rows = [
        [
            f"{m['system']}, {m['network']}",
            m["labels"],
            m["size"],
            f"{m['n_parameters']:,}",
            number(m["mean"]) + (f" ± {m['standard_deviation']:.2g}" if m["standard_deviation"] is not None else ""),
            str(m["n_seeds"]),
            str(m["n_train"]),
            f"{m['budget_processor_minutes']:g}",
        ]
        for m in data["means"]
    ]
    headers = ["", "labels", "size", "parameters", "force RMSE, meV/Å", "seeds", "frames", "minutes each"]
    same = ", ".join(data["orbits_are_the_elements"])
    note = f" In {same} the orbits are the elements, and every atom has a label instead." if same else ""
    said = "\n".join(f"- {verdict['in_words']}" for verdict in data["verdicts"])
    return (
        f"**Orbits in networks**: {data['what']}, mean and standard deviation over seeds.{note}\n\n"
        f"{table(headers, rows)}\n\nWhether a tenth of the parameters is as good, within the spread of two "
        f"seeds (computed from the rows):\n\n{said}\n\nMeasured {conditions(data['rows'][-1]['environment'])}."
    )
