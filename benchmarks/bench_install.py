"""From a wheel into an empty environment: does the quickstart work, how large is it, how long does an import take?

    python benchmarks/bench_install.py [--pythons python3.11 python3.12 python3.13]    # writes results/install.json

For every Python that is found: a new virtual environment, `pip install` of the wheel, sizes of what came with it, the
time of `import jorbit` and of `jorbit --help` (smallest of five), and `jorbit quickstart` in an empty folder. A Python
that is not there is a row that says so.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile
import time

from common import environment, load_rows, write

ROOT = pathlib.Path(__file__).parent.parent


def fastest(command: list[str], folder: pathlib.Path, times: int = 5) -> float:
    """Seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(times):
        begin = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        best = min(best, time.perf_counter() - begin)
    return best


def size_mb(folder: pathlib.Path) -> float:
    """Of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def tried(python: str, wheel: pathlib.Path, folder: pathlib.Path) -> dict:
    """What one Python makes of the wheel."""
    try:
        asked = subprocess.run([python, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return {"python": pathlib.Path(python).name, "failed": "not on this machine"}
    row: dict = {"python": asked.stdout.strip()}
    home = folder / row["python"].replace(" ", "-")
    subprocess.run([python, "-m", "venv", str(home)], check=True)
    done = subprocess.run([str(home / "bin" / "pip"), "install", "-q", str(wheel)], capture_output=True, text=True)
    if done.returncode:
        return row | {"failed": done.stderr.strip().splitlines()[-1]}
    packages = next(home.glob("lib/python*/site-packages"))
    row |= {"wheel_mb": wheel.stat().st_size / 1e6, "jorbit_mb": size_mb(packages / "jorbit")}
    row["site_packages_mb"] = size_mb(packages)
    row["import_s"] = fastest([str(home / "bin" / "python"), "-c", "import jorbit"], folder)
    row["help_s"] = fastest([str(home / "bin" / "jorbit"), "--help"], folder)
    work = folder / f"{home.name}-quickstart"
    work.mkdir()
    begin = time.perf_counter()
    done = subprocess.run([str(home / "bin" / "jorbit"), "quickstart"], cwd=work, capture_output=True, text=True)
    row |= {"quickstart_s": time.perf_counter() - begin, "quickstart_exit_code": done.returncode}
    files = work / "jorbit-quickstart"
    row["quickstart_files"] = sorted(path.name for path in files.iterdir()) if files.is_dir() else []
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pythons", nargs="+", metavar="COMMAND", default=["python3.11", "python3.12", "python3.13"])
    options = parser.parse_args()
    rows = load_rows("install", "python")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], check=True
        )
        wheel = next(folder.glob("jorbit-*.whl"))
        for python in options.pythons:
            row = tried(python, wheel, folder)
            print(row, flush=True)
            rows[row["python"]] = row | {"environment": environment()}
            write("install", "the wheel in empty environments: size, import time, quickstart", list(rows.values()))


if __name__ == "__main__":
    main()
