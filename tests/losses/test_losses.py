"""Losses against numbers worked out by hand."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jorbit.core.errors import ConfigError, MissingInputError
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.core.species import SpeciesTable
from jorbit.core.structure import Labels
from jorbit.graphs.batching import build_graph, pad_labels
from jorbit.losses.charges import ChargesLoss
from jorbit.losses.energy import EnergyLoss
from jorbit.losses.forces import ForcesLoss
from jorbit.losses.huber import HuberLoss
from jorbit.losses.nll import NegativeLogLikelihood
from jorbit.losses.stress import StressLoss
from jorbit.testing import systems

STRUCTURES = [systems.water(), systems.single_atom()]


def problem(**errors) -> tuple[Prediction, BatchLabels, object]:
    """Water (weight 1) and one atom (weight 3), labels zero, predictions equal to the given errors."""
    graph = build_graph(STRUCTURES, SpeciesTable.from_numbers([1, 8]), [], dtype=jnp.float64)
    weights = {"energy_weight": 3.0, "forces_weight": 3.0, "stress_weight": 3.0}
    labels = [
        Labels(energy=0.0, forces=np.zeros((s.n_atoms, 3)), stress=np.zeros((3, 3)), **(weights if k else {}))
        for k, s in enumerate(STRUCTURES)
    ]
    zero = pad_labels(labels, STRUCTURES, graph)
    prediction = Prediction(
        energy=zero.energy.at[:2].set(jnp.asarray(errors.get("energy", [0.0, 0.0]))),
        energies=jnp.zeros(graph.n_atoms, jnp.float64),
        forces=zero.forces.at[:4].set(jnp.asarray(errors.get("forces", np.zeros((4, 3))))),
        stress=zero.stress.at[:2].set(jnp.asarray(errors.get("stress", np.zeros((2, 3, 3))))),
        energy_variance=errors.get("energy_variance"),
        forces_variance=errors.get("forces_variance"),
    )
    return prediction, zero, graph


def test_energy_errors_count_per_atom_and_by_weight(x64):
    # Water is off by 0.6 eV on three atoms, the single atom by 0.1 eV.
    assert EnergyLoss()(*problem(energy=[0.6, 0.1])) == pytest.approx((0.2**2 + 3 * 0.1**2) / 4)


def test_force_errors_are_a_mean_over_components(x64):
    forces = np.zeros((4, 3))
    forces[0] = [0.3, 0.0, 0.0]
    forces[3] = [0.0, 0.0, 0.6]
    # Weights: three atoms of 1, one of 3.
    assert ForcesLoss()(*problem(forces=forces)) == pytest.approx((0.3**2 / 3 + 3 * 0.6**2 / 3) / 6)


def test_stress_errors_are_a_mean_over_nine_components(x64):
    stress = np.zeros((2, 3, 3))
    stress[0] = 0.02
    stress[1, 0, 1] = 0.3
    assert StressLoss()(*problem(stress=stress)) == pytest.approx((0.02**2 + 3 * 0.3**2 / 9) / 4)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [(0.05, 0.05**2 / 2), (-0.05, 0.05**2 / 2), (0.1, 0.005), (0.5, 0.1 * 0.45), (-2.0, 0.1 * 1.95)],
)
def test_huber_is_quadratic_then_linear(error, wanted, x64):
    loss = HuberLoss(quantity="energy", delta=0.1)
    assert loss(*problem(energy=[3 * error, error])) == pytest.approx(wanted)


def test_without_variance_the_likelihood_is_the_squared_error_in_units_of_the_noise(x64):
    loss = NegativeLogLikelihood(quantity="energy", noise=0.1)
    given = problem(energy=[0.6, 0.1])
    assert loss(*given) == pytest.approx(EnergyLoss()(*given) / (2 * 0.1**2))


def test_the_likelihood_is_that_of_a_gaussian(x64):
    """Against scipy's normal distribution, the constant of perfect knowledge taken off."""
    from scipy.stats import norm

    variance = jnp.zeros(STRUCTURES_PADDED).at[:2].set(jnp.array([0.09, 0.04]))
    got = NegativeLogLikelihood(quantity="energy", noise=0.1)(*problem(energy=[0.6, 0.1], energy_variance=variance))
    perfect = -norm(0.0, 0.1).logpdf(0.0)
    terms = [-norm(0.0, np.sqrt(0.01 + 0.09 / 9)).logpdf(0.2), -norm(0.0, np.sqrt(0.01 + 0.04)).logpdf(0.1)]
    assert got == pytest.approx((terms[0] + 3 * terms[1]) / 4 - perfect)


STRUCTURES_PADDED = 4


def test_the_best_variance_is_the_squared_error(x64):
    """For a given error e the likelihood is largest where noise^2 + variance = e^2."""
    loss = NegativeLogLikelihood(quantity="forces", noise=0.1)

    def at(variance: float) -> float:
        forces = jnp.full((4, 3), 0.5)
        prediction, labels, graph = problem(forces=forces)
        prediction = dataclasses.replace(prediction, forces_variance=jnp.full(prediction.forces.shape, variance))
        return float(loss(prediction, labels, graph))

    best = 0.5**2 - 0.1**2
    assert at(best) < min(at(best - 0.01), at(best + 0.01), at(0.0))


@pytest.mark.parametrize("loss", [ChargesLoss(), HuberLoss(quantity="charges")])
def test_a_loss_of_charges_that_nothing_predicts_is_an_error_and_not_zero(loss, x64):
    with pytest.raises(MissingInputError, match="needs a term that predicts charges"):
        loss(*problem())


@pytest.mark.parametrize(
    "make",
    [
        lambda: HuberLoss(delta=0.0),
        lambda: NegativeLogLikelihood(noise=-1.0),
        lambda: NegativeLogLikelihood(quantity="stress"),
    ],
)
def test_senseless_options_are_refused(make):
    with pytest.raises(ConfigError, match="Wanted"):
        make()
