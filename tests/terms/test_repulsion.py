"""Atoms that come closer than in the data repel each other, whatever the model says there."""

import dataclasses
import inspect
import json
from typing import Any

import jax
import numpy as np
import pytest

import jorbit
from jorbit.core.outputs import AtomOutputs
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Labels, Structure
from jorbit.datasets import load_dataset
from jorbit.datasets.shipped import FOLDER
from jorbit.graphs.batching import pad_labels
from jorbit.graphs.neighbors import find_pairs
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.potential.dimers import dimer_curves, secure
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.terms.repulsion import Repulsion
from jorbit.terms.zbl import ZBL
from jorbit.testing import systems
from jorbit.train import GradientConfig, prepare

pytestmark = pytest.mark.usefixtures("x64")


def shortest_distances(structures, species: SpeciesTable) -> np.ndarray:
    """Of every pair of species in the structures, Å; infinite where there is none within 3 Å."""
    n = len(species)
    shortest = np.full((n, n), np.inf)
    for s in structures:
        pairs, rows = find_pairs(s, 3.0), species.index(s.numbers)
        np.minimum.at(shortest, (rows[pairs.i], rows[pairs.j]), pairs.distances)
    return shortest


SETS = sorted(path.stem for path in FOLDER.glob("*.npz"))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_every_pair_of_a_shipped_set_repels_from_a_tenth_of_an_angstrom_to_almost_its_shortest_distance(name: str):
    frames = list(load_dataset(name))[:2]
    structures = [f.structure for f in frames]
    species = SpeciesTable.from_numbers(sorted({int(z) for s in structures for z in s.numbers}))
    n = len(species)
    model = LinearACE(n_species=n, cutoff=3.5, max_degree=(6,), l_max=0)
    potential = Potential((ReferenceEnergy(n_species=n), Repulsion(n_species=n), model), species)
    _, params, _ = jorbit.fit(frames, potential, prior="ridge", ridge=1e-6)
    shortest = shortest_distances(structures, species)
    grid = np.linspace(0.1, float(shortest[np.isfinite(shortest)].max()), 90)
    _, slopes = dimer_curves(potential, params, grid)
    bare = Potential((ReferenceEnergy(n_species=n), model), species)
    _, without = dimer_curves(bare, {k: params[k] for k in bare.names}, grid)
    for a, b in np.ndindex(n, n):
        if np.isfinite(shortest[a, b]):
            assert (slopes[a, b][grid <= 0.97 * shortest[a, b]] < 0).all(), species.names[a] + species.names[b]
    # The model alone is not safe, so the test can fail.
    assert any((without[a, b][grid <= 0.97 * shortest[a, b]] > 0).any() for a, b in np.ndindex(n, n))


def test_training_frames_feel_nothing_and_closer_atoms_do():
    frames = list(load_dataset("ethanol_gfn2"))[:5]
    species = SpeciesTable.from_numbers([1, 6, 8])
    term = Repulsion(n_species=3)
    potential = Potential((term,), species)
    graphs = [potential.graph(f.structure) for f in frames]
    none = AtomOutputs(energy=graphs[0].positions[:, 0])
    batches = [(g, pad_labels([f.labels], [f.structure], g)) for f, g in zip(frames, graphs, strict=True)]
    params = term.calibrate(term.init(jax.random.key(0), graphs[0], none), batches)
    energies = [potential.energy({"repulsion": params}, g)[0] for g in graphs]
    assert not np.any(energies)
    shortest = shortest_distances([f.structure for f in frames], species)
    seen = np.isfinite(shortest)  # all but oxygen with oxygen: there is one
    np.testing.assert_allclose(params["reach"][seen], shortest[seen], rtol=1e-12)
    assert params["reach"][~seen] == pytest.approx(1.32)  # twice the covalent radius
    closer = dataclasses.replace(frames[0].structure, positions=0.7 * frames[0].structure.positions)
    assert potential.energy({"repulsion": params}, potential.graph(closer))[0] > 1.0


def test_training_takes_the_reach_from_all_batches_however_many(monkeypatch):
    monkeypatch.setattr(prepare, "_CALIBRATION_BATCHES", 1)
    term = Repulsion(n_species=1)
    potential = Potential((term,), SpeciesTable.from_numbers([18]))
    pairs = [
        Structure(positions=np.array([[0.0, 0, 0], [d, 0, 0]]), numbers=np.array([18, 18])) for d in (2.5, 1.9, 2.2)
    ]

    class Store:  # a batch for each pair
        def order(self, seed):
            return np.arange(3)

        def load(self, k):
            graph = potential.graph(pairs[k])
            return graph, pad_labels([Labels()], [pairs[k]], graph)

    start = {"repulsion": {"reach": np.full((1, 1), 2.0), "strength": np.ones((1, 1))}}
    config, names = GradientConfig(calibrate=True), {"repulsion": "repulsion"}
    initial: Any = inspect.unwrap(prepare._initial_params)  # a store of another class
    found = initial(potential, Store(), config, start, names)
    assert float(found["repulsion"]["reach"][0, 0]) == pytest.approx(1.9)


def test_strengths_rise_as_much_as_a_model_pulls():
    # A spring of 8 eV/Å^2 that is at rest at 3 Å pushes nearer atoms apart; its negative pulls them together.
    term = Repulsion(n_species=1, margin=0.1, stiffness=0.0)
    params = {"reach": np.full((1, 1), 2.2), "strength": np.ones((1, 1))}
    pushed = term.secured(params, (14,), lambda r: (8.0 * (r - 3.0))[None, None])
    pulled = term.secured(params, (14,), lambda r: (8.0 * (3.0 - r))[None, None])
    assert pushed["strength"] == 1.0 and pulled["strength"] > 1.0
    potential = Potential((term,), SpeciesTable.from_numbers([14]))
    r = np.linspace(0.1, 0.9 * 2.2, 150)
    _, slopes = dimer_curves(potential, {"repulsion": pulled}, r)
    total = slopes[0, 0] + 8.0 * (3.0 - r)
    assert (total < 1e-2).all() and total.max() > -1e-2  # just enough


def test_securing_needs_no_repulsion_and_changes_nothing_then():
    potential = Potential((ZBL(),), SpeciesTable.from_numbers([1, 8]))
    assert secure(potential, {"zbl": {}}) == {"zbl": {}}


def test_info_warns_of_a_potential_that_nothing_keeps_apart(tmp_path):
    from typer.testing import CliRunner

    from jorbit.cli.app import app

    graph_of = systems.water()
    for terms, safe in (((LinearACE.tiny(3),), False), ((ZBL(), LinearACE.tiny(3)), True)):
        potential = Potential(terms, systems.SPECIES)
        params = potential.init(jax.random.key(0), potential.graph(graph_of))
        path = tmp_path / "model.safetensors"
        jorbit.save(path, potential, params)
        shown = CliRunner().invoke(app, ["info", str(path)])
        assert ("no term keeps atoms apart" in " ".join(shown.stdout.split())) is not safe
        described = json.loads(CliRunner().invoke(app, ["info", str(path), "--json"]).stdout)
        assert described["guards_short_distances"] is safe
