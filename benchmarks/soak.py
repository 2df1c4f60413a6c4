"""Long runs: memory, compilations and drift over millions of steps, and overflows forced every few blocks.

    python benchmarks/soak.py [--minutes 60] [--steps 2000000] [--only nvt nve overflow]

"nvt" is ethanol with a linear ACE at 300 K (velocity rescaling, 0.5 fs) for the number of steps, or as many as the
minutes allow: resident memory after a tenth of the run and at the end, how often blocks were compiled, the mean
temperature, and the slope of the total energy, which a thermostat keeps at zero on average, with its error from
blocks. "nve" is the same molecule at constant energy in float64, mixed and float32: the drift. "overflow" plans the
lists of a hot gas anew every three blocks, without headroom, so that they overflow again and again, and compares every
bit with runs of the same three blocks that have much room.
Writes benchmarks/results/soak.json.
"""

import argparse
import os
import time

os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import common
import numpy as np
from bench_md import ethanol

import jorbit
from jorbit.core.compilation import compilations
from jorbit.core.structure import Structure
from jorbit.simulate import run
from jorbit.terms.lennard_jones import LennardJones


def resident() -> float:
    """MiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def nvt(n_steps: int, minutes: float) -> dict:
    potential, params, frames = ethanol()
    began, memory = time.perf_counter(), []

    def look(block):
        memory.append(resident())
        return "the minutes are over" if time.perf_counter() - began > 60 * minutes else None

    options = dict(timestep=0.5, temperature=300.0, record_every=100, block_size=5000, progress=False)
    result = run(
        potential, params, frames[0].structure, integrator="temp_csvr", n_steps=n_steps, observers=[look], **options
    )
    blocks = np.array_split(result.total_energies[len(result.times) // 50 :], 20)
    means, at = np.array([b.mean() for b in blocks]), np.arange(20) - 9.5
    slope = at @ means / (at @ at) * 20 / (result.times[-1] / 1e6) / 9 * 1000
    error = np.std(means - means.mean(), ddof=2) / np.sqrt(at @ at) * 20 / (result.times[-1] / 1e6) / 9 * 1000
    return {
        "name": "ethanol NVT, linear ACE",
        "steps": result.n_steps,
        "minutes": round((time.perf_counter() - began) / 60, 1),
        "memory_MiB_after_a_tenth": round(memory[len(memory) // 10], 1),
        "memory_MiB_at_the_end": round(memory[-1], 1),
        "compilations": result.n_compilations,
        "reallocations": result.n_reallocations,
        "mean_temperature_K": round(float(result.temperatures.mean()), 2),
        "slope_of_total_energy_meV_per_atom_per_ns": round(float(slope), 4),
        "its_error": round(float(error), 4),
    }


def nve(n_steps: int) -> list[dict]:
    potential, params, frames = ethanol()
    rows = []
    for dtype in ("float64", "mixed", "float32"):
        begin = time.process_time()
        result = run(
            potential, params, frames[0].structure, n_steps=n_steps, timestep=0.25, temperature=300.0, dtype=dtype,
            record_every=100, block_size=5000, progress=False,
        )  # fmt: skip
        total = result.total_energies
        rows.append(
            {
                "name": f"ethanol NVE drift, {dtype}",
                "steps": result.n_steps,
                "timestep_fs": 0.25,
                "drift_meV_per_atom_per_ps": float(f"{result.drift:.3g}"),
                "its_error": float(f"{result.drift_error:.2g}"),
                "last_less_first_fifth_meV_per_atom": float(
                    f"{1000 / 9 * (total[-len(total) // 5 :].mean() - total[: len(total) // 5].mean()):.3g}"
                ),
                "cpu_s": round(time.process_time() - begin, 1),
            }
        )
    return rows


def overflow(stretches: int) -> dict:
    """A hot gas in stretches of three blocks, each planned anew, without headroom and with much of it."""
    generator = np.random.default_rng(0)
    places = np.array(list(np.ndindex(4, 4, 4))) * 5.5 + generator.uniform(-0.4, 0.4, (64, 3))
    start = Structure(positions=places, numbers=np.full(64, 18), cell=22.0 * np.eye(3), pbc=np.ones(3, bool))
    potential = jorbit.Potential((LennardJones(cutoff=6.0, onset=4.5),), jorbit.SpeciesTable.from_numbers([18]))
    options = dict(skin=0.3, timestep=4.0, n_steps=120, block_size=40, temperature=400.0, progress=False)
    velocities, again, overflows, same, apart = None, 0, 0, 0, []
    for _ in range(stretches):
        tight, roomy = (
            run(potential, {"lennard_jones": {}}, start, velocities=velocities, capacity_multiplier=room, **options)
            for room in (1.0, 6.0)
        )
        if roomy.n_reallocations:
            raise RuntimeError("The run with room overflowed too: give it more.")
        overflows += tight.n_reallocations
        again += tight.n_reallocations > 0
        pairs = [(r.potential_energies, r.structure.positions, r.velocities) for r in (tight, roomy)]
        same += all(np.array_equal(one, other) for one, other in zip(*pairs, strict=True))
        apart.append(float(np.max(np.abs(tight.structure.positions - roomy.structure.positions))))
        start, velocities = tight.structure, tight.velocities
    return {
        "name": "overflows, hot argon gas",
        "blocks": 3 * stretches,
        "overflows": overflows,
        "stretches": stretches,
        "stretches_with_overflow": again,
        "stretches_in_the_same_bits": same,
        "largest_difference_of_positions_angstrom": float(f"{max(apart):.2g}"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--steps", type=int, default=2_000_000)
    parser.add_argument("--drift-steps", type=int, default=400_000)
    parser.add_argument("--stretches", type=int, default=60, help="of three blocks, for the overflows")
    parser.add_argument("--only", nargs="*", default=["nvt", "nve", "overflow"])
    options = parser.parse_args()
    todo = {
        "nvt": lambda: [nvt(options.steps, options.minutes)],
        "nve": lambda: nve(options.drift_steps),
        "overflow": lambda: [overflow(options.stretches)],
    }
    rows = common.load_rows("soak", "name")
    for name in options.only:
        for row in todo[name]():
            print(row, flush=True)
            rows[row["name"]] = row
        what = " ".join((__doc__ or "").split())
        common.write("soak", what, list(rows.values()), environment=common.environment())
    print("compilations", compilations())


if __name__ == "__main__":
    main()
