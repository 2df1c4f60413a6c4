"""Random methane labelled with GFN2-xTB: energies and forces of one carbon atom with four hydrogens anywhere near it.

Geometries as in the public set of random methane (Pozdnyakov et al., Phys. Rev. Lett. 125, 166001, 2020), whose labels
are not used: carbon at the origin, hydrogens uniform in a ball of 3 Å around it, drawn again until all ten distances
are at least 0.5 Å. Among 10,000 public frames the closest pair of each kind is at 0.50 Å; their mean of (r / 3 Å)^3 is
0.474 where a uniform ball has 0.502, so something there prefers hydrogens a little further inside. It is not imitated.

Two frames are dropped and counted: where the SCF does not converge, and where it jumps into another solution. The
second shows when a geometry is moved by 0.002 Å to either side along a random direction of all atoms: then energies and
forces do not belong together. Each of the three calculations starts from scratch.

Frames are made in blocks of 500, each with a generator of its own, so that more frames later are the same frames and
some more. A finished calculation is on disk: a run that was killed goes on where it stopped, and reads only its blocks'
results again. Processes can share the blocks (``--blocks``); a last run without that option joins them.

Example::

    OMP_NUM_THREADS=1 python benchmarks/data/make_methane.py --frames 100000 --out methane_gfn2
    OMP_NUM_THREADS=1 python benchmarks/data/make_methane.py --frames 20 --out /tmp/small
    python benchmarks/bench_methane.py --xtb methane_gfn2/methane_gfn2.extxyz --train 1000 10000 90000
"""

import argparse
import dataclasses
import json
import os
import platform
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before tblite: five atoms have nothing for a second thread

import numpy as np  # noqa: E402

from jorbit.core.structure import Frame, Labels, Structure  # noqa: E402
from jorbit.datasets.extxyz import iter_extxyz, write_extxyz  # noqa: E402
from jorbit.datasets.label import ERROR_KEY, label_file  # noqa: E402

SEED, MOST = 20250, 100_000
RADIUS, CLOSEST = 3.0, 0.5  # Å
BLOCK = 500  # frames; part of what the seed means
STEP = 0.002  # Å, along a direction of length one
# eV/Å: the SCF's own convergence over two steps, and the curvature of forces near walls
JUMP, RELATIVE_JUMP = 0.005, 0.002
NUMBERS = np.array([6, 1, 1, 1, 1])


def geometries(seed: int, block: int, n_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions, and a direction of length one of all atoms: [5, 3] each."""
    rng = np.random.default_rng([seed, block])
    pairs = np.triu_indices(5, 1)
    for _ in range(n_frames):
        while True:
            outward = rng.normal(size=(4, 3))
            outward /= np.linalg.norm(outward, axis=1, keepdims=True)
            hydrogens = outward * (RADIUS * rng.uniform(size=(4, 1)) ** (1 / 3))
            positions = np.concatenate([np.zeros((1, 3)), hydrogens])
            if np.linalg.norm(positions[pairs[0]] - positions[pairs[1]], axis=1).min() >= CLOSEST:
                break
        direction = rng.normal(size=(5, 3))
        yield positions, direction / np.linalg.norm(direction)


def triples(seed: int, block: int, n_frames: int) -> Iterator[Frame]:
    """Each geometry, and the two beside it."""
    for positions, direction in geometries(seed, block, n_frames):
        for step in (0.0, STEP, -STEP):
            yield Frame(structure=Structure(positions=positions + step * direction, numbers=NUMBERS), labels=Labels())


def label_block(parts: Path, seed: int, block: int, n_frames: int) -> Path:
    """Label what is not labelled yet; the file with three frames for each geometry."""
    source, output = (parts / f"{kind}_{seed}_{block:04d}_{n_frames}.extxyz" for kind in ("geometries", "labelled"))
    if not source.exists():
        write_extxyz(source, triples(seed, block, n_frames))
    label_file(source, output, "gfn2")
    return output


def judge(centre: Frame, ahead: Frame, behind: Frame) -> str | None:
    """Why a geometry is dropped; None: it is kept."""
    if any(ERROR_KEY in frame.info for frame in (centre, ahead, behind)):
        return "SCF not converged"
    forces = centre.labels.forces
    energies = [frame.labels.energy for frame in (ahead, behind)]
    if forces is None or None in energies:
        return "SCF not converged"
    direction = (ahead.structure.positions - behind.structure.positions) / (2 * STEP)
    slope = (energies[0] - energies[1]) / (2 * STEP)  # type: ignore[operator]
    error = abs(slope + float((forces * direction).sum()))
    return "SCF jumps" if error > JUMP + RELATIVE_JUMP * float(np.abs(forces).max()) else None


def kept(outputs: list[Path], dropped: dict[str, int]) -> Iterator[Frame]:
    """The frames that pass, in order; the others are counted."""
    for output in outputs:
        frames = iter_extxyz(output)
        for triple in zip(frames, frames, frames, strict=True):  # one iterator: the next three
            why = judge(*triple)
            if why is None:
                yield dataclasses.replace(triple[0], info={})
            else:
                dropped[why] = dropped.get(why, 0) + 1


def make(out: Path, n_frames: int, seed: int = SEED, blocks: tuple[int, int] | None = None) -> Path | None:
    """Label the blocks and join them.

    Args:
        out: folder for methane_gfn2.extxyz, methane_gfn2.json and the parts.
        n_frames: geometries to sample; a few are dropped.
        seed: of the geometries.
        blocks: first block to make and the one behind the last; these are made only, not joined. None: all.

    Returns:
        The joined file.
    """
    parts = out / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    sizes = [min(BLOCK, n_frames - begin) for begin in range(0, n_frames, BLOCK)]
    begin, outputs = time.process_time(), []
    for block, size in list(enumerate(sizes))[slice(*(blocks or (None,)))]:
        outputs.append(label_block(parts, seed, block, size))
        print(f"block {block + 1} of {len(sizes)}: {time.process_time() - begin:.0f} s of processor", flush=True)
    if blocks is not None:
        return None
    target, dropped = out / "methane_gfn2.extxyz", dict[str, int]()
    n_kept = write_extxyz(target, kept(outputs, dropped))
    about = {
        "name": "methane_gfn2",
        "method": "GFN2-xTB",
        "units": {"energy": "eV", "length": "Å", "forces": "eV/Å"},
        "seed": seed,
        "radius": RADIUS,
        "closest": CLOSEST,
        "n_sampled": n_frames,
        "n_kept": n_kept,
        "dropped": dropped,
        "cpu_seconds_now": round(time.process_time() - begin),
        "versions": {name: version(name) for name in ("tblite", "ase", "numpy")}
        | {"python": platform.python_version()},
        "script": "benchmarks/data/make_methane.py",
    }
    target.with_suffix(".json").write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{target.name}: {n_kept} of {n_frames} frames, dropped: {dropped or 'none'}", flush=True)
    return target


def main() -> None:
    """Read the command line and make the set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=10_000, help=f"geometries to sample, up to {MOST}")
    parser.add_argument("--out", type=Path, required=True, help="folder for the file and its parts")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--blocks", type=int, nargs=2, help="make blocks FIRST to STOP - 1 only, and do not join")
    options = parser.parse_args()
    if not 1 <= options.frames <= MOST:
        raise SystemExit(f"Wanted between 1 and {MOST} frames, got {options.frames}.")
    make(options.out, options.frames, options.seed, options.blocks and tuple(options.blocks))


if __name__ == "__main__":
    main()
