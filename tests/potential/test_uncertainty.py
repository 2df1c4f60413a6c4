"""Standard deviations against draws from the posterior, finite differences and closed forms; saved bit by bit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError, ModelFileError
from jorbit.core.species import SpeciesTable
from jorbit.descriptors.ace import ACE
from jorbit.descriptors.soap import SOAP
from jorbit.graphs.batching import build_graph, capacity_for
from jorbit.models.gap import GAP
from jorbit.models.hipnn import HipNN
from jorbit.models.linear_ace import LinearACE
from jorbit.models.readout import Readout
from jorbit.potential.artefact import load_grades
from jorbit.potential.extrapolation import farthest_points, maximal_volume
from jorbit.potential.feature_rows import LastLayerRows
from jorbit.potential.potential import Potential
from jorbit.potential.uncertainty import Ensemble, grade_atoms, predict_spread
from jorbit.terms.lennard_jones import LennardJones
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.gap import fit_gap
from jorbit.train.grades import distance_grade, selection_grade
from jorbit.train.uncertainty import fit_uncertainty, last_layer_uncertainty

SPECIES = SpeciesTable.from_numbers([1, 6, 8])


@pytest.fixture(scope="module")
def frames():
    return jorbit.read("ethanol_gfn2")[:30]


@pytest.fixture(scope="module")
def fitted(frames):
    model = LinearACE(n_species=3, cutoff=3.0, max_degree=(6, 3))
    return jorbit.fit(frames[:20], Potential((ReferenceEnergy(n_species=3), model), SPECIES))


@pytest.fixture(scope="module")
def process(frames):
    soap = SOAP(n_species=3, cutoff=3.0, n_radial=3, l_max=2)
    return fit_gap(frames[:20], GAP(descriptor=soap, n_points=30), optimize=False)


@pytest.fixture(scope="module")
def network(frames):
    potential = Potential((ReferenceEnergy(n_species=3), HipNN.tiny(3)), SPECIES)
    params = jax.jit(lambda g: potential.init(jax.random.key(0), g))(potential.graph(frames[0].structure))
    params = jax.tree.map(np.asarray, params)
    return potential, params, last_layer_uncertainty(potential, params, frames[:4])


@pytest.mark.slow
def test_posterior_of_a_linear_fit_is_the_spread_of_models_drawn_from_it(fitted, frames):
    """400 draws: their standard deviation has a relative error of 1 / sqrt(800) = 3.5 %."""
    potential, _, report = fitted
    structure = frames[25].structure
    spread = predict_spread(fit_uncertainty(report), [structure])[0]
    with jax.enable_x64(True):
        graph = potential.graph(structure, dtype=jnp.float64)
        drawn = [jorbit.predict(potential, p, graph) for p in report.posterior.sample(400, seed=1)]
    assert np.std([float(d.energy[0]) for d in drawn], ddof=1) == pytest.approx(spread.energy, rel=0.15)
    forces = np.std([np.asarray(d.forces)[: structure.n_atoms] for d in drawn], axis=0, ddof=1)
    np.testing.assert_allclose(forces, spread.forces, rtol=0.2)
    energies = np.std([np.asarray(d.energies)[: structure.n_atoms] for d in drawn], axis=0, ddof=1)
    np.testing.assert_allclose(energies, spread.energies, rtol=0.2)


@pytest.mark.slow
def test_a_sketch_has_the_deviations_of_the_whole_within_its_error(fitted, frames):
    whole = fit_uncertainty(fitted.report)
    structures = [f.structure for f in frames[20:23]]
    for rank in (24, 200):  # forces by differentiation, and by products
        sketch = whole.sketched(rank)
        assert len(sketch.half) == rank
        for a, b in zip(predict_spread(whole, structures), predict_spread(sketch, structures), strict=True):
            assert np.mean(b.forces / a.forces) == pytest.approx(1.0, abs=4 / np.sqrt(2 * rank))
            assert b.energy == pytest.approx(a.energy, rel=5 / np.sqrt(2 * rank))


@pytest.mark.slow
def test_process_has_the_deviations_of_its_report_and_the_prior_far_away(process, frames):
    potential, _, report = process
    uncertainty = fit_uncertainty(report)
    structure = frames[25].structure
    mine, theirs = predict_spread(uncertainty, [structure])[0], report.posterior.predictive_std([structure])[0]
    assert mine.energy == pytest.approx(theirs.energy, rel=1e-9)
    np.testing.assert_allclose(mine.energies, theirs.energies, rtol=1e-9)
    np.testing.assert_allclose(mine.forces, theirs.forces, rtol=1e-9, atol=1e-12)
    crushed = dataclasses.replace(structure, positions=0.5 * structure.positions)
    assert predict_spread(uncertainty, [crushed])[0].energy > 3 * mine.energy
    assert grade_atoms(uncertainty, potential, [crushed])[0].max() <= report.scales.deltas[0] * (1 + 1e-9)


@pytest.mark.slow
def test_the_last_layer_is_found_and_its_rows_are_derivatives(network, frames):
    potential, params, uncertainty = network
    rows = uncertainty.rows
    assert sorted(rows.paths) == [f"hipnn/params/readout/{w}_{k}" for w in ("bias", "kernel") for k in (0, 1)]
    with jax.enable_x64(True):
        graph = potential.graph(frames[5].structure, dtype=jnp.float64)
        double = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
        start = rows.vector(double)
        features, forces = jax.jit(lambda g: (rows.atoms(potential, params, g), rows.forces(potential, params, g)))(
            graph
        )
        for k in (0, 3, 7):
            moved = rows.replaced(double, start + 0.5 * jnp.eye(len(start))[k])
            change = jorbit.predict(potential, moved, graph), jorbit.predict(potential, params, graph)
            np.testing.assert_allclose(2 * (change[0].energies - change[1].energies), features[:, k], atol=1e-8)
            np.testing.assert_allclose(2 * (change[0].forces - change[1].forces), forces[:, :, k], atol=1e-8)


def test_of_two_layers_with_nothing_bent_between_them_the_later_one_is_free(frames):
    """A readout with squares: the linear part and the output are linear, the hidden layer is not."""
    model = Readout(
        descriptor=ACE(3, cutoff=3.0, max_degree=(3, 2), l_max=2), n_species=3, hidden=(3,), activation="square"
    )
    potential = Potential((ReferenceEnergy(n_species=3), model), SPECIES)
    params = jax.jit(lambda g: potential.init(jax.random.key(1), g))(potential.graph(frames[0].structure))
    found = last_layer_uncertainty(potential, params, frames[:2], use_forces=False).rows
    assert {p.split("/")[-1] for p in found.paths} == {"output_kernel", "output_bias", "linear"}


@pytest.mark.slow
def test_a_shallow_ensemble_spreads_as_the_posterior_it_is_drawn_from(network, frames):
    """300 members: relative error 1 / sqrt(600) = 4 %."""
    potential, params, uncertainty = network
    ensemble = Ensemble.shallow(uncertainty, 300)
    assert set(ensemble.varied) == set(uncertainty.rows.paths) and ensemble.n_members == 300
    structures = [frames[7].structure]
    mine, theirs = predict_spread(ensemble, structures)[0], predict_spread(uncertainty, structures)[0]
    assert mine.energy == pytest.approx(theirs.energy, rel=0.15)
    np.testing.assert_allclose(mine.forces, theirs.forces, rtol=0.2)


def test_two_members_differ_by_what_they_predict():
    """Reference energies e1, e2 beside one Lennard-Jones term: the deviation is |e1 - e2| / sqrt(2) per atom."""
    potential = Potential((ReferenceEnergy(n_species=1), LennardJones()), SpeciesTable.from_numbers([18]))
    pair = jorbit.Structure(positions=np.array([[0.0, 0, 0], [3.9, 0, 0]]), numbers=np.array([18, 18]))
    members = [{"reference_energy": {"energies": np.array([e])}, "lennard_jones": {}} for e in (-1.0, -1.5)]
    spread = predict_spread(Ensemble.of(potential, members), [pair])[0]
    np.testing.assert_allclose(spread.energies, 0.5 / np.sqrt(2), rtol=1e-12)
    assert spread.energy == pytest.approx(1.0 / np.sqrt(2))
    np.testing.assert_array_equal(spread.forces, 0.0)
    with pytest.raises(ConfigError, match="at least two members that differ"):
        Ensemble.of(potential, members[:1])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["linear", "process", "last layer", "ensemble", "selection", "distance"])
def test_grades_do_not_see_padding_and_have_finite_derivatives(kind, fitted, process, network, frames):
    grade, potential, params = _made(kind, fitted, process, network, frames)
    structure = potential.labelled([frames[24].structure])[0]
    capacity = capacity_for([structure], potential.cutoffs)
    more = dataclasses.replace(capacity, n_atoms=16, n_slots=tuple(n + 4 for n in capacity.n_slots))
    with jax.enable_x64(True):
        graphs = [
            build_graph(structure, potential.species, potential.cutoffs, capacity=c, dtype=jnp.float64)
            for c in (capacity, more)
        ]
        grade = jax.tree.map(jnp.asarray, grade)
        tight, padded = (np.asarray(jax.jit(lambda g: grade.atoms(g))(g)) for g in graphs)
        np.testing.assert_allclose(padded[:9], tight[:9], rtol=1e-9, atol=1e-12)
        assert (padded[9:] == 0).all() and tight[:9].min() > 1e-9
        moved = lambda r: grade.atoms(dataclasses.replace(graphs[1], positions=r)).sum()  # noqa: E731
        slope = jax.jit(jax.grad(moved))(graphs[1].positions)
    assert np.isfinite(slope).all() and np.abs(slope[:9]).max() > 0


@pytest.mark.parametrize("kind", ["linear", "process", "last layer", "ensemble", "selection", "distance"])
def test_a_model_file_gives_the_same_bits(kind, fitted, process, network, frames, tmp_path):
    grade, potential, params = _made(kind, fitted, process, network, frames)
    path = tmp_path / "model.safetensors"
    jorbit.save(path, potential, params, grades={"safety": grade})
    again = load_grades(path)["safety"]
    assert jax.tree.structure(again) == jax.tree.structure(grade)
    for mine, theirs in zip(jax.tree.leaves(again), jax.tree.leaves(grade), strict=True):
        assert np.asarray(mine).dtype == np.asarray(theirs).dtype
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()
    for mine, theirs in zip(jax.tree.leaves(jorbit.load(path)[1]), jax.tree.leaves(params), strict=True):
        assert np.asarray(mine).tobytes() == np.asarray(theirs).tobytes()
    info = jorbit.potential.artefact.info(path)
    assert info["grades"] == {"safety": {"last layer": "linear"}.get(kind, kind)}
    assert info["n_parameters"] == sum(np.size(leaf) for leaf in jax.tree.leaves(params))


def test_a_grade_of_another_potential_is_not_saved(fitted, network, tmp_path):
    with pytest.raises(ModelFileError, match="another potential"):
        jorbit.save(tmp_path / "m.safetensors", *network[:2], grades={"x": fit_uncertainty(fitted.report)})


def _made(kind, fitted, process, network, frames):
    if kind == "process":
        return fit_uncertainty(process.report), *process[:2]
    if kind == "last layer":
        return network[2], *network[:2]
    if kind == "ensemble":
        return Ensemble.shallow(network[2], 4), *network[:2]
    makers = {"selection": selection_grade, "distance": distance_grade}
    made = makers[kind](fitted.potential, frames[:20]) if kind in makers else fit_uncertainty(fitted.report)
    return made, *fitted[:2]


def test_no_swap_of_a_row_enlarges_a_maximal_volume():
    rows = np.random.default_rng(0).normal(size=(40, 4))
    chosen, coefficients = maximal_volume(rows)
    best = abs(np.linalg.det(rows[chosen]))
    np.testing.assert_allclose(coefficients @ rows[chosen], rows, atol=1e-12)
    for k in range(4):
        for i in range(40):
            other = chosen.copy()
            other[k] = i
            assert abs(np.linalg.det(rows[other])) <= 1.05 * best * (1 + 1e-9)


def test_training_atoms_are_inside_and_crushed_molecules_outside(fitted, frames):
    potential = fitted.potential
    inside = [f.structure for f in frames[:20]]
    crushed = [dataclasses.replace(s, positions=0.8 * s.positions) for s in inside[:2]]
    selection, distance = selection_grade(potential, frames[:20]), distance_grade(potential, frames[:20])
    assert max(g.max() for g in grade_atoms(selection, potential, inside)) < 1.06  # the tolerance of the search
    assert min(g.max() for g in grade_atoms(selection, potential, crushed)) > 3
    assert max(g.max() for g in grade_atoms(distance, potential, inside)) < 1e-4  # all are kept: rounding of 0
    assert min(g.max() for g in grade_atoms(distance, potential, crushed)) > 2


def test_the_distance_is_that_to_the_nearest_atom_of_the_species(fitted, frames):
    """Against a search by brute force, with its own loop."""
    potential = fitted.potential
    grade = distance_grade(potential, frames[:5])
    with jax.enable_x64(True):
        d = {
            k: np.asarray(grade.descriptor(potential.graph(frames[k].structure, dtype=jnp.float64)))[:9]
            for k in range(6)
        }
    z = frames[0].structure.numbers
    of_h = np.concatenate([d[k][z == 1] for k in range(5)])
    expected = min(np.linalg.norm((d[5][8] - row) / grade.scales[0]) for row in of_h) / grade.units[0]
    assert z[8] == 1 and grade_atoms(grade, potential, [frames[5].structure])[0][8] == pytest.approx(expected, rel=1e-6)


def test_points_are_taken_far_from_each_other():
    x = np.random.default_rng(2).normal(size=(50, 3))
    taken = farthest_points(x, 6)
    for k in range(1, 6):
        distance = np.min(np.linalg.norm(x[:, None] - x[taken[:k]][None], axis=-1), axis=1)
        assert taken[k] == np.argmax(distance)


def test_errors_say_what_to_do_instead(network, frames, fitted):
    potential, params, uncertainty = network
    with pytest.raises(ConfigError, match="distance_grade is for all"):
        selection_grade(potential, frames[:2])
    with pytest.raises(ConfigError, match="say which one measures the distance"):
        distance_grade(potential, frames[:2])
    with pytest.raises(ConfigError, match="give the descriptor one of these cutoffs"):
        distance_grade(potential, frames[:2], SOAP(n_species=3, cutoff=4.5))
    with pytest.raises(ConfigError, match="matches"):
        last_layer_uncertainty(potential, params, frames[:2], parameters=["nothing/*"])
    with pytest.raises(ConfigError, match="last layer"):
        Ensemble.shallow(fit_uncertainty(fitted.report), 3)
    assert isinstance(
        last_layer_uncertainty(potential, params, frames[:1], parameters=["*/readout/kernel_1"]).rows, LastLayerRows
    )
