"""A training step of networks beside the packages they are compared with, and how long the device waits for data.

    python benchmarks/bench_training.py --peer hippynn=PYTHON --peer mace-torch=PYTHON --peer schnetpack=PYTHON

One step: loss of energies and forces, its gradient by all parameters, Adam; float32, 5 Å, sizes as in `bench_models.py`
and the same for both. Batches: 8 octanols (216 atoms) and one rattled cell of 216 Si atoms. Every turn is a process of
its own on `--threads` cores; jorbit and its peer take turns `--rounds` times, and the medians of the turns are
compared. Compilation (the first call) is apart. `peak_MB` is all of a process, compiler included. "loader" is the
trainer itself over 8 such batches, neighbours padded once: the share of its time in which it waits for batches.
"""

import argparse
import statistics
import sys

from common import environment, load_rows, write
from model_rows import ROWS
from model_workers import measure

DEFAULT = ("hipnn 64", "hiphop l2 n3 64", "hiphop l3 n4 64", "schnet 128", "painn 128", "mace 32x0e")


def main() -> None:
    """Turns over all rows; results are written after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], help="name=interpreter, may be repeated")
    parser.add_argument("--rows", nargs="*", default=list(DEFAULT), choices=list(ROWS))
    parser.add_argument("--systems", nargs="*", default=["octanols", "Si216"])
    parser.add_argument("--threads", nargs="*", default=["1", "2"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit", type=float, default=20.0, help="seconds of timing per turn, at most")
    parser.add_argument("--no-loader", action="store_true", help="leave the waiting share out")
    options = parser.parse_args()
    peers, rows = dict(p.split("=", 1) for p in options.peer), load_rows("training", "key")
    for system in options.systems:
        for row in options.rows:
            for threads in map(int, options.threads):
                key = f"{row} | {system} | {threads}"
                rows[key] = {"key": key, "environment": environment()} | pair(row, system, threads, peers, options)
                write("training", "a training step, float32, 5 Å, beside peers", list(rows.values()))


def pair(row: str, system: str, threads: int, peers: dict[str, str], options: argparse.Namespace) -> dict:
    """jorbit and its peer in turns."""
    turns = {"jorbit": sys.executable}
    turns |= {name: peers[name] for name in ROWS[row][2] if name in peers}
    found: dict[str, list[dict]] = {tool: [] for tool in turns}
    for _ in range(options.rounds):
        for tool, python in turns.items():
            found[tool].append(measure(python, tool, row, system, threads, options, train=True))
    result: dict = {"row": row, "system": system, "threads": threads, "tools": {}}
    for tool, results in found.items():
        good = [r for r in results if "model" in r]
        if not good:
            result["tools"][tool] = {"failed": results[0].get("failed", "no output")}
            continue
        result["tools"][tool] = {
            "wall_s": statistics.median(r["model"]["wall_s"] for r in good),
            "cpu_s": statistics.median(r["model"]["cpu_s"] for r in good),
            "first_call_s": min(r["model"]["first_call_s"] for r in good),
            "peak_MB": min(r["peak_MB"] for r in good),
            "parameters": good[0]["parameters"],
            "version": good[0]["version"],
            "turns": [r["model"] for r in good],
        }
    own, *others = (t for t in result["tools"].values())
    if others and "wall_s" in own and "wall_s" in others[0]:
        result["times_faster"] = {k: round(others[0][f"{k}_s"] / own[f"{k}_s"], 2) for k in ("wall", "cpu")}
        print(f"{row} | {system} | {threads}: {result['times_faster']} times faster", flush=True)
    if not options.no_loader and threads == 1:
        loader = measure(sys.executable, "loader", row, system, threads, options, train=True)
        result["loader"] = {k: loader[k] for k in ("seconds", "waiting_share", "failed") if k in loader}
    return result


if __name__ == "__main__":
    main()
