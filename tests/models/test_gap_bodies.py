"""Two- and three-body kernels against sums written out, and what each of them can learn."""

import dataclasses
import itertools
import math

import jax
import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.models.gap_three_body import ThreeBodyGAP
from jorbit.models.gap_two_body import TwoBodyGAP
from jorbit.train.gap import fit_gap

TWO = TwoBodyGAP(cutoff=3.0, n_points=8, length=0.6, n_species=2)
THREE = ThreeBodyGAP(cutoff=2.6, n_points=12, length=0.7, n_species=2)
NUMBERS = np.array([1, 8, 8, 1, 8])


def cluster(seed: int, numbers=NUMBERS) -> Structure:
    """Atoms in a ball, none nearer than 0.9 Å to another."""
    rng = np.random.default_rng(seed)
    while True:
        r = rng.uniform(-1.3, 1.3, size=(len(numbers), 3))
        if min(math.dist(a, b) for a, b in itertools.combinations(r, 2)) > 0.9:
            return Structure(positions=r, numbers=numbers)


def taper(r: float, cutoff: float) -> float:
    x = r / cutoff
    return 1.0 - 28.0 * x**6 + 48.0 * x**7 - 21.0 * x**8 if x < 1.0 else 0.0


def k(a, b, length: float) -> float:
    return math.exp(-0.5 * sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / length**2)


def triplets(structure: Structure, i: int, cutoff: float):
    """(weight, kind, three distances) of the triplets around an atom, the lower species first."""
    r, z = structure.positions, [int(n > 1) for n in structure.numbers]
    near = [j for j in range(len(r)) if j != i and math.dist(r[i], r[j]) < cutoff]
    for j, m in itertools.combinations(near, 2):
        j, m = (j, m) if z[j] <= z[m] else (m, j)
        a, b = math.dist(r[i], r[j]), math.dist(r[i], r[m])
        yield taper(a, cutoff) * taper(b, cutoff), (z[i], z[j], z[m]), (a, b, math.dist(r[j], r[m]))


def symmetric(kind, a, b, length: float) -> float:
    """The kernel of triplets, averaged where the two neighbours are alike."""
    if kind[1] != kind[2]:
        return k(a, b, length)
    return 0.5 * (k(a, b, length) + k((a[1], a[0], a[2]), b, length))


def filled(model, structure):
    table = jorbit.SpeciesTable.from_numbers([1, 8])
    potential = jorbit.Potential((model,), table)
    graph = potential.graph([structure], dtype=np.float64)
    return potential, graph, potential.init(jax.random.key(0), graph)


def both_of(model, params, graph) -> tuple[np.ndarray, np.ndarray]:
    """Rows and prior variances of the five atoms."""
    rows, own = jax.jit(lambda p, g: (model.atom_rows(p, g), model.own_covariance(p, g)))(params, graph)
    return np.asarray(rows)[:5], np.asarray(own)[:5]


def test_rows_of_pairs_are_the_sums_written_out(x64):
    structure = cluster(0)
    _, graph, params = filled(TWO, structure)
    p = params["two_body_gap"]
    rows, own = both_of(TWO, p, graph)
    z, r = [int(n > 1) for n in structure.numbers], structure.positions
    for i in range(5):
        pairs = [
            (taper(d, 3.0), sorted((z[i], z[j])), d) for j in range(5) if j != i and (d := math.dist(r[i], r[j])) < 3.0
        ]
        for s in range(8):
            point, kind = float(p["points"][s, 0]), p["species"][s].tolist()
            wanted = 0.5 * sum(w * k((d,), (point,), 0.6) for w, c, d in pairs if c == kind)
            assert rows[i, s] == pytest.approx(wanted, abs=1e-13)
        wanted = 0.25 * sum(v * w * k((d,), (e,), 0.6) for v, c, d in pairs for w, b, e in pairs if b == c)
        assert own[i] == pytest.approx(wanted, rel=1e-12)


def test_rows_of_triplets_are_the_sums_written_out(x64):
    structure = cluster(1)
    _, graph, params = filled(THREE, structure)
    p = params["three_body_gap"]
    rows, own = both_of(THREE, p, graph)
    met = 0
    for i in range(5):
        found = list(triplets(structure, i, 2.6))
        met += len(found)
        for s in range(12):
            point, kind = p["points"][s].tolist(), tuple(p["species"][s].tolist())
            wanted = sum(w * symmetric(kind, q, point, 0.7) for w, c, q in found if c == kind)
            assert rows[i, s] == pytest.approx(wanted, abs=1e-13)
        wanted = sum(v * w * symmetric(c, q, t, 0.7) for v, c, q in found for w, b, t in found if b == c)
        assert own[i] == pytest.approx(wanted, rel=1e-11)
    assert met > 10


@pytest.mark.parametrize("model", [TWO, THREE], ids=["pairs", "triplets"])
def test_rows_times_coefficients_are_energy_forces_and_stress(model, x64):
    rng = np.random.default_rng(2)
    positions = np.array([[0, 0, 0], [1.1, 0.1, 0.3], [0.2, 1.2, 1.0], [1.5, 1.3, 0.2]]) + rng.normal(0, 0.05, (4, 3))
    cell = np.array([[2.7, 0.0, 0.0], [0.4, 2.6, 0.0], [0.1, 0.3, 2.5]])
    structure = Structure(positions=positions, numbers=np.array([1, 8, 8, 1]), cell=cell, pbc=np.ones(3, bool))
    potential, graph, params = filled(model, structure)
    (name,) = potential.names
    c = rng.normal(size=model.n_points)
    params[name] = params[name] | {"coefficients": c}
    rows = jax.tree.map(np.asarray, jax.jit(model.design)(params[name], graph))
    predicted = jax.tree.map(np.asarray, jorbit.predict(potential, params, graph))
    np.testing.assert_allclose(rows.energy @ c, predicted.energy[0], rtol=1e-11)
    np.testing.assert_allclose((rows.forces @ c)[:4], predicted.forces[:4], atol=1e-11)
    np.testing.assert_allclose(rows.virial @ c / structure.volume, predicted.stress[0], atol=1e-11)
    assert np.abs(predicted.stress[0]).max() > 1e-3 and np.abs(predicted.forces).max() > 1e-2


@pytest.mark.parametrize("model", [TWO, THREE], ids=["pairs", "triplets"])
def test_covariances_of_points_are_a_covariance_matrix(model, x64):
    params = filled(model, cluster(0))[2]
    gram = np.asarray(jax.jit(model.gram)(params["two_body_gap" if model is TWO else "three_body_gap"]))
    np.testing.assert_allclose(gram, gram.T, atol=1e-15)
    assert np.linalg.eigvalsh(gram).min() > -1e-12 and (np.diag(gram) <= 1.0 + 1e-12).all()


def morse(r: np.ndarray) -> tuple[float, np.ndarray]:
    """Energy (eV) and forces (eV/Å) of pairs: 1.5 ((1 - exp(-1.4 (r - 1.3)))^2 - 1)."""
    energy, forces = 0.0, np.zeros_like(r)
    for i, j in itertools.combinations(range(len(r)), 2):
        v = r[j] - r[i]
        d = float(np.linalg.norm(v))
        x = math.exp(-1.4 * (d - 1.3))
        energy += 1.5 * ((1.0 - x) ** 2 - 1.0)
        slope = 3.0 * (1.0 - x) * 1.4 * x
        forces[i] += slope * v / d
        forces[j] -= slope * v / d
    return energy, forces


def bent(r: np.ndarray) -> tuple[float, np.ndarray]:
    """0.8 (cos θ + 1/3)^2 at each corner of all triangles, eV; forces by central differences."""

    def value(r: np.ndarray) -> float:
        total = 0.0
        for i in range(len(r)):
            for j, m in itertools.combinations([x for x in range(len(r)) if x != i], 2):
                a, b = r[j] - r[i], r[m] - r[i]
                total += 0.8 * (a @ b / np.linalg.norm(a) / np.linalg.norm(b) + 1.0 / 3.0) ** 2
        return float(total)

    forces = np.zeros_like(r)
    for index in np.ndindex(r.shape):
        step = np.zeros_like(r)
        step[index] = 1e-5
        forces[index] = -(value(r + step) - value(r - step)) / 2e-5
    return value(r), forces


def frames_of(law, seeds, n: int) -> list[Frame]:
    made = []
    for seed in seeds:
        s = cluster(seed, np.full(n, 14))
        energy, forces = law(np.asarray(s.positions))
        made.append(Frame(structure=s, labels=Labels(energy=energy, forces=forces)))
    return made


def error_of(fitted, frames) -> float:
    """Mean error of forces over their mean size."""
    forces = np.concatenate([f.labels.forces for f in frames])
    return jorbit.train.evaluate(fitted.potential, fitted.params, frames).force_mae / np.abs(forces).mean()


@pytest.mark.slow
def test_pairs_are_learned_by_pairs_and_angles_by_triplets():
    """Laws of distance and of angle; the cutoffs lie beyond all atoms."""
    options = {"optimize": False, "sigma_forces": 1e-3, "sigma_energy": 1e-3, "reference_energies": {"Si": 0.0}}
    two = TwoBodyGAP(cutoff=8.0, n_points=25, length=0.6)
    three = ThreeBodyGAP(cutoff=8.0, n_points=150, length=0.8)
    train, test = frames_of(morse, range(12), 4), frames_of(morse, range(50, 55), 4)
    fitted = fit_gap(train, two, **options)
    assert error_of(fitted, test) < 0.01
    bends, unseen = frames_of(bent, range(40), 4), frames_of(bent, range(50, 53), 4)
    assert error_of(fit_gap(bends, two, **options), unseen) > 0.3
    both = fit_gap(bends, (two, three), delta=(1.0, 1.0), **options)
    assert both.report.n_points == (25, 150) and both.potential.names[1:] == ("two_body_gap", "three_body_gap")
    assert error_of(both, unseen) < 0.1
    spread = both.report.posterior.predictive_std([f.structure for f in unseen])
    flung = dataclasses.replace(unseen[0].structure, positions=2.5 * unseen[0].structure.positions)
    assert both.report.posterior.predictive_std([flung])[0].energy > 2.0 * max(s.energy for s in spread)


def test_bad_input_is_named():
    with pytest.raises(ConfigError, match="positive cutoff"):
        TwoBodyGAP(cutoff=-1.0)
    with pytest.raises(ConfigError, match="positive cutoff"):
        ThreeBodyGAP(length=0.0)
    frames = frames_of(morse, range(2), 3)
    with pytest.raises(DataError, match="further apart than its cutoff"):
        fit_gap(frames, TwoBodyGAP(cutoff=0.5))
    with pytest.raises(ConfigError, match="way to choose points"):
        fit_gap(frames, (TWO, THREE), points=("fps",))
