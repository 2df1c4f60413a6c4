"""What the study of pruning aimed at: is pruned ACE with a nonlinear readout better than every measured peer?"""

from collections.abc import Callable

JORBIT = ("linear", "quadratic", "network")


def cost_with_list(row: dict) -> float | None:
    """Cost with a neighbour search, as the peers include theirs, µs/atom."""
    return row.get(f"us_per_atom_with_list_{row['dtype']}")


def judge(rows: dict[str, dict], elements: list[str], keep: Callable[[dict[str, dict], dict], None]) -> None:
    """One row per element; the model is chosen by the held-out training frames, never by errors on the test frames."""
    for element in elements:
        here = [r for r in rows.values() if r["element"] == element]
        own = [r for r in here if r["readout"] in JORBIT and r["set"].startswith("pruned") and "held_out_rms" in r]
        peers = [r for r in here if r["readout"] == "peer"]
        if not own or not peers:
            continue
        chosen = min(own, key=lambda r: r["held_out_rms"])
        best = min(peers, key=lambda r: r["force_mae_mev_per_angstrom"])
        cost = cost_with_list(chosen)
        row = {"element": element, "tool": "verdict", "set": "verdict", "readout": "none", "chosen": chosen["tool"]}
        row |= {"chosen_by": "weighted residual of the held-out tenth of the training frames"}
        row |= {"chosen_force_mae": chosen["force_mae_mev_per_angstrom"], "chosen_cost": cost}
        row |= {"best_peer": best["tool"], "best_peer_force_mae": best["force_mae_mev_per_angstrom"]}
        row |= {"best_peer_cost": best["us_per_atom"], "peers": sorted(r["tool"] for r in peers)}
        row["better_than_every_peer"] = chosen["force_mae_mev_per_angstrom"] < best["force_mae_mev_per_angstrom"]
        row["cheaper_than_the_best_peer"] = None if cost is None else cost < best["us_per_atom"]
        keep(rows, row)
        print(
            f"{element}: {row['chosen']} {row['chosen_force_mae']:.1f} meV/Å, {cost and round(cost, 1)} µs/atom; "
            f"{row['best_peer']} {row['best_peer_force_mae']:.1f}, {row['best_peer_cost']:.0f}",
            flush=True,
        )
