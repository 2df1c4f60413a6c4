"""What every benchmark records beside its numbers, and where the results go."""

import datetime
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
# JORBIT_BENCH_RESULTS: where `jorbit bench run` wants them, so that a trial does not replace what is published.
RESULTS = pathlib.Path(os.environ.get("JORBIT_BENCH_RESULTS") or pathlib.Path(__file__).parent / "results")
PACKAGES = ("jorbit", "jax", "jaxlib", "numpy", "scipy", "flax", "optax", "vesin", "ase", "jax-md")
DATA_SUFFIXES = (".xyz", ".extxyz", ".npz", ".h5", ".hdf5", ".xz", ".gz", ".bz2", ".json")

_opened: dict[pathlib.Path, str] = {}  # data files this process has opened, and what they are called in results


def _data_homes() -> list[tuple[pathlib.Path, str]]:
    """Folders whose files are data, and what stands for them in results: no path of a machine."""
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "jorbit"
    cache = pathlib.Path(os.environ.get("JORBIT_CACHE") or cache)
    homes = [(ROOT / "jorbit" / "datasets" / "data", "jorbit"), (cache, "cache")]
    if os.environ.get("JORBIT_DATA"):
        homes.append((pathlib.Path(os.environ["JORBIT_DATA"]), "JORBIT_DATA"))
    return [(home.resolve(), name) for home, name in homes]


def _remember(event: str, arguments: tuple) -> None:
    """Audit hook: every script that imports this file has the checksums of its data, whoever opened them."""
    if event != "open" or not isinstance(arguments[0], str) or not arguments[0].endswith(DATA_SUFFIXES):
        return
    mode = arguments[1]
    if mode is not None and any(letter in str(mode) for letter in "wax+"):
        return
    path = pathlib.Path(os.path.abspath(arguments[0]))
    for home, name in _data_homes():
        if path.is_relative_to(home):
            _opened[path] = f"{name}/{path.relative_to(home)}"


sys.addaudithook(_remember)


@functools.cache
def _sha256(path: pathlib.Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def data_checksums() -> dict[str, str]:
    """sha256 of the data files that this process has read so far (h5py's own reading is not seen)."""
    found = {}
    for path, name in sorted(_opened.items()):
        if path.is_file():
            about = path.stat()
            found[name] = _sha256(path, about.st_size, about.st_mtime_ns)
    return found


def versions(*names: str) -> dict[str, str]:
    """Installed versions of the packages named, and of python."""
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "of the checkout" if name == "jorbit" else "not installed"
    return found


def _git(*words: str) -> str | None:
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def commit() -> str:
    """Commit of the checkout, or "unknown"."""
    return _git("rev-parse", "--short", "HEAD") or "unknown"


def uncommitted() -> bool | None:
    """Whether the package or the scripts differ from that commit; None without git."""
    changed = _git("status", "--porcelain", "--", "jorbit", "benchmarks/*.py")
    return None if changed is None else bool(changed)


def threads() -> int:
    """How many threads a computation may use: the cores, or fewer where XLA_FLAGS say so."""
    flags = os.environ.get("XLA_FLAGS", "")
    given = re.search(r"intra_op_parallelism_threads=(\d+)", flags)
    if "xla_cpu_multi_thread_eigen=false" in flags:
        return 1
    cores = len(os.sched_getaffinity(0))
    return min(cores, int(given[1])) if given else cores


def arguments() -> list[str]:
    """What the script was given; of paths the last part only."""
    return [pathlib.PurePath(word).name if word.startswith(("/", "~")) else word for word in sys.argv[1:]]


def environment(seeds: Sequence[int] | None = None) -> dict[str, Any]:
    """Date, commit, versions, device, float type, threads, load, data checksums, arguments, seeds.

    Args:
        seeds: of everything random in the numbers beside this; None: fixed in the script.
    """
    import jax

    device = jax.devices()[0]
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "uncommitted_changes": uncommitted(),
        "versions": versions(*PACKAGES),
        "device": device.device_kind if device.platform != "cpu" else f"cpu, {processor()}",
        "cores": len(os.sched_getaffinity(0)),
        "threads": threads(),
        "default_dtype": str(jax.dtypes.canonicalize_dtype(float)),
        "load_average": [round(x, 2) for x in os.getloadavg()],
        "data_sha256": data_checksums(),
        "arguments": arguments(),
        "seeds": "fixed in the script" if seeds is None else list(seeds),
    }


def processor() -> str:
    """Name of the processor, as the system gives it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def measure(function: Callable[[], Any], *, seconds: float = 1.0, most: int = 25) -> dict[str, Any]:
    """First call (with compilation) apart from later ones: medians, smallest and largest, wall and processor seconds.

    Args:
        function: called once, then again until `seconds` have passed, three times at least; must block until done.
        seconds: processor time to spend on the later calls.
        most: of later calls.
    """
    watch = Stopwatch(digits=6)
    function()
    first, calls, begin = watch.read(), [], time.process_time()
    while len(calls) < 3 or (len(calls) < most and time.process_time() - begin < seconds):
        watch = Stopwatch(digits=9)
        function()
        calls.append(watch.read())
    found: dict[str, Any] = {"first_call_s": first["wall_s"], "first_call_cpu_s": first["cpu_s"], "calls": len(calls)}
    for clock in ("wall", "cpu"):
        values = [call[f"{clock}_s"] for call in calls]
        found |= {f"{clock}_s": statistics.median(values), f"{clock}_min_s": min(values), f"{clock}_max_s": max(values)}
    return found


class Stopwatch:
    """Wall and processor seconds since it was made; processor < wall means that others took the cores."""

    def __init__(self, digits: int = 2) -> None:
        self._digits = digits
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        return {
            "wall_s": round(time.perf_counter() - self._wall, self._digits),
            "cpu_s": round(time.process_time() - self._cpu, self._digits),
        }


def load_rows(name: str, key: str) -> dict[str, dict]:
    """Rows of an earlier run of a benchmark, by one of their fields."""
    path = RESULTS / f"{name}.json"
    return {row[key]: row for row in json.loads(path.read_text())["rows"]} if path.exists() else {}


def write(name: str, what: str, rows: list[dict], **more: Any) -> pathlib.Path:
    """Write benchmarks/results/<name>.json; what says nothing about its environment gets the present one."""
    if not {"environment", "date"} & set(more) and not any("environment" in row for row in rows):
        more["environment"] = environment()
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / f"{name}.json"
    part = path.with_suffix(".part")  # a run that is stopped while it writes loses no earlier rows
    part.write_text(json.dumps({"what": what, **more, "rows": rows}, indent=1) + "\n")
    os.replace(part, path)
    print(f"written to {path.parent.name}/{path.name}", flush=True)
    return path
