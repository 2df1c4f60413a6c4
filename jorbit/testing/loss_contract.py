"""The contract of losses: zero at perfection, blind to padding and weight 0, finite gradients."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jorbit.core.graph import Graph
from jorbit.core.outputs import BatchLabels, Prediction
from jorbit.core.protocols import Loss
from jorbit.core.structure import Labels
from jorbit.graphs.batching import build_graph, pad_labels
from jorbit.testing import systems
from jorbit.testing.requirements import require, require_close, require_finite
from jorbit.testing.systems import SPECIES

FIELDS = ("energy", "forces", "stress", "charges")


def loss_problem(seed: int = 0, error: float = 0.1) -> tuple[Prediction, BatchLabels, Graph]:
    """A padded batch of three structures with labels of every kind, and a prediction that is off by about `error`."""
    rng = np.random.default_rng(seed)
    structures = [systems.water(), systems.triclinic_crystal(), systems.slab()]
    graph = build_graph(structures, SPECIES, [], dtype=jnp.float64)
    labels = [
        Labels(
            energy=float(rng.normal()),
            forces=rng.normal(size=(s.n_atoms, 3)),
            stress=rng.normal(size=(3, 3)),
            charges=rng.normal(size=s.n_atoms),
        )
        for s in structures
    ]
    batch = pad_labels(labels, structures, graph)

    def off(values: jax.Array) -> jax.Array:
        return values + error * jnp.asarray(rng.normal(size=values.shape))

    prediction = Prediction(
        energy=off(batch.energy),
        energies=off(jnp.zeros(graph.n_atoms, jnp.float64)),
        forces=off(batch.forces),
        stress=off(batch.stress),
        charges=off(jnp.asarray(batch.charges)),
    )
    return prediction, batch, graph


def perfect(prediction: Prediction, labels: BatchLabels) -> Prediction:
    """The prediction with the labels' values."""
    return dataclasses.replace(prediction, **{f: getattr(labels, f) for f in FIELDS})


def check_perfection_costs_nothing(loss: Loss) -> None:
    """Zero, with a gradient that is finite and zero; anything else costs something."""
    prediction, labels, graph = loss_problem()
    best = perfect(prediction, labels)
    value, gradient = jax.value_and_grad(lambda p: loss(p, labels, graph))(best)
    require(value.shape == (), f"{loss}: wanted a scalar, got shape {value.shape}.")
    require(value == 0, f"{loss}: a perfect prediction costs {value}.")
    for leaf in jax.tree.leaves(gradient):
        require_finite(leaf, f"{loss}: gradient at zero error")
        require(not np.any(leaf), f"{loss}: the gradient at zero error is not zero.")
    require(loss(prediction, labels, graph) > 0, f"{loss}: an imperfect prediction costs nothing.")


def check_padding_and_weight_zero_do_not_count(loss: Loss) -> None:
    """Whatever stands there, NaN included, changes neither value nor gradient."""
    prediction, labels, graph = loss_problem()
    labels = dataclasses.replace(
        labels,
        energy_weight=labels.energy_weight.at[0].set(0.0),
        forces_weight=labels.forces_weight.at[1].set(0.0),
        stress_weight=labels.stress_weight.at[2].set(0.0),
        charges_weight=jnp.asarray(labels.charges_weight).at[1].set(0.0),
    )
    function = jax.value_and_grad(lambda p, y: loss(p, y, graph))
    value, gradient = function(prediction, labels)
    for junk in (1e6, np.nan):
        spoiled = {
            "energy": jnp.where(labels.energy_weight > 0, labels.energy, junk),
            "forces": jnp.where(labels.forces_weight[:, None] > 0, labels.forces, junk),
            "stress": jnp.where(labels.stress_weight[:, None, None] > 0, labels.stress, junk),
            "charges": jnp.where(jnp.asarray(labels.charges_weight) > 0, jnp.asarray(labels.charges), junk),
        }
        again, gradient_again = function(prediction, dataclasses.replace(labels, **spoiled))
        require(again == value, f"{loss}: {junk} under weight 0 changes the loss from {value} to {again}.")
        for mine, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_again), strict=True):
            require(np.array_equal(mine, theirs), f"{loss}: {junk} under weight 0 changes the gradient.")
    nothing = {f"{field}_weight": jnp.zeros_like(getattr(labels, f"{field}_weight")) for field in FIELDS}
    empty, gradient = function(prediction, dataclasses.replace(labels, **nothing))
    require(empty == 0, f"{loss}: without any label it is {empty}.")
    for leaf in jax.tree.leaves(gradient):
        require(not np.any(leaf), f"{loss}: without any label its gradient is not zero.")


def check_the_gradient_is_the_derivative(loss: Loss) -> None:
    """Against a central difference along a random direction."""
    prediction, labels, graph = loss_problem()
    rng = np.random.default_rng(4)
    direction = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), prediction)

    def along(h: jax.Array) -> jax.Array:
        return loss(jax.tree.map(lambda p, v: p + h * v, prediction, direction), labels, graph)

    h = 1e-5
    wanted = (along(jnp.float64(h)) - along(jnp.float64(-h))) / (2 * h)
    require_close(jax.grad(along)(jnp.float64(0.0)), wanted, 1e-6, f"{loss}: derivative")


def check_weights_are_relative(loss: Loss) -> None:
    """All weights times ten change nothing: the loss is a mean."""
    prediction, labels, graph = loss_problem()
    heavier = dataclasses.replace(
        labels, **{f"{field}_weight": 10.0 * getattr(labels, f"{field}_weight") for field in FIELDS}
    )
    got, wanted = loss(prediction, heavier, graph), loss(prediction, labels, graph)
    require_close(got, wanted, 1e-12, f"{loss}: with ten times the weights")


LOSS_CHECKS: tuple[Callable[[Loss], None], ...] = (
    check_perfection_costs_nothing,
    check_padding_and_weight_zero_do_not_count,
    check_the_gradient_is_the_derivative,
    check_weights_are_relative,
)


def check_loss(cls: type) -> None:
    """Run a registered loss, its `tiny()` instance, through its whole contract.

    Raises:
        ContractError: says which promise is broken, and by how much.

    Example:
        >>> from jorbit.losses.energy import EnergyLoss
        >>> check_loss(EnergyLoss)
    """
    with jax.enable_x64(True):
        for check in LOSS_CHECKS:
            check(cls.tiny())  # type: ignore[attr-defined]
