"""Networks: energy + forces within 5 Å in float32, and a training step, beside the packages they are compared with.

    python benchmarks/bench_models.py --peer hippynn=PYTHON --peer mace-torch=PYTHON ... (schnetpack, mlip, torchani)

Rows of jorbit are named by registry name and size (ROWS); each peer is an interpreter of an environment of its own.
Every row is a process of its own on `--threads` cores, and a model and its peer take turns. Systems: rattled bulk Si
(1000 atoms), one ethanol molecule, and a training step on 8 octanols (216 atoms; loss of energies and forces, Adam).
Compilation (the first calls) is apart. Weights are random: this is about cost. `bench_training.py` is about training
alone, in several turns.

"model" is the evaluation with the neighbours given (hippynn and schnetpack: their calculator or converter with a list
that is not rebuilt), "with list" adds jorbit's own host search and graph building of every call. `wall` is what a user
waits for; `cpu` is what the process used, which other work on the machine disturbs least (for one thread the two agree
on an idle machine). Rows of an earlier run stay in the file unless they are measured again.
"""

import argparse
import sys

from common import environment, load_rows, write
from model_rows import ROWS
from model_workers import measure


def main() -> None:
    """Take turns over all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", action="append", default=[], help="name=interpreter, may be repeated")
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--systems", nargs="*", default=["Si1000", "ethanol", "octanols"])
    parser.add_argument("--threads", nargs="*", default=["1", "2"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--limit", type=float, default=30.0, help="seconds of timing per row, at most")
    options = parser.parse_args()
    peers, rows = dict(p.split("=", 1) for p in options.peer), load_rows("models", "key")
    for system in options.systems:
        for row in options.rows:
            for threads in map(int, options.threads):
                turns = [(sys.executable, "jorbit")]
                turns += [(peers[name], name) for name in ROWS[row][2] if name in peers]
                start = environment() | {"repeats": options.repeats}
                for python, tool in turns:
                    found = measure(python, tool, row, system, threads, options, train=system == "octanols")
                    rows[found["key"]] = found | {"environment": start}
                write("models", "networks, float32, 5 Å: energy + forces, and a training step", list(rows.values()))


if __name__ == "__main__":
    main()
