"""Where the time of HIP-HOP-NN goes: each part with its gradient, and both orders of the sums of a message, in turns.

    taskset -c 0 python benchmarks/bench_hiphop_parts.py            # one core; writes results/hiphop_parts.json

Bulk Si, rattled, 5 Å, float32, 64 features, 20 radial functions, as in `bench_models.py`. A message is "gathered" (sum
over neighbours of radial x angular x feature, then the weights) or "sent" (weights first, then two small products at
the two ends of a pair), see `jorbit.models.layers.neighbor_moments`. All parts are compiled first and then take turns.
`share_of_peak` compares the multiplications and additions of the matrix products with those of one large matrix product
timed in the same turns: near 1 a part is bound by arithmetic, far below by memory or by many small operations.
"""

import argparse
import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from common import environment, write
from model_rows import CUTOFF, ROWS, systems

import jorbit
from jorbit.basis.invariant_sets import invariant_set
from jorbit.basis.moments import n_components
from jorbit.basis.opposite_pairs import opposite_pairs
from jorbit.core.graph import pair_vectors
from jorbit.graphs.ase_atoms import from_ase
from jorbit.models.hiphop import HipHop, InvariantMixing
from jorbit.models.layers.neighbor_moments import NeighborMoments

NAMES = ("hiphop l2 n3 64", "hiphop l3 n4 64")
LARGE = 1024  # rows of the matrix product that is called the peak


def parts_of(name: str, graph: Any) -> dict[str, tuple[Callable[[], Any], float]]:
    """Name of each part -> (a call of its value and gradient, multiply-adds of its matrix products per atom)."""
    settings = ROWS[name][1]
    model = HipHop(n_species=1, cutoff=CUTOFF, **settings)
    s, width, l_max = model.sensitivities, model.n_features, model.l_max
    n_atoms, n_slots = graph.within(CUTOFF).mask.shape
    c, n, keys = n_components(l_max), s.n, jax.random.split(jax.random.key(0), 4)
    centers, widths = (jnp.asarray(x, jnp.float32) for x in s.initial())
    layer = NeighborMoments(width, l_max, s)
    weight = jax.random.normal(keys[1], (n_atoms, c, width))

    def message(n_in: int, sent: bool) -> Callable[[], Any]:
        kernel = 0.05 * jax.random.normal(keys[0], (n, n_in, width))
        params = {"params": {"centers": centers, "widths": widths, "interaction_kernel": kernel}}

        def total(positions: Any, features: Any, graph: Any) -> Any:
            moved = dataclasses.replace(graph, positions=positions)
            neighbors = moved.within(CUTOFF)
            opposite = opposite_pairs(neighbors) if sent else None
            found = layer.apply(params, pair_vectors(moved, neighbors), neighbors, features, opposite)
            return jnp.sum(jnp.asarray(found) * weight)

        compiled = jax.jit(jax.grad(total, argnums=(0, 1)))
        features = jax.random.normal(keys[2], (n_atoms, n_in))
        return lambda: compiled(graph.positions, features, graph)

    mixing = InvariantMixing(model.invariants, model.normalization)
    moments, k = jax.random.normal(keys[3], (n_atoms, c, width)), invariant_set(model.invariants).size
    gains = {"gain": jnp.ones((k, width)), "bias": jnp.zeros((k, width))}
    mix = {"params": {"mixing_kernel": 0.1 * jax.random.normal(keys[0], (k, width, width)), **gains}}
    mixed = jax.jit(jax.grad(lambda m: jnp.sum(jnp.asarray(mixing.apply(mix, m)) * weight[:, 0])))
    opposite = jax.jit(opposite_pairs)
    # Forward once, and for the gradient by each of the two factors once; blocks compute their forward pass twice.
    gathered = 4 * c * n * n_slots * width + 2 * c * n * width * width
    sent = 2 * n * width * width + 3 * width * n_slots * (n + c)
    return {
        "first message": (message(1, False), 4 * c * n * n_slots + 2 * c * n * width),
        "message, gathered": (message(width, False), gathered),
        "message, sent": (message(width, True), sent),
        "opposite pairs (within sent)": (lambda: opposite(graph.within(CUTOFF)), 0),
        "invariants, norm, mixing": (lambda: mixed(moments), 2 * k * width * width),
    }


def main() -> None:
    """Time all parts in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--system", default="Si1000")
    parser.add_argument("--rows", nargs="*", default=list(NAMES), choices=NAMES)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    structures = [from_ase(atoms) for atoms in systems(options.system)]
    table = jorbit.SpeciesTable.from_structures(structures)
    model = HipHop(n_species=1, cutoff=CUTOFF)
    graph, n_atoms = jorbit.Potential((model,), table).graph(structures), structures[0].n_atoms
    start, rows = environment(), []
    square = jax.random.normal(jax.random.key(1), (LARGE, LARGE))
    product = jax.jit(lambda x: x @ x)
    for name in options.rows:
        parts = {"peak": (lambda: product(square), LARGE**3 / n_atoms)} | parts_of(name, graph)
        times: dict[str, list[tuple[float, float]]] = {part: [] for part in parts}
        for call, _ in parts.values():
            jax.block_until_ready(call())
        for _ in range(options.repeats):
            for part, (call, _) in parts.items():
                wall, cpu = time.perf_counter(), time.process_time()
                jax.block_until_ready(call())
                times[part].append((time.perf_counter() - wall, time.process_time() - cpu))
        found = {}
        for part, (_, work) in parts.items():
            wall, cpu = (statistics.median(t[k] for t in times[part]) / n_atoms for k in range(2))
            found[part] = {"wall_us": 1e6 * wall, "cpu_us": 1e6 * cpu, "GFlops": 2e-9 * work / cpu}
        for part, numbers in found.items():
            numbers["share_of_peak"] = numbers["GFlops"] / found["peak"]["GFlops"]
            print(
                f"{name:18s} {part:30s} {numbers['cpu_us']:8.2f} µs/atom cpu {numbers['GFlops']:7.1f} GF/s", flush=True
            )
        rows.append({"key": f"{name} | {options.system}", "n_atoms": n_atoms, "parts": found, "environment": start})
    write("hiphop_parts", "parts of HIP-HOP-NN with their gradients, float32, µs per atom", rows)


if __name__ == "__main__":
    main()
