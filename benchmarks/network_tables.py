"""Tables of what networks cost in training, and where the time of HIP-HOP-NN goes."""

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
