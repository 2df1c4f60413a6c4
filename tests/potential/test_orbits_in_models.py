"""A model fitted with orbits: it labels what it is given, refuses what does not fit, and is kept whole in a file."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from jax_md import space

import jorbit
from jorbit.core.errors import ConfigError, MissingInputError, ModelFileError, OrbitError
from jorbit.core.structure import Structure
from jorbit.graphs.ase_atoms import to_ase
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential, artefact
from jorbit.simulate import to_jax_md
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.testing import systems
from jorbit.train import evaluate
from jorbit.train.labelled import label_frames, orbit_table

ORDER = np.array([7, 2, 0, 5, 8, 1, 3, 6, 4])


@pytest.fixture(scope="module")
def frames():
    return jorbit.read("ethanol_gfn2")[:60]


@pytest.fixture(scope="module")
def orbits(frames):
    return jorbit.find_orbits(frames)


@pytest.fixture(scope="module")
def fitted(frames, orbits):
    model = LinearACE(6, cutoff=3.0, max_degree=(4, 2), l_max=2, channel_of=(0, 0, 0, 1, 1, 2))
    potential = Potential((ReferenceEnergy(6), model), orbit_table(orbits))
    return jorbit.fit(frames[:20], potential, orbits=orbits)


def shuffled(structure: Structure) -> Structure:
    return dataclasses.replace(structure, positions=structure.positions[ORDER], numbers=structure.numbers[ORDER])


def test_orbits_become_rows_of_the_species_table(fitted, orbits):
    assert fitted.potential.species.names == ("H0", "H1", "H2", "C0", "C1", "O")
    assert fitted.potential.orbits.result is orbits
    energies = fitted.params["reference_energy"]["energies"]
    assert energies[0] == energies[1] == energies[2] and energies[3] == energies[4]


def test_unlabelled_and_shuffled_structures_get_labels_first(fitted, frames):
    """The same molecule in another order has the same energy, and forces in that order."""
    potential, params, _ = fitted
    wanted = jorbit.predict(potential, params, label_frames(frames[:1], potential.orbits)[0])
    for structure, order in ((frames[0].structure, np.arange(9)), (shuffled(frames[0].structure), ORDER)):
        assert structure.orbits is None
        got = jorbit.predict(potential, params, structure)
        np.testing.assert_allclose(got.energy, wanted.energy, rtol=1e-6)
        np.testing.assert_allclose(got.forces, wanted.forces[order], atol=1e-4)


def test_predicted_errors_of_unlabelled_structures_are_those_of_labelled_ones(fitted, frames):
    posterior = fitted.report.posterior
    labelled = label_frames(frames[:1], fitted.potential.orbits)[0].structure
    for structure, order in ((frames[0].structure, np.arange(9)), (shuffled(frames[0].structure), ORDER)):
        got, wanted = posterior.predictive_std([structure])[0], posterior.predictive_std([labelled])[0]
        np.testing.assert_allclose(got.energy, wanted.energy, rtol=1e-6)
        np.testing.assert_allclose(got.forces, wanted.forces[order], rtol=1e-6)


def test_wrong_labels_change_the_energy(fitted, frames):
    """Otherwise the test above would prove nothing."""
    potential, params, _ = fitted
    right = label_frames(frames[:1], potential.orbits)[0].structure
    swapped = np.array(right.orbits)
    swapped[[0, 1]] = swapped[[1, 0]]
    got = jorbit.predict(potential, params, dataclasses.replace(right, orbits=swapped))
    assert abs(got.energy[0] - jorbit.predict(potential, params, right).energy[0]) > 1e-3


def test_a_structure_that_does_not_match_is_refused(fitted, frames):
    potential, params, _ = fitted
    ethanol = frames[0].structure
    half = dataclasses.replace(ethanol, positions=ethanol.positions[:8], numbers=ethanol.numbers[:8])
    torn = dataclasses.replace(ethanol, positions=ethanol.positions + 6.0 * (ethanol.numbers == 8)[:, None])
    for structure in (systems.water(), half, torn):
        with pytest.raises(OrbitError, match="does not fit the orbits of the model"):
            jorbit.predict(potential, params, structure)
    foreign = dataclasses.replace(ethanol, orbits=np.array([0, 1, 0, 0, 0, 1, 2, 2, 2]))
    with pytest.raises(OrbitError, match="labels belong to another system"):
        jorbit.predict(potential, params, foreign)


def test_two_molecules_far_apart_are_two_copies(fitted, frames):
    potential, params, _ = fitted
    one, other = frames[0].structure, shuffled(frames[5].structure)
    both = Structure(
        positions=np.concatenate([one.positions, other.positions + 30.0]),
        numbers=np.concatenate([one.numbers, other.numbers]),
    )
    energies = [float(jorbit.predict(potential, params, s).energy[0]) for s in (one, other, both)]
    assert energies[2] == pytest.approx(energies[0] + energies[1], rel=1e-6)


def test_a_model_file_keeps_the_orbits(fitted, frames, tmp_path):
    potential, params, _ = fitted
    path = tmp_path / "orbits.safetensors"
    jorbit.save(path, potential, params)
    told = artefact.info(path)
    assert told["format_version"] == 2 and told["orbits"]["n_orbits"] == 6
    loaded, loaded_params = jorbit.load(path)
    a, b = (
        jorbit.predict(p, q, shuffled(frames[3].structure)) for p, q in ((potential, params), (loaded, loaded_params))
    )
    np.testing.assert_array_equal(a.forces, b.forces)
    with pytest.raises(OrbitError):
        jorbit.predict(loaded, loaded_params, systems.water())


def test_a_model_file_whose_orbits_contradict_its_species_is_refused(fitted, tmp_path, monkeypatch):
    potential, params, _ = fitted
    monkeypatch.setattr(artefact, "_encode_orbits", lambda orbits: orbits.to_plain() | {"names": [0, 1, 1, 0, 1, 0]})
    jorbit.save(tmp_path / "m", potential, params)
    with pytest.raises(ModelFileError, match="not those of the species table"):
        jorbit.load(tmp_path / "m")


@pytest.mark.slow
def test_calculator_and_jax_md_label_as_well(fitted, frames):
    potential, params, _ = fitted
    structure = shuffled(frames[0].structure)
    wanted = jorbit.predict(potential, params, structure)
    atoms = to_ase(structure)
    atoms.calc = jorbit.Calculator((potential, params), dtype="float32")
    np.testing.assert_allclose(atoms.get_forces(), wanted.forces, atol=1e-3)
    atoms.positions += 0.01
    atoms.get_forces()
    assert atoms.calc.n_rebuilds == 1  # labels and list were kept
    displacement, _ = space.free()
    with pytest.raises(MissingInputError, match="structure="):
        to_jax_md(potential, params, displacement, numbers=structure.numbers)
    neighbor_fn, energy_fn = to_jax_md(potential, params, displacement, structure=structure)
    positions = jnp.asarray(structure.positions)
    energy = energy_fn(positions, neighbor=neighbor_fn.allocate(positions))
    assert float(energy) == pytest.approx(float(wanted.energy[0]), rel=1e-6)


def test_errors_are_listed_by_orbit_for_any_model(fitted, frames, orbits):
    """Atoms per orbit from the composition; mean squares of the orbits add up to that of all atoms."""
    coarse = Potential((ReferenceEnergy(3),), jorbit.SpeciesTable.from_numbers([1, 6, 8]))
    coarse_params = {"reference_energy": {"energies": np.zeros(3)}}
    for metrics in (
        evaluate(fitted.potential, fitted.params, frames[20:24]),
        evaluate(coarse, coarse_params, frames[20:24], orbits=orbits),
        evaluate(coarse, coarse_params, label_frames(frames[20:24], orbits)),
    ):
        table = metrics.force_errors_by_orbit()
        counts = {"H0": 4, "H1": 8, "H2": 12, "C0": 4, "C1": 4, "O0": 4}
        assert {name: row["n_atoms"] for name, row in table.items()} == counts
        total = sum(row["n_atoms"] * row["force_rmse"] ** 2 for row in table.values()) / 36
        assert np.sqrt(total) == pytest.approx(metrics.force_rmse, rel=1e-12)
        assert metrics.to_json()["forces_by_orbit"] == table
    assert evaluate(coarse, coarse_params, frames[20:24]).force_errors_by_orbit() == {}


@pytest.mark.slow
def test_structures_that_carry_orbits_are_enough(frames, orbits):
    """The labels found, and coarser ones: all hydrogens of carbon alike."""
    labelled = label_frames(frames[:20], orbits)
    joined = [
        dataclasses.replace(
            f,
            structure=dataclasses.replace(
                f.structure, orbits=np.where(f.structure.numbers == 1, np.minimum(f.structure.orbits, 1), 0)
            ),
        )
        for f in labelled
    ]
    for some, names in ((labelled, ("H0", "H1", "H2", "C0", "C1", "O")), (joined, ("H0", "H1", "C", "O"))):
        table = jorbit.SpeciesTable.from_structures(f.structure for f in some)
        assert table.names == names
        potential, params, _ = jorbit.fit(
            some,
            Potential(
                (ReferenceEnergy(len(table)), LinearACE(len(table), cutoff=2.5, max_degree=(3,), l_max=0)), table
            ),
        )
        wanted = jorbit.predict(potential, params, some[0]).energy
        got = jorbit.predict(potential, params, shuffled(frames[0].structure)).energy
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_labels_that_no_geometry_shows_need_labelled_structures(frames):
    """Three equal hydrogens with three labels: a shuffled structure cannot say which is which."""
    names = np.array([0, 0, 0, 0, 1, 2, 3, 4, 5])
    some = [dataclasses.replace(f, structure=dataclasses.replace(f.structure, orbits=names)) for f in frames[:12]]
    table = jorbit.SpeciesTable.from_structures(f.structure for f in some)
    potential, params, _ = jorbit.fit(
        some, Potential((ReferenceEnergy(8), LinearACE(8, cutoff=2.5, max_degree=(3,), l_max=0)), table)
    )
    assert potential.orbits is None
    jorbit.predict(potential, params, some[0])
    with pytest.raises(OrbitError, match="no reference"):
        jorbit.predict(potential, params, frames[0])


def test_orbits_for_a_potential_of_other_species_are_refused(frames, orbits):
    potential = Potential(
        (ReferenceEnergy(3), LinearACE(3, cutoff=2.5, max_degree=(3,), l_max=0)),
        jorbit.SpeciesTable.from_numbers([1, 6, 8]),
    )
    with pytest.raises(ConfigError, match="orbit_table"):
        jorbit.fit(frames[:5], potential, orbits=orbits)
