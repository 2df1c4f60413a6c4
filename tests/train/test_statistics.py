"""Reference energies: given, found in the data, or determined by compositions as far as these go."""

import numpy as np
import pytest

from jorbit import Frame, Labels, SpeciesTable, Structure
from jorbit.core.errors import ConfigError, DataError
from jorbit.train.metrics import evaluate
from jorbit.train.statistics import compositions, isolated_atoms, mean_energy_baseline, reference_energies

TABLE = SpeciesTable.from_numbers([1, 6, 8])
ATOMS = np.array([-13.6, -1030.0, -2040.0])


def molecule(numbers, energy=None, seed=0, **options):
    numbers = np.array(numbers)
    positions = np.random.default_rng(seed).uniform(0, 3, (len(numbers), 3))
    info = options.pop("info", {})
    return Frame(
        structure=Structure(positions=positions, numbers=numbers, **options), labels=Labels(energy=energy), info=info
    )


def exact(numbers, shift=0.0):
    return molecule(numbers, sum(ATOMS[TABLE.numbers.index(z)] for z in numbers) + shift)


WATER, METHANE, METHANOL, ETHANOL = [1, 1, 8], [6, 1, 1, 1, 1], [6, 8, 1, 1, 1, 1], [6, 6, 8, 1, 1, 1, 1, 1, 1]


def test_compositions_count_atoms_per_species():
    counts = compositions([exact(WATER).structure, exact(ETHANOL).structure], TABLE)
    assert counts.tolist() == [[2, 0, 1], [6, 2, 1]]


def test_independent_compositions_determine_every_element():
    frames = [exact(WATER), exact(METHANE), exact(METHANOL), exact(ETHANOL)]
    found = reference_energies(frames, TABLE, "fit")
    np.testing.assert_allclose(found.energies, ATOMS, rtol=1e-10)
    assert found.directions.shape == (3, 3) and found.isolated == frozenset()


def test_one_composition_determines_only_its_sum():
    frames = [exact(ETHANOL, shift) for shift in (-0.3, 0.1, 0.2)]
    found = reference_energies(frames, TABLE)
    count = np.array([6.0, 2.0, 1.0])
    assert found.energies @ count == pytest.approx(ATOMS @ count, rel=1e-12)
    assert found.directions.shape == (3, 1)
    # Minimal norm: the energies are proportional to the composition, nothing is invented beyond it.
    np.testing.assert_allclose(found.energies / count, found.energies[2], rtol=1e-10)


def test_isolated_atoms_give_exact_energies_and_leave_nothing_free():
    atoms = [exact([z]) for z in (1, 6, 8)]
    found = reference_energies([exact(ETHANOL, -5.0), *atoms], TABLE)
    assert found.energies.tolist() == ATOMS.tolist()
    assert found.directions.shape == (3, 0) and found.isolated == {1, 2, 3}


def test_isolated_atoms_in_a_periodic_box_are_recognised_by_their_name():
    box = {"cell": 20.0 * np.eye(3), "pbc": np.ones(3, bool)}
    named = molecule([8], -2040.0, info={"config_type": "IsolatedAtom"}, **box)
    crystal = molecule([6], -1035.0, cell=2.5 * np.eye(3), pbc=np.ones(3, bool))
    assert isolated_atoms([crystal, named]) == {8: 1}


def test_missing_isolated_atoms_are_fitted_given_the_others():
    frames = [exact([1]), exact([8]), exact(WATER, -9.0), exact(METHANE)]
    found = reference_energies(frames, TABLE)
    assert found.energies[[0, 2]].tolist() == ATOMS[[0, 2]].tolist()
    # Per atom, water (without carbon) says nothing about carbon; methane says it exactly.
    assert found.energies[1] == pytest.approx(ATOMS[1], rel=1e-10)
    np.testing.assert_allclose(np.abs(found.directions[:, 0]), [0, 1, 0])


def test_isolated_atoms_that_disagree_are_refused():
    with pytest.raises(DataError, match="Frames 0 and 2 both hold one isolated H atom"):
        isolated_atoms([molecule([1], -13.6), exact(WATER), molecule([1], -13.5)])


def test_given_energies_by_symbol_or_number():
    found = reference_energies([exact(ETHANOL)], TABLE, {"H": -1.0, 6: -2.0, "O": -3.0, "Fe": -4.0})
    assert found.energies.tolist() == [-1.0, -2.0, -3.0] and found.directions.shape == (3, 0)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"H": -1.0}, "C, O need an entry"),
        ("isolated", "H, C, O need an isolated atom"),
        ({"H": -1.0, "c": -2.0, "O": -3.0}, "Did you mean 'C'"),
        ("isolatd", "must be None, 'fit', 'isolated'"),
    ],
)
def test_mistakes_are_named(given, message):
    with pytest.raises(ConfigError, match=message):
        reference_energies([exact(ETHANOL)], TABLE, given)


def test_orbits_of_one_element_share_a_given_energy():
    table = SpeciesTable(((1, 0), (1, 1)))
    assert reference_energies([], table, {"H": -13.6}).energies.tolist() == [-13.6, -13.6]


def test_mean_energy_baseline_predicts_the_mean_of_a_composition_and_no_forces():
    energies = np.array([-0.3, 0.1, 0.5])
    frames = [
        Frame(structure=exact(ETHANOL).structure, labels=Labels(energy=float(e), forces=np.full((9, 3), 2.0)))
        for e in energies
    ]
    metrics = evaluate(*mean_energy_baseline(frames), frames)
    assert metrics.energy_mae == pytest.approx(np.abs(energies - energies.mean()).mean(), abs=1e-9)
    assert metrics.force_mae == pytest.approx(2.0) and metrics.stress_mae is None
    with pytest.raises(DataError, match="none of the frames has one"):
        mean_energy_baseline([molecule(WATER)])
