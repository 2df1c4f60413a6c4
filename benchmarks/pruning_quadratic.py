"""A quadratic readout of chosen features, E_i = e0 + c . B_i + B_i . Q B_i, in closed form: the smallest network.

It is one hidden layer of squares, so it ends as a jorbit.models.readout.Readout whose hidden units are the eigenvectors
of Q. Only the inner features, of the lowest degrees, are multiplied when there are many. Products of pruned features
are invariants of higher body order, and get the smoothness prior of such: 1 + the sum of n^2 + l^2 over all factors.
"""

import hashlib
import pathlib

import numpy as np
from pruning_linear import ENERGY_WEIGHT, System, frames_of, model


def inner_features(space, most: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The features that are multiplied with each other: at most so many, of the lowest degree n + l."""
    from jorbit.basis.moment_jacobians import candidate_order

    return np.sort(candidate_order("degree", space.n_features, space)[:most])


def pairs(inner: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two features of every product, upper triangle of Q."""
    a, b = np.triu_indices(len(inner))
    return inner[a], inner[b]


def prior(scale: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Inverse prior deviations of c and of the upper triangle of Q."""
    a, b = pairs(inner)
    return np.concatenate([scale, scale[a] + scale[b] - 1.0])


def gather(
    element: str, basis: tuple[int, int, int], features: tuple[int, ...], inner: np.ndarray, cache: pathlib.Path
) -> System:
    """Normal equations and test rows of all features and of the products of the inner ones; kept in `cache`."""
    what = (basis, features) if len(inner) == len(features) else (basis, features, inner.tolist())
    path = cache / f"{element}_quadratic_{hashlib.sha256(repr(what).encode()).hexdigest()[:12]}.npz"
    if path.exists():
        with np.load(path) as stored:
            return System(**{k: stored[k] for k in stored.files})
    import jax
    import jax.numpy as jnp

    from jorbit.basis.symmetric_products import invariants_jvp
    from jorbit.core.graph import pair_vectors
    from jorbit.core.ops import gather_neighbors
    from jorbit.core.species import SpeciesTable
    from jorbit.graphs.batching import build_graph
    from jorbit.train.design import frame_capacities

    fitted, held, test = frames_of(element)
    term = model(element, *basis, features=features)
    species = SpeciesTable.from_structures([fitted[0].structure])
    space, atomic_basis = term.descriptor.space, term.descriptor.atomic_basis
    first, second = pairs(inner)
    width = term.n_functions + len(first)

    @jax.jit
    def rows(graph):  # type: ignore[no-untyped-def]
        neighbors = graph.within(term.cutoff)
        vectors, species_j = pair_vectors(graph, neighbors), gather_neighbors(graph.species, neighbors)

        def add_atom(sums, i):  # type: ignore[no-untyped-def]
            energy, forces = sums
            here = (vectors[i][None], graph.species[i][None], species_j[i][None], neighbors.mask[i][None])
            atomic = atomic_basis(*here, space)
            tangent = atomic_basis.tangents(vectors[i], graph.species[i], species_j[i], neighbors.mask[i], space)
            b, db = invariants_jvp(space, atomic, tangent)
            db = graph.atom_mask[i] * db.T
            value = graph.atom_mask[i] * jnp.concatenate([b, b[first] * b[second]])
            change = jnp.concatenate([db, b[first] * db[:, second] + b[second] * db[:, first]], axis=1)
            pulls = change.reshape(-1, 3, width)
            forces = forces.at[neighbors.index[i]].add(-pulls).at[i].add(pulls.sum(axis=0))
            return (energy + value, forces), None

        start = (jnp.zeros(width, vectors.dtype), jnp.zeros((graph.n_atoms, 3, width), vectors.dtype))
        return jax.lax.scan(add_atom, start, jnp.arange(graph.n_atoms))[0]

    sums = {kind: (np.zeros((width + 1, width + 1)), np.zeros(width + 1)) for kind in ("fitted", "held")}
    tests: list[tuple] = []
    frames = [("fitted", f) for f in fitted] + [("held", f) for f in held] + [("test", f) for f in test]
    capacities = frame_capacities([f.structure for _, f in frames], (term.cutoff,))
    for k, ((kind, frame), capacity) in enumerate(zip(frames, capacities, strict=True)):
        n = frame.structure.n_atoms
        with jax.enable_x64(True):
            graph = build_graph(frame.structure, species, (term.cutoff,), capacity=capacity, dtype=jnp.float64)
            energy, forces = (np.asarray(x) for x in rows(graph))
        energy = np.append(energy, n)
        forces = np.hstack([forces[:n].reshape(3 * n, -1), np.zeros((3 * n, 1))])
        e, f = frame.labels.energy, frame.labels.forces.reshape(-1)
        if kind == "test":
            tests.append((energy / n, e / n, n, forces, f))
            continue
        weight = ENERGY_WEIGHT / np.sqrt(n)
        block, y = np.vstack([energy[None] * weight, forces]), np.append(e * weight, f)
        gram, moment = sums[kind]
        gram += block.T @ block
        moment += block.T @ y
        if k % 50 == 0:
            print(f"{element}: frame {k} of {len(frames)}", flush=True)
    jax.clear_caches()
    arrays = {
        "gram": sums["fitted"][0], "moment": sums["fitted"][1],
        "held_gram": sums["held"][0], "held_moment": sums["held"][1],
        "test_energy": np.array([t[0] for t in tests]), "test_energy_labels": np.array([t[1] for t in tests]),
        "test_atoms": np.array([t[2] for t in tests]), "test_forces": np.concatenate([t[3] for t in tests]),
        "test_force_labels": np.concatenate([t[4] for t in tests]),
    }  # fmt: skip
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)
    return System(**arrays)


def readout_params(c: np.ndarray, n: int, inner: np.ndarray) -> dict[str, dict]:
    """Coefficients as parameters of ReferenceEnergy + Readout(hidden=(len(inner),), activation="square")."""
    q = np.zeros((len(inner), len(inner)))
    q[np.triu_indices(len(inner))] = c[n:-1]
    values, vectors = np.linalg.eigh((q + q.T) / 2)
    kernel = np.zeros((n, len(inner)))
    kernel[inner] = vectors
    return {
        "reference_energy": {"energies": c[-1:]},
        "readout": {
            "constants": {"shift": np.zeros((1, n)), "scale": np.ones((1, n)), "energy_scale": np.ones(())},
            "params": {
                "linear": c[None, :n],
                "hidden_0_kernel": kernel[None],
                "hidden_0_bias": np.zeros((1, len(inner))),
                "output_kernel": values[None, :, None],
                "output_bias": np.zeros((1, 1)),
            },
        },
    }
