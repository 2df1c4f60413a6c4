"""Weights by orbit, and reference energies that no label can split."""

import dataclasses

import numpy as np
import pytest

import jorbit
from jorbit.core.errors import ConfigError, DataError
from jorbit.core.structure import Frame, Labels, Structure
from jorbit.datasets.extxyz import read_extxyz, write_extxyz
from jorbit.models.linear_ace import LinearACE
from jorbit.potential import Potential
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train import evaluate, weigh_orbits
from jorbit.train.config import load_config
from jorbit.train.run import train
from jorbit.train.statistics import reference_energies

LABELS = np.array([0, 1, 0, 0, 1, 1, 2, 2, 2])  # orbits of the shipped ethanol within C, C, O, H ...


@pytest.fixture(scope="module")
def frames():
    return [
        dataclasses.replace(f, structure=dataclasses.replace(f.structure, orbits=LABELS))
        for f in jorbit.read("ethanol_gfn2")[:30]
    ]


def test_equal_weights_give_every_orbit_the_same_share(frames):
    """w = (N / orbits) / members: 9 atoms, 6 orbits."""
    (first, *_) = weigh_orbits(frames)
    members = np.array([1, 1, 1, 1, 2, 2, 3, 3, 3])
    np.testing.assert_allclose(first.labels.forces_weight, 9 / 6 / members, rtol=1e-12)


def test_variance_weights_make_all_orbits_equally_large(frames):
    weighed = weigh_orbits(frames, "variance")
    keys = list(zip(frames[0].structure.numbers, LABELS, strict=True))
    squares = {
        key: np.mean(
            [
                w.labels.forces_weight[k] * (w.labels.forces[k] ** 2).mean()
                for w in weighed
                for k in range(9)
                if keys[k] == key
            ]
        )
        for key in set(keys)
    }
    np.testing.assert_allclose(list(squares.values()), squares[(8, 0)], rtol=1e-10)
    assert np.mean([w.labels.forces_weight for w in weighed]) == pytest.approx(1.0, rel=1e-12)


def small_fit(frames, **more):
    table = jorbit.SpeciesTable.from_numbers([1, 6, 8])
    potential = Potential((ReferenceEnergy(3), LinearACE(3, cutoff=2.5, max_degree=(5,), l_max=0)), table)
    return jorbit.fit(frames, potential, prior="ridge", ridge=1e-6, **more)


def test_weight_one_is_the_plain_fit_and_weight_zero_takes_an_atom_out(frames):
    ones = [dataclasses.replace(f, labels=dataclasses.replace(f.labels, forces_weight=np.ones(9))) for f in frames]
    plain = small_fit(frames).params["linear_ace"]["coefficients"]
    np.testing.assert_array_equal(small_fit(ones).params["linear_ace"]["coefficients"], plain)

    def without_oxygen(junk: float) -> list[Frame]:
        weight = np.where(frames[0].structure.numbers == 8, 0.0, 1.0)
        return [
            dataclasses.replace(
                f,
                labels=dataclasses.replace(
                    f.labels, forces=f.labels.forces + junk * (weight == 0)[:, None], forces_weight=weight
                ),
            )
            for f in frames
        ]

    fits = [small_fit(without_oxygen(junk)) for junk in (0.0, 7.0)]
    np.testing.assert_array_equal(*(f.params["linear_ace"]["coefficients"] for f in fits))
    assert np.abs(fits[0].params["linear_ace"]["coefficients"] - plain).max() > 1e-3
    measured = evaluate(fits[0].potential, fits[0].params, without_oxygen(7.0))
    assert set(measured.force_errors_by_element()) == {"H", "C"}


def test_a_closed_form_fit_counts_the_squared_errors_of_all_orbits_alike(frames):
    """The shares themselves: weights of labels multiply squared errors there, too."""
    members = np.array([1, 1, 1, 1, 2, 2, 3, 3, 3])
    by_hand = [
        dataclasses.replace(f, labels=dataclasses.replace(f.labels, forces_weight=9 / 6 / members)) for f in frames
    ]
    fits = [small_fit(by_hand), small_fit(frames, orbit_weights="equal")]
    np.testing.assert_allclose(*(f.params["linear_ace"]["coefficients"] for f in fits), rtol=1e-9, atol=1e-12)


def test_isolated_atoms_have_no_orbits_and_stay_as_they_are(frames):
    """A fit that learns their energies along with the rest weighs and measures what has orbits only."""
    atoms = [
        Frame(
            structure=Structure(positions=np.zeros((1, 3)), numbers=np.array([z])),
            labels=Labels(energy=energy, forces=np.zeros((1, 3))),
        )
        for z, energy in ((1, -10.0), (6, -50.0), (8, -100.0))
    ]
    assert all(one is other for one, other in zip(atoms, weigh_orbits([*frames, *atoms])[30:], strict=True))
    table = jorbit.SpeciesTable.from_structures(f.structure for f in frames)
    channels = tuple(int(np.flatnonzero(np.unique(table.numbers) == z)[0]) for z in table.numbers)
    model = LinearACE(len(table), cutoff=2.5, max_degree=(4,), l_max=0, channel_of=channels)
    potential = Potential((ReferenceEnergy(len(table)), model), table)
    options = {"prior": "ridge", "ridge": 1e-6, "orbit_weights": "equal", "reference_energies": "fit"}
    report = jorbit.fit([*frames, *atoms], potential, **options).report
    assert report.n_rows["energy"] == 33 and report.training.n_frames == 33
    assert set(report.training.force_errors_by_orbit()) == {"H0", "H1", "H2", "C0", "C1", "O0"}


def test_heavier_orbits_are_fitted_better(frames):
    """Weights of thirty on the methyl hydrogens lower their error below that of the plain fit."""
    weight = np.where(LABELS == 2, 30.0, 1.0)
    heavy = [dataclasses.replace(f, labels=dataclasses.replace(f.labels, forces_weight=weight)) for f in frames]
    errors = [
        evaluate(fit.potential, fit.params, frames).force_errors_by_orbit()["H2"]["force_rmse"]
        for fit in (small_fit(frames), small_fit(heavy))
    ]
    assert errors[1] < 0.9 * errors[0]


def test_weights_survive_a_file(frames, tmp_path):
    weighed = weigh_orbits(frames[:2], "variance")
    write_extxyz(tmp_path / "w.extxyz", weighed)
    for a, b in zip(weighed, read_extxyz(tmp_path / "w.extxyz"), strict=True):
        np.testing.assert_array_equal(a.labels.forces_weight, b.labels.forces_weight)
        np.testing.assert_array_equal(a.structure.orbits, b.structure.orbits)


def test_what_cannot_be_weighed_says_why(frames):
    with pytest.raises(DataError, match="carry orbits"):
        weigh_orbits(jorbit.read("ethanol_gfn2")[:2])
    with pytest.raises(DataError, match="none of the frames has forces"):
        weigh_orbits([dataclasses.replace(frames[0], labels=Labels(energy=1.0))])
    with pytest.raises(ConfigError, match="'equal' or 'variance'"):
        weigh_orbits(frames, "size")
    wrong = dataclasses.replace(frames[0], labels=Labels(energy=1.0, forces_weight=np.ones(4)))
    with pytest.raises(DataError, match="one per atom"):
        small_fit([wrong])


def test_reference_energies_belong_to_elements(frames):
    """The same energies with labels and without, whatever the source."""
    fine = jorbit.SpeciesTable.from_structures(f.structure for f in frames)
    coarse = jorbit.SpeciesTable.from_numbers(fine.numbers)
    for given in ("fit", {"H": -13.0, "C": -1000.0, "O": -2000.0}):
        few, many = (reference_energies(frames, table, given).energies for table in (coarse, fine))
        np.testing.assert_allclose(many, few[coarse.index(np.array(fine.numbers))], rtol=1e-12)


@pytest.mark.slow
def test_the_configuration_finds_orbits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(
        {
            "data": {"train": "ethanol_gfn2", "train_size": 25, "test": 5, "limit": 60},
            "potential": [
                {"name": "reference_energy"},
                {"name": "linear_ace", "cutoff": 2.5, "max_degree": [4], "l_max": 0},
            ],
            "orbits": {"weights": "equal", "level": 1},
        }
    )
    assert result.potential.species.names == ("H0", "H1", "C0", "C1", "O")  # one round tells OH from CH
    assert result.potential.terms[1].channel_of == (0, 0, 1, 1, 2)
    assert set(result.metrics["test"].force_errors_by_orbit()) == {"H0", "H1", "C0", "C1", "O0"}
    assert jorbit.load(result.path)[0].orbits.counts == result.potential.orbits.counts
    with pytest.raises(ConfigError, match="levels.*Did you mean 'level'"):
        load_config({"data": {"train": "ethanol_gfn2"}, "orbits": {"levels": 1}})
