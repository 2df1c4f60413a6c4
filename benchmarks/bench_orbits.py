"""Orbits of real trajectories: how many, the order of the group, time; beside the permutation search of sgdml.

    JORBIT_DATA=... [JORBIT_SGDML_PYTHON=...] python benchmarks/bench_orbits.py [name ...] [--scaling] [--no-sgdml]

JORBIT_SGDML_PYTHON is an interpreter with sgdml installed. Sets with several compositions are cut into one row for each
that has enough frames. Frames of a set need not form one trajectory: what that does is seen in stability and warnings.
Rows of an earlier run are kept unless they are made again. --scaling adds made-up systems of up to 1000 atoms.
"""

import argparse
import collections
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile

import numpy as np
from common import Stopwatch, environment, load_rows, write

import jorbit
from jorbit.core.structure import Frame, Structure
from jorbit.orbits.fragments import formula

MOLECULES = {
    **{name: f"rmd17_{name}" for name in ("ethanol", "malonaldehyde", "benzene", "uracil", "naphthalene", "aspirin")},
    "3bpa, 300 K": "3bpa:train_300K",
    "acetylacetone, 300 K": "acac:train_300K",
    "acetylacetone, 600 K": "acac:train_600K",
}
FILES = {
    "CsPbI3": "cspbi3/cspbi3.extxyz.xz",
    "CsPbBr3": "cspbbr3/cspbbr3.extxyz.xz",
    "PbTe": "pbte/pbte_train.extxyz.xz",
    "Ge18Sb18Te45": "gst225/gst.extxyz.xz",
    "water": "water_pbe0ts/water_data_0.extxyz.xz",
    "graphene with N": "graphene_cnbo/graphene_N_22.extxyz.xz",
    "graphene with O": "graphene_cnbo/graphene_O_399.extxyz.xz",
}
MIN_FRAMES = 20
MAX_GROUPS = 3  # compositions of one set, the most frequent first
SGDML_FRAMES = 1000  # what sgdml itself takes at most
SGDML_SECONDS = 1800


def systems(chosen: list[str]) -> dict[str, list[Frame]]:
    """Name -> frames of the same atoms."""
    found: dict[str, list[Frame]] = {}
    folder = pathlib.Path(os.environ["JORBIT_DATA"])
    for name in [n for n in (*MOLECULES, *FILES) if not chosen or n in chosen]:
        frames = list(jorbit.read(MOLECULES[name] if name in MOLECULES else str(folder / FILES[name])))
        groups: dict[tuple, list[Frame]] = collections.defaultdict(list)
        for frame in frames:
            s = frame.structure
            groups[(s.numbers.tobytes(), s.pbc.tobytes())].append(frame)
        largest = sorted(groups.values(), key=lambda g: -len(g))
        for group in [g for g in largest if len(g) >= MIN_FRAMES][:MAX_GROUPS]:
            label = name if len(largest) == 1 else f"{name}, {group[0].structure.n_atoms} atoms"
            while label in found:
                label += "'"
            found[label] = group
    return found


def search(frames: list[Frame]) -> dict:
    """Orbits, twice: the first run compiles."""
    first, times = None, []
    for _ in range(2):
        watch = Stopwatch()
        try:
            first = jorbit.find_orbits(frames)
        except jorbit.core.errors.JorbitError as error:
            return {"refused": str(error)}
        times.append(watch.read())
    kinds = collections.Counter(f.kind for f in first.fragments)
    return {
        "n_orbits": first.n_orbits,
        "group_order": first.group_order if first.group_order < 2**53 else f"{first.group_order:.3e}",
        "exact": first.exact,
        "stability": first.stability,
        "separation": None if np.isinf(first.separation) else round(first.separation, 2),
        "labels_by_level": [int(labels.max()) + 1 for labels in first.level_labels],
        "fragments": dict(kinds),
        "warnings": list(first.warnings),
        "first_run": times[0],
        "second_run": times[1],
    }


def sgdml(frames: list[Frame]) -> dict:
    """What sgdml's search finds in the same frames; its lattice is the first frame's."""
    interpreter = os.environ.get("JORBIT_SGDML_PYTHON")
    if interpreter is None:
        return {"not run": "JORBIT_SGDML_PYTHON is not set"}
    some = [frames[i].structure for i in np.unique(np.linspace(0, len(frames) - 1, SGDML_FRAMES).round().astype(int))]
    arrays = {"R": np.stack([s.positions for s in some]), "z": some[0].numbers}
    if some[0].pbc.any():
        arrays["lattice"] = some[0].cell
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "frames.npz"
        np.savez(path, **arrays)
        script = pathlib.Path(__file__).parent / "sgdml_permutations.py"
        try:
            done = subprocess.run(
                [interpreter, str(script), str(path)], capture_output=True, text=True, timeout=SGDML_SECONDS
            )
        except subprocess.TimeoutExpired:
            return {"gave up": f"not finished after {SGDML_SECONDS} s", "n_frames": len(some)}
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT ")]
    if not lines:
        return {"failed": (done.stderr.strip().splitlines() or ["no output"])[-1][:200], "n_frames": len(some)}
    return json.loads(lines[0][7:])


def made_up(n_cells: int, n_frames: int) -> list[Structure]:
    """A rattled fcc crystal: 4 n^3 atoms."""
    a, rng = 3.61, np.random.default_rng(0)
    basis = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cells = np.stack(np.meshgrid(*[np.arange(n_cells)] * 3, indexing="ij"), axis=-1).reshape(-1, 1, 3)
    sites = (cells + basis).reshape(-1, 3) * a
    cell, numbers = a * n_cells * np.eye(3), np.full(len(sites), 29)
    return [
        Structure(
            positions=sites + 0.1 * rng.normal(size=sites.shape), numbers=numbers, cell=cell, pbc=np.ones(3, bool)
        )
        for _ in range(n_frames)
    ]


def made_up_sheet(m: int, n_frames: int) -> list[Structure]:
    """A rattled hexagonal sheet: 2 m^2 atoms, the hardest cell for the minimum image."""
    cell = np.array([[2.46, 0, 0], [-1.23, 1.23 * np.sqrt(3), 0], [0, 0, 20.0]]) * [[m], [m], [1]]
    rng = np.random.default_rng(0)
    basis = np.array([[0, 0, 0.5], [1 / 3, 2 / 3, 0.5]])
    cells = np.stack(np.meshgrid(np.arange(m), np.arange(m), [0], indexing="ij"), axis=-1).reshape(-1, 1, 3)
    sites = ((cells + basis) / [m, m, 1]).reshape(-1, 3) @ cell
    return [
        Structure(
            positions=sites + 0.1 * rng.normal(size=sites.shape),
            numbers=np.full(len(sites), 6),
            cell=cell,
            pbc=np.array([True, True, False]),
        )
        for _ in range(n_frames)
    ]


def scaling() -> list[dict]:
    """Time and memory of systems of 300 and 1000 atoms, 1000 frames; peak memory grows from row to row."""
    rows = []
    for name, make in (
        ("fcc crystal, 256 atoms", lambda: made_up(4, 1000)),
        ("hexagonal sheet, 288 atoms", lambda: made_up_sheet(12, 1000)),
        ("fcc crystal, 864 atoms", lambda: made_up(6, 1000)),
        ("hexagonal sheet, 1058 atoms", lambda: made_up_sheet(23, 1000)),
    ):
        frames = make()
        watch = Stopwatch()
        result = jorbit.find_orbits(frames)
        row = {"system": name, "n_atoms": result.n_atoms, "n_frames": 1000, "n_orbits": result.n_orbits}
        row |= {"group_order": result.group_order, "stability": result.stability, **watch.read()}
        row |= {
            "peak_memory_MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "load_average": [round(x, 1) for x in os.getloadavg()],
        }
        rows.append(row)
        print(row, flush=True)
    return rows


def main() -> None:
    """Write benchmarks/results/orbits.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--scaling", action="store_true")
    parser.add_argument("--no-sgdml", action="store_true")
    chosen = parser.parse_args()
    path = pathlib.Path(__file__).parent / "results" / "orbits.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    rows = load_rows("orbits", "system")
    scaled = scaling() if chosen.scaling else before.get("scaling", [])
    only_scaling = chosen.scaling and not chosen.names
    for name, frames in ({} if only_scaling else systems(chosen.names)).items():
        s = frames[0].structure
        row = {
            "system": name,
            "formula": formula(s.numbers),
            "n_atoms": s.n_atoms,
            "n_frames": len(frames),
            "periodic": bool(s.pbc.any()),
            "jorbit": search(frames),
            "sgdml": rows.get(name, {}).get("sgdml", {}) if chosen.no_sgdml else sgdml(frames),
            "load_average": [round(x, 1) for x in os.getloadavg()],
        }
        rows[name] = row
        print(json.dumps(row)[:600], flush=True)
        _save(rows, scaled)
    _save(rows, scaled)


def _save(rows: dict[str, dict], scaled: list[dict]) -> None:
    write(
        "orbits",
        "Orbits found in real trajectories, and the permutations that sgdml's search finds in the same frames (at most "
        "1000, as sgdml does). wall_s beside cpu_s: the machine may be shared.",
        list(rows.values()),
        environment=environment(),
        scaling=scaled,
    )


if __name__ == "__main__":
    sys.exit(main())
