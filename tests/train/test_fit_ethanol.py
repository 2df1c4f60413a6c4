"""The shipped ethanol set: a small linear ACE against the two baselines that any model must beat."""

import numpy as np
import pytest

from jorbit import Potential, SpeciesTable
from jorbit.datasets import load_dataset
from jorbit.models.linear_ace import LinearACE
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.fit import default_potential, fit
from jorbit.train.metrics import evaluate
from jorbit.train.split import random_split
from jorbit.train.statistics import mean_energy_baseline

TABLE = SpeciesTable.from_numbers([1, 6, 8])


def ace(*max_degree: int) -> Potential:
    terms = (ReferenceEnergy(n_species=3), LinearACE(n_species=3, cutoff=4.0, max_degree=max_degree, l_max=3))
    return Potential(terms=terms, species=TABLE)


@pytest.fixture(scope="module")
def split():
    return random_split(list(load_dataset("ethanol_gfn2")), train=60, test=40, seed=0)


@pytest.mark.slow
def test_many_body_functions_beat_pairs_and_pairs_beat_the_mean_energy(split):
    many, pairs = fit(split.train, ace(8, 5)), fit(split.train, ace(10))
    errors = [evaluate(r.potential, r.params, split.test) for r in (many, pairs)]
    errors.append(evaluate(*mean_energy_baseline(split.train), split.test))
    forces = [e.force_mae for e in errors]
    energies = [e.energy_mae_per_atom for e in errors]
    assert forces[0] < 0.5 * forces[1] and forces[1] < 0.7 * forces[2]
    assert energies[0] < 0.5 * energies[1] and energies[1] < energies[2]
    assert many.report.compilations["design"] == 1
    # 60 frames hold no more independent numbers than rows: the evidence must not claim to determine more.
    assert many.report.effective_parameters < min(many.report.n_parameters, sum(many.report.n_rows.values()))

    # Where the posterior is less certain, the errors must be larger on average.
    stds = many.report.posterior.predictive_std([f.structure for f in split.test])
    uncertain = np.concatenate([s.forces.reshape(-1) for s in stds])
    wrong = np.abs(errors[0].force_predicted - errors[0].force_reference).reshape(-1)
    least, most = np.array_split(np.argsort(uncertain), 3)[0], np.array_split(np.argsort(uncertain), 3)[2]
    assert wrong[most].mean() > 1.2 * wrong[least].mean()


def test_the_default_potential_knows_the_elements_of_the_frames(split):
    potential = default_potential(split.train)
    assert potential.species == TABLE and potential.names == ("reference_energy", "linear_ace")
