"""Which lines and branches of the physics core its tests run: `core/`, `graphs/`, `potential/` and `basis/`.

    pip install coverage
    python benchmarks/coverage_of_core.py               # writes results/coverage.json
    python benchmarks/coverage_of_core.py --tests tests  # by all ordinary tests: three times as long

A line that runs is not a line that is tested: what tests see of it is what mutation.py asks.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

from common import ROOT, environment, write

ROOMS = ("core", "graphs", "potential", "basis")


def main() -> None:
    """Run the tests, write one row for each module and one for each room."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tests", nargs="+", default=[f"tests/{room}" for room in ROOMS])
    options = parser.parse_args()
    start = environment()
    with tempfile.TemporaryDirectory() as folder:
        data, report = pathlib.Path(folder) / "data", pathlib.Path(folder) / "report.json"
        tool = [sys.executable, "-m", "coverage"]
        sources = ",".join(f"jorbit/{room}" for room in ROOMS)
        tests = [*tool, "run", "--branch", f"--source={sources}", f"--data-file={data}", "-m", "pytest", "-q"]
        done = subprocess.run([*tests, "-p", "no:cacheprovider", *options.tests], cwd=ROOT, env=os.environ)
        if done.returncode:
            raise SystemExit(f"The tests did not pass (exit code {done.returncode}): nothing was written.")
        subprocess.run([*tool, "json", "-q", f"--data-file={data}", "-o", str(report)], cwd=ROOT, check=True)
        files = json.loads(report.read_text())["files"]
    rows = []
    for room in ROOMS:
        members = {name: file for name, file in files.items() if name.startswith(f"jorbit/{room}/")}
        sums = {
            key: sum(file["summary"][key] for file in members.values())
            for key in ("num_statements", "covered_lines", "num_branches", "covered_branches")
        }
        rows.append({"module": f"{room}/", "n_modules": len(members), **sums})
        rows += [
            {
                "module": name.removeprefix("jorbit/"),
                **{key: file["summary"][key] for key in sums},
                "missing_lines": file["missing_lines"],
            }
            for name, file in sorted(members.items())
            if file["missing_lines"] or file["missing_branches"]
        ]
    for row in rows:
        if row["module"].endswith("/"):
            print(f"{row['module']:12s} {row['covered_lines']} of {row['num_statements']} statements")
    what = f"statements and branches of the physics core that {' '.join(options.tests)} run"
    write("coverage", what, rows, environment=start)


if __name__ == "__main__":
    main()
