"""Linear readouts of every subset of one candidate set, from normal equations that are gathered once per element."""

import dataclasses
import hashlib
import pathlib

import numpy as np
from scipy.linalg import eigh

ENERGY_WEIGHT = 30.0  # of an energy error in eV times 1 / sqrt(atoms), forces 1: the default of jorbit.fit
# One cutoff (Å) and nearest-neighbour distance per element for every tool: two to four shells.
SYSTEMS = {
    "Ni": (4.1, 2.49),
    "Cu": (4.2, 2.56),
    "Li": (5.1, 3.0),
    "Mo": (5.2, 2.73),
    "Si": (5.0, 2.35),
    "Ge": (5.3, 2.45),
}
RIDGES = 10.0 ** np.arange(-13.0, 1.1, 0.5)


@dataclasses.dataclass(frozen=True, eq=False)
class System:
    """Weighted normal equations of the frames fitted and held out, and the plain rows of the test frames.

    The last column is the reference energy of the element.
    """

    gram: np.ndarray
    moment: np.ndarray
    held_gram: np.ndarray
    held_moment: np.ndarray
    test_energy: np.ndarray
    test_energy_labels: np.ndarray
    test_atoms: np.ndarray
    test_forces: np.ndarray
    test_force_labels: np.ndarray


def frames_of(element: str, seed: int = 0):  # type: ignore[no-untyped-def]
    """Frames to fit, a tenth held out of the training file to choose ridges and epochs, and the test frames."""
    from jorbit.datasets import load_dataset

    data = load_dataset(f"mlearn_{element.lower()}")
    train, test = list(data.split("train")), list(data.split("test"))
    order = np.random.default_rng(seed).permutation(len(train))
    n = round(0.1 * len(train))
    return [train[k] for k in order[n:]], [train[k] for k in order[:n]], test


def model(element: str, n_radial: int, l_max: int, order: int, features: tuple[int, ...] | None = None):  # type: ignore[no-untyped-def]
    """All products of `order` factors of n_radial radial functions and degrees up to l_max, or some of them."""
    from jorbit.models.linear_ace import LinearACE

    cutoff, bond = SYSTEMS[element]
    return LinearACE(
        n_species=1,
        cutoff=cutoff,
        max_degree=(99,) * order,
        l_max=l_max,
        n_radial=n_radial,
        bond_lengths=bond,
        features=features,
    )


def gather_system(
    element: str,
    n_radial: int,
    l_max: int,
    order: int,
    cache: pathlib.Path,
    features: tuple[int, ...] | None = None,
) -> System:
    """Normal equations of all candidates, or of some; kept in `cache` between runs."""
    some = "" if features is None else "_" + hashlib.sha256(repr(features).encode()).hexdigest()[:12]
    path = cache / f"{element}_{n_radial}_{l_max}_{order}{some}.npz"
    if path.exists():
        with np.load(path) as stored:
            return System(**{f.name: stored[f.name] for f in dataclasses.fields(System)})
    import jax

    from jorbit.core.species import SpeciesTable
    from jorbit.potential import Potential
    from jorbit.terms.reference_energy import ReferenceEnergy
    from jorbit.train.design import LinearProblem, frame_capacities
    from jorbit.train.statistics import References

    fitted, held, test = frames_of(element)
    term = model(element, n_radial, l_max, order, features)
    species = SpeciesTable.from_structures([fitted[0].structure])
    potential = Potential((ReferenceEnergy(n_species=1), term), species)
    problem = LinearProblem(potential, References(np.zeros(1), np.eye(1), frozenset()), {})
    width = term.n_parameters + 1
    sums = {name: (np.zeros((width, width)), np.zeros(width)) for name in ("fitted", "held")}
    tests: dict[str, list[np.ndarray]] = {k: [] for k in ("energy", "labels", "atoms", "forces", "force_labels")}
    frames = [("fitted", f) for f in fitted] + [("held", f) for f in held] + [("test", f) for f in test]
    capacities = frame_capacities([f.structure for _, f in frames], potential.cutoffs)
    for k, (kind, frame) in enumerate(frames):
        parts, _ = problem.collect(frame.structure, problem.launch(frame.structure, capacities[k]))
        n = frame.structure.n_atoms
        labels = (np.array([frame.labels.energy]), frame.labels.forces.reshape(-1))
        if kind == "test":
            tests["energy"].append(parts[0] / n)
            tests["labels"].append(labels[0] / n)
            tests["atoms"].append(np.array([n]))
            tests["forces"].append(parts[1])
            tests["force_labels"].append(labels[1])
            continue
        rows = np.concatenate([parts[0] * ENERGY_WEIGHT / np.sqrt(n), parts[1]])
        y = np.concatenate([labels[0] * ENERGY_WEIGHT / np.sqrt(n), labels[1]])
        gram, moment = sums[kind]
        gram += rows.T @ rows
        moment += rows.T @ y
        if k % 50 == 0:
            print(f"{element}: frame {k} of {len(frames)}", flush=True)
    jax.clear_caches()
    system = System(
        *sums["fitted"], *sums["held"], *(np.concatenate(tests[k]) for k in ("energy", "labels", "atoms", "forces")),
        np.concatenate(tests["force_labels"]),
    )  # fmt: skip
    cache.mkdir(parents=True, exist_ok=True)
    np.savez(path, **{f.name: getattr(system, f.name) for f in dataclasses.fields(System)})
    return system


def solve(system: System, scale: np.ndarray, features: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Ridge that predicts the held-out frames best, then the fit of all training frames with it.

    Returns:
        Coefficients, ridge, and the weighted squares that are left over on the held-out frames, less the squares of
        their labels: what may choose between models, unlike errors on the test frames.
    """
    columns = np.append(features, len(system.moment) - 1)
    weight = np.append(scale[features], 0.0)
    last = len(columns) - 1

    def reduced(gram: np.ndarray, moment: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The reference energy eliminated, features divided by their prior scale."""
        g, b = gram[np.ix_(columns, columns)], moment[columns]
        ratio = g[last, :last] / g[last, last]
        small = g[:last, :last] - np.outer(ratio, g[last, :last])
        return small / np.outer(weight[:last], weight[:last]), (b[:last] - ratio * b[last]) / weight[:last], ratio

    held, held_moment = system.held_gram[np.ix_(columns, columns)], system.held_moment[columns]

    def coefficients(gram: np.ndarray, moment: np.ndarray, ridges: np.ndarray) -> list[np.ndarray]:
        small, right, ratio = reduced(gram, moment)
        values, vectors = eigh(small)
        rotated = vectors.T @ right
        found = []
        for ridge in ridges:
            c = vectors @ (rotated / (np.maximum(values, 0.0) + ridge)) / weight[:last]
            found.append(np.append(c, moment[columns[last]] / gram[columns[last], columns[last]] - ratio @ c))
        return found

    scaled = reduced(system.gram, system.moment)[0]
    largest = eigh(scaled, eigvals_only=True, subset_by_index=[last - 1, last - 1])[0]
    rounding = 10.0 * np.finfo(np.float64).eps * largest
    # Below what rounding leaves of a Gram matrix of dependent features, a ridge keeps nothing in bounds.
    ridges = np.maximum(RIDGES * np.median(np.diag(scaled)), rounding)
    tried = coefficients(system.gram, system.moment, ridges)
    misfit = [c @ held @ c - 2 * c @ held_moment for c in tried]
    best = int(np.argmin(misfit))
    both = coefficients(system.gram + system.held_gram, system.moment + system.held_moment, ridges[best : best + 1])
    return both[0], float(ridges[best]), float(misfit[best])


def held_out_rms(misfit: float, held) -> float:  # type: ignore[no-untyped-def]
    """Root mean square of the weighted residuals of held-out frames (eV, eV/Å) that leave this `misfit`."""
    rows = [np.append(f.labels.energy * ENERGY_WEIGHT / np.sqrt(f.structure.n_atoms), f.labels.forces) for f in held]
    y = np.concatenate(rows)
    return float(np.sqrt(max(misfit + y @ y, 0.0) / len(y)))


def errors(system: System, features: np.ndarray, c: np.ndarray) -> dict[str, float]:
    """Test errors of coefficients: energies in meV/atom, forces in meV/Å."""
    columns = np.append(features, len(system.moment) - 1)
    energy = 1e3 * (system.test_energy[:, columns] @ c - system.test_energy_labels)
    force = 1e3 * (system.test_forces[:, columns] @ c - system.test_force_labels)
    return {
        "energy_mae_mev_per_atom": float(np.abs(energy).mean()),
        "energy_rmse_mev_per_atom": float(np.sqrt((energy**2).mean())),
        "force_mae_mev_per_angstrom": float(np.abs(force).mean()),
        "force_rmse_mev_per_angstrom": float(np.sqrt((force**2).mean())),
    }


def choose(name: str, system: System, space, scale: np.ndarray, n: int, seed: int = 0) -> np.ndarray:  # type: ignore[no-untyped-def]
    """n features of the candidates by one of the rival rules, ascending."""
    from jorbit.basis.moment_jacobians import candidate_order

    total = space.n_features
    gram = (system.gram + system.held_gram)[:total, :total]
    if name == "random":
        return np.sort(np.random.default_rng(seed).choice(total, n, replace=False))
    if name == "low degree":
        return np.sort(candidate_order("degree", total, space)[:n])
    if name == "low cost":
        return np.sort(candidate_order("cost", total, space)[:n])
    norm = np.sqrt(np.diag(gram))
    unit = gram / np.outer(norm, norm)
    if name == "QR":
        return np.sort(pivoted(unit, n))
    if name == "leverage":
        vectors = eigh(unit, subset_by_index=[total - n, total - 1])[1]
        return np.sort(np.argsort(-(vectors**2).sum(axis=1), kind="stable")[:n])
    if name == "L1":
        return np.sort(lasso(system, scale, n))
    raise ValueError(name)


def pivoted(gram: np.ndarray, n: int) -> np.ndarray:
    """Columns in the order of QR with column pivoting, from their Gram matrix (pivoted Cholesky)."""
    rest, factor, chosen = np.diag(gram).copy(), np.zeros((n, len(gram))), []
    for k in range(n):
        p = int(np.argmax(rest))
        chosen.append(p)
        factor[k] = (gram[p] - factor[:k, p] @ factor[:k]) / np.sqrt(rest[p])
        rest = np.maximum(rest - factor[k] ** 2, 0.0)
        rest[chosen] = -1.0
    return np.array(chosen)


def lasso(system: System, scale: np.ndarray, n: int) -> np.ndarray:
    """Features of the first point of the lasso path that holds n of them; the reference energy is not penalised."""
    from sklearn.linear_model import lars_path_gram

    gram, moment = system.gram + system.held_gram, system.moment + system.held_moment
    last = len(moment) - 1
    ratio = gram[last, :last] / gram[last, last]
    small = (gram[:last, :last] - np.outer(ratio, gram[last, :last])) / np.outer(scale, scale)
    right = (moment[:last] - ratio * moment[last]) / scale
    norm = np.sqrt(np.diag(small))
    _, _, path = lars_path_gram(
        right / norm, small / np.outer(norm, norm), n_samples=1, method="lasso", max_iter=20 * n, alpha_min=0.0
    )
    counts = (path != 0).sum(axis=0)
    enough = np.flatnonzero(counts >= n)
    at = int(enough[0]) if len(enough) else int(np.argmax(counts))
    return np.argsort(-np.abs(path[:, at]), kind="stable")[:n]
