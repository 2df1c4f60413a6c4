"""What minutes of training are worth: a small HIP-HOP-NN against the linear ACE, on the same shipped frames."""

import jax
import pytest

import jorbit
from jorbit.models.hiphop import HipHop
from jorbit.models.linear_ace import LinearACE
from jorbit.terms.reference_energy import ReferenceEnergy
from jorbit.train.gradient import train_by_gradient
from jorbit.train.gradient_config import GradientConfig
from jorbit.train.metrics import evaluate

EPOCHS = 100  # 11,900 steps: two minutes on one core


@pytest.mark.slow
def test_three_minutes_of_training_beat_the_linear_ace_of_the_readme():
    train, test = jorbit.read("ethanol_gfn2:train"), jorbit.read("ethanol_gfn2:test")[:300]
    species = jorbit.SpeciesTable.from_structures(frame.structure for frame in train)
    reference = ReferenceEnergy(n_species=3)
    with jax.enable_x64(True):
        linear = LinearACE(n_species=3, cutoff=4.0, max_degree=(10, 6))
        fitted = jorbit.fit(train, jorbit.Potential((reference, linear), species))
        rival = evaluate(fitted.potential, fitted.params, test)
    network = HipHop(n_species=3, cutoff=4.0, invariants="hop13:3,2", n_features=24, n_interactions=2)
    potential = jorbit.Potential((reference, network), species)
    config = GradientConfig(epochs=EPOCHS, batch_size=8, learning_rate=0.01, ema=0.995)
    params, _ = train_by_gradient(potential, train[:950], train[950:], config)
    errors = evaluate(potential, params, test)
    assert errors.force_mae < rival.force_mae and errors.energy_mae < 1.2 * rival.energy_mae
