"""Learning curves show what they are given."""

import numpy as np

from jorbit.report import draw_learning_curves, learning_curves_section

HISTORY = [
    {"epoch": k, "loss": 1.0 / k, "learning_rate": 0.01, "validation": {"loss": 2.0 / k, "forces_rmse": 0.1 / k}}
    for k in (1, 2, 3)
]


def test_curves_hold_the_numbers_of_the_history():
    losses, errors, rates = draw_learning_curves(HISTORY).axes
    training, validation = (np.asarray(line.get_ydata()) for line in losses.get_lines())
    np.testing.assert_allclose(training, [1.0, 0.5, 1 / 3])
    np.testing.assert_allclose(validation, [2.0, 1.0, 2 / 3])
    (forces,) = errors.get_lines()
    assert forces.get_label() == "forces, meV/Å"
    np.testing.assert_allclose(forces.get_ydata(), [100.0, 50.0, 100 / 3])  # eV -> meV
    assert rates.get_lines()[0].get_ydata()[0] == 0.01


def test_a_training_without_validation_has_a_page_too():
    bare = [{k: v for k, v in h.items() if k != "validation"} for h in HISTORY]
    assert len(draw_learning_curves(bare).axes[0].get_lines()) == 1
    assert "<img" in learning_curves_section(bare).body
