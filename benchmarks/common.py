"""What every benchmark records beside its numbers, and where the results go."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import time
from typing import Any

# JORBIT_BENCH_RESULTS: where `jorbit bench run` wants them, so that a trial does not replace what is published.
RESULTS = pathlib.Path(os.environ.get("JORBIT_BENCH_RESULTS") or pathlib.Path(__file__).parent / "results")


def versions(*names: str) -> dict[str, str]:
    """Installed versions of the packages named, and of python."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def commit() -> str:
    """Commit of the checkout, or "unknown"."""
    here = pathlib.Path(__file__).parent
    try:
        return subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=here, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def environment() -> dict[str, Any]:
    """Date, commit, versions, device, threads and how busy the machine is with other work."""
    import jax

    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "versions": versions("jorbit", "jax", "jaxlib", "numpy", "scipy"),
        "device": jax.devices()[0].device_kind,
        "cores": len(os.sched_getaffinity(0)),
        "load_average": [round(x, 2) for x in os.getloadavg()],
    }


class Stopwatch:
    """Wall and processor seconds since it was made; processor < wall means that others took the cores."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {
            "wall_s": round(time.perf_counter() - self._wall, 2),
            "cpu_s": round(time.process_time() - self._cpu, 2),
        }


def load_rows(name: str, key: str) -> dict[str, dict]:
    """Rows of an earlier run of a benchmark, by one of their fields."""
    path = RESULTS / f"{name}.json"
    return {row[key]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}


def write(name: str, what: str, rows: list[dict], **more: Any) -> pathlib.Path:
    """Write benchmarks/results/<name>.json."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"what": what, **more, "rows": rows}, indent=1) + "\n")
    print(f"written to {path.parent.name}/{path.name}", flush=True)
    return path
